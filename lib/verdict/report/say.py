"""What notebooks call to speak: sentences with numbers, tables, figures and galleries.

Each call displays at once. The output carries its structure (`application/vnd.verdict+json`) beside a plain form for
JupyterLab, so that the report can number, sort and restyle it without running anything again.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from verdict.base.labels import in_words
from verdict.base.numbers import Claim, Number, Numbers
from verdict.base.spreadsheet import neutralise
from verdict.report.markdown import Markdown
from verdict.report.outputs import MIME, table_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

MAX_SVG_BYTES = 150_000
MAX_ROWS = 300
PNG_DPI = 160
SMALL_DPI = 40  # of the thumbnail that the index shows
MAX_PNG_BYTES = 300_000  # of a drawing; a heavier one becomes a JPEG
CSS_DPI = 96
ABBREVIATED = ("ami", "ari", "auc", "aurc", "auroc", "ece", "f1", "iou", "nll", "nmi", "pmi")
FEW = 4  # images of a gallery that are kept apart


def say(template: str, numbers: Numbers, *, is_alarm: bool = False) -> None:
    """Display a sentence, with numbers looked up by name.

    The template is Markdown with `{name}` or `{{ name }}`; `{name|value}` leaves the interval out, raw HTML is shown as
    text. What must not be overlooked is an alarm, shown in red.

    ValueError for a name that is not stored; the message holds the nearest one.
    """
    page = Markdown(numbers)
    rendered = page.render(template, short=True)
    carried = {name: _finite(asdict(numbers[name])) for name in sorted(page.mentioned)}
    payload = {"kind": "say", "template": template, "numbers": carried} | ({"role": "alarm"} if is_alarm else {})
    _show({MIME: payload, "text/html": rendered, "text/plain": template})


def show_table(
    table: pd.DataFrame, *, caption: str, sort_key: str | None = None, file: str = "", first: int = MAX_ROWS
) -> None:
    """Display a data frame as a captioned, sortable table that can be downloaded.

    Columns `x`, `x_low`, `x_high` become one column "0.81 [0.79, 0.83]"; cells may be `Number`; a named index becomes
    the first columns. The caption says what the rows are, on which split, which n, which interval; `sort_key` is a
    column, descending with a leading "-", and the caption says so; `file` (`05_by_family.csv`) names download and
    anchor. Rows beyond the `first` are in the download alone, and the caption says so. ValueError for an empty caption,
    or a key that is no column.
    """
    if not caption.strip():
        raise ValueError("a table needs a caption: what the rows are, which split, which n")
    table = _with_index(table)
    if sort_key is not None:
        table = _sorted(table, sort_key)
        way = "descending" if sort_key.startswith("-") else "ascending"
        caption = f"{caption.rstrip().rstrip('.')}. Sorted by {humanise(sort_key.lstrip('-'))}, {way}."
    csv = _as_csv(table)
    if len(table) > first:
        caption = f"{caption.rstrip().rstrip('.')}. The first {first} of {len(table):,} rows; the download has all."
    columns, rows = _cells(table.head(first))
    payload = {"kind": "table", "caption": caption, "columns": columns, "rows": rows, "csv": csv, "file": file}
    plain = "\n".join(" | ".join(cell[0] if isinstance(cell, list) else cell for cell in row) for row in rows)
    _show({MIME: payload, "text/html": table_html(payload, html.escape(caption)), "text/plain": plain})


def show_figure(
    figure: Figure,
    *,
    caption: str,
    alt: str,
    data: pd.DataFrame | None = None,
    file: str = "",
    is_main: bool = False,
) -> None:
    """Display a drawing with its caption, its description and the numbers behind it, and close it.

    As SVG up to 150 KB, else as PNG, or beyond 300 KB as JPEG. The caption says split, n, kind of interval, seeds;
    `alt` what the drawing shows; `data` are the numbers that are drawn, offered as CSV; `file` (`05_reliability.svg`)
    names anchor and download; `is_main` the one that stands for its page on the index, for which it is drawn once more,
    small. ValueError if caption or alt text is empty.
    """
    import matplotlib.pyplot as plt

    _require_words(caption, alt)
    try:
        small = {"small": _as_pixels(figure, dpi=SMALL_DPI)["image/png"]} if is_main else {}
        svg = _as_svg(figure)
        is_light = len(svg.encode("utf-8")) <= MAX_SVG_BYTES
        media = {"image/svg+xml": svg} if is_light else _as_pixels(figure)
    finally:
        plt.close(figure)
    csv = None if data is None else _as_csv(_with_index(data))
    _show_drawing("figure", media, caption=caption, alt=alt, csv=csv, file=file, **small)


def show_gallery(
    images: Sequence[np.ndarray | Image],
    *,
    titles: Sequence[str],
    caption: str,
    alt: str,
    columns: int = 4,
    file: str = "",
) -> None:
    """Display a small grid of images with their titles, as one picture; without images, a sentence that there are none.

    Of a few images with a file name each is kept apart as well, for pages that set them beside their titles.

    Images are uint8 (H, W, 3) or PIL's, shown with sharp pixels; titles are plain text; the rest as in `show_figure`.

    ValueError if there are not as many titles as images.
    """
    from verdict.report.plots import draw_gallery

    if len(images) != len(titles):
        raise ValueError(f"a gallery needs as many titles as images, got {len(images)} images and {len(titles)} titles")
    _require_words(caption, alt)
    if not len(images):
        say(f"*{caption}* There are none.", Numbers())
        return
    media = _as_pixels(draw_gallery(images, titles, columns=columns))
    apart = {"titles": list(titles), "tiles": [_tile(image) for image in images]} if file and len(images) <= FEW else {}
    _show_drawing("gallery", media, caption=caption, alt=alt, csv=None, file=file, **apart)


def _tile(image: np.ndarray | Image) -> str:
    """One image as a PNG in base64."""
    import PIL.Image

    return _encoded(PIL.Image.fromarray(image) if isinstance(image, np.ndarray) else image)


def _encoded(image: Image, kind: str = "PNG", **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, optimize=True, **options)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _show_drawing(kind: str, media: dict[str, Any], **words: Any) -> None:
    payload = {"kind": kind, **words, **media.pop("size", {})}
    _show({MIME: payload, **media, "text/plain": f"{words['caption']} ({words['alt']})"})


def _require_words(caption: str, alt: str) -> None:
    if not caption.strip():
        raise ValueError("a figure needs a caption: split, n, kind of interval, seeds")
    if not alt.strip():
        raise ValueError("a figure needs alt text: what a reader who cannot see it should know")


def _show(bundle: dict[str, Any]) -> None:
    from IPython.display import display

    described = {mime: {"alt": bundle[MIME]["alt"]} for mime in bundle if mime.startswith("image/")}
    display(bundle, metadata=described, raw=True)


def _finite(entry: dict[str, Any]) -> dict[str, Any]:
    """Infinite and undefined values as text, which JSON of the notebook format can hold."""
    return {key: str(v) if isinstance(v, float) and not math.isfinite(v) else v for key, v in entry.items()}


def _with_index(table: pd.DataFrame) -> pd.DataFrame:
    return table.reset_index(drop=all(name is None for name in table.index.names))


def _sorted(table: pd.DataFrame, sort_key: str) -> pd.DataFrame:
    column = sort_key.lstrip("-")
    if column not in table.columns:
        raise ValueError(f"sort_key {column!r} is no column; columns are {list(table.columns)}")
    is_object = table[column].dtype == object
    key = (lambda values: values.map(lambda cell: getattr(cell, "value", cell))) if is_object else None
    return table.sort_values(column, ascending=not sort_key.startswith("-"), kind="stable", key=key)


def _as_csv(table: pd.DataFrame) -> str:
    """Full precision; `Number` cells become value, low and high; no text is a formula to a spreadsheet."""
    flat: dict[Any, list[Any]] = {}
    for name in table.columns:
        cells = list(table[name])
        flat[_as_csv_cell(name)] = [_as_csv_cell(cell) for cell in cells]
        if any(isinstance(cell, Number) for cell in cells):
            for bound in ("low", "high"):
                flat[_as_csv_cell(f"{name}_{bound}")] = [getattr(cell, bound, None) for cell in cells]
    return pd.DataFrame(flat).to_csv(index=False)


def _as_csv_cell(cell: Any) -> Any:
    if isinstance(cell, Number):
        return cell.value
    return neutralise(cell) if isinstance(cell, str) else cell


def humanise(name: object) -> str:
    """A column's name as a reader sees it."""
    return " ".join(word.upper() if word in ABBREVIATED else word for word in str(name).replace("_", " ").split(" "))


