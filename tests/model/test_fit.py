"""Training: the order of pairs, resuming to the bit, the criterion, and what stays frozen."""

import sys
from dataclasses import replace
from functools import cache
from itertools import cycle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import tiny_network as tiny
from verdict.base.params import FitParams
from verdict.model import fit as training
from verdict.model.backend import IS_TORCH, keras, set_threads
from verdict.model.features import AugmentedViews, Features
from verdict.model.fit import (
    Batches,
    Rows,
    Shown,
    epoch_order,
    fit,
    load_weights,
    predict_logits,
    read_weights,
    save_weights,
    score,
    trained_weights,
)
from verdict.model.network import FreezePlan, build_suffix
from verdict.model.predict import DecisionRule, two_class
from verdict.stats.metrics import macro_f1
from verdict.stats.scores import softmax

N_IMAGES, N_TEXTS, N_PAIRS = 29, 23, 211


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    set_threads(1)


def fit_params(**changes):
    default = {"learning_rate": 3e-3, "weight_decay": 1e-2, "dropout": 0.2, "epochs": 3, "patience": 3}
    return FitParams(**{**default, "schedule": "cosine", **changes})


def stored(network, plan, seed=5):
    """Features of random images and hypotheses, through the network's own prefixes."""
    vision, text = tiny.build_prefix(network, plan)
    images = tiny.random_inputs(network, N_IMAGES, seed)
    words = tiny.random_inputs(network, N_TEXTS, seed + 1)
    return Features(
        image_rows=pd.Series(np.arange(N_IMAGES), index=[f"image {i}" for i in range(N_IMAGES)]),
        text_rows=pd.Series(np.arange(N_TEXTS), index=[f"text {i}" for i in range(N_TEXTS)]),
        image_tokens=vision.predict_on_batch(images["pixels"]),
        hidden=text.predict_on_batch({name: words[name] for name in ("token_ids", "padding_mask")}),
        padding_mask=words["padding_mask"],
    )


@cache
def built():
    """A network, which takes long to build, and what its variables hold before any run."""
    network = tiny.tiny_network(3, dropout=0.2)
    return network, [np.array(keras.ops.convert_to_numpy(variable)) for variable in network.model.variables]


def fresh():
    """The network as it was built."""
    network, values = built()
    for variable, value in zip(network.model.variables, values, strict=True):
        variable.assign(value)
    return network


@cache
def stored_for(plan):
    """Features of the network that every run begins with."""
    return stored(fresh(), plan)


def rows(seed, n=N_PAIRS):
    """Pairs whose label depends on both sides: whether image and hypothesis have numbers of one parity."""
    rng = np.random.default_rng(seed)
    image, text = rng.integers(0, N_IMAGES, n), rng.integers(0, N_TEXTS, n)
    return Rows(image, text, (image + text) % 2)


def shifted(n_views, by=0.3):
    """Views of every image: the plain tokens, moved by a little more in each view."""

    def of(features):
        tokens = np.concatenate([features.image_tokens + by * view for view in range(1, n_views + 1)])
        names = tuple(features.image_rows.index)
        return AugmentedViews(replace(features, image_tokens=tokens), names, np.arange(N_IMAGES), n_views)

    return of


def repeated(n_extra):
    """The training rows, and some of them a second time."""
    plain = rows(1)
    return Rows(*(np.r_[column, column[:n_extra]] for column in (plain.image, plain.text, plain.y_true)))


class Killed(BaseException):
    """Stands for a killed process: nothing may catch it."""


def run(
    path,
    plan=(0, 1),
    *,
    stop_after=None,
    identity=None,
    seed=7,
    criterion="macro_f1",
    blank=False,
    train=None,
    views=None,
    n_shown=None,
    features=None,
    told=None,
    **changes,
):
    """Fit the network anew: it, the outcome, what was told, and its weights.

    `stop_after` kills the run when that epoch has been reported.
    """
    plan, told = FreezePlan(*plan), [] if told is None else told
    features, network = features or stored_for(plan), fresh()

    def progress(text):
        told.append(text)
        if len(told) == stop_after:
            raise Killed

    train = rows(1) if train is None else train
    shown = Shown(features, train, rows(2, 97), blank, n_shown, views(features) if views else None)
    outcome = fit(
        network,
        plan,
        shown,
        fit_params(**changes),
        SimpleNamespace(batch_size=31, criterion=criterion, global_clipnorm=1.0),
        seed=seed,
        checkpoint=path,
        identity=identity or {"data": "a"},
        progress=progress,
    )
    return network, outcome, told, tiny.weights_of(network)


