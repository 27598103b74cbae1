"""Miniatures of the study's data in the exact formats: A2's JSON lines and images, SNLI-VE's parquet shards."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from verdict.base.params import A2Params

FIRST_ID = 4_564_320_256
CLASSES = ["entailment", "neutral", "contradiction"]
SENTENCES = ["A dog is outside.", "Two people talk.", "A woman holds a cup.", "Nobody is there.", "A man swims."]


def photo(number: int, *, size: tuple[int, int] = (61, 47)) -> Image.Image:
    """A picture that no other number has: coarse random colours, so that saving it again changes it little."""
    coarse = np.random.default_rng(number).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(number: int, *, quality: int = 90, kind: str = "JPEG") -> bytes:
    content = io.BytesIO()
    photo(number).save(content, kind, quality=quality)
    return content.getvalue()


def image_ids(n: int, *, start: int = 0) -> list[str]:
    return [str(FIRST_ID + k) for k in range(start, start + n)]


def number_of(image_id: str) -> int:
    return int(image_id) - FIRST_ID


def a2_rows(ids: list[str]) -> list[dict[str, str]]:
    """Two rows an image, one of each label, with the caption that the study leaves unused; no word tells the label."""
    rng, rows = np.random.default_rng(7), []
    for k, image_id in enumerate(ids):
        for label in rng.permutation(["entailment", "contradiction"]):
            text = f"{SENTENCES[len(rows) % len(SENTENCES)]} ({k})"
            rows.append({"Image_ID": image_id, "Hypothesis": text, "Label": str(label), "Premise": "a caption"})
    return rows


def write_a2(root: Path, *, n_images: int = 30, rows: list[dict] | None = None) -> list[str]:
    """`a2/` with its table and images, every fifth a PNG; returns the image ids."""
    folder, ids = root / "a2", image_ids(n_images)
    (folder / "A2_Images").mkdir(parents=True)
    for k, image_id in enumerate(ids):
        ending, kind = ("png", "PNG") if k % 5 == 4 else ("jpg", "JPEG")
        (folder / "A2_Images" / f"{image_id}.{ending}").write_bytes(encoded(k, kind=kind))
    write_lines(folder / "A2_train_v3.jsonl", rows if rows is not None else a2_rows(ids))
    return ids


def a2_params(**changes) -> A2Params:
    """The set that `write_a2` wrote, with nothing allowed and no warm-up."""
    asked = {"table": "A2_train_v3.jsonl", "images": "A2_Images", "independent": None, "warmup": None}
    allowed = dict.fromkeys(("allow_missing_images", "allow_damaged_images", "allow_repeats"), False)
    return A2Params(**asked | allowed | changes)


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_independent(root: Path, *, header: str = "Image name,Hypothesis text,True label") -> Path:
    """`a2/ind/` as the study has it: ten images, mixed endings, five sentences each, a cp1252 CSV."""
    folder = root / "a2" / "ind"
    folder.mkdir(parents=True)
    lines = [header]
    for k in range(1, 11):
        (folder / f"test{k}.{('jpg', 'JPEG', 'png')[k % 3]}").write_bytes(
            encoded(9000 + k, kind="PNG" if k % 3 == 2 else "JPEG")
        )
        lines += [f"test{k},“Sentence” {j} of {k},{'Entailment' if j % 2 else 'contradiction'}" for j in range(5)]
    (folder / "hyp.csv").write_bytes("\n".join(lines).encode("cp1252"))
    return folder


def ve_rows(ids: list[str], *, n: int = 6, name: str = "v") -> list[dict]:
    """Rows of SNLI-VE: n an image, entailment, neutral and contradiction in turn."""
    rows = []
    for image_id in ids:
        rows += [
            {"filename": f"{image_id}.jpg", "hypothesis": f"{name} {j} of {image_id}", "label": j % 3} for j in range(n)
        ]
    return rows


def write_shard(
    path: Path,
    rows: list[dict],
    *,
    row_group_size: int = 7,
    names: list[str] | None = CLASSES,
    quality: int = 70,
    columns: dict[str, str] | None = None,
) -> Path:
    """One shard with images inside, as the `datasets` library writes it; its JPEGs are other bytes than A2's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = [number_of(row["filename"].split(".")[0]) for row in rows]
    contents = {number: encoded(number, quality=quality) for number in set(numbers)}
    images = [{"bytes": contents[number], "path": row["filename"]} for number, row in zip(numbers, rows, strict=True)]
    table = {
        "image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "filename": pa.array([row["filename"] for row in rows]),
        "premise": pa.array(["a caption"] * len(rows)),
        "hypothesis": pa.array([row["hypothesis"] for row in rows], pa.string()),
        "label": pa.array([row["label"] for row in rows]),
    }
    table = pa.table({(columns or {}).get(name, name): values for name, values in table.items()})
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def write_snli_ve(root: Path, train: list[str], validation: list[str], *, n: int = 6) -> Path:
    """`snli_ve/` with two shards of train, one of validation, and one of test that must not be read."""
    folder, half = root / "snli_ve" / "data", len(train) // 2
    write_shard(folder / "train-00000-of-00002.parquet", ve_rows(train[:half], n=n))
    write_shard(folder / "train-00001-of-00002.parquet", ve_rows(train[half:], n=n))
    write_shard(folder / "validation-00000-of-00001.parquet", ve_rows(validation, n=n, name="w"))
    (folder / "test-00000-of-00001.parquet").write_bytes(b"not parquet")
    return root / "snli_ve"
