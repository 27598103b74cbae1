"""What a model said of each row, in whichever form people have it, as logits. Nothing here reads a file.

| form | columns, `<class>` being a class's name or id, and of sentences yes or no |
|---|---|
| `logits` | `logit_<class>` |
| `log_probs` | `logprob_<class>`, an empty cell being a token that no list held |
| `top_k` | `top_logprobs`: tokens with their log-probabilities, as interfaces return them |
| `probs` | `prob_<class>` |
| `samples` | `count_<class>`, or `samples`: the answers themselves |
| `answer` | `model_answer` |

Of two classes one column is enough (`prob_yes`; of counts with `n_samples`). A column without its class (`logit`) is
about yes, or the second of two named classes. Where `model_answer` stands beside another form, it must be that form's
likeliest class: always beside a column without its class, otherwise in 95 % of the rows, unless the form is named.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from verdict.base.files.tables import column_key
from verdict.base.labels import class_names
from verdict.base.refusals import Place, listed, refuse_rows, shown
from verdict.stats.scores import softmax

LOGITS, LOG_PROBS, TOP_K, PROBS, SAMPLES, ANSWER = "logits", "log_probs", "top_k", "probs", "samples", "answer"
PREFIXES = {
    LOGITS: ("logit", "logits"),
    LOG_PROBS: ("logprob", "logprobs", "log_prob", "log_probs", "log_softmax"),
    PROBS: ("prob", "probs", "probability", "probabilities", "p"),
    SAMPLES: ("count", "counts", "n"),
}
WHOLE = {
    TOP_K: ("top_logprobs", "top_log_probs", "top_k"),
    SAMPLES: ("samples", "sampled_answers"),
    ANSWER: ("model_answer", "prediction", "predicted", "response"),
}
FORMS = (LOGITS, LOG_PROBS, TOP_K, PROBS, SAMPLES, ANSWER)
TOTAL = ("n_samples", "n", "k")
# Words of sentences' classes; of 0 and 1 people mean the opposite of each other.
WORDS = {"yes": 0, "true": 0, "entailed": 0, "no": 1, "false": 1, "contradicted": 1}
MAX_LOGIT = 1e4
PROBS_AS_LOGITS = "logits within [0, 1] that sum to 1 are probabilities; call them prob_<class>"
SMALLEST = 1e-12
# A bare answer that is right no more often than chance is still the model's answer.
LEAST_WORTH = 1e-3
# Probabilities that are rounded to two digits may sum to a little more or less than 1.
ROUNDING = 0.05
ELSEWHERE = 0.99
# Answers that are drawn, not the likeliest, are other ones in a few rows; logarithms of two decimals decide no closer.
MAX_CONTRARY, TIE = 0.05, 0.01
_EDGE = " \t\r\n.,;:!?\"'`*▁Ġ"


@dataclass(frozen=True)
class Form:
    """How a table says what the model said: one of `FORMS`; the column of each class, "" for one that follows from the
    other, or the one column of all; the column of the number of samples, or ""; the other forms that the table has.

    `smallest` in (0, 1): what lies below is clipped to it, since 0 has no logarithm.
    """

    kind: str
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    smallest: float = SMALLEST
    total: str = ""
    others: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Columns of the table that are read."""
        return [name for name in (*self.columns, self.total) if name]


@dataclass(frozen=True)
class Said:
    """Logits float64 (n, K), and counts, which add up over the parts of a table: n_rows; n_clipped (probabilities
    below `Form.smallest`, of logarithms those of 0); n_bounded (tokens that no list held, at the most that they can
    have had); n_undecided (rows that say nothing of any class); n_elsewhere (rows with more than a hundredth of the
    probability on no class); n_samples; n_contrary. `sd` (n, K) in [0, 1/2]: of sampled probabilities, else None.
    """

    logits: np.ndarray
    counts: dict[str, int]
    sd: np.ndarray | None = None


def word_ids(classes: Sequence[str]) -> dict[str, int]:
    """Class ids by the words, in lower case, that may stand for a class; not those that would mean two."""
    words = [name.strip().casefold() for name in classes]
    ids = {word: k for k, word in enumerate(words) if words.count(word) == 1}
    return WORDS | ids if tuple(classes) == class_names() else ids


