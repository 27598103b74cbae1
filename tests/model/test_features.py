"""Frozen features: the presets' own preprocessing, what is stored, and a damaged cache refused."""

import time
from functools import partial

import numpy as np
import pandas as pd
import pytest

from tiny_presets import SIZE, WORDS, save_presets
from verdict.base import paths
from verdict.base.files.images import ImageStore, write_array_store
from verdict.base.params import load_params
from verdict.model import features as features_module
from verdict.model.augment import photometric, view_of_epoch
from verdict.model.backend import set_threads
from verdict.model.features import (
    EMPTY_TEXT,
    MEANS,
    AugmentedViews,
    Features,
    ahead,
    encode,
    load_encoders,
    load_network,
    preset_hash,
    resolve_preset,
)
from verdict.model.fit import Rows, predict_logits
from verdict.model.network import FreezePlan, build_suffix

PLANS = [FreezePlan(0, 0), FreezePlan(0, 1), FreezePlan(1, 1)]
RANGES = load_params("base").training.photometric
HYPOTHESES = ["there is a red seven", "two blue ones", "a red seven is above a blue seven above two", "there is purple"]


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    set_threads(1)
    return save_presets(tmp_path_factory.mktemp("vision"), tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def encoders(params):
    return load_encoders(params)


@pytest.fixture(scope="module")
def images():
    images = np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3)).astype(np.uint8)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    return images


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(1)
    image, text = rng.integers(0, 5, 37), rng.integers(0, len(HYPOTHESES), 37)
    labels = np.where(rng.random(37) < 0.5, "entailment", "contradiction")
    # Images 1, 2 and 4 are of the training split, the others of val.
    split = np.where(np.isin(image, (1, 2, 4)), "train", "val")
    table = {"image_id": [f"scene{i}" for i in image], "hypothesis": [HYPOTHESES[i] for i in text]}
    table |= {"label": labels, "split": split}
    return pd.DataFrame(table)


@pytest.fixture(scope="module")
def store(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    write_array_store(folder, {"all.npy": ([f"scene{i}" for i in range(5)], images)})
    return ImageStore.open(folder)


@pytest.fixture(scope="module")
def cache(params, pairs, store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    told = []
    views = {0: 3, 1: 2}
    counts = encode(params, pairs, store, PLANS, folder, batch=2, views=views, photometric=RANGES, progress=told.append)
    return folder, counts, told


def test_a_preset_is_shipped_or_a_folder_or_a_name(params, tmp_path, monkeypatch):
    assert resolve_preset(params.vision_preset) == params.vision_preset
    assert resolve_preset("vit_base_patch16_224_imagenet21k") == "vit_base_patch16_224_imagenet21k"
    assert preset_hash("vit_base_patch16_224_imagenet21k") == "vit_base_patch16_224_imagenet21k"
    assert len(preset_hash(params.vision_preset)) == 64
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(paths, "PRESETS", tmp_path)
    assert resolve_preset("mine") == str(tmp_path / "mine")


def test_pixels_take_the_presets_own_range(encoders, images):
    found = encoders.pixels(images)
    assert encoders.image_size == SIZE
    assert found.dtype == np.float32
    assert (images.min(), images.max()) == (0, 255)
    assert found == pytest.approx(images / 127.5 - 1, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda images: images.astype(np.float32), "float32"),
        (lambda images: images[:, ::2], r"\(5, 16, 48, 3\)"),
        (lambda images: images.transpose(0, 2, 1, 3), r"\(5, 48, 32, 3\)"),
        (lambda images: images[..., :1], r"\(5, 32, 48, 1\)"),
    ],
)
def test_images_of_another_kind_are_refused(encoders, images, change, got):
    with pytest.raises(ValueError, match=f"expected uint8 images .*got .*{got}"):
        encoders.pixels(change(images))


def test_words_become_numbers_between_cls_and_sep(encoders):
    ids, mask = encoders.tokens(["A red SEVEN", "there is purple"])
    number = {word: 5 + i for i, word in enumerate(WORDS)}
    assert ids[0].tolist() == [2, number["a"], number["red"], number["seven"], 3, 0, 0]
    assert ids[1].tolist() == [2, number["there"], number["is"], 1, 3, 0, 0]
    assert mask.tolist() == [[1, 1, 1, 1, 1, 0, 0]] * 2
    assert ids.dtype == mask.dtype == np.int32


