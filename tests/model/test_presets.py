"""The tiny presets: recipes, training, what is stored, and the presets that the package ships."""

import re
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from verdict.base import paths
from verdict.data.digits import independent
from verdict.data.digits.grammar import NUMBERS, PLURALS, evaluate, statements
from verdict.data.digits.scenes import COLOURS, draw_scenes, handwriting_pools
from verdict.data.digits.truths import Grid
from verdict.model.backend import keras, keras_hub
from verdict.model.presets import store
from verdict.model.presets.recipes import (
    BOXES_SIZE,
    COLOUR_COUPLES,
    PRESETS,
    TEXT,
    VISION,
    about,
    beside,
    box_patches,
    box_scenes,
    digit_scenes,
)
from verdict.model.presets.text import (
    SPECIAL_TOKENS,
    TextRecipe,
    encode_whole,
    forget,
    mask_and_encode,
    new_tokenizer,
    train_text,
    word_pairs,
)
from verdict.model.presets.varied import render_varied
from verdict.model.presets.vision import Readers, Start, VisionRecipe, as_pixels, train_vision
from verdict.model.presets.wording import plain, plain_of_digits, plain_sentences, reword, reword_of_digits

UNKNOWN = SPECIAL_TOKENS.index("[UNK]")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stripes(n, rng):
    """16 x 32 pictures whose two patches are black or white; the scene counts the white ones."""
    white = rng.integers(0, 2, (n, 2))
    images = np.repeat(np.repeat(white[:, None, :, None] * 255, 16, axis=1), 16, axis=2)
    return np.repeat(images, 3, axis=3).astype(np.uint8), {
        "patch.white": white,
        "patch.both": np.stack([white, 1 - white], axis=2),
        "scene.white": white.sum(axis=1, keepdims=True),
    }


STRIPES = VisionRecipe(
    (16, 32),
    stripes,
    {"": stripes, ", again": stripes},
    {"patch.white": 2, "patch.both": 2, "scene.white": 3},
    steps=40,
    batch=13,
    width=16,
)


def test_a_few_steps_teach_easy_patches():
    backbone, scores = train_vision("stripes", STRIPES, seed=3)
    assert backbone.output_shape == (None, 3, 16)
    assert scores["patch.white"] > 0.95 and scores["patch.both"] > 0.95
    assert scores["patch.white, again"] == scores["patch.white"]
    _, untaught = train_vision("stripes", replace(STRIPES, steps=1), seed=3)
    assert scores["scene.white"] > untaught["scene.white"]


