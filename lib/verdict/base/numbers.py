"""A number with its interval, the store that prose and figures read, and claims about numbers."""

from __future__ import annotations

import difflib
import json
import math
import operator
import re
from collections import UserDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import Path

from verdict.base.artifacts import write_text
from verdict.base.labels import in_words

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")
_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}|\{([a-z][a-z0-9_.]*(?:\|[a-z]+)?)\}")


# An estimate speaks about more than the rows at hand and carries an interval, unless none is defined; a count and an
# exact value are wholly about these rows, or arithmetic; a setting was chosen, or describes the run.
ESTIMATE, COUNT, EXACT, SETTING = KINDS = ("estimate", "count", "exact", "setting")
# Units of ratios that are shown times a hundred. A difference of two shares is so many points, not so many per cent.
POINTS = "percentage points"
HUNDREDTHS = ("%", POINTS)


@dataclass(frozen=True)
class Number:
    """One measured quantity, with both bounds of its interval or neither.

    `unit` is "" for a plain ratio, "%" for a ratio shown as per cent, `POINTS` for a difference of such, "count", "s" …
    `kind` is one of `KINDS`, found from bounds and unit where it is not given, "" where neither tells. The interval is
    over the resamples that are not among `n_undefined`. `words` are shown in place of the value, see `named`.
    ValueError for one bound, bounds out of order, or another kind.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    split: str = ""
    unit: str = ""
    seeds: tuple[int, ...] = ()
    kind: str = ""
    n_undefined: int = 0
    words: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("", *KINDS):
            raise ValueError(f"a number is one of {', '.join(KINDS)}, got {self.kind!r}")
        if not self.kind:
            found = ESTIMATE if self.low is not None else COUNT if self.unit == "count" else ""
            object.__setattr__(self, "kind", found)
        if (self.low is None) != (self.high is None):
            raise ValueError(f"an interval needs both bounds, got low={self.low}, high={self.high}")
        if self.low is not None and self.low > self.high:
            raise ValueError(f"interval bounds are out of order: low={self.low} > high={self.high}")

    @property
    def text(self) -> str:
        """The value and its interval to two significant digits of the interval, but three of the value at most, and as
        many as tell an end from zero; of a name, its words.
        """
        if self.words:
            return in_words(self.words)
        scale, suffix = 100.0 if self.unit in HUNDREDTHS else 1.0, "" if self.unit in ("", "count") else f" {self.unit}"
        value = self.value * scale
        if not math.isfinite(value):
            return "not defined" if math.isnan(value) else "∞" if value > 0 else "-∞"
        if self.low is None or not (math.isfinite(self.low) and math.isfinite(self.high)):
            is_whole = self.unit == "count" or (value.is_integer() and abs(value) < 1e15)
            return f"{value:,.0f}{suffix}" if is_whole or abs(value) >= 1000 else f"{value:.3g}{suffix}"
        digits = _digits((self.high - self.low) * scale, value)
        # An end beside zero keeps the digit that says on which side it lies.
        near = min(abs(self.low), abs(self.high)) * scale
        if self.excludes(0) and near >= 1e-6 and not round(near, digits):
            digits = -math.floor(math.log10(near))
        undefined = f" ({self.n_undefined:,} resamples undefined)" if self.n_undefined else ""
        # As decimals, 0.8625 and 86.25 % are rounded alike.
        value, low, high = (
            f"{Decimal(repr(float(bound))) * int(scale):z.{digits}f}" for bound in (self.value, self.low, self.high)
        )
        return f"{value}{suffix} [{low}, {high}]{undefined}"

    def excludes(self, point: float) -> bool:
        """Whether the interval lies wholly on one side of a point; one that is not defined does not."""
        return self.low is not None and (point < self.low or point > self.high)


def named(words: str) -> Number:
    """A name that prose may use, such as a trial's, as a setting of value 1; not defined where there are no words."""
    return Number(1.0 if words else math.nan, kind=SETTING, words=words)


def _digits(width: float, value: float) -> int:
    """Decimals (0 to 6) that keep two significant digits of an interval's width and no more than three of its value; a
    width of rounding noise is none.
    """
    if width < 1e-12:
        return 3
    most = 2 - math.floor(math.log10(abs(value))) if value else 6
    return min(6, max(0, min(most, 1 - math.floor(math.log10(width)))))