def test_tokens_are_those_of_the_preset_itself(encoders):
    texts = [*HYPOTHESES, "", "[PAD] red", "RED, seven!", " ".join(WORDS * 3), "réd seven", "unheard of"]
    packed = encoders.preprocessor(texts)
    ids, mask = encoders.tokens(texts)
    assert ids.tolist() == np.asarray(packed["token_ids"]).tolist()
    assert mask.tolist() == np.asarray(packed["padding_mask"]).astype(int).tolist()


def test_pieces_are_not_truncated(encoders):
    assert [len(found) for found in encoders.pieces(HYPOTHESES)] == [len(text.split()) for text in HYPOTHESES]


def test_truncation_is_counted(cache):
    _, counts, _ = cache
    assert counts == {"n_images": 5, "n_hypotheses": 4, "n_truncated": 1, "max_tokens": 10 + 2}


def test_encoding_tells_how_far_it_is(cache):
    assert cache[2][:3] == ["images 2/5", "images 4/5", "images 5/5"]
    # Four and the empty one.
    assert cache[2][-1] == "hypotheses 5/5"
    assert [text for text in cache[2] if text.startswith("views")][:4] == [f"views {done}/9" for done in (2, 3, 5, 6)]


@pytest.mark.parametrize("plan", PLANS)
def test_stored_prefixes_give_the_logits_of_the_whole_network(params, pairs, images, encoders, cache, plan):
    network = load_network(params, dropout=0.0, seed=3)
    features = Features.open(cache[0], plan)
    assert isinstance(features.image_tokens, np.memmap)
    assert features.hidden.shape == (5, 7 if plan.text_blocks else 1, 14)
    found = predict_logits(build_suffix(network, plan), features, Rows.of(features, pairs))
    shown = images[[int(name.removeprefix("scene")) for name in pairs["image_id"]]]
    ids, mask = encoders.tokens(list(pairs["hypothesis"]))
    inputs = {"pixels": encoders.pixels(shown), "token_ids": ids, "padding_mask": mask}
    expected = network.model.predict_on_batch(inputs)[:, 0]
    assert expected.std() > 1e-3
    assert found == pytest.approx(expected, abs=1e-5)


def test_encoding_again_gives_the_same_bytes(params, pairs, store, cache, tmp_path):
    shuffled = pairs.iloc[::-1]
    encode(params, pairs, store, PLANS, tmp_path, batch=3, views={0: 3, 1: 2}, photometric=RANGES)
    for path in sorted(cache[0].iterdir()):
        if path.suffix == ".npy":
            assert np.load(tmp_path / path.name) == pytest.approx(np.load(path), abs=1e-6)
        else:
            assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    encode(params, shuffled, store, PLANS[:1], tmp_path, batch=2)
    one, other = Features.open(cache[0], PLANS[0]), Features.open(tmp_path, PLANS[0])
    for rows, array in (("image_rows", "image_tokens"), ("text_rows", "hidden")):
        for name, row in getattr(one, rows).items():
            found = getattr(other, array)[getattr(other, rows)[name]]
            assert found == pytest.approx(getattr(one, array)[row], abs=1e-6)


def test_the_head_is_drawn_by_the_seed_and_the_encoders_are_not(params):
    first, again, other = (load_network(params, dropout=0.0, seed=seed) for seed in (3, 3, 4))

    def kernel(network):
        return np.array(network.head["mlp_1"].kernel.value.detach())

    def word(network):
        return np.array(network.text.get_layer("token_and_position_embedding").weights[0].value.detach())

    assert np.array_equal(kernel(first), kernel(again))
    assert not np.array_equal(kernel(first), kernel(other))
    assert np.array_equal(word(first), word(other))


def test_means_over_tokens_are_stored_of_every_depth_without_padding(cache, encoders):
    folder, features = cache[0], Features.open(cache[0], FreezePlan(1, 1))
    images, texts = features.means(folder)
    token_ids, shown = encoders.tokens(features.text_rows.index.tolist())
    last = encoders.text.predict_on_batch({"token_ids": token_ids, "padding_mask": shown})
    shown = shown[:, :, None]
    assert images.shape == (5, encoders.vision.num_layers + 1, features.image_tokens.shape[2])
    assert texts.shape == (len(last), encoders.text.num_layers + 1, last.shape[2])
    for depth in (0, 1):
        tokens = np.load(folder / f"image_tokens_{depth}.npy")
        np.testing.assert_allclose(images[:, depth], tokens.mean(axis=1), atol=1e-6)
        words = (last, features.hidden)[depth]
        np.testing.assert_allclose(texts[:, depth], (words * shown).sum(axis=1) / shown.sum(axis=1), atol=1e-5)
    assert np.ptp(images[:, -1]) > 0 and not np.allclose(images[:, -1], images[:, 0])


