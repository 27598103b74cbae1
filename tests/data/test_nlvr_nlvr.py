"""The NLVR corpus: its layout, splits, generated statements and refusals."""

import hashlib
import itertools
import json
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from verdict.base import paths
from verdict.base.files.images import ImageStore
from verdict.base.params import NlvrParams
from verdict.data.nlvr import nlvr
from verdict.data.nlvr.corpus import family_of, load_corpus, locate_corpus, read_examples
from verdict.data.nlvr.proxy import draw_coupled, list_statements, normalise
from verdict.data.nlvr.scenes import SHAPES, SceneTable, is_tower_scene, parse_scene
from verdict.data.splits import assert_disjoint

COLOURS = ("Yellow", "Black", "#0099ff")
FRACTIONS = {"train": 0.6, "val": 0.2, "calib": 0.2}


def item(colour, shape, x, y, size):
    return {"color": colour, "type": shape, "x_loc": x, "y_loc": y, "size": size}


def tower(*colours):
    """Blocks from the base upwards, as the corpus stacks them."""
    return [item(colour, "square", 40, 80 - 21 * k, 20) for k, colour in enumerate(colours)]


def random_item(rng):
    return item(str(rng.choice(COLOURS)), str(rng.choice(SHAPES)), *map(int, rng.choice([0, 7, 50, 80], 2)), 20)


def random_scene(rng):
    if rng.random() < 0.5:
        return [tower(*rng.choice(COLOURS, rng.integers(1, 5))) for _ in range(3)]
    return [[random_item(rng) for _ in range(rng.integers(1, 6))] for _ in range(3)]


def write_file(root, name, n_presentations, sentences, seed):
    """One file of the corpus in its own layout, with four examples per presentation and six pictures per example."""
    rng = np.random.default_rng(seed)
    lines = []
    for n, m in itertools.product(range(n_presentations), range(4)):
        identifier, directory = f"{100 + n}-{m}", str(n % 2)
        record = {
            "sentence": sentences(n),
            "label": "true" if rng.random() < 0.5 else "false",
            "identifier": identifier,
            "directory": directory,
            "evals": {"r0": "true", "r1": "true", "r2": "false", "r3": "nonsense", "r4": "true"},
            "structured_rep": random_scene(rng),
        }
        lines.append(json.dumps(record))
        folder = root / name / "images" / directory
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(6):
            Image.new("RGBA", (40, 10), (20 * k, n, m, 255)).save(folder / f"{name}-{identifier}-{k}.png")
    (root / name / f"{name}.json").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Dev and test; dev presentations 0 and 1 have one sentence, dev 2 shares its sentence with test 0."""
    root = tmp_path_factory.mktemp("written")
    write_file(root, "dev", 17, lambda n: "Twice said." if n < 2 else f"sentence of dev {n}", seed=1)
    write_file(root, "test", 7, lambda n: "Sentence of  DEV 2." if n == 0 else f"sentence of test {n}", seed=2)
    return root


@pytest.fixture
def corpus(tmp_path, monkeypatch, written):
    """The same for a test that may change its tables; the pictures are shared."""
    root = tmp_path / "data" / "nlvr"
    for name in ("dev", "test"):
        (root / name).mkdir(parents=True)
        shutil.copy(written / name / f"{name}.json", root / name)
        (root / name / "images").symlink_to(written / name / "images")
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path / "data"))
    return root


def build_from(written, store, **changes):
    """A build of the written corpus that no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        data = store.parent / f"data-of-{store.name}"
        data.mkdir()
        (data / "nlvr").symlink_to(written)
        patch.setenv("VERDICT_DATA", str(data))
        return run(store.parent, out=store, **changes)


