"""Bring your own pairs: finding images, splitting, groups."""

import pandas as pd
import pytest
from PIL import Image

from verdict.base.files.images import ImageStore
from verdict.base.files.picture_files import resolve_images
from verdict.base.labels import Split
from verdict.data.own.csv_folder import build, check_splits

FRACTIONS = {"train": 0.4, "val": 0.2, "calib": 0.2, "test": 0.2}
N_IMAGES = 11
HEADER = "image,hypothesis,label"


def picture(path, shade):
    Image.new("RGB", (13, 7), (shade, 0, 0)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for k in range(N_IMAGES):
        picture(images / f"i{k}.{('jpg', 'JPEG', 'png', 'WEBP')[k % 4]}", 20 * k)
    return images


def write_table(path, rows, header="image,hypothesis,label"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def two_rows_each(n=N_IMAGES):
    return [
        f"i{k},{text},{label}" for k in range(n) for text, label in (("red", "entailment"), ("blue", "contradiction"))
    ]


def run(tmp_path, folder, rows, header="image,hypothesis,label", **changes):
    table = write_table(tmp_path / "pairs.csv", rows, header)
    options = {"fractions": FRACTIONS, "seed": 3, "out": tmp_path / "store"} | changes
    return build(table=table, images=folder, **options)


def test_table_and_folder_become_a_dataset(tmp_path, folder):
    dataset = run(tmp_path, folder, two_rows_each())
    assert len(dataset.pairs) == 2 * N_IMAGES
    assert dataset.pairs.groupby("group_id")["split"].nunique().max() == 1
    assert {k: v for k, v in dataset.facts.items() if k.startswith("rows_")} == {
        "rows_read": 22,
        "rows_left_out_without_image": 0,
        "rows_train": 2 * 5,
        "rows_val": 2 * 2,
        "rows_calib": 2 * 2,
        "rows_test": 2 * 2,
    }
    store = ImageStore.open(tmp_path / "store")
    pixels = store.load(["i10", "i2"], size=(7, 13))
    assert abs(int(pixels[0, 3, 5, 0]) - 200) <= 4 and abs(int(pixels[1, 3, 5, 0]) - 40) <= 4


def test_split_column_decides(tmp_path, folder):
    rows = [f"i0,red,entailment,{Split.TEST}", f"i1,red,contradiction,{Split.TRAIN}"]
    dataset = run(tmp_path, folder, rows, "image,hypothesis,label,split")
    assert dataset.pairs["split"].tolist() == ["test", "train"]
    assert dataset.facts["split_by"] == "column"
    grouped = run(tmp_path, folder, [f"i{k},red,entailment,g{k // 2}" for k in range(N_IMAGES)], f"{HEADER},group")
    assert grouped.facts["groups"] == 6 and grouped.pairs.groupby("group_id")["split"].nunique().max() == 1


def test_copies_of_one_image_share_a_group(tmp_path, folder):
    (folder / "copy.jpg").write_bytes((folder / "i0.jpg").read_bytes())
    dataset = run(tmp_path, folder, [*two_rows_each(), "copy,red,entailment"])
    groups = dataset.pairs.set_index("image_id")["group_id"]
    assert groups["copy"] == groups["i0"].iloc[0] == "copy"
    assert dataset.facts["images_with_a_copy"] == 1
    rows = ["i0,red,entailment,train", "copy,red,entailment,test"]
    with pytest.raises(ValueError, match="the group of img 'copy' is in the splits"):
        run(tmp_path, folder, rows, "img,hypothesis,label,split")
    with pytest.raises(ValueError, match="line 2: sentence is empty"):
        run(tmp_path, folder, ["i0,,entailment,train"], "img,sentence,label,split")


def test_missing_images_stop_or_are_counted(tmp_path, folder):
    rows = [*two_rows_each(), "gone,red,entailment", "gone,blue,contradiction", "lost,red,entailment"]
    with pytest.raises(
        FileNotFoundError, match=r"2 images are not in .*\['gone', 'lost'\]; set data\.csv\.allow_missing"
    ):
        run(tmp_path, folder, rows)
    dataset = run(tmp_path, folder, rows, allow_missing_images=True)
    assert len(dataset.pairs) == 22
    assert dataset.facts["rows_left_out_without_image"] == 3
    assert dataset.facts["images_missing"] == 2
    with pytest.raises(ValueError, match="no row has an image"):
        run(tmp_path, folder, ["gone,red,entailment"], allow_missing_images=True)


def test_unlabelled_pairs_need_no_split(tmp_path, folder):
    dataset = run(tmp_path, folder, ["i0,red", "i1,red"], "image,hypothesis", labelled=False, fractions=None)
    assert list(dataset.pairs.columns) == ["pair_id", "image_id", "group_id", "hypothesis", "line"]


def test_no_way_to_split(tmp_path, folder):
    with pytest.raises(ValueError, match="there is no split column, and no fractions"):
        run(tmp_path, folder, two_rows_each(), fractions=None)


def test_ids_with_and_without_extension(folder):
    found, missing = resolve_images(["i0", "i1.jpeg", "i2.png", "i9", "i3.png"], folder)
    assert {k: p.name for k, p in found.items()} == {
        "i0": "i0.jpg",
        "i1.jpeg": "i1.JPEG",
        "i2.png": "i2.png",
        "i9": "i9.JPEG",
    }
    assert missing == ["i3.png"]


def test_an_id_that_fits_two_files_is_refused_unless_it_is_whole(folder):
    picture(folder / "i0.png", 1)
    with pytest.raises(ValueError, match=r"'i0' fits 2 files in .*\['i0.jpg', 'i0.png'\]"):
        resolve_images(["i0"], folder)
    assert resolve_images(["i0.png"], folder)[0]["i0.png"].name == "i0.png"


def test_links_and_paths_that_lead_out_are_refused(tmp_path, folder):
    picture(tmp_path / "outside.png", 1)
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(ValueError, match="a link that leads out of its folder"):
        resolve_images(["link"], folder)
    with pytest.raises(ValueError, match="not a plain name"):
        resolve_images(["../outside"], folder)
    with pytest.raises(FileNotFoundError, match=r"image folder .* is missing"):
        resolve_images(["a"], tmp_path / "nowhere")


def test_pictures_in_subfolders_are_found_by_path_or_by_a_name_that_fits_one(folder):
    for place in ("cats", "dogs", "dogs/old"):
        (folder / place).mkdir()
    picture(folder / "cats" / "1.png", 1)
    picture(folder / "dogs" / "1.png", 2)
    picture(folder / "dogs" / "old" / "2.JPG", 3)
    found, missing = resolve_images(["cats/1", "dogs/1.png", "2", "old/2"], folder)
    assert [str(path.relative_to(folder)) for path in found.values()] == ["cats/1.png", "dogs/1.png", "dogs/old/2.JPG"]
    assert missing == ["old/2"]
    with pytest.raises(ValueError, match=r"'1' fits 2 files in .*\['cats/1.png', 'dogs/1.png'\]; write the whole name"):
        resolve_images(["1"], folder)
    picture(folder / "1.png", 4)
    assert resolve_images(["1"], folder)[0]["1"] == folder / "1.png"


@pytest.mark.parametrize("written", ["7", "7.0", "7.jpg", "07"])
def test_ids_that_lost_their_zeros_are_found_and_counted(tmp_path, folder, written):
    picture(folder / "007.jpg", 7)
    assert resolve_images([written], folder)[0][written].name == "007.jpg"
    dataset = run(tmp_path, folder, [*two_rows_each(), f"{written},red,entailment"])
    assert dataset.facts["ids_that_lost_their_zeros"] == 1
    assert "ids_that_lost_their_zeros" not in run(tmp_path, folder, [*two_rows_each(), "007,red,entailment"]).facts
    picture(folder / "0007.jpg", 8)
    with pytest.raises(ValueError, match=rf"'{written}' fits 2 files"):
        resolve_images([written], folder)


def test_one_accent_in_two_forms_is_one_name(folder):
    picture(folder / "cafe\u0301.png", 1)
    assert list(resolve_images(["caf\u00e9", "i0"], folder)[0]) == ["caf\u00e9", "i0"]


def test_links_lead_to_other_data_of_the_user(tmp_path, folder, monkeypatch):
    (tmp_path / "large").mkdir()
    picture(tmp_path / "large" / "x.png", 1)
    (folder / "link.png").symlink_to(tmp_path / "large" / "x.png")
    (folder / "more").symlink_to(tmp_path / "large")
    (folder / "round").symlink_to(folder)
    with pytest.raises(ValueError, match="set VERDICT_DATA to what holds both"):
        resolve_images(["link"], folder)
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    found = resolve_images(["link", "i0"], folder)[0]
    assert found["link"] == tmp_path / "large" / "x.png"
    assert resolve_images(["more/x"], folder)[0]["more/x"] == tmp_path / "large" / "x.png"


@pytest.mark.parametrize("n_cut", [1, 3])
def test_pictures_that_cannot_be_read_are_named_all_at_once(tmp_path, folder, n_cut):
    for k in range(n_cut):
        path = folder / f"i{4 * k + 2}.png"
        path.write_bytes(path.read_bytes()[: 50 + k])
    names = ".*".join(rf"i{4 * k + 2}\.png" for k in range(n_cut))
    with pytest.raises(ValueError, match=rf"pairs\.csv: {n_cut} images? cannot be read; mend .*{names}"):
        run(tmp_path, folder, two_rows_each())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["gone.png"], r"line 24: 1 images are not in .*\['gone.png'\]; set data\.csv\.allow"),
        (["IMG.heic"], r"\['IMG.heic'\]; \['IMG.heic'\] is there, but only JPEG, PNG"),
        (["scan"], r"\['scan'\]; \['scan.TIFF'\] is there, but only JPEG, PNG"),
    ],
)
def test_why_a_picture_is_missing_is_told(tmp_path, folder, names, message):
    (folder / "IMG.heic").write_bytes(b"x")
    (folder / "scan.TIFF").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=message):
        run(tmp_path, folder, [*two_rows_each(), *(f"{name},red,entailment" for name in names)])


