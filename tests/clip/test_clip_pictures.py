"""Labelled pictures: scenes, the halves of a public corpus, folders and tables of somebody's own."""

import json

import numpy as np
import pytest
from PIL import Image

from clip_study import params
from mini_pictures import encoded
from verdict.clip.pictures import sources
from verdict.clip.pictures.corpora import Corpus, Half, square
from verdict.data.digits.scenes import handwriting_pools

N = {"train": 40, "val": 23, "calib": 21, "test": 29}


def clip_params(**changes):
    return params({"n": N, **changes}).clip


def test_scenes_fill_every_split_with_its_own_handwriting():
    found = sources.build(clip_params())
    assert {split: len(found.rows(split)) for split in N} == N
    assert found.images.shape == (113, 48, 48, 3) and found.masks.shape == (113, 48, 48)
    assert found.table["image_id"].is_unique
    pools = {f"writing-{k:04d}": name for name, pool in handwriting_pools().items() for k in pool}
    assert (found.table["group_id"].map(pools) == found.table["split"]).all()
    assert [found.class_names[y] for y in found.table["y"]] == list(found.table["digit"])
    again = sources.build(clip_params())
    assert np.array_equal(found.images, again.images) and found.table.equals(again.table)
    more = sources.build(clip_params(n={**N, "train": 50}))
    assert np.array_equal(more.images[more.rows("test")], found.images[found.rows("test")])


def half(n, *, first):
    """Pictures of three classes, class by class, each of the colour that its number is."""
    images = np.full((n, 5, 5, 3), np.arange(first, first + n)[:, None, None, None], dtype=np.uint8)
    return Half([f"p-{k}" for k in range(first, first + n)], np.arange(n) * 3 // n, lambda rows: images[rows])


def test_the_halves_of_a_corpus_never_meet():
    corpus = Corpus(half(120, first=0), half(60, first=120), ("a", "b", "c"), "somebody")
    wanted = {"train": 45, "val": 21, "calib": 24, "test": 30}
    found = sources.of_corpus(corpus, clip_params(source="cifar100", n=wanted))
    assert {split: len(found.rows(split)) for split in wanted} == wanted
    shown, y = found.images[:, 0, 0, 0], found.table["y"].to_numpy()
    assert len(set(shown)) == 120, "no picture stands twice, and none in two splits"
    assert (shown[found.rows("test")] >= 120).all() and (shown[: -wanted["test"]] < 120).all()
    assert list(found.table["image_id"]) == [f"p-{k}" for k in shown]
    assert (y == np.where(shown < 120, shown // 40, (shown.astype(int) - 120) // 20)).all()
    assert all(sorted(y[found.rows(split)[:3]]) == [0, 1, 2] for split in wanted), "classes in turn, from the first on"
    again = sources.of_corpus(corpus, clip_params(source="cifar100", n=wanted))
    other = sources.of_corpus(corpus, clip_params(source="cifar100", n=wanted, seed=1))
    assert again.table.equals(found.table) and not other.table.equals(found.table)


SPLITS = ("train", "val", "calib", "test")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Four pictures of each of two classes in each split: red says the class and the split, green the number."""
    home = tmp_path / "mine"
    for s, split in enumerate(SPLITS):
        for c, name in enumerate(("dog", "cat_big")):
            (home / split / name).mkdir(parents=True)
            for k in range(4):
                (home / split / name / f"{k}.png").write_bytes(encoded((40 * s + 10 * (c + 1), k, 0)))
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    return home


def of_folder(own, *, table="", source="folder", images="mine", image_px=None):
    base = {"images": images, "table": table, "fractions": {"train": 0.4, "val": 0.2, "calib": 0.2, "test": 0.2}}
    return sources.build(clip_params(source=source, folder={**base, "image_px": image_px}), px=8)


def test_a_folder_a_class_in_a_folder_a_split(own):
    found = of_folder(own)
    assert found.class_names == ("cat_big", "dog")
    assert found.images.shape == (32, 8, 8, 3)
    assert found.table["split"].value_counts().to_dict() == dict.fromkeys(SPLITS, 8)
    assert of_folder(own, image_px=9).images.shape == (32, 9, 9, 3)
    number = found.table["split"].map({split: k for k, split in enumerate(SPLITS)})
    assert (found.images[:, 0, 0, 0] == 40 * number + 20 - 10 * found.table["y"]).all()


def test_splits_are_read_as_people_call_them(own):
    for name, other in (("val", "validation"), ("train", "Training"), ("validation", "dev")):
        (own / name).rename(own / other)
        assert set(of_folder(own).table["split"]) == set(SPLITS)


def test_what_editors_and_archives_leave_is_no_class_and_no_picture(own):
    """A notebook's copy of a picture, an archive's shadow of it, and a system's thumbnails."""
    before = of_folder(own).table
    for place in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        for top in (own, own / "train", own / "train" / "dog"):
            (top / place).mkdir()
            (top / place / "copy.png").write_bytes(encoded("blue"))
    (own / "train" / "dog" / "._0.png").write_bytes(b"\0\5\x16\7")
    (own / "train" / "dog" / "Thumbs.db").write_bytes(b"\xd0\xcf")
    assert of_folder(own).table.equals(before)


def test_names_and_templates_lie_beside(own):
    (own / "classes.json").write_text(json.dumps({"dog": "hound", "cat_big": "lion"}))
    (own / "templates.json").write_text(json.dumps(["a toy {}"]))
    found = of_folder(own)
    assert found.class_names == ("hound", "lion") and found.templates == ("a toy {}",)


def put(name, content):
    return lambda own: (own / name).write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("classes.json", '{"dog": "pet", "cat_big": "pet"}'), "gives two labels one name"),
        (put("classes.json", '["dog"]'), r"classes\.json lacks \['cat_big'\]"),
        (put("classes.json", '[["dog"]]'), "holds a list of names"),
        (put("classes.json", '{"dog": 1, "cat_big": "pet"}'), "holds a list of names"),
        (put("classes.json", "{"), r"classes\.json is not readable as JSON"),
        (put("templates.json", '["a toy"]'), r"templates\.json holds a list"),
        (put("train/astray.png", encoded("red")), r"\['astray\.png'\] lie in no folder of a class"),
        (lambda own: (own / "train" / "emu").mkdir(), "emu is a folder of a class without a picture"),
        (lambda own: (own / "val").rename(own / "maybe"), r"mine: .* are splits, and \['maybe'\] are not"),
    ],
)
def test_a_faulty_folder_is_refused_by_name(own, change, message):
    change(own)
    with pytest.raises(ValueError, match=message):
        of_folder(own)