@pytest.fixture(scope="module")
def built(written, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    return build_from(written, store), store


@pytest.fixture(scope="module")
def warmed(written, tmp_path_factory):
    """With a warm-up on scenes of our own, in the size that the corpus has."""
    store = tmp_path_factory.mktemp("warmed")
    return build_from(written, store, n_scenes=120, n_warmup=300, image_px=(100, 400)).pairs, store


def run(tmp_path, *, seed=3, out=None, **changes):
    asked = {"fractions": FRACTIONS, "files": None, "image_px": (5, 20), "permutations": 2, "n_warmup": 200}
    asked |= {"n_scenes": 0, "url": "", "sha256": ""}
    return nlvr.build(NlvrParams(**asked | changes), seed=seed, out=out or tmp_path / "store")


def test_small_corpus_becomes_a_dataset(built):
    dataset, _ = built
    pairs = dataset.pairs
    sizes = pairs["split"].value_counts()
    # Of 17 dev presentations one is left out and two are one group: 15 groups make 9 + 3 + 3.
    assert sizes["test"] == 7 * 4 * 2
    assert sizes[["train", "val", "calib"]].sum() == 16 * 4 * 2
    assert dataset.facts["groups_train"] + dataset.facts["groups_val"] + dataset.facts["groups_calib"] == 15
    assert (dataset.facts["groups_val"], dataset.facts["groups_calib"]) == (3, 3)
    assert (sizes["warmup_train"], sizes["warmup_val"]) == (180, 20)
    assert dataset.facts["presentations_merged"] == 1
    assert dataset.facts["examples_left_out_shared_with_evaluation"] == 4
    assert (assert_disjoint(pairs)["n_both"] == 0).all()
    assert "CC-BY-4.0" in dataset.attribution and "Suhr" in dataset.attribution


def test_human_pairs_carry_label_votes_and_picture(built, written):
    dataset, folder = built
    pairs = dataset.pairs
    pairs = pairs[~pairs["split"].str.startswith("warmup")]
    record = json.loads((written / "dev" / "dev.json").read_text().split("\n")[13])
    rows = pairs[pairs["image_id"].str.startswith(f"dev-{record['identifier']}-")]
    assert rows["image_id"].tolist() == ["dev-103-1-0", "dev-103-1-1"]
    assert set(rows["label"]) == {"entailment" if record["label"] == "true" else "contradiction"}
    assert (rows[["votes_entailment", "votes_contradiction"]].to_numpy() == [3, 1]).all()
    pixels = ImageStore.open(folder).load(["dev-103-1-1"], size=(5, 20))
    assert (pixels == (20 * 1, 3, 1)).all()


def test_no_sentence_crosses_the_human_splits(built):
    pairs = built[0].pairs
    splits = pairs.assign(sentence=pairs["hypothesis"].map(normalise)).groupby("sentence")["split"].agg(set)
    assert all(len(s) == 1 or not s & {"val", "calib", "test"} for s in splits)


def test_a_scene_of_the_test_file_is_neither_trained_on_nor_warmed_up_with(tmp_path, corpus):
    shown = json.loads((corpus / "test" / "test.json").read_text().split("\n")[9])["structured_rep"]
    break_line(corpus, 21, structured_rep=shown[1:] + shown[:1])
    dataset = run(tmp_path)
    assert dataset.facts["examples_with_shared_scene"] == 1
    assert not dataset.pairs["image_id"].str.startswith("dev-105-0-").any()
    assert dataset.pairs["image_id"].str.startswith("dev-105-1-").any()


def test_same_parameters_same_bytes(tmp_path, corpus, built):
    (first, store), second = built, run(tmp_path, out=tmp_path / "again")
    assert first.pairs.equals(second.pairs) and first.facts == second.facts
    for path in store.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    assert not run(tmp_path, seed=4).pairs.equals(first.pairs)


def test_train_file_becomes_the_training_split(tmp_path, corpus):
    write_file(corpus, "train", 11, lambda n: f"sentence of dev {n}" if n == 5 else f"sentence of train {n}", seed=6)
    dataset = run(tmp_path)
    by_split = dataset.pairs.groupby("split")["image_id"].agg(lambda ids: {i.split("-")[0] for i in ids})
    assert by_split["train"] == by_split["warmup_train"] == {"train"}
    assert by_split["val"] == by_split["calib"] == {"dev"}
    assert dataset.facts["rows_train"] == 10 * 4 * 2
    assert dataset.facts["files"] == "train, dev, test"
    only = run(tmp_path, files=("dev", "test"))
    assert only.facts["files"] == "dev, test"


def scenes_of(n, seed=9):
    rng = np.random.default_rng(seed)
    return [parse_scene(random_scene(rng)) for _ in range(n)]


def test_truths_by_hand():
    scattered = parse_scene(
        [
            [item("Yellow", "circle", 0, 50, 20), item("Black", "square", 30, 80, 20)],
            [item("Yellow", "circle", 40, 40, 10)],
            [item("#0099ff", "triangle", 70, 10, 30), item("Yellow", "square", 5, 5, 10)],
        ]
    )
    towers = parse_scene([tower("Black", "Yellow"), tower("Black", "#0099ff", "Yellow"), tower("Yellow")])
    table = SceneTable.of([scattered, towers])
    rng = np.random.default_rng(1)
    said = {normalise(s.text): s for s in list_statements(table, rng=rng, n_phrasings=25)}
    expected = {
        "there are exactly two yellow circles": (0, True),
        "there is exactly 1 yellow circle": (0, False),
        "there are at most two yellow items": (0, False),
        "there is no black triangle": (0, True),
        "there is a yellow circle touching the wall": (0, True),
        "there is a blue triangle not touching any edge": (0, False),
        "there is a black square touching the base": (0, True),
        "there is a yellow circle touching the base": (0, False),
        "each box has at least 1 yellow object": (0, True),
        "each box has at least one circle": (0, False),
        "there is a box with only yellow items": (0, True),
        "there is a box with only blue items": (0, False),
        "there are exactly 2 boxes with a circle": (0, True),
        "there is a box with a blue triangle and a yellow square": (0, True),
        "there is a box with a yellow circle and no black squares": (0, True),
        "there is a tower with three blocks": (1, True),
        "there is a tower with four blocks": (1, False),
        "there are exactly two towers with a black block at the base": (1, True),
        "there are exactly two towers with a yellow block at the top": (1, False),
        "there is a blue block on a black block": (1, True),
        "there is a yellow block over a black block": (1, True),
        "there is a black block above a yellow block": (1, False),
        "there is a yellow tower": (1, True),
        "there is a yellow block as the top of a tower with exactly two blocks": (1, True),
        "there is a tower without a blue block": (1, True),
        "one box has a yellow circle": (0, True),
        "each tower has at least one black block": (1, False),
    }
    assert set(expected) <= set(said), sorted(set(expected) - set(said))
    for sentence, (scene, truth) in expected.items():
        assert said[sentence].domain[scene]
        assert said[sentence].truth[scene] == truth, sentence


def test_statements_do_not_depend_on_the_order_of_boxes():
    scenes = scenes_of(31)
    order = (2, 0, 1)
    turned = [tuple(scene[k] for k in order) for scene in scenes]
    a, b = (list_statements(SceneTable.of(s), rng=np.random.default_rng(1)) for s in (scenes, turned))
    assert [s.text for s in a] == [s.text for s in b]
    assert all(np.array_equal(s.truth, t.truth) for s, t in zip(a, b, strict=True))


def test_too_many_statements_are_refused():
    statements = list_statements(SceneTable.of(scenes_of(5)), rng=np.random.default_rng(1), n_phrasings=1)
    with pytest.raises(ValueError, match=r"the scenes offer \d+ coupled statements, 100000 were asked for"):
        draw_coupled(statements, n_rows=100_000, rng=np.random.default_rng(1))


@pytest.mark.parametrize(
    ("sentence", "family"),
    [
        ("There is no yellow item touching the wall.", "negation"),
        ("there is a black square touching the base", "touching"),
        ("There is 1 tower with a blue block at the base", "position"),
        ("Each box has at least 1 black item", "quantifier"),
        ("There are 2 black blocks", "counting"),
        ("There is a black tower.", "colour"),
        ("There is a circle", "shape"),
        ("Looks fine", "other"),
    ],
)
def test_family_of_a_sentence(sentence, family):
    assert family_of(sentence) == family


def break_line(corpus, number, **changes):
    path = corpus / "dev" / "dev.json"
    lines = path.read_text().split("\n")
    lines[number - 1] = json.dumps(json.loads(lines[number - 1]) | changes) if changes else "{"
    path.write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "maybe"}, r"line 3: .*label 'maybe'"),
        ({"identifier": "../1-2"}, r"line 3: .*identifier '../1-2'"),
        ({"directory": "../0"}, r"line 3: .*directory '../0'"),
        ({"identifier": "100-0"}, r"line 3: identifier 100-0 is on line 1"),
        ({"structured_rep": [[], []]}, r"line 3: .*expected 3 boxes"),
        ({"structured_rep": [[], [], [item("Red", "square", 1, 1, 10)]]}, r"line 3: .*is not understood"),
        ({"structured_rep": [[], [], [item("Black", "square", 95, 1, 10)]]}, r"line 3: .*lies outside its box"),
        ({"structured_rep": [[], [], [item("Black", "star", 1, 1, 10)]]}, r"line 3: .*unknown type"),
        (None, r"line 3: JSONDecodeError"),
    ],
)
def test_faulty_lines_are_named(tmp_path, corpus, changes, message):
    break_line(corpus, 3, **changes or {})
    with pytest.raises(ValueError, match=r"dev\.json, " + message):
        run(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": ("dev",)}, r"dev and test are both needed, got \['dev'\]"),
        ({"files": ("train", "dev", "test")}, r"train\.json is missing"),
        ({"n_warmup": 3}, "n_warmup must be at least 4"),
        ({"n_scenes": 7}, "n_scenes must be 0 or at least 100"),
    ],
)
def test_other_refusals(tmp_path, corpus, changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(tmp_path, **changes)


def test_missing_pictures_and_empty_files_are_named(tmp_path, corpus):
    break_line(corpus, 1, directory="7")
    with pytest.raises(FileNotFoundError, match=r"dev-100-0-0\.png is missing"):
        run(tmp_path)
    (corpus / "dev" / "dev.json").write_text("\n")
    with pytest.raises(ValueError, match="holds no examples"):
        run(tmp_path)


def test_without_a_copy_the_way_out_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("VERDICT_DATA", raising=False)
    with pytest.raises(ValueError, match=r"set VERDICT_DATA to a folder .* or give its archive's sha256"):
        run(tmp_path)
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    (tmp_path / "nlvr").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no dev/dev\.json"):
        run(tmp_path)


def test_archive_is_downloaded_and_unpacked_once(tmp_path, corpus, monkeypatch):
    archive = tmp_path / "nlvr.zip"
    with zipfile.ZipFile(archive, "w") as pack:
        for path in corpus.rglob("*.json"):
            pack.write(path, f"nlvr-master/nlvr/{path.relative_to(corpus)}")
    monkeypatch.delenv("VERDICT_DATA")
    monkeypatch.setenv("VERDICT_CACHE", str(tmp_path / "cache"))
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    for _ in range(2):
        root = locate_corpus(url=archive.as_uri(), sha256=sha256)
        assert load_corpus(root, None)["file"].unique().tolist() == ["dev", "test"]
        archive.unlink(missing_ok=True)


def _truth_against_labels(examples):
    """How many human sentences are also in the grammar, and for how many of them its truth is the human label."""
    table = SceneTable.of(examples["scene"])
    said = {normalise(s.text): s for s in list_statements(table, rng=np.random.default_rng(0), n_phrasings=12)}
    n_agree = n_said = 0
    for row, example in enumerate(examples.itertuples()):
        statement = said.get(normalise(example.hypothesis))
        if statement is not None and statement.domain[row]:
            n_said += 1
            n_agree += statement.truth[row] == (example.label == "entailment")
    return n_said, n_agree


@pytest.mark.skipif(paths.local_data("nlvr") is None, reason="VERDICT_DATA holds no nlvr/: the real corpus is not here")
def test_real_corpus():
    root = paths.local_data("nlvr")
    dev = read_examples(root / "dev" / "dev.json", "dev")
    test = read_examples(root / "test" / "test.json", "test")
    assert (len(dev), len(test)) == (989, 990)
    assert (dev["label"] == "entailment").sum() == 547
    assert dev["scene"].map(is_tower_scene).sum() == 676
    n_said, n_agree = _truth_against_labels(dev)
    assert n_said > 200
    assert n_agree >= n_said - 3


@pytest.mark.slow
@pytest.mark.skipif(paths.local_data("nlvr") is None, reason="VERDICT_DATA holds no nlvr/: the real corpus is not here")
def test_real_corpus_is_built(tmp_path):
    dataset = run(tmp_path, permutations=1, n_warmup=200, image_px=(24, 96))
    assert dataset.facts["rows_test"] == 990
    assert sum(dataset.facts[f"rows_{s}"] for s in ("train", "val", "calib")) == 989 - 166
    assert (assert_disjoint(dataset.pairs)["n_both"] == 0).all()


def test_own_scenes_carry_the_warm_up(built, warmed):
    pairs = warmed[0]
    warmup = pairs[pairs["split"].isin(["warmup_train", "warmup_val"])]
    assert warmup["split"].value_counts().to_dict() == {"warmup_train": 270, "warmup_val": 30}
    assert warmup["image_id"].str.fullmatch(r"boxes-\d{5}").all() and (warmup["group_id"] == warmup["image_id"]).all()
    assert warmup.groupby("hypothesis")["label"].agg(lambda labels: (labels == "entailment").mean()).eq(0.5).all()
    assert (assert_disjoint(pairs)["n_both"] == 0).all()
    other = built[0].pairs
    human, kept = (found.loc[~found["split"].str.startswith("warmup"), "pair_id"].tolist() for found in (other, pairs))
    assert kept == human


def test_own_scenes_are_rendered_as_their_statements_say(warmed):
    pairs, store = warmed[0], ImageStore.open(warmed[1])
    blue = pairs[pairs["hypothesis"].map(normalise).isin(["there is a blue block", "there are no blue blocks"])]
    some = pairs[pairs["image_id"].str.startswith("boxes")].head(40) if blue.empty else blue
    pixels = store.load(list(some["image_id"]), size=(100, 400)).astype(int)
    assert set(np.unique(pixels[:, :, 100:150])) == {128}
    for row, image in zip(blue.itertuples(), pixels, strict=False):
        has_blue = bool((image == (0, 153, 255)).all(axis=2).any())
        says_blue = normalise(row.hypothesis) == "there is a blue block"
        assert (has_blue == says_blue) == (row.label == "entailment")


def test_no_own_scene_is_one_of_the_corpus(tmp_path, corpus, monkeypatch):
    known = [
        parse_scene(json.loads(line)["structured_rep"])
        for line in (corpus / "test" / "test.json").read_text().splitlines()
    ]
    drawn = [tuple(reversed(scene)) for scene in known]
    extra = nlvr.draw_scenes(150, np.random.default_rng(0))
    monkeypatch.setattr(nlvr, "draw_scenes", lambda n, rng: drawn + extra)
    pairs = run(tmp_path, n_scenes=150, n_warmup=300).pairs
    own = pairs.loc[pairs["image_id"].str.startswith("boxes"), "image_id"]
    assert own.max() < f"boxes-{len(extra):05d}"
    ids = list(ImageStore.open(tmp_path / "store").ids)
    assert sum(image_id.startswith("boxes") for image_id in ids) == len(extra)