@pytest.mark.parametrize("name", ["", ".hidden/", "__MACOSX/", ".ipynb_checkpoints/"])
def test_a_folder_without_pictures_says_so(tmp_path, name):
    (tmp_path / "empty" / name).mkdir(parents=True)
    picture(tmp_path / "empty" / name / (".a.png" if not name else "a.png"), 1)
    with pytest.raises(FileNotFoundError, match="the folder holds no picture"):
        run(tmp_path, tmp_path / "empty", ["a,red,entailment"])


def test_lines_are_those_of_the_file_whatever_was_passed_over_or_left_out(tmp_path, folder):
    rows = ["gone,red,entailment", "", ",,", "i0,red,entailment", "", "i0,red,contradiction", *two_rows_each()[2:]]
    with pytest.raises(ValueError, match="line 7: repeats line 5 with another label"):
        run(tmp_path, folder, rows, allow_missing_images=True)
    with pytest.raises(FileNotFoundError, match=r"pairs\.csv, line 2: 1 images are not in"):
        run(tmp_path, folder, rows)


def pairs_of(**changes):
    """Splits of eight images each, as `check_splits` takes them."""
    rows = [
        {"group_id": f"{split}{k}", "split": split, "label": label}
        for split in ("train", "val", "calib", "test")
        for k in range(8)
        for label in ("entailment", "contradiction")
    ]
    return pd.DataFrame(rows).assign(**changes)


@pytest.mark.parametrize("split", ["train", "calib"])
def test_a_split_that_lacks_something_is_refused_by_name(split):
    pairs = pairs_of()
    own = pairs["split"] == split
    check_splits(pairs, "p.csv")
    for kept, message in (
        (~own, f"p.csv: no row has the split {split}; a report needs train, val, calib, test"),
        (~own | (pairs["label"] == "entailment"), f"no row of the split {split} has the label contradiction"),
        (~own | pairs["group_id"].str[-1].isin(list("012")), f"the split {split} has 3 image groups"),
    ):
        with pytest.raises(ValueError, match=message):
            check_splits(pairs[kept], "p.csv")