def test_training_repeats_with_its_seed():
    short = replace(STRIPES, steps=2)
    first, again, other = (train_vision("stripes", short, seed=seed)[0].get_weights() for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_start_passes_its_weights_and_lays_positions_out_anew():
    def one(n, rng):
        images, targets = stripes(n, rng)
        return images[:, :, :16], {
            "patch.white": targets["patch.white"][:, :1],
            "patch.both": targets["patch.both"][:, :1],
            "scene.white": targets["patch.white"][:, :1],
        }

    before = replace(STRIPES, image_size=(16, 16), draw=one, steps=1)
    untrained = replace(STRIPES, steps=1, learning_rate=1.0e-12, start=Start(before, np.array([0, -1])))
    old, _ = train_vision("before", replace(before, held_out={"": one}), seed=3)
    new, _ = train_vision("after", untrained, seed=3)
    kernels = [b.get_layer("vit_patching_and_embedding").weights[1] for b in (old, new)]
    assert np.allclose(*(keras.ops.convert_to_numpy(k) for k in kernels), atol=1e-6)
    old_places, new_places = (
        keras.ops.convert_to_numpy(b.get_layer("vit_patching_and_embedding").weights[3]) for b in (old, new)
    )
    # One patch: its place stands for itself and for the mean.
    assert np.allclose(new_places, old_places[[0, 1, 1]], atol=1e-6)


def test_a_varied_scene_is_drawn_towards_the_plain_one():
    def both(n, rng):
        images, targets = stripes(n, rng)
        return np.concatenate([images, 90 + images // 4]), {k: np.concatenate([v, v]) for k, v in targets.items()}

    def apart(pull):
        backbone, _ = train_vision("both", replace(STRIPES, draw=both, steps=25, pull=pull), seed=3)
        images, _ = both(31, np.random.default_rng(4))
        with torch.no_grad():
            tokens = torch.nn.functional.layer_norm(backbone(as_pixels(images)), (16,))
        return float(((tokens[:31] - tokens[31:]) ** 2).mean())

    assert apart(4.0) < 0.7 * apart(0.0)


def test_readers_take_patch_tokens_and_the_class_token():
    readers = Readers(replace(STRIPES, width=5), stripes(2, np.random.default_rng(0))[1])
    tokens = torch.randn(7, 3, 5)
    assert readers.scores(tokens, "patch.both").shape == (7, 2, 2, 2)
    assert readers.scores(tokens, "scene.white").shape == (7, 1, 3)
    changed = tokens.clone()
    changed[:, 0] += 1.0
    assert torch.equal(readers.scores(tokens, "patch.both"), readers.scores(changed, "patch.both"))
    assert not torch.equal(readers.scores(tokens, "scene.white"), readers.scores(changed, "scene.white"))


def test_pixels_are_in_the_range_of_the_converter():
    assert as_pixels(np.array([0, 255], dtype=np.uint8)).tolist() == [-1.0, 1.0]


def test_patches_of_three_boxes_begin_as_those_of_one():
    grid = box_patches().reshape(4, 16)
    assert grid[1].tolist() == [4, 5, 6, 7, -1, -1] * 2 + [4, 5, 6, 7]
    assert (grid[:, 4:6] == -1).all()


def test_box_scenes_fit_their_recipe():
    recipe = VISION["nlvr_vit"]
    images, targets = box_scenes(3, np.random.default_rng(5))
    assert images.shape == (3, *BOXES_SIZE, 3)
    assert set(targets) == set(recipe.classes)
    assert all(targets[name].min() >= 0 and targets[name].max() < n for name, n in recipe.classes.items())


def test_digit_scenes_fit_their_recipe_plain_and_varied():
    recipe = VISION["digits_vit"]
    images, targets = recipe.draw(5, np.random.default_rng(5))
    assert images.shape == (10, 64, 64, 3) and set(targets) == set(recipe.classes)
    assert all(targets[name].min() >= 0 and targets[name].max() < n for name, n in recipe.classes.items())
    assert all(np.array_equal(target[:5], target[5:]) for target in targets.values())
    assert targets["patch.halves"][0, [0, 3, 12, 10]].tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    plain_alone, _ = digit_scenes(5, np.random.default_rng(5))
    assert np.array_equal(images[:5], plain_alone) and not np.array_equal(images[5:], plain_alone)
    assert render_varied in recipe.draw.keywords["renders"]


SENTENCES = ["a red one is left of a blue one", "a blue one is left of a red one", "no red one is here"] * 5
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})


def test_a_text_preset_learns_loads_and_widens(tmp_path, monkeypatch):
    recipe = TextRecipe(lambda: (SENTENCES, SENTENCES), WORDS, steps=25, batch=11, n_word_pairs=3, window=7)
    monkeypatch.setitem(TEXT, "nlvr_distilbert", recipe)
    scores = store.make("nlvr_distilbert", PRESETS["nlvr_distilbert"], tmp_path, seed=3)
    assert scores["masked words"] > 0.2  # guessing among nine words
    folder = tmp_path / "nlvr_distilbert"
    assert "nothing of the NLVR corpus" in (folder / "README.md").read_text()
    loaded = keras_hub.models.DistilBertBackbone.from_preset(str(folder))
    assert {weight.dtype for weight in loaded.weights} == {"float32"}
    packed = keras_hub.models.DistilBertTextClassifierPreprocessor.from_preset(str(folder), sequence_length=12)(
        SENTENCES[:2]
    )
    assert keras.ops.shape(loaded(packed)) == (2, 12, 128)


def test_training_teaches_masked_words_and_the_class_token_which_word_stands_where():
    def told(steps):
        recipe = TextRecipe(lambda: (SENTENCES, SENTENCES), WORDS, steps=steps, batch=11, n_places=11)
        scores = train_text("text", recipe, seed=3)[2]
        return scores["masked words"], scores["words by place, from [CLS]"]

    taught, untaught = told(60), told(1)
    assert taught[0] > untaught[0]
    # The three sentences differ by the order of two words, or altogether; eleven places are more than any has.
    assert taught[1] > 0.9 > untaught[1]


def test_a_rewording_is_drawn_towards_the_plain_wording():
    shown = [sentence.replace("is", "one") for sentence in SENTENCES]

    def apart(pull):
        recipe = TextRecipe(lambda: (shown, SENTENCES), WORDS, steps=8, batch=11, pull=pull)
        backbone, preprocessor, _ = train_text("text", recipe, seed=3)
        with torch.no_grad():
            said = [encode_whole(backbone, preprocessor(texts[:3])["token_ids"]) for texts in (shown, SENTENCES)]
        return float(((said[0] - said[1]) ** 2).mean())

    # A few steps: soon the words that [CLS] is asked for leave both wordings hardly apart, drawn or not.
    assert apart(200.0) < 0.7 * apart(0.0)


def test_words_that_the_meaning_lacks_may_be_unknown():
    shown, meant = torch.tensor([[2, 7, 8, 9, 3, 0]] * 97), torch.tensor([[2, 8, 3, 11]] * 97)
    assert forget(shown, meant, 1.0, np.random.default_rng(0)).tolist() == [[2, UNKNOWN, 8, UNKNOWN, 3, 0]] * 97
    some = forget(shown, meant, 0.2, np.random.default_rng(0))
    assert 20 < (some == UNKNOWN).sum() < 60 and ((some == shown) | (some == UNKNOWN)).all()


def test_how_colours_lie_by_hand():
    # Red in the top left, blue in the middle of the bottom row, two green ones whose mean is in blue's column.
    cells = np.full(16, -1)
    cells[0], cells[13], cells[4], cells[6] = 0, 2, 1, 1
    seen = dict(
        zip([(axis, *couple) for axis in "xy" for couple in COLOUR_COUPLES], beside(cells[None])[0], strict=True)
    )
    assert (seen["x", 0, 2], seen["y", 0, 2], seen["x", 1, 2], seen["y", 1, 2]) == (1, 1, 2, 1)
    assert {value for (_, a, b), value in seen.items() if {a, b} & {3, 4}} == {0}


def test_word_pairs_know_order():
    ids = torch.tensor([[2, 7, 8, 9, 3, 0], [2, 9, 8, 7, 3, 0], [2, 7, 8, 3, 0, 0]])
    # (7, 8) occurs twice; of the pairs that occur once, (8, 7) comes first by ids.
    assert word_pairs(ids, 2).tolist() == [[True, False], [False, True], [True, False]]
    assert word_pairs(ids, 0).shape == (3, 0)


def test_masks_never_hide_special_tokens_and_always_hide_a_word():
    seen = {}

    def backbone(inputs, training):
        seen.update(inputs)
        return torch.zeros(*inputs["token_ids"].shape, 1)

    ids = torch.tensor([[2, 9, 3, 0, 0]] * 17)
    _, masked = mask_and_encode(backbone, ids, np.random.default_rng(0), training=True)
    assert masked.tolist() == [[False, True, False, False, False]] * 17
    assert seen["token_ids"][0].tolist() == [2, 4, 3, 0, 0]
    assert seen["padding_mask"][0].tolist() == [1, 1, 1, 0, 0]


SHIPPED = sorted(PRESETS)


def test_the_presets_of_the_default_are_shipped():
    assert {"digits_vit", "digits_distilbert"} <= set(SHIPPED) <= {*VISION, *TEXT}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_presets_load_and_widen(name):
    folder = paths.PRESETS / name
    assert "preset format" in (folder / "README.md").read_text()
    with h5py.File(folder / "model.weights.h5") as stored:
        dtypes = set()
        stored.visititems(lambda _, item: dtypes.add(str(item.dtype)) if isinstance(item, h5py.Dataset) else None)
    assert dtypes == {"float16"}
    kind = keras_hub.models.ViTBackbone if name in VISION else keras_hub.models.DistilBertBackbone
    backbone = kind.from_preset(str(folder))
    assert {weight.dtype for weight in backbone.weights} == {"float32"}
    assert all(np.isfinite(weight).all() for weight in backbone.get_weights())
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 4_000_000
    if name in VISION:
        assert tuple(backbone.image_shape) == (*VISION[name].image_size, 3)


@pytest.mark.parametrize(
    ("name", "sentences"),
    [
        ("digits_distilbert", lambda: [s.text for s in statements()][::7]),
        ("nlvr_distilbert", lambda: plain_sentences(43, n_scenes=60, n_phrasings=4)[::11]),
    ],
)
def test_vocabulary_covers_every_word_of_the_grammar(name, sentences):
    tokenizer = new_tokenizer(TEXT[name])
    for sentence in sentences():
        ids = [int(token) for token in tokenizer(sentence)]
        assert UNKNOWN not in ids, sentence
        assert len(ids) == len(sentence.replace(".", " .").split()), sentence


def test_words_that_are_not_in_the_vocabulary_become_pieces():
    tokenizer = new_tokenizer(TEXT["nlvr_distilbert"])
    assert UNKNOWN not in [int(token) for token in tokenizer("There is ablue squere, tocuhing zqx9-wall's (2nd)!")]


def test_shipped_vocabulary_is_the_recipes():
    for name, recipe in ((name, recipe) for name, recipe in TEXT.items() if name in SHIPPED):
        stored = (paths.PRESETS / name / "assets" / "tokenizer" / "vocabulary.txt").read_text().splitlines()
        assert stored == [*SPECIAL_TOKENS, *recipe.vocabulary]


def test_plain_wording_unites_paraphrases():
    assert plain("there is an object touching the wall") == plain("there is a item touching an edge")
    assert plain("one tower has 2 blocks") == plain("there is a tower having two blocks")
    assert plain("there are only 2 boxes with a circle") == "there are exactly two boxes with a circle"
    assert plain("a black block over a blue block") != plain("a blue block over a black block")


def test_rewording_keeps_colours_shapes_and_numbers():
    rng = np.random.default_rng(1)
    sentence = "there is a tower with 2 blocks and a yellow block at the base"
    texts = [reword(sentence, rng) for _ in range(101)]
    assert len(set(texts)) > 30
    assert all("2" in text for text in texts)
    assert np.mean(["yellow" in text for text in texts]) > 0.8
    swapped = {
        reword("there is a black block on a blue block", np.random.default_rng(k)).rstrip(".") for k in range(97)
    }
    assert "there is a blue block under a black block" in swapped


def test_a_preset_whose_making_is_stopped_leaves_the_last_one(tmp_path, monkeypatch):
    def maker(name, folder, *, seed):
        assert folder.is_relative_to(tmp_path), "a rename puts it in place, which no other disk allows"
        folder.mkdir()
        (folder / "weights").write_text(f"seed {seed}")
        return store.Made({"task": 0.5}, "about", "a | b")

    store.make("mine", maker, tmp_path, seed=1)
    assert store.make("mine", maker, tmp_path, seed=2) == {"task": 0.5}
    assert (tmp_path / "mine" / "weights").read_text() == "seed 2"

    def stopped(path, text):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_text", stopped)
    with pytest.raises(KeyboardInterrupt):
        store.make("mine", maker, tmp_path, seed=3)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["README.md", "weights"]
    assert (tmp_path / "mine" / "weights").read_text() == "seed 2"


@pytest.fixture(scope="module")
def taught_to_digits():
    return TEXT["digits_distilbert"].sentences()


def test_no_sentence_of_the_independent_sets_is_taught(taught_to_digits):
    def bare(text):
        return " ".join(re.findall(r"\w+", text.lower()))

    foreign, own = (
        {bare(text) for text in texts} for texts in (independent.sentences(), (s.text for s in statements()))
    )
    assert len(foreign) > 1000
    assert not foreign & {bare(text) for text in (*taught_to_digits[0], *taught_to_digits[1])} - own
    assert not {bare(s.text) for s in independent.paraphrases()} & own


def test_a_sentence_about_digits_has_one_plain_wording_and_fits(taught_to_digits):
    shown, meant = taught_to_digits
    assert len(set(shown)) == len(set(zip(shown, meant, strict=True))) > 20_000
    words = [re.findall(r"\w+|[^\w\s]", text) for text in {*shown, *meant}]
    assert max(map(len, words)) == 14  # with [CLS] and [SEP], what the default's sequence holds
    unknown = {word for text in words for word in text} - set(TEXT["digits_distilbert"].vocabulary)
    assert unknown == {"isn", "aren", "doesn", "don", "hasn", "wasn"}  # told from the apostrophe and "t" that follow


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("the image holds an eight", "there is a eight"),
        ("at least one red digit is in the image", "there is a red digit"),
        ("the number of sixes is zero", "there is no six"),
        ("there are three blue digits", "there is exactly three blue digit"),
        ("none of the digits are red", "there is no red digit"),
        ("no seven is green", "there is no green seven"),
        ("every two is red", "all two is red"),
        ("the bottom row holds a red one", "there is a red one in the bottom row"),
        ("there are fewer ones than twos", "there is fewer one than two"),
        ("the red digit and the blue digit are in the same row", "the blue digit and the red digit is in the same row"),
        ("there are as many twos as fives", "there is as many five as two"),
        ("there are no reds and the top row is empty", "there is no reds and the top row is empty"),
        ("there are more than three zeros", "there is at least four zero"),
        ("there are fewer than two blue digits", "there is at most one blue digit"),
        ("the two is not red", "the two is not red"),
    ],
)
def test_plain_wording_about_digits(text, said):
    assert plain_of_digits(text) == said