def _cells(table: pd.DataFrame) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    names = [str(name) for name in table.columns]
    merged = {name for name in names if {f"{name}_low", f"{name}_high"} <= set(names)}
    hidden = {f"{name}_{side}" for name in merged for side in ("low", "high")}
    shown = [name for name in names if name not in hidden]
    records = [dict(zip(names, row, strict=True)) for row in table.itertuples(index=False, name=None)]
    rows = [[_cell(_value(record, name, merged)) for name in shown] for record in records]
    numeric = [bool(rows) and all(isinstance(row[k], list) or row[k] == "–" for row in rows) for k in range(len(shown))]
    return [{"name": humanise(n), "numeric": is_number} for n, is_number in zip(shown, numeric, strict=True)], rows


def _value(record: dict[str, Any], name: str, merged: set[str]) -> Any:
    if name not in merged:
        return record[name]
    estimate = [record[name], record[f"{name}_low"], record[f"{name}_high"]]
    return record[name] if any(map(_is_missing, estimate)) else Number(*map(float, estimate))


def _is_missing(value: Any) -> bool:
    return pd.api.types.is_scalar(value) and bool(pd.isna(value))


def _cell(value: Any) -> Any:
    """Text, or [text, sort key] of a number."""
    if _is_missing(value):
        return "–"
    if isinstance(value, Number):
        return [value.text, float(value.value)]
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return [f"{value:,}", value]
    if isinstance(value, float):
        return [significant(value), value if math.isfinite(value) else str(value)]
    return in_words(value)