def rows_of(own, *, split=True, group=False):
    """Lines of a table of all pictures."""
    lines = []
    for path in sorted(own.glob("*/*/*.png")):
        s, label, name = path.relative_to(own).parts
        cells = [f"{s}/{label}/{name}", label, *([s] if split else []), *([f"{s}-{label}-{name}"] if group else [])]
        lines.append(",".join(cells))
    return lines


def of_table(own, lines, header="image,label,split"):
    (own / "t.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return of_folder(own, table="mine/t.csv", source="csv")


def test_a_table_says_where_each_picture_belongs(own):
    found = of_table(own, rows_of(own, group=True), "File Name;Class;Set;Group".replace(";", ","))
    assert found.class_names == ("cat_big", "dog") and found.table["group_id"].is_unique
    assert found.table["split"].value_counts().to_dict() == dict.fromkeys(SPLITS, 8)
    drawn = of_table(own, rows_of(own, split=False), "image,label")
    assert set(drawn.table["split"]) == set(SPLITS) and len(drawn.table) == 32


LEAKS = {
    "copy": lambda own: (own / "test/dog/0.png").write_bytes((own / "train/dog/0.png").read_bytes()),
    "link": lambda own: (own / "val/dog/link.png").symlink_to(own / "train/dog/1.png"),
    "other-label": lambda own: (own / "calib/cat_big/0.png").write_bytes((own / "train/dog/0.png").read_bytes()),
}


@pytest.mark.parametrize("name", LEAKS)
@pytest.mark.parametrize("is_table", [False, True])
def test_a_picture_in_two_splits_is_refused(own, name, is_table):
    LEAKS[name](own)
    lines = rows_of(own)
    with pytest.raises(ValueError, match=r"copy of it, .* is in the splits \['\w+', '\w+'\]|are the same file"):
        of_table(own, lines) if is_table else of_folder(own)


def test_a_group_in_two_splits_is_refused(own):
    lines = [line.replace("test-dog-0.png", "train-dog-0.png") for line in rows_of(own, group=True)]
    with pytest.raises(ValueError, match=r"group_id .* is in the splits \['test', 'train'\] \(line \d+ and line \d+\)"):
        of_table(own, lines, "image,label,split,group")


def test_copies_stay_together_where_splits_are_drawn(own):
    (own / "train/dog/0.png").write_bytes((own / "test/dog/0.png").read_bytes())
    table = of_table(own, rows_of(own, split=False), "image,label").table.set_index("image_id")
    one, other = table.loc["train/dog/0.png"], table.loc["test/dog/0.png"]
    assert one["group_id"] == other["group_id"] and one["split"] == other["split"]


@pytest.mark.parametrize(
    ("one", "other"), [("Dog", "dog"), ("fire truck", "fire_truck"), ("caf\u00e9", "cafe\u0301"), ("a  b", "a b")]
)
def test_one_word_written_twice_is_not_two_classes(own, one, other):
    lines = rows_of(own, split=False)
    lines = [line.replace(",dog", f",{one if k % 2 else other}") for k, line in enumerate(lines)]
    with pytest.raises(ValueError, match=r"t\.csv: .*line \d+.* would be two classes; write one"):
        of_table(own, lines, "image,label")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines[:2], lines[2].rpartition(",")[0] + ",", *lines[3:]], "line 4: the split is empty"),
        (lambda lines: [lines[0].replace(",cat_big,", ",,"), *lines[1:]], "line 2: the label is empty"),
        (lambda lines: [*lines, "../../etc/passwd,dog,test"], "line 34: image id .* is not a plain name"),
        (lambda lines: [*lines, "none.png,dog,test"], r"line 34: 1 images are not in .*, the first: \['none\.png'\]"),
        (lambda lines: [*lines, "https://x.org/a.png,dog,test"], "line 34: .* but an address"),
        (lambda lines: [*lines, lines[0]], "line 34: repeats line 2, the picture"),
        (lambda lines: [*lines, lines[0].replace(".png", "")], "line 34: image ids .* are the same file"),
        (
            lambda lines: ["", *lines[:3], lines[3].replace("calib", "eval").replace("eval/", "calib/")],
            "line 6: split 'eval'",
        ),
        (lambda lines: [line for line in lines if not line.endswith(",val")], "the split val has 0 pictures"),
        (lambda lines: [line for line in lines if ",dog," in line], r"at least two labels, got \['dog'\]"),
    ],
)
def test_a_faulty_table_is_refused_by_line(own, change, message):
    with pytest.raises((ValueError, FileNotFoundError), match=rf"t\.csv.*{message}"):
        of_table(own, change(rows_of(own)))


