"""Files of saved logits: pickles, arrays of objects, values that are none, shapes that do not fit, bombs."""

import io
import pickle
import struct
import zipfile
from functools import partial

import numpy as np
from corpus import Case

from verdict.data.own.recorded import read_counts, read_file

NAMES = ("cat", "dog", "emu")
N = 12
LOGITS = np.random.default_rng(5).normal(0, 4, (N, 3))
LABELS = LOGITS.argmax(axis=1)


class Trap:
    """A pickle that makes a file when it is read."""

    def __reduce__(self):
        return (open, ("sprung", "w"))


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, content in members.items():
            pack.writestr(name, content)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(text):
    body = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(body)) + body + bytes(96)


def what_is_read(folder, content, file="own.npz", group="", allow_small=False):
    """Rows, classes and labels of a file."""
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = read_file(folder / file, NAMES, group=group, allow_small=allow_small)
    np.testing.assert_allclose(found.logits, LOGITS[: len(found.logits)], atol=1e-3)
    return len(found.logits), found.y_true.tolist()


def counts(folder, content, file="people.npz"):
    (folder / file).write_bytes(content)
    return read_counts(folder / file, LABELS, NAMES)


def refused(name, content, message, **options):
    file = options.get("file", "own.npz").replace(".", r"\.")
    return Case(name, partial(what_is_read, content=content, **options), refused=rf"(?s){file}.*{message}")


def accepted(name, content, n=N, **options):
    return Case(name, partial(what_is_read, content=content, **options), gives=(n, LABELS[:n].tolist()))


def table(rows=N, head="label,logit_cat,logit_dog,logit_emu"):
    lines = [head]
    lines += [",".join([NAMES[label], *map(repr, map(float, row))]) for label, row in zip(LABELS, LOGITS, strict=True)]
    return "\n".join(lines[: rows + 1]) + "\n"


def with_cell(cell):
    return table(1) + f"cat,{cell},2,3\n"


def holed(value):
    return np.where(np.arange(N)[:, None] == 7, value, LOGITS)


PROBS = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
SHAPE = "'fortran_order': False, 'shape': "
PICKLES = {
    "pickle": (pickle.dumps(Trap()), "is a pickle"),
    "pickle-of-protocol-0": (pickle.dumps(Trap(), protocol=0), "not an npz archive"),
    "array-of-objects": (npz(logits=LOGITS.astype(object), labels=LABELS), "Python objects, which are pickles"),
    "weights-of-torch": (zipped({"archive/data.pkl": pickle.dumps(Trap())}), "holds a pickle"),
    "pickle-by-the-name-of-an-array": (
        zipped({"logits.npy": pickle.dumps(Trap()), "labels.npy": npy(LABELS)}),
        "cannot be read|must be numbers",
    ),
    "code-in-a-header": (
        zipped({"logits.npy": header("{'descr': __import__('os').system('touch sprung'), " + SHAPE + "(12, 3), }")}),
        "cannot be read as arrays",
    ),
    "bare-array": (npy(LOGITS), "one bare array"),
    "archive-cut-in-half": (npz(logits=LOGITS, labels=LABELS)[:300], "not an npz archive|cannot be read"),
}
VALUES = {
    "not-a-number": ({"logits": holed(np.nan)}, "must be finite .1 of 12 rows, the first is row 7"),
    "complex-numbers": ({"logits": LOGITS.astype(complex)}, "must be numbers, got complex"),
    "truth-values": ({"logits": LOGITS > 0}, "must be numbers, got bool"),
    "one-column": ({"logits": LOGITS[:, 0]}, "must have shape"),
    "no-rows": ({"logits": LOGITS[:0], "labels": LABELS[:0]}, "must have shape"),
    "two-classes-of-three": ({"logits": LOGITS[:, :2], "labels": LABELS % 2}, "2 columns for 3 class names"),
    "probabilities": ({"logits": PROBS}, "got probabilities"),
    "percentages": ({"logits": 100 * PROBS}, "shares or rounded probabilities"),
    "cosines": ({"logits": LOGITS / 40}, "look like cosines"),
    "no-logits": ({"logit": LOGITS, "logits": None}, "did you mean 'logit'"),
    "no-labels": ({"label": LABELS, "labels": None}, "did you mean 'label'"),
    "labels-one-too-few": ({"labels": LABELS[:-1]}, "expected 12 labels"),
    "labels-from-one": ({"labels": LABELS + 1}, "labels run from 1 to 3"),
    "labels-beyond-64-bits": ({"labels": LABELS.astype(np.uint64) + np.uint64(2**63)}, "must lie in 0 … 2"),
    "labels-as-fractions": ({"labels": LABELS + 0.25}, "must be integer class ids"),
    "labels-as-text": ({"labels": np.full(N, "cow")}, "label 'cow' is no class id"),
    "labels-one-hot": ({"labels": np.eye(3)[LABELS]}, "one-hot"),
    "answers-of-another-shape": ({"human_counts": np.ones((N, 2))}, "must have shape"),
    "answers-below-zero": ({"human_counts": np.full((N, 3), -1)}, "counts"),
    "answers-of-nobody": ({"human_counts": np.zeros((N, 3))}, "rows have no answer of anybody .12 of 12"),
}
CELLS = {
    "formula": ("=1+1", "'=1.1' is not a number"),
    "empty-cell": ("", "line 3, column 'logit_cat': is empty"),
    "decimal-comma": ('"1,5"', "'1,5' is not a number"),
    "not-a-number": ("nan", "must be finite"),
    "underscore": ("1_5", "'1_5' is not a number"),
}
TABLES = {
    "ragged": (table() + "cat,1\n", "line 14: 2 cells where the header has 4"),
    "column-twice": (table(head="label,logit_cat,logit_cat,logit_emu"), "names a column twice"),
    "pickle": (pickle.dumps(Trap(), protocol=4), "is a pickle"),
}
WHOLE = {"logits": LOGITS, "labels": LABELS}


def changed(**arrays):
    return npz(**{name: value for name, value in (WHOLE | arrays).items() if value is not None})


CASES = [
    *(refused(f"npz-{name}", *given) for name, given in PICKLES.items()),
    *(refused(f"npz-{name}", changed(**arrays), message) for name, (arrays, message) in VALUES.items()),
    *(refused(f"csv-{name}", with_cell(cell), message, file="own.csv") for name, (cell, message) in CELLS.items()),
    *(refused(f"csv-{name}", *given, file="own.csv") for name, given in TABLES.items()),
    refused("npz-groups-that-are-not-there", changed(), "there is no 'site'", group="site"),
    refused("npz-groups-of-fractions", changed(site=np.ones(N)), "groups must be 12 names", group="site"),
    Case("people-at-chance", partial(counts, content=npz(x=np.ones((N, 3)))), refused="no better than chance"),
    Case(
        "people-in-two-arrays", partial(counts, content=npz(x=np.ones(3), y=np.ones(3))), refused="expected one array"
    ),
    accepted("npz-of-the-other-byte-order", changed(logits=LOGITS.astype(">f8"), labels=LABELS.astype(">i2"))),
    accepted(
        "npz-with-a-member-that-leads-out",
        zipped({"../../evil.npy": npy(LABELS), "logits.npy": npy(LOGITS), "labels.npy": npy(LABELS)}),
    ),
]