def significant(value: float) -> str:
    """A plain number with three significant digits, without an exponent between 1e-4 and 1e15."""
    if not math.isfinite(value):
        return "not defined" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -4 or magnitude >= 15:
        return f"{value:.2e}"
    return f"{Decimal(repr(float(value))):,.{max(0, 2 - magnitude)}f}"


def _as_svg(figure: Figure) -> str:
    """Equal figures give equal text; ink takes the colour of the page."""
    import matplotlib

    from verdict.report.plots import GRID, INK

    buffer = io.StringIO()
    with _any_glyph(), matplotlib.rc_context({"svg.hashsalt": "verdict", "svg.fonttype": "none"}):
        options = {"format": "svg", "bbox_inches": "tight", "pad_inches": 0.05, "transparent": True}
        figure.savefig(buffer, metadata={"Date": None, "Creator": None}, **options)
    return buffer.getvalue().replace(INK, "currentColor").replace(GRID, f"var(--figure-grid, {GRID})")


@contextlib.contextmanager
def _any_glyph() -> Iterator[None]:
    """Labels come from data in any script; a glyph that the font lacks is a box, or left to the browser's font."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(Glyph .* missing|Matplotlib currently does not support)")
        yield


def _as_pixels(figure: Figure, dpi: int = PNG_DPI) -> dict[str, Any]:
    """A PNG, or a JPEG where that would be heavy and is no thumbnail, and its size."""
    import matplotlib.pyplot as plt
    import PIL.Image

    buffer = io.BytesIO()
    options = {"bbox_inches": "tight", "pad_inches": 0.08, "facecolor": "white"}
    with _any_glyph():
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None}, **options)
    plt.close(figure)
    picture = PIL.Image.open(buffer).convert("RGB")
    media = {"image/png": _encoded(picture)}
    if dpi == PNG_DPI and len(media["image/png"]) * 3 / 4 > MAX_PNG_BYTES:
        media = {"image/jpeg": _encoded(picture, "JPEG", quality=80, subsampling=0)}
    return media | {"size": {side: round(getattr(picture, side) * CSS_DPI / PNG_DPI) for side in ("width", "height")}}


def show_claims(claims: Sequence[Claim], numbers: Numbers) -> None:
    """Display which claims hold in JupyterLab; the report has a section for them. Their numbers are looked up."""
    rows = [(claim.statement, numbers[claim.number].text, claim.verdict) for claim in claims]
    table = pd.DataFrame(rows, columns=["claim", "measured", "verdict"])
    _show({MIME: {"kind": "claims"}, "text/html": table.to_html(index=False), "text/plain": table.to_string()})