class Numbers(UserDict[str, Number]):
    """Named numbers of a run; a name is written once."""

    def __missing__(self, name: str) -> Number:
        near = difflib.get_close_matches(name, self, n=1, cutoff=0.0)
        raise KeyError(f"no number is called {name!r}{f'; the nearest is {near[0]!r}' if near else '; none is stored'}")

    def __setitem__(self, name: str, number: Number) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"a number's name is dotted lower-case such as 'test.macro_f1', got {name!r}")
        if self.data.get(name, number) != number:
            raise ValueError(f"the number {name!r} is already stored with another value")
        super().__setitem__(name, number)

    def merge(self, other: Mapping[str, Number]) -> None:
        """Add another store's numbers; the same name with another value is refused."""
        self.update(other)

    def format(self, template: str) -> str:
        """Replace `{{ name }}` and `{name}` by value and interval; a suffix `|value` leaves the interval out.
        KeyError for a name that is not stored, with the nearest one.
        """

        def rendered(match: re.Match[str]) -> str:
            name, _, form = (part.strip() for part in (match[1] or match[2]).partition("|"))
            if form not in ("", "value"):
                raise KeyError(f"unknown form {form!r} in {match[0]}; the only one is 'value'")
            number = self[name]
            return number.text.partition(" [")[0] if form and number.low is not None else number.text

        return _PLACEHOLDER.sub(rendered, template)

    def save(self, path: Path) -> None:
        """Write all numbers as sorted JSON, atomically."""
        content = {name: asdict(self.data[name]) for name in sorted(self)}
        write_text(path, json.dumps(content, indent=1, allow_nan=True) + "\n")

    @classmethod
    def load(cls, path: Path) -> Numbers:
        """Read what `save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls({name: Number(**{**entry, "seeds": tuple(entry["seeds"])}) for name, entry in content.items()})


_COMPARISONS = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}
WITHIN, EXCLUDES = "within", "excludes"


@dataclass(frozen=True)
class Claim:
    """A sentence about one number, and whether the number bears it out: None where that is not defined, an estimate
    without an interval, or something that could not have come out otherwise (`applies` is false).

    A direction, `>`, `<`, `>=` or `<=`, holds only if the whole interval satisfies it. `within` is for "equal", "at
    chance" and "no worse than by": the whole interval lies within `margin` of the bound, in the number's unit (two
    one-sided tests; Schuirmann 1987, J. Pharmacokin. 15). `excludes` is for "differs", in either direction. `exhibit`
    is the file name of the figure or table that shows the number.
    """

    id: str
    statement: str
    number: str
    comparison: str
    bound: float
    holds: bool | None = None
    margin: float | None = None
    exhibit: str = ""
    applies: bool = True

    @property
    def verdict(self) -> str:
        """What the report says of it."""
        return {True: "holds", False: "does not hold", None: "not applicable"}[self.holds]


def evaluate_claim(numbers: Numbers, claim: Claim) -> Claim:
    """The claim with what it comes to: its number (else a KeyError), by its interval if it has one, against its bound.

    ValueError if the comparison is unknown, a margin is missing, not positive or given to another comparison than
    `within`, or `excludes` is asked of a number that is no estimate.
    """
    comparison, margin = claim.comparison, claim.margin
    if comparison not in (*_COMPARISONS, WITHIN, EXCLUDES):
        raise ValueError(f"claim {claim.id!r}: unknown comparison {comparison!r}")
    if (comparison == WITHIN) != (margin is not None) or (margin is not None and not margin > 0):
        raise ValueError(
            f"claim {claim.id!r}: {comparison!r} with the margin {margin}; `within` needs a positive one, no other does"
        )
    measured = numbers[claim.number]
    if comparison == EXCLUDES and measured.kind != ESTIMATE:
        raise ValueError(f"claim {claim.id!r}: {claim.number!r} has no interval to exclude {claim.bound}")
    found = _judged(measured, comparison, claim.bound, margin) if claim.applies else None
    return replace(claim, holds=found, applies=bool(claim.applies))


def _judged(measured: Number, comparison: str, bound: float, margin: float | None) -> bool | None:
    """Whether the whole interval, or the value of what has none by its kind, satisfies the comparison."""
    low, high = (measured.value,) * 2 if measured.low is None else (measured.low, measured.high)
    if not math.isfinite(measured.value) or (measured.low is None and measured.kind == ESTIMATE):
        return None
    if comparison == WITHIN:
        return bound - margin <= low and high <= bound + margin
    if comparison == EXCLUDES:
        return measured.excludes(bound)
    return bool(_COMPARISONS[comparison](low if comparison.startswith(">") else high, bound))
