"""A decision in plain words."""

from verdict.decide.log.log import Item
from verdict.decide.policy import floors_of
from verdict.decide.signals import COMPOSITE, MEAN_PROBABILITY, SCORE_WORDS
from verdict.stats.scores import top_class


def explain_item(item: Item) -> str:
    """Why a pair was decided as it was, in a few lines of plain text.

    Every figure is read from the item. Characters that a terminal would act on are shown as escapes.
    """
    names = {"image": item.image_id, "group": item.group_id}
    named = [f"{part} {name}" for part, name in names.items() if name != item.pair_id]
    said = "" if item.hypothesis is None else f': "{item.hypothesis}"'
    ranked = sorted(zip(item.probs, item.classes, strict=True), key=lambda entry: -entry[0])[:3]
    probs = ", ".join(f"{name} {_shown(prob)}" for prob, name in ranked)
    signals = ", ".join(f"{name} {_shown(value)}" for name, value in item.signals.items())
    plausible = "{" + ", ".join(item.conformal_set) + "}" if item.conformal_set else "empty: no class is plausible"
    weakest = min(item.signals, key=item.signals.__getitem__)
    lines = [
        f"Pair {item.pair_id} ({', '.join([*named, f'split {item.split}'])}){said}",
        f"The model answers {item.model_answer}. Probabilities at temperature {item.temperature:.3g}: {probs}.",
        f"Signals: {signals}; the weakest is {weakest}. The conformal set is {plausible}.",
        f"Score {_shown(item.score)}, {_made_of(item)}.",
        f"Decision: {item.decision}. {_why(item)}",
    ]
    if item.clarification is not None:
        asked, best = item.clarification, int(top_class(item.clarification.posterior))
        talk = "; ".join(map(" -> ".join, zip(asked.questions, asked.responses, strict=True)))
        sure = f"{item.classes[best]} has probability {_shown(asked.posterior[best])}"
        lines.append(f"Asked: {talk}. With the responses, {sure}.")
    if item.human_answer is not None:
        lines.append(f"The person answered {item.human_answer}.")
    lines += [_ending(item), f"Model {item.model_hash}, parameters {item.params_hash}, run {item.run_id}."]
    return "\n".join(_printable(line) for line in lines)


def _made_of(item: Item) -> str:
    if item.thresholds.score_name != COMPOSITE:
        return f"the {SCORE_WORDS[item.thresholds.score_name]}"
    apart = f" but {MEAN_PROBABILITY}," if MEAN_PROBABILITY in item.signals else ""
    times = "" if item.consistency is None else " times the consistency of the answers to questions, "
    return f"the geometric mean of the signals{apart}{times and times + _shown(item.consistency)}"


def _why(item: Item) -> str:
    limits = item.thresholds
    if item.forced_by == "empty_set":
        return "An empty conformal set always goes to a person, whatever the score."
    if item.forced_by == "critical_signal":
        floors = floors_of(limits.tau_critical, item.signals)
        low = min(floors, key=lambda name: item.signals[name] - floors[name])
        return (
            f"{low} is {_shown(item.signals[low])}, not above the safety limit {_shown(floors[low])}: "
            "the case goes to a person whatever the score."
        )
    if item.forced_by in ("foreign", "foreign_batch"):
        return _foreign(item)
    if item.decision == "auto":
        return f"The score is at least {_shown(limits.t_auto)}, so the model's answer goes out alone.{_promise(item)}"
    if item.decision == "clarify":
        upper = "no case goes out alone" if limits.t_auto > 1 else f"below {_shown(limits.t_auto)}"
        return f"The score is at least {_shown(limits.t_clarify)} ({upper}), so questions are asked first."
    return f"The score is below {_shown(limits.t_clarify)}, so the case goes to a person."


def _foreign(item: Item) -> str:
    limits = item.thresholds
    if item.forced_by == "foreign_batch":
        return (
            f"The batch differs from what the policy was tuned on (p = {_shown(limits.batch or 0)}, not above "
            f"{_shown(limits.tau_batch or 0)}): nothing of it goes out alone."
        )
    return (
        f"Of the pairs that it is compared with a share of {_shown(item.foreign or 0)} lies as far from what the model "
        f"knows, not above {_shown(limits.tau_pair or 0)}: the case is foreign and goes to a person whatever the score."
    )


def _promise(item: Item) -> str:
    told = item.thresholds.promise
    if told is None or not told.is_kept:
        return ""
    return (
        f" Of such answers at most {_shown(told.error)} are wrong, with confidence {_shown(told.confidence)} "
        f"({told.method}, {told.n_rows} rows in {told.n_groups} groups)."
    )


def _ending(item: Item) -> str:
    text = f"Final answer: {item.final_answer or 'none yet'}"
    if item.true_answer is not None:
        text += " (right)" if item.final_answer == item.true_answer else f" (wrong: the truth is {item.true_answer})"
    return text + ("." if item.cost is None else f". Cost {item.cost:.4g}.")


def _shown(value: float) -> str:
    """Three decimals, or as many as keep a number below 1 from being shown as 1, or one above 0 as 0."""
    texts = (f"{value:.{digits}f}" for digits in range(3, 17))
    return next((text for text in texts if value in (0, 1) or float(text) not in (0.0, 1.0)), repr(value))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