@pytest.fixture
def copied(cache, tmp_path):
    for path in cache[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", ["image_tokens_0.npy", "hidden_1.npy", "padding_mask.npy", "hypotheses.parquet"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_truncated_file_is_refused_by_name(copied, name, share):
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        Features.open(copied, FreezePlan(0, 1))


@pytest.mark.parametrize("name", ["image_tokens_0.npy", "hidden_1.npy", "padding_mask.npy", *MEANS])
def test_an_array_with_a_row_too_few_is_refused(copied, name):
    np.save(copied / name, np.load(copied / name)[:-1])
    said = "rows too few" if name in MEANS else "damaged: its arrays and indexes differ in length"
    with pytest.raises(ValueError, match=said):
        Features.open(copied, FreezePlan(0, 1)).means(copied)


def test_a_depth_that_was_not_encoded_is_named(cache):
    with pytest.raises(FileNotFoundError, match=r"hidden_2\.npy"):
        Features.open(cache[0], FreezePlan(0, 2))


@pytest.mark.parametrize(("column", "value"), [("image_id", "scene9"), ("hypothesis", "two red ones")])
def test_a_pair_that_was_not_encoded_is_named(cache, pairs, column, value):
    features = Features.open(cache[0], FreezePlan())
    with pytest.raises(KeyError, match=f"{column} '{value}' is not in the feature cache"):
        features.rows(pairs.assign(**{column: [*pairs[column][:-1], value]}))


def test_rows_point_at_each_pairs_own_encodings(cache, pairs):
    features = Features.open(cache[0], FreezePlan())
    image, text = features.rows(pairs)
    assert features.image_rows.index[image].tolist() == pairs["image_id"].tolist()
    assert features.text_rows.index[text].tolist() == pairs["hypothesis"].tolist()
    assert image.dtype == text.dtype == np.int64


def test_the_empty_text_is_stored_for_the_control_that_reads_nothing_else(cache, pairs, encoders):
    features = Features.open(cache[0], FreezePlan(0, 1))
    _, text = features.rows(pairs.assign(hypothesis=EMPTY_TEXT))
    assert set(text) == {4}
    assert features.padding_mask[4].tolist() == [1, 1, 0, 0, 0, 0, 0]
    ids, _ = encoders.tokens([EMPTY_TEXT])
    assert ids[0].tolist() == [2, 3, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("plan", "n_views"), [(FreezePlan(0, 1), 3), (FreezePlan(1, 1), 2)])
def test_views_of_training_images_give_the_logits_of_the_whole_network(
    params, images, encoders, pairs, cache, plan, n_views
):
    """What an epoch is shown is the augmented image, through the very network, without encoding it again."""
    network = load_network(params, dropout=0.0, seed=3)
    views = AugmentedViews.open(cache[0], plan, n_views)
    assert isinstance(views.features.image_tokens, np.memmap)
    assert set(views.image_ids) == {"scene1", "scene2", "scene4"}
    train = pairs[pairs["split"] == "train"]
    rows = Rows.of(Features.open(cache[0], plan), train)
    shown = Rows(views.rows(rows.image, seed=11, epoch=2), rows.text, rows.y_true)
    found = predict_logits(build_suffix(network, plan), views.features, shown)
    chosen = dict(zip(views.image_ids, view_of_epoch(views.image_ids, n_views, seed=11, epoch=2), strict=True))
    augmented = np.concatenate(
        [
            photometric(images[[int(name[-1])]].astype(np.float32) / 255, [name], RANGES, view=int(chosen[name]))
            for name in train["image_id"]
        ]
    )
    ids, mask = encoders.tokens(list(train["hypothesis"]))
    inputs = {"pixels": encoders.unit_pixels(augmented), "token_ids": ids, "padding_mask": mask}
    expected = network.model.predict_on_batch(inputs)[:, 0]
    assert found == pytest.approx(expected, abs=1e-5)
    plain = predict_logits(build_suffix(network, plan), Features.open(cache[0], plan), rows)
    assert np.abs(plain - expected).max() > 1e-3


def test_epochs_and_seeds_choose_other_views_and_all_pairs_of_an_image_the_same(cache, pairs):
    views = AugmentedViews.open(cache[0], FreezePlan(), 3)
    image, _ = Features.open(cache[0], FreezePlan()).rows(pairs[pairs["split"] == "train"])
    seen = {(seed, epoch): views.rows(image, seed=seed, epoch=epoch) for seed in (1, 2) for epoch in range(20)}
    for rows in seen.values():
        assert len(set(zip(image, rows, strict=True))) == len(set(image))
        assert np.array_equal(rows % 3, views.place[image])
    assert {int(row) for rows in seen.values() for row in rows} == set(range(9))
    assert len({tuple(rows) for rows in seen.values()}) > 20
    fewer = AugmentedViews.open(cache[0], FreezePlan(), 2)
    assert max(int(fewer.rows(image, seed=1, epoch=epoch).max()) for epoch in range(20)) < 6


def test_evaluation_images_have_no_views(cache, pairs):
    views = AugmentedViews.open(cache[0], FreezePlan(), 3)
    image, _ = Features.open(cache[0], FreezePlan()).rows(pairs)
    with pytest.raises(KeyError, match=r"image 'scene[03]' has no augmented views; only training images have"):
        views.rows(image, seed=1, epoch=0)


def test_views_that_are_not_there_are_named(copied):
    with pytest.raises(ValueError, match=r"4 views of each image are asked for, 3 are in"):
        AugmentedViews.open(copied, FreezePlan(), 4)
    np.save(copied / "image_views_1.npy", np.load(copied / "image_views_1.npy")[:-1])
    with pytest.raises(ValueError, match="damaged: its views and their index disagree"):
        AugmentedViews.open(copied, FreezePlan(1, 1), 2)
    (copied / "image_views_0.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"image_views_0\.npy"):
        AugmentedViews.open(copied, FreezePlan(), 1)


def test_a_profile_without_augmented_trials_stores_no_views(params, pairs, store, tmp_path):
    encode(params, pairs, store, PLANS[:1], tmp_path, batch=64, photometric=RANGES)
    assert not list(tmp_path.glob("*views*"))


def test_augmented_pixels_are_converted_like_plain_ones(encoders, images):
    unit = images.astype(np.float32) / 255
    assert encoders.unit_pixels(unit) == pytest.approx(encoders.pixels(images), abs=1e-6)
    with pytest.raises(ValueError, match=r"expected float32 images .*got uint8"):
        encoders.unit_pixels(images)


def test_the_files_of_a_plan_are_what_opening_it_reads(cache, tmp_path):
    for kind, plan in ((Features, FreezePlan(1, 1)), (AugmentedViews, FreezePlan(0, 1))):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        for name in kind.files(plan):
            (folder / name).write_bytes((cache[0] / name).read_bytes())
        kind.open(folder, plan, *([2] if kind is AugmentedViews else []))
        for name in kind.files(plan):
            content = (folder / name).read_bytes()
            (folder / name).unlink()
            with pytest.raises(FileNotFoundError):
                kind.open(folder, plan, *([2] if kind is AugmentedViews else []))
            (folder / name).write_bytes(content)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_jobs_done_ahead_keep_their_order(n):
    """Whatever they take: the first is the slowest."""
    started = []

    def job(k):
        started.append(k)
        time.sleep(0.02 if k == 0 else 0.0)
        return k

    found = ahead([partial(job, k) for k in range(7)], n)
    assert next(found) == 0
    assert len(started) <= 1 + n
    assert list(found) == [1, 2, 3, 4, 5, 6]
    assert sorted(started) == list(range(7))


@pytest.mark.parametrize("n", [0, 2])
def test_a_job_that_fails_ahead_is_told_in_its_turn(n):
    def job(k):
        if k == 2:
            raise FileNotFoundError("image file c is missing")
        return k

    found = ahead([partial(job, k) for k in range(5)], n)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(FileNotFoundError, match="image file c is missing"):
        next(found)


def test_features_in_sixteen_bits_are_the_rounded_ones(params, pairs, store, cache, tmp_path):
    half = params.model_copy(update={"feature_dtype": "float16"})
    encode(half, pairs, store, PLANS, tmp_path, batch=2)
    for name in ("image_tokens_0.npy", "image_tokens_1.npy", "hidden_0.npy", "hidden_1.npy"):
        found, whole = np.load(tmp_path / name), np.load(cache[0] / name)
        assert found.dtype == np.float16
        assert found == pytest.approx(whole, rel=2**-10, abs=1e-6)
    network = load_network(params, dropout=0.0, seed=3)
    features = [Features.open(folder, PLANS[2]) for folder in (tmp_path, cache[0])]
    logits = [predict_logits(build_suffix(network, PLANS[2]), one, Rows.of(one, pairs)) for one in features]
    assert logits[0] == pytest.approx(logits[1], abs=5e-3)


def test_values_beyond_sixteen_bits_are_refused(params, pairs, store, tmp_path):
    half, encoders = params.model_copy(update={"feature_dtype": "float16"}), load_encoders(params)
    scale = encoders.vision.get_layer("vit_encoder").layer_norm.gamma
    scale.assign(1e6 * scale)
    with pytest.raises(ValueError, match=r"image_tokens_0\.npy: values beyond float16; set model\.feature_dtype"):
        encode(half, pairs, store, PLANS[:1], tmp_path, batch=2, encoders=encoders)


def test_half_precision_is_for_a_gpu_alone(params, pairs, store, cache, tmp_path, monkeypatch):
    """A CPU that passes for a GPU stands in for one: the policy is the same."""
    encode(params, pairs, store, PLANS[:1], tmp_path / "cpu", batch=2, precision="bfloat16")
    monkeypatch.setattr(features_module, "has_gpu", lambda: True)
    encode(params, pairs, store, PLANS[:1], tmp_path / "half", batch=2, precision="bfloat16")
    encode(params, pairs, store, PLANS[:1], tmp_path / "whole", batch=2, precision="float32")
    whole = np.load(cache[0] / "image_tokens_0.npy")
    for name, tolerance in (("cpu", 1e-6), ("whole", 1e-6), ("half", 0.1)):
        assert np.load(tmp_path / name / "image_tokens_0.npy") == pytest.approx(whole, abs=tolerance)
    half = np.load(tmp_path / "half" / "image_tokens_0.npy")
    assert half.dtype == np.float32
    assert np.abs(half - whole).max() > 1e-4
    assert np.corrcoef(half.ravel(), whole.ravel())[0, 1] > 0.999


def test_encoders_at_hand_are_used_as_they_are(params, pairs, store, cache, tmp_path):
    encoders = load_encoders(params)
    encode(params, pairs, store, PLANS[:1], tmp_path, batch=2, encoders=encoders)
    assert np.array_equal(np.load(tmp_path / "image_tokens_0.npy"), np.load(cache[0] / "image_tokens_0.npy"))
    bias = encoders.vision.get_layer("vit_encoder").layer_norm.beta
    bias.assign(bias + 1)
    encode(params, pairs, store, PLANS[:1], tmp_path, batch=2, encoders=encoders)
    found, expected = np.load(tmp_path / "image_tokens_0.npy"), np.load(cache[0] / "image_tokens_0.npy")
    assert found == pytest.approx(expected + 1, abs=1e-5)


def test_one_pass_serves_all_depths(params, pairs, store, tmp_path, monkeypatch):
    """A boundary costs no second run over images or words before it, and gives what a run of its own would."""
    read, load = [], ImageStore.load
    monkeypatch.setattr(ImageStore, "load", lambda own, ids, size: read.extend(ids) or load(own, ids, size=size))
    encode(params, pairs, store, PLANS, tmp_path / "all", batch=3)
    assert sorted(read) == sorted(set(pairs["image_id"]))
    for plan in PLANS:
        encode(params, pairs, store, [plan], tmp_path / "one", batch=3)
        for name in Features.files(plan):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "all" / name).read_bytes()


def test_shards_put_together_are_what_one_run_stores(params, pairs, store, cache, tmp_path):
    """Bit for bit, and also where there are more shards than batches."""
    for n in (2, 7):
        told = {"batch": 2, "views": {0: 3, 1: 2}, "photometric": RANGES}
        folders = [tmp_path / f"{k}-of-{n}" for k in range(n)]
        for k, folder in enumerate(folders):
            encode(params, pairs, store, PLANS, folder, shard=(k, n), **told)
        counts = encode(params, pairs, store, PLANS, tmp_path / f"whole{n}", shards=folders, **told)
        assert counts == cache[1]
        for path in cache[0].iterdir():
            assert (tmp_path / f"whole{n}" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_shard_that_is_missing_is_noticed(params, pairs, store, tmp_path):
    encode(params, pairs, store, PLANS[:1], tmp_path / "0", batch=2, shard=(0, 2))
    with pytest.raises(ValueError, match=r"image_tokens_0\.npy: expected 5 rows"):
        encode(params, pairs, store, PLANS[:1], tmp_path / "out", batch=2, shards=[tmp_path / "0", tmp_path / "1"])