def test_ids_may_be_bare_names_and_lack_endings_and_zeros(own):
    for k, path in enumerate(sorted(own.glob("*/*/*.png"))):
        path.rename(path.with_name(f"{k:03d}.png"))
    ids = [path.name for path in sorted(own.glob("*/*/*.png"))]
    for form in (str, lambda name: name.removesuffix(".png"), lambda name: f"{int(name[:3])}.0"):
        lines = [f"{form(name)},{'dog' if k % 2 else 'cat'}" for k, name in enumerate(ids)]
        assert len(of_table(own, lines, "image,label").table) == 32


@pytest.mark.parametrize("ending", ["heic", "tiff"])
def test_pictures_of_formats_that_are_not_read_are_not_left_out_in_silence(own, ending):
    (own / "train" / "dog" / f"IMG_1.{ending}").write_bytes(b"x")
    with pytest.raises(ValueError, match=rf"1 pictures have a format that is not read, the first: .*IMG_1\.{ending}"):
        of_folder(own)
    with pytest.raises(
        FileNotFoundError, match=rf"the first: \['IMG_1\.{ending}'\].* is there, but only JPEG, PNG, .* are read"
    ):
        of_table(own, [*rows_of(own), f"IMG_1.{ending},dog,train"])


def test_pictures_that_cannot_be_read_are_named_all_at_once(own):
    for k, name in enumerate(("train/dog/0.png", "val/cat_big/1.png", "test/dog/2.png")):
        (own / name).write_bytes((own / name).read_bytes()[: 40 + k])
    with pytest.raises(
        ValueError, match=r"3 images cannot be read.*train/dog/0\.png .*val/cat_big/1\.png .*test/dog/2\.png "
    ):
        of_folder(own)


def test_a_missing_folder_is_refused(own):
    for name in ("nowhere", "~/nowhere-at-all"):
        with pytest.raises(FileNotFoundError, match=f"there is no folder '{name}'; looked at"):
            of_folder(own, images=name)


def test_a_picture_is_cut_to_its_middle_square():
    image = Image.new("RGB", (30, 10), "black")
    image.paste("white", (10, 0, 20, 10))
    assert (square(image, 10) == 255).all()
    assert square(image, 5).shape == (5, 5, 3)
