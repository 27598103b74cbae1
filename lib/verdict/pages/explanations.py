"""Which decisions are explained by attributions, and what is shown of them.

The framework is imported only where there is a model to explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from verdict.base.numbers import EXACT, SETTING
from verdict.decide.log.items import DecidedBatch
from verdict.decide.people import keyed_uniform
from verdict.decide.policy import Decision
from verdict.model.selection import Selection
from verdict.stats.scores import top_class
from verdict.workflow.stage import Stage

if TYPE_CHECKING:
    from verdict.model.integrated_gradients import Attribution


def sample_decisions(batch: DecidedBatch, *, per_branch: int, seed: int) -> pd.DataFrame:
    """Some pairs of each branch, drawn by a hash of their ids, so that other pairs do not change the choice.

    Returns decision, pair_id, image_id, hypothesis, answer (class id of the model), answer_name, true_name; branches in
    the order of `Decision`.
    """
    order = np.argsort(keyed_uniform(batch.pair_id, seed=seed, stream="explained"), kind="stable")
    answer, names = top_class(batch.logits), np.array(batch.classes, dtype=object)
    table = pd.DataFrame({name: getattr(batch, name) for name in ("decision", "pair_id", "image_id", "hypothesis")})
    table = table.assign(answer=answer, answer_name=names[answer], true_name=names[np.asarray(batch.y_true)])
    drawn = table.iloc[order].sort_values("decision", kind="stable").groupby("decision").head(per_branch)
    return drawn.assign(decision=[Decision(code).text for code in drawn["decision"]]).reset_index(drop=True)


# Attributions that miss more of the change of the margin are not to be read.
ADDS_UP = 0.05
ANSWERS = {"entailment": "true", "contradiction": "not true"}
DOES = {
    Decision.AUTO: "Goes out alone",
    Decision.CLARIFY: "A person is asked a short question",
    Decision.HUMAN: "Goes to a person",
}


def examples(stage: Stage, batch: DecidedBatch) -> dict:
    """Three cases as a gallery shows them: one of each branch, for one that does not occur a wrong answer given alone.

    Returns images and titles; none where there are no images or no sentences. The three lines of a title: the sentence;
    the model's answer with its probability, and whether it is right; what the policy does, by which score.
    """
    images = None if batch.hypothesis is None else stage.images()
    if images is None:
        return {"images": [], "titles": []}
    drawn = sample_decisions(batch, per_branch=len(batch), seed=stage.params.policy.human.seed)
    first = drawn.groupby("decision", sort=False).head(1)
    mistaken = drawn[(drawn["decision"] == Decision.AUTO.text) & (drawn["answer_name"] != drawn["true_name"])]
    chosen = pd.concat([first, mistaken.drop(index=first.index, errors="ignore")]).head(len(Decision))
    rows = [list(batch.pair_id).index(pair) for pair in chosen["pair_id"]]
    titles = []
    for row, case in zip(rows, chosen.itertuples(), strict=True):
        right = "right" if case.answer_name == case.true_name else "wrong"
        answer = ANSWERS.get(case.answer_name, case.answer_name)
        told = f"Model: {answer}, probability {batch.probs[row].max():.2f} ({right})"
        does = f"{DOES[Decision(int(batch.decision[row]))]} (score {batch.score[row]:.2f})"
        titles.append(f"{case.hypothesis}\n{told}\n{does}")
    return {"images": [images.thumbnail(image_id) for image_id in chosen["image_id"]], "titles": titles}


def explain(stage: Stage, kept: Selection, chosen: pd.DataFrame) -> list[Attribution]:
    """Integrated gradients of some decisions; none for saved logits, which lead to no input.

    Stores the numbers `policy.test.attribution_gap`, the largest completeness gap, which is not defined without any,
    `.n_explained` and `.n_not_added_up`, those whose gap is beyond `policy.attribution_limit`.
    """
    found: list[Attribution] = []
    if not stage.is_recorded and len(chosen):
        from verdict.model.integrated_gradients import attribute_pairs

        found = attribute_pairs(stage, kept, chosen, n_steps=stage.params.policy.n_attribution_steps)
    worst = max((attribution.gap for attribution in found), default=float("nan"))
    stage.number("policy.test.attribution_gap", worst, n=len(found), split="test", unit="%", kind=EXACT)
    if found:
        stage.number("policy.attribution_limit", ADDS_UP, unit="%", kind=SETTING)
        n_off = sum(one.gap > ADDS_UP for one in found)
        stage.counts("policy.test", {"n_explained": len(found), "n_not_added_up": n_off}, split="test")
    return found


def attribution_table(found: Sequence[Attribution], chosen: pd.DataFrame) -> pd.DataFrame:
    """One row a decision: what was decided and answered, margins of pair and baseline, what the attributions miss of
    the change between the two, whether they add up, share of the image.
    """
    if not found:
        return pd.DataFrame()
    table = chosen[["decision", "hypothesis", "answer_name", "true_name"]]
    return table.rename(columns={"answer_name": "model_answer", "true_name": "truth"}).assign(
        margin=[one.margin for one in found],
        margin_of_baseline=[one.baseline_margin for one in found],
        missed_share_of_change=[one.gap for one in found],
        adds_up=[one.gap <= ADDS_UP for one in found],
        share_of_image=[one.share_of_image for one in found],
    )


def drawings(found: Sequence[Attribution], chosen: pd.DataFrame) -> dict:
    """What `draw_attributions` needs."""
    return {
        "images": [attribution.image for attribution in found],
        "patches": [attribution.patches for attribution in found],
        "words": [list(zip(a.tokens, a.words, strict=True)) for a in found],
        "titles": [
            f"{row.decision}: {row.answer_name}" + ("" if one.gap <= ADDS_UP else "\n(does not add up: not to be read)")
            for row, one in zip(chosen.itertuples(), found, strict=True)
        ],
    }