def kill(path, stop_after=1, **settings):
    """Begin a run that is killed once an epoch has been reported."""
    with pytest.raises(Killed):
        run(path, stop_after=stop_after, **settings)


def same(one, other):
    """Whether two runs agree to the bit, elapsed time apart."""
    weights = one[3], other[3]
    history = [outcome.history.drop(columns="elapsed_s") for outcome in (one[1], other[1])]
    is_same = all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    return is_same and history[0].equals(history[1]) and one[1].best_epoch == other[1].best_epoch


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("undisturbed") / "state.npz")


TEXTS, DISTINCT = np.random.default_rng(8).integers(0, N_TEXTS, N_PAIRS), np.arange(13)


@pytest.mark.parametrize(
    ("text", "shared", "seed"), [(TEXTS, 1, 0), (TEXTS, 4, 0), (TEXTS, 4, 1), (TEXTS, 1000, 2), (DISTINCT, 4, 0)]
)
def test_an_epoch_visits_every_pair_once(text, shared, seed):
    order = epoch_order(text, np.random.default_rng(seed), shared=shared)
    assert sorted(order) == list(range(len(text))) != order.tolist()
    again = epoch_order(text, np.random.default_rng(seed), shared=shared)
    other = epoch_order(text, np.random.default_rng(seed + 10), shared=shared)
    assert order.tolist() == again.tolist() != other.tolist()


@pytest.mark.parametrize("shared", [1, 4])
def test_an_order_of_some_pairs_shows_each_equally_often(shared):
    shown = np.zeros(N_PAIRS)
    for epoch in range(400):
        order = epoch_order(TEXTS, np.random.default_rng([3, epoch]), shared=shared, n_shown=97)
        assert len(set(order)) == len(order) == 97
        shown[order] += 1
    # Each count is binomial, 400 draws of 97 / 211: standard deviation 10.
    assert np.abs(shown - 400 * 97 / N_PAIRS).max() < 45


def test_pairs_with_one_hypothesis_stand_together():
    order = epoch_order(TEXTS, np.random.default_rng(0), shared=4)
    n_changes = int((np.diff(TEXTS[order]) != 0).sum())
    assert n_changes <= int(np.ceil(np.bincount(TEXTS) / 4).sum()) - 1
    plain = epoch_order(TEXTS, np.random.default_rng(0), shared=1)
    assert n_changes < 0.5 * (np.diff(TEXTS[plain]) != 0).sum()


