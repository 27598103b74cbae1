"""How refusals are worded: what is refused comes first, values are quoted short, of many the first few are listed."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

MAX_NAMED = 30
MAX_SHOWN = 80
N_LISTED = 5
# A row, counted from 0, as messages name it.
Place = Callable[[int], str]


@contextmanager
def naming(source: object) -> Iterator[None]:
    """Refusals begin with what is refused."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def counted(row: int) -> str:
    """A row of arrays as messages name it."""
    return f"row {row} (counted from 0)"


def shown(value: object) -> str:
    """A value as messages quote it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def listed(values: Collection[object]) -> str:
    """Values as messages list them: the first `MAX_NAMED`, each cut where it is long."""
    more = [f"… {len(values):,} in all"] if len(values) > MAX_NAMED else []
    return f"[{', '.join([*map(shown, list(values)[:MAX_NAMED]), *more])}]"


def first_of(faults: Sequence[str], n: int = N_LISTED) -> str:
    """The first few faults, as messages list them, and how many more there are."""
    more = f"; and {len(faults) - n} more" if len(faults) > n else ""
    return f"{'; '.join(faults[:n])}{more}"


def refuse_rows(bad: np.ndarray, place: Place, cause: str, columns: Sequence[str] = ()) -> None:
    """ValueError where there are bad rows, (n,) bool, with their number and the first of them."""
    if bad.any():
        where = f"{int(bad.sum())} of {len(bad)} rows, the first is {place(int(bad.argmax()))}"
        raise ValueError(f"{cause} ({where}{f'; columns {listed(columns)}' if columns else ''})")
