"""Which decisions are explained by attributions, and what is shown of them.

The framework is imported only where there is a model to explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from verdict.base.numbers import EXACT
from verdict.decide.log.items import DecidedBatch
from verdict.decide.people import keyed_uniform
from verdict.decide.policy import Decision
from verdict.model.selection import Selection
from verdict.stats.scores import top_class

if TYPE_CHECKING:
    from verdict.model.integrated_gradients import Attribution
    from verdict.workflow.stage import Stage


def sample_decisions(batch: DecidedBatch, *, per_branch: int, seed: int) -> pd.DataFrame:
    """Some pairs of each branch, drawn by a hash of their ids, so that other pairs do not change the choice.

    Returns decision, pair_id, image_id, hypothesis, answer (class id of the model), answer_name, true_name; branches in
    the order of `Decision`.
    """
    order = np.argsort(keyed_uniform(batch.pair_id, seed=seed, stream="explained"), kind="stable")
    ids = [row for code in Decision for row in order[np.asarray(batch.decision)[order] == code][:per_branch]]
    answer, names = top_class(batch.logits), np.array(batch.classes, dtype=object)
    return pd.DataFrame(
        {
            "decision": [Decision(int(batch.decision[row])).text for row in ids],
            "pair_id": [batch.pair_id[row] for row in ids],
            "image_id": [batch.image_id[row] for row in ids],
            "hypothesis": [None if batch.hypothesis is None else batch.hypothesis[row] for row in ids],
            "answer": answer[ids],
            "answer_name": names[answer[ids]],
            "true_name": names[np.asarray(batch.y_true)[ids]],
        }
    )


def explain(stage: Stage, kept: Selection, chosen: pd.DataFrame) -> list[Attribution]:
    """Integrated gradients of some decisions; none where predictions are saved logits, which no input can be traced to.

    Stores the number `policy.test.attribution_gap`, the largest completeness gap, which is not defined without any.
    """
    found: list[Attribution] = []
    if not stage.is_recorded and len(chosen):
        from verdict.model.integrated_gradients import attribute_pairs

        found = attribute_pairs(stage, kept, chosen, n_steps=stage.params.policy.n_attribution_steps)
    worst = max((attribution.gap for attribution in found), default=float("nan"))
    stage.number("policy.test.attribution_gap", worst, n=len(found), split="test", unit="%", kind=EXACT)
    return found


def attribution_table(found: Sequence[Attribution], chosen: pd.DataFrame) -> pd.DataFrame:
    """One row a decision: what was decided and answered, margins of pair and baseline, gap, share of the image."""
    if not found:
        return pd.DataFrame()
    table = chosen[["decision", "hypothesis", "answer_name", "true_name"]]
    return table.rename(columns={"answer_name": "model_answer", "true_name": "truth"}).assign(
        margin=[one.margin for one in found],
        margin_of_baseline=[one.baseline_margin for one in found],
        completeness_gap=[one.gap for one in found],
        share_of_image=[one.share_of_image for one in found],
    )


def drawings(found: Sequence[Attribution], chosen: pd.DataFrame) -> dict[str, Any]:
    """What `draw_attributions` needs."""
    return {
        "images": [attribution.image for attribution in found],
        "patches": [attribution.patches for attribution in found],
        "words": [list(zip(a.tokens, a.words, strict=True)) for a in found],
        "titles": [f"{row.decision}: {row.answer_name}" for row in chosen.itertuples()],
    }