def test_batches_hold_each_distinct_encoding_once():
    network = tiny.tiny_network()
    features, pairs = stored(network, FreezePlan(0, 1)), rows(1)
    batches = Batches(features, pairs, np.arange(N_PAIRS)[::-1], 31, blank=False)
    assert len(batches) == -(-N_PAIRS // 31)
    seen = 0
    for index in range(len(batches)):
        inputs, labels = batches[index]
        chosen = np.arange(N_PAIRS)[::-1][index * 31 : (index + 1) * 31]
        assert len(inputs["image_tokens"]) == len(set(pairs.image[chosen]))
        assert len(inputs["hidden"]) == len(inputs["padding_mask"]) == len(set(pairs.text[chosen]))
        shown = inputs["image_tokens"][inputs["a_image_rows"]], inputs["hidden"][inputs["a_text_rows"]]
        assert np.array_equal(shown[0], features.image_tokens[pairs.image[chosen]])
        assert np.array_equal(shown[1], features.hidden[pairs.text[chosen]])
        assert np.array_equal(labels, pairs.y_true[chosen, None])
        seen += len(labels)
    assert seen == N_PAIRS


@pytest.mark.skipif(not IS_TORCH, reason="the suffix without Keras' calls is torch's")
def test_asked_for_logits_each_hypothesis_and_image_is_encoded_once(monkeypatch):
    """The logits are those of the Keras graph, which encodes both again in each batch."""
    network, plan = tiny.scatter(tiny.tiny_network()), FreezePlan(1, 1)
    features, pairs = stored(network, plan), rows(1)
    monkeypatch.setattr(training, "PREDICT_BATCH", 17)
    expected = predict_logits(build_suffix(network, plan), features, pairs)
    from verdict.model import direct

    monkeypatch.setattr(direct, "N_READ", 3)
    read, seen = [], []
    text_block, vision_block = direct._text_block, direct._vision_block
    monkeypatch.setattr(
        direct, "_text_block", lambda block, x, *a, **k: read.append(len(x)) or text_block(block, x, *a, **k)
    )
    monkeypatch.setattr(direct, "_vision_block", lambda block, x, *a: seen.append(len(x)) or vision_block(block, x, *a))
    assert predict_logits(training.trained_part(network, plan), features, pairs) == pytest.approx(expected, abs=1e-5)
    assert sum(read) == len(set(pairs.text)) and max(read) <= 3
    # An image is in two batches where its pairs are.
    assert sum(seen) <= len(set(pairs.image)) + len(pairs) // 17


@pytest.mark.parametrize("plan", [FreezePlan(0, 1), FreezePlan(1, 1)])
@pytest.mark.parametrize("part", [training.trained_part, build_suffix])
def test_read_once_each_view_is_answered_as_alone(monkeypatch, part, plan):
    network = tiny.tiny_network()
    tiny.scatter(network)
    features, pairs, suffix = stored(network, plan), rows(1), part(network, plan)
    monkeypatch.setattr(training, "PREDICT_BATCH", 17)
    views = [features.image_tokens, np.asarray(features.image_tokens)[::-1]]
    expected = [predict_logits(suffix, replace(features, image_tokens=view), pairs) for view in views]
    assert not np.allclose(*expected, atol=1e-3)
    read = training.read_once(suffix, features, pairs)
    if hasattr(suffix, "after_reading"):
        # Words have been read.
        monkeypatch.setattr("verdict.model.direct._text_block", None)
    for view, logit in zip(views, expected, strict=True):
        for chosen, rest, known, some in read:
            assert np.array_equal(predict_logits(rest, replace(known, image_tokens=view), some), logit[chosen])
            if hasattr(suffix, "after_reading"):
                assert len(known.hidden) == len(known.text_rows) == len(set(pairs.text[chosen]))


def test_a_blank_image_is_zero_and_leaves_the_rest():
    network = tiny.tiny_network()
    features, pairs = stored(network, FreezePlan()), rows(1)
    shown, blank = (Batches(features, pairs, np.arange(31), 31, blank=blank)[0][0] for blank in (False, True))
    assert shown["image_tokens"].any()
    assert not blank["image_tokens"].any()
    assert np.array_equal(shown["hidden"], blank["hidden"])


def test_logits_keep_the_order_of_the_pairs(monkeypatch):
    network = tiny.scatter(tiny.tiny_network())
    features, pairs = stored(network, FreezePlan(1, 1)), rows(1)
    suffix = build_suffix(network, FreezePlan(1, 1))
    logit = predict_logits(suffix, features, pairs)
    assert logit.shape == (N_PAIRS,)
    assert logit.dtype == np.float64
    monkeypatch.setattr(training, "PREDICT_BATCH", 17)
    assert predict_logits(suffix, features, pairs) == pytest.approx(logit, abs=1e-5)
    turned = Rows(pairs.image[::-1], pairs.text[::-1], pairs.y_true[::-1])
    assert predict_logits(suffix, features, turned)[::-1] == pytest.approx(logit, abs=1e-5)


def test_the_score_by_hand():
    logit, y_true = np.array([2.0, -1.0, 0.5, -3.0]), np.array([1, 0, 0, 1])
    found = score(logit, y_true)
    # One of each class right: precision and recall are 1/2 for both classes.
    assert found["macro_f1"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    terms = [np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0)), np.log1p(np.exp(0.5)), np.log1p(np.exp(3.0))]
    assert found["nll"] == pytest.approx(sum(terms) / 4)
    assert softmax(two_class(logit))[:, 1] == pytest.approx(1 / (1 + np.exp(-logit)))