def token_class(token: str, ids: Mapping[str, int]) -> int | None:
    """The class that a token or an answer names by itself, marks around it and its case apart; None for none."""
    return ids.get(token.strip(_EDGE).casefold())


def class_columns(names: Sequence[str], prefixes: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """Columns called `<prefix>_<class>` in the order of the classes, () where there is none.

    Of two classes one column suffices, the other's name being "". ValueError if some lack or two are about one class.
    """
    for prefix in prefixes:
        rests = {name: name.strip()[len(prefix) + 1 :] for name in names if column_key(name).startswith(f"{prefix}_")}
        exact = {rest: name for name, rest in rests.items()}
        if set(exact) == set(classes):
            return tuple(exact[name] for name in classes)
        known = {column_key(word): k for word, k in word_ids(classes).items()}
        ids = {str(k): k for k in range(len(classes))}
        found = [(known.get(column_key(rest), ids.get(rest)), name) for name, rest in rests.items()]
        own = [(k, name) for k, name in found if k is not None]
        by_class = dict(own)
        if len(own) == len(by_class) and (len(own) == len(classes) or (len(own) == 1 and len(classes) == 2)):
            return tuple(by_class.get(k, "") for k in range(len(classes)))
        if own or (rests and prefix == "logit"):
            raise ValueError(
                f"the columns {listed(list(rests))} are not {prefix}_<class> for each of {listed(classes)}"
            )
    return ()


def find_form(names: Sequence[str], classes: Sequence[str], *, kind: str = "", smallest: float = SMALLEST) -> Form:
    """Recognise what columns of a table say; `kind` chooses where they say it in several forms, else the first of
    `FORMS`. ValueError lists what is there and what is read.
    """
    keys, found = {column_key(name): name for name in names}, {}
    for form in FORMS:
        columns = class_columns(names, PREFIXES.get(form, ()), classes)
        bare = [keys[key] for key in PREFIXES.get(form, ()) if key in keys and form != SAMPLES]
        whole = [keys[key] for key in (*WHOLE.get(form, ()), *(() if "question" in keys else (form,))) if key in keys]
        if not columns and bare and len(classes) == 2:
            columns = (bare[0], "") if tuple(classes) == class_names() else ("", bare[0])
        if columns or (form in WHOLE and whole):
            found[form] = columns or tuple(whole[:1])
    if kind and kind not in found:
        raise ValueError(f"no column says {kind}; found {listed(list(names))}, which say {list(found) or 'nothing'}")
    if not found:
        ways = "logit_<class>, logprob_<class>, prob_<class>, count_<class>, top_logprobs, samples or model_answer"
        what = f"no column says what the model said: found {listed(names)}"
        raise ValueError(f"{what}; give {ways}, or name them in the parameters")
    form = kind or next(iter(found))
    total = next((keys[key] for key in TOTAL if key in keys), "") if form == SAMPLES and "" in found[form] else ""
    if form == SAMPLES and "" in found[form] and not total:
        raise ValueError(f"counts of one class {found[form]} need the number of samples too, in n_samples")
    return Form(form, found[form], tuple(classes), smallest, total, tuple(other for other in found if other != form))


def said(form: Form, columns: Mapping[str, ArrayLike], place: Place) -> Said:
    """Logits of some rows, by columns of numbers or text of equal length, (n,) each; ValueError names row (as `place`
    does), column and cause.

    Lists are JSON text, or what that says: a mapping of tokens, or a list of {"token": …, "logprob": …}.
    """
    if form.kind in (TOP_K, ANSWER) or (form.kind == SAMPLES and len(form.columns) == 1):
        values = READERS[form.kind](form, list(columns[form.columns[0]]), place)
    else:
        is_blank_known = form.kind == LOG_PROBS
        given = {name: numbers_of(columns[name], name, place, may_lack=is_blank_known) for name in form.names}
        values = np.column_stack([given[name] for name in form.columns if name])
        if form.total:
            values = np.column_stack([values, given[form.total] - values[:, 0]])
            values = values if form.columns[0] else values[:, ::-1]
        elif "" in form.columns:
            values = with_other(form.kind, values[:, 0], form.columns.index(""))
    return made_of(form, values, place)


def made_of(form: Form, values: Any, place: Place) -> Said:
    """As `said`, of numbers (n, K) in the order of the classes, which a form with its own columns holds."""
    return MAKERS[form.kind](form, values, place)


def with_other(kind: str, values: np.ndarray, other: int) -> np.ndarray:
    """(n, 2) of one class's (n,): the other has logit 0, or the rest of the probability."""
    if kind == LOG_PROBS:
        with np.errstate(divide="ignore", invalid="ignore"):
            rest = np.log1p(-np.exp(np.minimum(values, 0.0)))
    else:
        rest = 1 - values if kind == PROBS else np.zeros(len(values))
    return np.column_stack([rest, values] if other == 0 else [values, rest])


def numbers_of(cells: ArrayLike, name: str, place: Place, *, may_lack: bool = False) -> np.ndarray:
    """A column as float64 (n,), NaN where it is empty and may be."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "fiub":
        return cells.astype(np.float64)
    texts = ["" if cell is None else str(cell).strip() for cell in cells]
    numbers = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        if not text and may_lack:
            continue
        try:
            # Python reads 1_5 as 15, and digits of any script: no table means that.
            numbers[row] = float(text if text.isascii() and "_" not in text else "")
        except ValueError:
            what = "is empty" if not text else f"{shown(text)} is not a number"
            raise ValueError(f"{place(row)}, column {name!r}: {what}") from None
    return numbers


def _refuse(form: Form, bad: np.ndarray, place: Place, cause: str) -> None:
    refuse_rows(bad, place, cause, [name for name in form.columns if name])


def may_be_probs(values: np.ndarray) -> bool:
    """Whether all rows of logits (n, K) lie within [0, 1] and sum to 1, but for two decimals that were kept of each."""
    rounding = min(0.005 * values.shape[1], 0.05)
    return bool(((values >= 0) & (values <= 1)).all() and (np.abs(values.sum(axis=1) - 1) <= rounding).all())


def look_like_probs(values: np.ndarray) -> bool:
    """Whether logits (n, K) `may_be_probs`, and not all of them are 0 or 1."""
    return may_be_probs(values) and bool((values % 1 > 0).any())


def _of_logits(form: Form, values: np.ndarray, place: Place) -> Said:
    _refuse(form, ~np.isfinite(values).all(axis=1), place, "logits must be finite")
    hint = "divide all of them, those that calibrate too, by one number, which changes the fitted temperature alone"
    is_large = np.abs(values).max(axis=1) > MAX_LOGIT
    _refuse(form, is_large, place, f"logits beyond {MAX_LOGIT:g}: a softmax gives 0 and 1; {hint}")
    return _made(values, {})


def _of_probs(form: Form, values: np.ndarray, place: Place) -> Said:
    _refuse(form, ~np.isfinite(values).all(axis=1), place, "probabilities must be finite")
    is_unit = (values >= 0) & (values <= 1 + 1e-6)
    _refuse(form, ~is_unit.all(axis=1), place, "probabilities must lie in [0, 1]; did you give logits or percentages?")
    _check_sums(form, sums := values.sum(axis=1), place)
    counts = {"n_clipped": (values < form.smallest).sum(), "n_elsewhere": (sums < ELSEWHERE).sum()}
    return _made(np.log(np.maximum(values, form.smallest)), counts)


def _of_log_probs(form: Form, values: np.ndarray, place: Place, most: np.ndarray | None = None) -> Said:
    """`most` (n,): what a token that a list lacks can have at most, in logarithms."""
    _refuse(form, (values > 1e-3).any(axis=1), place, "log-probabilities are at most 0; did you give logits?")
    is_missing, is_nothing = np.isnan(values), values == -np.inf
    sums = np.exp(np.where(is_missing, -np.inf, values)).sum(axis=1)
    _check_sums(form, np.where(is_missing.any(axis=1), 1.0, sums) if form.classes != class_names() else sums, place)
    rest = np.log(np.maximum(1 - sums, form.smallest))
    bound = rest if most is None else np.minimum(rest, most)
    filled = np.where(is_missing, bound[:, None], np.where(is_nothing, np.log(form.smallest), values))
    whole = ~is_missing.any(axis=1)
    counts = {"n_clipped": is_nothing.sum(), "n_bounded": is_missing.sum(), "n_undecided": is_missing.all(axis=1).sum()}
    return _made(np.maximum(filled, -MAX_LOGIT), counts | {"n_elsewhere": (whole & (sums < ELSEWHERE)).sum()})


def _check_sums(form: Form, sums: np.ndarray, place: Place) -> None:
    """Tokens beside yes and no may have a part of the probability; classes have all of it."""
    _refuse(form, sums > 1 + ROUNDING, place, "probabilities sum to more than 1: are they scores of each class alone?")
    if form.classes != class_names():
        _refuse(form, sums < 1 - ROUNDING, place, "probabilities sum to less than 1: are some classes missing?")


def _made(logits: np.ndarray, counts: Mapping[str, int], sd: np.ndarray | None = None) -> Said:
    return Said(logits, {"n_rows": len(logits)} | {name: int(n) for name, n in counts.items() if n}, sd)


def _of_samples(form: Form, values: np.ndarray, place: Place) -> Said:
    """Logarithms of (count + 1/2) / (n + K/2), Jeffreys' estimate, and the deviation of its posterior."""
    is_count = np.isfinite(values) & (values >= 0) & (values == np.floor(values))
    _refuse(form, ~is_count.all(axis=1), place, "counts of sampled answers must be whole numbers, none below 0")
    n = values.sum(axis=1, keepdims=True)
    _refuse(form, n[:, 0] == 0, place, "rows without a sampled answer")
    size = n + values.shape[1] / 2
    probs = (values + 0.5) / size
    sd = np.sqrt(probs * (1 - probs) / (size + 1))
    return _made(np.log(probs), {"n_samples": n.sum()}, sd)


def _read_samples(form: Form, cells: list[Any], place: Place) -> np.ndarray:
    ids, counts = word_ids(form.classes), np.zeros((len(cells), len(form.classes)))
    for row, cell in enumerate(cells):
        parts = _parsed(cell, place, row, form) if _is_json(cell) else re.split(r"[;|,]", str(cell))
        for part in parts:
            counts[row, _class_of(part, ids, form, place, row)] += 1
    return counts


def _read_answers(form: Form, cells: list[Any], place: Place) -> np.ndarray:
    """One for the class that was named and zero for others: how sure the model is, is not known."""
    ids, known = word_ids(form.classes), {}
    for row, cell in enumerate(cells):
        if cell not in known:
            known[cell] = _class_of(cell, ids, form, place, row)
    return np.eye(len(form.classes))[[known[cell] for cell in cells]]


def contrary(logits: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Rows, (n,) bool, of which two forms, logits (n, K) each, share no likeliest class; ties agree with either."""
    likeliest = [(probs := softmax(one)) >= probs.max(axis=1, keepdims=True) - TIE for one in (logits, other)]
    return ~(likeliest[0] & likeliest[1]).any(axis=1)


def n_contrary(
    form: Form, logits: np.ndarray, columns: Mapping[str, Sequence[Any]], place: Place, *, is_named: bool
) -> int:
    """How many rows have another `model_answer` than logits (n, K) say, those that name no class having none.

    ValueError if these are too many (see above), `is_named` saying that the parameters name the form.
    """
    name = find_form(list(columns), form.classes, kind=ANSWER).columns[0]
    ids, own = word_ids(form.classes), np.vstack([np.eye(len(form.classes)), np.zeros(len(form.classes))])
    named = [token_class(str(cell), ids) for cell in columns[name]]
    bad = contrary(logits, own[[-1 if k is None else k for k in named]])
    bare = max(form.columns) if column_key(max(form.columns)) in PREFIXES.get(form.kind, ()) else ""
    if bad.any() and (bare or (bad.mean() > MAX_CONTRARY and not is_named)):
        row, words = int(bad.argmax()), ("yes", "no") if form.classes == class_names() else form.classes
        values, hint = [str(columns[one][row]) for one in form.names], "or name the form that is meant"
        said_by = f"{listed(form.names)} say {words[logits[row].argmax()]!r} by {listed(values)}"
        if bare:
            of = words[form.columns.index(bare)]
            said_by += f"; {bare!r} is read as that of {of!r} in every row, whatever the answer"
            hint = f"or make it that, as {PREFIXES[form.kind][0]}_{of}"
        refuse_rows(
            bad, place, f"{name!r} says {shown(columns[name][row])}, and {said_by}: leave one of both out, {hint}"
        )
    return int(bad.sum())


def worth_of(logits: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    """Logit of a bare answer by its class, (K,), others having 0: how often it was right, Jeffreys' estimate.

    `logits` (n, K): bare answers of known truth `y_true` (n,). At least `LEAST_WORTH`: no answer becomes another.
    """
    n_classes, answer = logits.shape[1], logits.argmax(axis=1)
    n_right, n = (np.bincount(answer[rows], minlength=n_classes) for rows in (answer == y_true, slice(None)))
    right = (n_right + 0.5) / (n + n_classes / 2)
    return np.maximum(np.log(right * (n_classes - 1) / (1 - right)), LEAST_WORTH)


def _class_of(word: Any, ids: Mapping[str, int], form: Form, place: Place, row: int) -> int:
    found = token_class(str(word), ids)
    if found is None:
        where = f"{place(row)}, column {form.columns[0]!r}"
        way_on = "; take it out of the row, and its other answers are counted" if form.kind == SAMPLES else ""
        raise ValueError(f"{where}: the answer {shown(word)} is none of {listed(ids)}{way_on}")
    return found


def _read_top(form: Form, cells: list[Any], place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of the classes, (n, K), NaN where no token of a list is one of its words, and the smallest of
    each list, (n,). Several tokens of a class (Yes, yes) are taken together.
    """
    ids, n_classes = word_ids(form.classes), len(form.classes)
    values, least = np.full((len(cells), n_classes), np.nan), np.zeros(len(cells))
    for row, cell in enumerate(cells):
        parsed = _parsed(cell, place, row, form)
        try:
            sums: dict[int, float] = {}
            for token, logprob in _tokens(parsed):
                least[row] = min(least[row], logprob)
                if (k := token_class(token, ids)) is not None:
                    sums[k] = sums.get(k, 0.0) + math.exp(logprob)
            for k, mass in sums.items():
                values[row, k] = math.log(mass) if mass else -math.inf
        except (TypeError, AttributeError, ValueError, OverflowError):
            where = f"{place(row)}, column {form.columns[0]!r}"
            raise ValueError(f"{where}: {shown(cell)} is no list of tokens with their log-probabilities") from None
    return values, least


def _tokens(parsed: Any) -> list[tuple[str, float]]:
    if isinstance(parsed, Mapping):
        # Parquet gives every row the keys of all rows, with nothing for those that it lacks.
        return [(token, logprob) for token, logprob in parsed.items() if logprob is not None]
    if isinstance(parsed, Sequence):
        return [(one.get("token"), one.get("logprob")) if isinstance(one, Mapping) else tuple(one) for one in parsed]
    raise TypeError(type(parsed))


def _is_json(cell: Any) -> bool:
    return not isinstance(cell, str) or cell.lstrip()[:1] in ("[", "{")


def _parsed(cell: Any, place: Place, row: int, form: Form) -> Any:
    if not isinstance(cell, str):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        # Its own line is line 1 of the cell.
        cause = getattr(error, "msg", error)
        raise ValueError(f"{place(row)}, column {form.columns[0]!r}: {shown(cell)} is not JSON: {cause}") from None


def _of_top(form: Form, values: tuple[np.ndarray, np.ndarray], place: Place) -> Said:
    return _of_log_probs(form, values[0], place, most=values[1])


READERS = {TOP_K: _read_top, SAMPLES: _read_samples, ANSWER: _read_answers}
MAKERS: dict[str, Callable[[Form, Any, Place], Said]] = {
    LOGITS: _of_logits,
    LOG_PROBS: _of_log_probs,
    TOP_K: _of_top,
    PROBS: _of_probs,
    SAMPLES: _of_samples,
    ANSWER: _of_logits,
}