def test_sentences_of_one_plain_wording_are_true_together():
    scenes = draw_scenes(400, handwriting_pools()["pretrain"], rng=np.random.default_rng(3))
    truth = evaluate(statements(), Grid.of(scenes))
    rows = {}
    for row, statement in enumerate(statements()):
        rows.setdefault(plain_of_digits(statement.text), []).append(row)
    assert len(statements()) > 1.2 * len(rows)
    for said, same in rows.items():
        found = truth[same]
        # Some take more for granted than others: "none of the twos is red" that there are two of them.
        assert not ((found == 1).any(axis=0) & (found == 0).any(axis=0)).any(), said


def test_rewordings_name_the_colours_and_digits_that_are_meant(taught_to_digits):
    colours = {colour: {colour} for colour in COLOURS} | {"purple": {"purple", "violet"}}
    values = {
        word: {word, words, f"{n}", f"{n}s"} for n, (word, words) in enumerate(zip(NUMBERS, PLURALS, strict=True))
    }
    values["zero"].add("zeroes")
    for shown, meant in dict(zip(*taught_to_digits, strict=True)).items():
        words = set(shown.split())
        # A count may be said by its neighbour: "at most one" by "fewer than two".
        named = re.sub(r"(exactly|at least|at most) \w+", "", meant).split()
        assert all(words & colours[word] for word in named if word in colours), shown
        assert all(words & values[word] for word in named if word in values), shown
        assert not words & set.union(*(said for word, said in colours.items() if word not in meant)), shown
        assert not re.search(r"[<>\\]", shown), shown


def test_rewording_about_digits_keeps_what_is_said():
    rng = np.random.default_rng(2)
    for sentence, kept in (
        ("there is a red seven in the top left corner", "seven|7"),
        ("the number of blue digits is three", "three|3"),
        ("the two is not green", "green"),
    ):
        texts = {reword_of_digits(sentence, rng) for _ in range(211)}
        assert len(texts) > 30 and all(re.search(kept, text) for text in texts)
    below = {reword_of_digits("the red digit is below the blue digit", rng) for _ in range(211)}
    assert {"the red digit is beneath the blue digit", "below the blue digit is the red digit"} <= below
    assert not any(" above " in text or "higher" in text for text in below)


def test_cards_hold_the_scores():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    text = store.card("nlvr_vit", store.Made({"patch.x": 0.5}, about("nlvr_vit", network), "a | b"), 7, 61.4)
    assert "| patch.x | 0.5000 |" in text and "seed 7, 61 s" in text and "9 parameters" in text