def test_a_tie_in_validation_is_answered_as_everywhere():
    logit, y_true = np.zeros(5), np.array([0, 1, 1, 0, 0])
    expected = macro_f1(y_true, DecisionRule().decide(two_class(logit)))
    assert score(logit, y_true)["macro_f1"] == pytest.approx(float(expected)) == pytest.approx(2 * 3 / (3 + 5) / 2)


def test_a_run_reports_every_epoch(undisturbed):
    _, outcome, told, _ = undisturbed
    assert [line.split("  ")[0] for line in told] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert outcome.history["epoch"].tolist() == [1, 2, 3]
    assert set(outcome.history) == {"epoch", "train_loss", "val_macro_f1", "val_nll", "elapsed_s"}
    assert outcome.trainable == [
        "text.transformer_layer_2",
        "head.xattn",
        "head.xattn_norm",
        "head.mlp_1",
        "head.logit",
    ]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The state that a run of the defaults leaves where it is killed after its first epoch."""
    path = tmp_path_factory.mktemp("killed") / "state.npz"
    kill(path)
    return path.read_bytes()


# A state after all three epochs is a finished run's: it is used again.
@pytest.mark.parametrize(("stop_after", "n_views"), [(2, 0), (3, 0), (1, 3)])
def test_a_killed_run_goes_on_to_the_same_bits(undisturbed, tmp_path, stop_after, n_views):
    views = shifted(n_views) if n_views else None
    kill(tmp_path / "state.npz", stop_after, views=views)
    resumed = run(tmp_path / "state.npz", views=views)
    assert len(resumed[2]) == 3 - stop_after
    assert same(resumed, run(tmp_path / "whole.npz", views=views) if views else undisturbed)


OTHER = {
    "identity": {"data": "b"},
    "seed": 8,
    "learning_rate": 1e-3,
    "dropout": 0.1,
    "plan": (0, 0),
    "views": shifted(3),
    "n_shown": N_PAIRS - 1,
}


def begins_anew(path, **settings):
    """Whether a run starts with its first epoch, and does not go on from what stands there; it is killed after one."""
    told = []
    kill(path, told=told, **settings)
    return told[0].startswith("epoch 1/3")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *(({}, {name: value}) for name, value in OTHER.items()),
        ({}, {"train": repeated(1), "n_shown": N_PAIRS}),
        ({"views": shifted(3)}, {"views": shifted(2)}),
    ],
)
def test_a_state_of_another_identity_is_ignored(killed, tmp_path, before, after):
    path = tmp_path / "state.npz"
    path.write_bytes(killed)
    if before:
        kill(path, **before)
    assert begins_anew(path, **after)


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"not an archive",
        lambda content: content[:4000] + bytes(64) + content[4064:],
    ],
)
def test_a_damaged_state_is_not_used(killed, tmp_path, harm):
    (tmp_path / "state.npz").write_bytes(harm(killed))
    assert begins_anew(tmp_path / "state.npz")


def test_a_state_that_is_not_used_leaves_nothing_behind(undisturbed, killed, tmp_path):
    (tmp_path / "state.npz").write_bytes(killed[:-9])
    assert same(run(tmp_path / "state.npz"), undisturbed)


def test_the_seed_decides_the_run(undisturbed, tmp_path):
    assert not same(run(tmp_path / "state.npz", seed=8), undisturbed)


@pytest.mark.parametrize("plan", [(0, 0), (0, 1), (1, 2)])
def test_frozen_weights_do_not_change_by_a_bit(tmp_path, plan):
    before = tiny.weights_of(fresh())
    network, outcome, *_ = run(tmp_path / "state.npz", plan, epochs=1)
    after, moved = tiny.weights_of(network), trained_weights(network)
    assert outcome.n_trainable == sum(array.size for array in moved.values())
    for name in before:
        assert np.array_equal(before[name], after[name]) == (name not in moved), name


HISTORY = [
    {"val_macro_f1": 0.60, "val_nll": 0.70},
    {"val_macro_f1": 0.80, "val_nll": 0.65},
    {"val_macro_f1": 0.80, "val_nll": 0.60},
    {"val_macro_f1": 0.70, "val_nll": 0.64},
]


def script(monkeypatch):
    """Scores are given, in this order and over again, so that the criteria disagree."""
    given = cycle({name.removeprefix("val_"): value for name, value in entry.items()} for entry in HISTORY)
    monkeypatch.setattr(training, "score", lambda logit, y: next(given))


@pytest.mark.parametrize(("criterion", "epoch"), [("macro_f1", 2), ("nll", 3)])
def test_the_criterion_chooses_the_epoch_and_its_weights(tmp_path, monkeypatch, criterion, epoch):
    """The weights kept are those of the epoch that each chooses."""
    script(monkeypatch)
    network, outcome, _, after = run(tmp_path / "a.npz", criterion=criterion, epochs=4, patience=4)
    assert outcome.best_epoch == epoch
    kept = [after[name] for name in trained_weights(network)]
    kill(tmp_path / "b.npz", epoch, criterion=criterion, epochs=4, patience=4)
    with np.load(tmp_path / "b.npz") as state:
        at_epoch = [state[name] for name in sorted(state.files) if name.startswith("weight_")]
    by_shape = sorted((array.shape, array.tobytes()) for array in at_epoch)
    assert by_shape == sorted((array.shape, array.tobytes()) for array in kept)


def test_a_run_that_goes_on_keeps_the_weights_of_an_epoch_before_it_was_killed(tmp_path, monkeypatch):
    """The second epoch is best; the run is killed after the third."""
    script(monkeypatch)
    whole = run(tmp_path / "whole.npz", epochs=4, patience=4)
    script(monkeypatch)
    kill(tmp_path / "state.npz", 3, epochs=4, patience=4)
    assert same(run(tmp_path / "state.npz", epochs=4, patience=4), whole)


@pytest.mark.parametrize(("criterion", "n_epochs"), [("macro_f1", 3), ("nll", 4)])
def test_patience_ends_a_run_that_no_longer_improves(tmp_path, monkeypatch, criterion, n_epochs):
    script(monkeypatch)
    _, outcome, *_ = run(tmp_path / "a.npz", criterion=criterion, epochs=7, patience=1, schedule="constant")
    assert len(outcome.history) == n_epochs


@pytest.mark.parametrize("plan", [(0, 0), (0, 1)])
def test_a_learnable_problem_is_learned_and_needs_the_image(tmp_path, monkeypatch, plan):
    """Two kinds of image, two kinds of hypothesis, true if they are of one kind: either side alone is at chance."""
    image, text = (grid.ravel() for grid in np.meshgrid(np.arange(8), np.arange(4)))
    table = Rows(np.tile(image, 5), np.tile(text, 5), np.tile((image + text) % 2, 5))
    rng = np.random.default_rng(0)
    looks, words = rng.normal(size=(2, 1, 10)), rng.normal(size=(2, tiny.WORDS, 14))
    n_words = tiny.WORDS if plan[1] else 1

    two_kinds = Features(
        image_rows=pd.Series(np.arange(8)),
        text_rows=pd.Series(np.arange(4)),
        image_tokens=(looks[np.arange(8) % 2] + rng.normal(0, 0.1, (8, 7, 10))).astype(np.float32),
        hidden=words[np.arange(4) % 2, :n_words].astype(np.float32),
        padding_mask=np.ones((4, tiny.WORDS), dtype=np.int32),
    )
    monkeypatch.setattr(sys.modules[__name__], "rows", lambda seed, n=0: table)
    settings = {
        "features": two_kinds,
        "epochs": 15,
        "patience": 15,
        "learning_rate": 2e-2,
        "dropout": 0.0,
        "weight_decay": 0.0,
    }
    _, outcome, *_ = run(tmp_path / "a.npz", plan, **settings)
    assert outcome.history["val_macro_f1"].max() == 1
    _, blank, *_ = run(tmp_path / "b.npz", plan, blank=True, **settings | {"epochs": 5})
    assert blank.history["val_nll"].min() > 0.999 * np.log(2)


def test_stored_weights_come_back(tmp_path):
    network, *_ = run(tmp_path / "state.npz", (0, 1), epochs=1)
    save_weights(network, tmp_path / "w.npz", parent={"transformer_layer_1/feedforward_layer_norm/beta": np.ones(14)})
    weights = read_weights(tmp_path / "w.npz")
    assert weights.keys() == {*trained_weights(network), "transformer_layer_1/feedforward_layer_norm/beta"}
    other = tiny.tiny_network(9)
    before = tiny.weights_of(other)
    load_weights(other, weights)
    after = tiny.weights_of(other)
    for name in before:
        assert np.array_equal(after[name], weights.get(name, before[name])), name


def test_what_a_run_trained_replaces_what_its_parent_had(tmp_path):
    network = tiny.tiny_network(3)
    run_weights = trained_weights(network)
    name = next(iter(run_weights))
    save_weights(network, tmp_path / "w.npz", parent={name: np.zeros_like(run_weights[name])})
    assert np.array_equal(read_weights(tmp_path / "w.npz")[name], run_weights[name])


def test_weights_that_do_not_fit_are_refused(tmp_path):
    network = tiny.tiny_network(3)
    head = {name: array for name, array in tiny.weights_of(network).items() if name.split("/")[0] in network.head}
    load_weights(network, head)
    with pytest.raises(ValueError, match=r"'xattn/quarry/kernel' of shape \(3,\) has no place"):
        load_weights(network, {**head, "xattn/quarry/kernel": np.zeros(3)})
    with pytest.raises(ValueError, match=r"'logit/bias' of shape \(2,\) has no place"):
        load_weights(network, {**head, "logit/bias": np.zeros(2)})
    del head["mlp_1/kernel"], head["logit/bias"]
    with pytest.raises(ValueError, match="lack 'logit/bias' and 1 more of the fusion head"):
        load_weights(network, head)


def test_rows_of_a_pair_table():
    features = stored(tiny.tiny_network(), FreezePlan())
    pairs = pd.DataFrame(
        {
            "image_id": ["image 3", "image 1"],
            "hypothesis": ["text 0", "text 7"],
            "label": ["contradiction", "entailment"],
        }
    )
    found = Rows.of(features, pairs)
    assert (found.image.tolist(), found.text.tolist(), found.y_true.tolist()) == ([3, 1], [0, 7], [1, 0])
    assert len(found) == 2


def test_views_that_equal_the_images_change_nothing(undisturbed, tmp_path):
    assert same(run(tmp_path / "state.npz", views=shifted(3, by=0.0)), undisturbed)


def test_views_are_trained_on_and_not_validated_on(undisturbed, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        training,
        "predict_logits",
        lambda suffix, features, *args, **kw: shown.append(features) or predict_logits(suffix, features, *args, **kw),
    )
    asked, rows_of = [], AugmentedViews.rows
    monkeypatch.setattr(AugmentedViews, "rows", lambda *of, **when: asked.append(when) or rows_of(*of, **when))
    found = run(tmp_path / "state.npz", views=shifted(3))
    assert not same(found, undisturbed)
    assert asked == [{"seed": 7, "epoch": epoch} for epoch in range(3)]
    assert len(shown) == 3
    assert all(len(features.image_tokens) == N_IMAGES for features in shown)


def n_steps(path):
    """Optimisation steps of a stored state: the optimiser's own counter."""
    with np.load(path) as state:
        return int(state["optimiser_0000"][0])


def test_an_oversampled_run_takes_as_many_steps_as_its_twin(killed, tmp_path):
    (tmp_path / "b.npz").write_bytes(killed)
    for name, settings in {"a": {"n_shown": N_PAIRS}, "c": {}}.items():
        kill(tmp_path / f"{name}.npz", train=repeated(60), **settings)
    assert n_steps(tmp_path / "a.npz") == n_steps(tmp_path / "b.npz") == -(-N_PAIRS // 31)
    assert n_steps(tmp_path / "c.npz") == -(-(N_PAIRS + 60) // 31)
    with np.load(tmp_path / "a.npz") as found, np.load(tmp_path / "b.npz") as twin:
        assert any(not np.array_equal(found[name], twin[name]) for name in twin if name.startswith("weight_"))


def test_more_rows_than_there_are_cannot_be_shown(tmp_path):
    with pytest.raises(ValueError, match="shows 1 to 211 of the training rows, got n_shown=212"):
        run(tmp_path / "state.npz", n_shown=N_PAIRS + 1)
