"""The stage of embeddings and the page on probes, on a few pictures and the shipped encoder."""

import ast
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import mini_pictures as mini
from clip_study import embedded, params
from verdict.base import paths
from verdict.base.numbers import COUNT, ESTIMATE, EXACT, SETTING
from verdict.clip import SHIPPED
from verdict.clip.encoder import embeddings as module
from verdict.clip.encoder.embeddings import TRAINED, EmbeddingCache, array_hash, encoder_number
from verdict.clip.pictures.words import PLAIN
from verdict.clip.probes import probe_study
from verdict.stats.scores import softmax, top_class
from verdict.workflow import stages
from verdict.workflow.stage_parameters import resolved

PAGE = "10_clip_probes"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with embedded(tmp_path_factory.mktemp("project"), PAGE, params()) as found:
        yield found


def test_a_public_corpus_is_opened_with_names_that_prompts_say(tmp_path, monkeypatch):
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    mini.write_cifar(tmp_path, "cifar100", n_train=3, n_test=1)
    own = params({"source": "cifar100", "n": {"train": 150, "val": 40, "calib": 50, "test": 60}})
    with embedded(tmp_path / "project", PAGE, own) as found:
        page = probe_study.Page(found)
        answers, read = page.zero_shot(), page.published()
        assert found.classes().shape == (100, 64) and list(answers["n"]) == [60] * 3
        assert found.pictures.class_names == tuple(mini.CIFAR100)
        said = found.stage.upstream_folder("clip_embeddings") / "attribution.txt"
        assert "CIFAR-100" in said.read_text(encoding="utf-8")
        assert page.study.stage.numbers["zero_shot.n_names_cleaned"].value == 9
        assert page.study.stage.numbers["zero_shot.chance"].value == pytest.approx(1 / 100)
        assert read.loc[read["cifar100"] == 61.71, "here"].item().value == answers["value"][0]


def test_pages_read_what_the_stage_stored(study):
    z, y, groups = study.of("test")
    assert z.shape == (50, 64) and len(y) == len(groups) == 50
    assert isinstance(study.pictures.images, np.memmap) and isinstance(study.embeddings, np.memmap)
    assert study.facts["name"] == SHIPPED and SHIPPED in study.model_line
    assert study.logit_scale == pytest.approx(study.encoder.logit_scale)
    assert np.allclose(study.encoder.images(np.asarray(study.pictures.images[:3])), study.embeddings[:3], atol=1e-5)
    study.cache.images(np.asarray(study.pictures.images))
    assert len(list((paths.work_dir("smoke") / "embeddings").glob("images*"))) == 1, "pictures are encoded once"


def test_another_encoder_than_the_stored_one_is_refused(study):
    other = replace(study, facts={**study.facts, "identity": "0" * 16})
    with pytest.raises(ValueError, match="is not the encoder that made the embeddings"):
        _ = other.encoder


def test_every_page_can_say_how_large_the_encoder_is_and_what_it_was_taught_on(study):
    """The number prints it wherever it is named, and every stage that opens the study stores it."""
    number = study.stage.numbers["clip.encoder"]
    n_params = sum(weight.numel() for weight in study.encoder.model.parameters())
    assert number.value == n_params and number.kind == SETTING and number.text in study.model_line
    assert number.text.startswith(f"{n_params:,} weights (taught on captions of generated pictures")
    assert "like those shown here" in number.text
    elsewhere = encoder_number(study.facts, "cifar10").text
    assert "like those" not in elsewhere, "pictures of another source are not what it was taught on"
    hub = encoder_number({**study.facts, "name": "openai/clip", "revision": "3d74acf9a28c67741b2f"}, "folder").text
    assert hub.endswith("weights (openai/clip at 3d74acf9a28c; taught elsewhere)")
    own = encoder_number({**study.facts, "name": TRAINED, "revision": ""}, "folder").text
    assert own.endswith("weights (taught on the train split itself)")


@pytest.fixture(scope="module")
def page(study):
    return probe_study.Page(study)


def test_what_is_said_stands_in_the_tables(page):
    table, numbers = page.zero_shot(), page.study.stage.numbers
    assert numbers["zero_shot.templates"].value == table["value"][1]
    # Digits are named without underscores: cleaning changes nothing.
    assert numbers["zero_shot.n_names_cleaned"].value == 0 and "zero_shot.as_written" not in numbers
    held = page.study.pictures.table.query("split == 'test'")["held_out"].to_numpy()
    right, parts = page.answer == page.test[1], ("taught", "held_out")
    assert [numbers[f"zero_shot.{part}"].value for part in parts] == [right[~held].mean(), right[held].mean()]
    confidence = softmax(page.study.logit_scale * (page.test[0] @ page.study.classes().T)).max(axis=1)
    gap = numbers["zero_shot.held_out_gap"]
    assert gap.value == pytest.approx((confidence - right)[held].mean()) and gap.n == held.sum()
    assert page.couples()["n"].tolist() == [int((~held).sum()), int(held.sum())] * 2
    alone = (top_class(page.test[0] @ page.study.classes(PLAIN).T) == page.test[1])[held].mean()
    by_couple = numbers["couples.digit_gain"].value + alone
    assert numbers["couples.held_out_clean"].value <= by_couple <= 1, "a couple that is right has its digit right"
    scaled, fitted = page.scale(), numbers["scale.fitted"]
    shown = scaled[["temperature", "temperature_low", "temperature_high"]].iloc[-1].tolist()
    assert shown == [fitted.value, fitted.low, fitted.high]
    ranks = page.ranks(sizes=(4, 8, 64))
    assert (ranks["rank"] <= ranks["directions"]).all() and numbers["ranks.width"].value == 64
    by_size = ranks.set_index(["label", "directions"])["value"]
    for end, m in (("least", 4), ("most", 8)):
        assert numbers[f"ranks.{end}"].value == m, "along as many directions as dimensions there is nothing to compare"
        gain = by_size["prompts", m] - by_size["random", m]
        assert numbers[f"ranks.gain_{end}"].value == pytest.approx(gain)
    assert numbers["ranks.n_more"].value + numbers["ranks.n_less"].value <= numbers["ranks.n_below"].value == 2
    few = page.few_shot(n_repeats=2)
    assert list(few["shots"]) == list(probe_study.SHOTS) and (few["low"] <= few["accuracy"]).all()
    assert [numbers[f"few_shot.{name}"].value for name in ("least", "most")] == few["accuracy"].iloc[[0, -1]].tolist()
    equal, everywhere = page.temperatures(), numbers["tau.equal_answers"]
    alike = equal["equal_answers"]
    assert everywhere.value == alike.iloc[-1] <= alike[:-1].min()
    assert everywhere.kind == EXACT, "one problem written twice: no sample decides it"
    kinds = {name: number.kind for name, number in numbers.items()}
    assert set(kinds.values()) == {ESTIMATE, COUNT, EXACT, SETTING} and kinds["zero_shot.chance"] == EXACT


def test_what_an_encoder_of_elsewhere_was_not_shown_is_not_known(study):
    page = probe_study.Page(replace(study, facts={**study.facts, "name": TRAINED}))
    assert not page.is_held_out.any() and not len(page.couples())


def test_resolution_changes_the_pictures_alone(page):
    table = page.resolutions(n=20)
    assert sorted(set(table["px"])) == [8, 12, 16, 24, 32, 48]
    whole = table[table["px"] == 48].set_index("label")["value"]
    z, y, _ = page.test
    answer = (z[:20] @ page.study.classes().T).argmax(axis=1)
    assert whole["prompts"] == (answer == y[:20]).mean()
    numbers, least = page.study.stage.numbers, table[table["px"] == 8].set_index("label")["value"]
    assert [numbers[f"resolution.{name}"].value for name in ("px", "probe_least", "prompts")] == [
        *(8, least["probe"], whole["prompts"])
    ]


def test_the_best_probe_is_compared_with_the_next(page):
    read, lead = page.probe_table()["value"].nlargest(2).tolist(), page.study.stage.numbers["probe.lead"]
    assert lead.value == pytest.approx(read[0] - read[1]) and lead.low <= lead.value <= lead.high
    numbers, held = page.study.stage.numbers, page.is_held_out
    n_right = [one.value * one.n for one in (numbers["probe.every_taught"], numbers["probe.every_held_out"])]
    assert sum(n_right) == pytest.approx(numbers["probe.logistic"].value * len(held))
    assert numbers["probe.taught_held_out"].value < numbers["probe.every_held_out"].value, "one has seen their labels"


def test_the_most_frequent_mistake_is_named(page):
    counts, numbers, names = page.confusions(), page.study.stage.numbers, page.study.pictures.class_names
    true, wrong = (names.index(numbers[f"mistake.{part}"].text) for part in ("true", "answer"))
    assert true != wrong and counts[true, wrong] == max(counts[i, j] for i in range(10) for j in range(10) if i != j)
    assert numbers["mistake.share"].value == counts[true, wrong] / counts[true].sum()
    page.published()
    assert numbers["published.n"].value > numbers["published.n_here"].value


def test_without_a_mistake_none_is_named(tmp_path):
    with embedded(tmp_path, PAGE, params()) as found:
        page = probe_study.Page(found)
        page.__dict__["answer"] = page.test[1]
        counts = page.confusions()
        assert np.array_equal(counts, np.diag(np.bincount(page.test[1], minlength=len(counts))))
        assert not [name for name in found.stage.numbers if name.startswith("mistake.")]


def test_a_source_decides_which_stages_there_are():
    with_clip = [spec.name for spec in stages.specs_for(params())]
    assert with_clip[-1] == "13_reproducibility"
    assert "10_clip_probes" in with_clip and stages.CLIP_MODEL not in with_clip
    without = [spec.name for spec in stages.specs_for(params({"source": None}))]
    assert not [name for name in without if "clip" in name]
    own = stages.specs_for(params({"preset": TRAINED}))
    assert stages.CLIP_MODEL in [spec.name for spec in own]
    names = [spec.name for spec in stages.specs_for(params(data={"source": "clip"}))]
    assert names[0] == stages.CLIP_EMBEDDINGS and "01_data" not in names


def test_batch_and_threads_change_no_result():
    one, other = (resolved(params(own), PAGE) for own in ({}, {"batch": 7, "threads": 2}))
    assert one == other
    assert one != resolved(params({"seed": 1}), PAGE)
    assert one["clip"]["weights"], "a rebuilt preset re-runs what it fed"


def test_every_random_stream_of_the_pages_has_a_name():
    """A number as a key says nothing, and two draws with one number are one draw."""
    for path in sorted((paths.LIBRARY / "clip").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("stage.rng"):
                name = node.args[0]
                assert isinstance(name, ast.Constant) and isinstance(name.value, str), (
                    f"{path.name}: {ast.unparse(node)}"
                )


class Counting:
    """Stands for an encoder: says how often it was asked."""

    def __init__(self, identity="one"):
        self.identity, self.n_calls = identity, 0

    def images(self, images, *, progress):
        self.n_calls += 1
        progress(f"encoded {len(images)}")
        return images.reshape(len(images), -1)[:, :3].astype(np.float32)

    def texts(self, texts, *, progress):
        self.n_calls += 1
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    patches = images


IMAGES = np.arange(5 * 7 * 7 * 3, dtype=np.uint8).reshape(5, 7, 7, 3)


def test_nothing_is_encoded_twice(tmp_path):
    encoder, lines = Counting(), []
    cache = EmbeddingCache(tmp_path, encoder, lines.append)
    first = cache.images(IMAGES)
    again = EmbeddingCache(tmp_path, encoder).images(IMAGES.copy())
    assert encoder.n_calls == 1 and lines == ["encoded 5"]
    assert np.array_equal(first, again) and isinstance(first, np.memmap) and not first.flags.writeable
    cache.texts(["a", "bc"])
    cache.texts(("a", "bc"))
    assert encoder.n_calls == 2


def test_the_key_holds_encoder_kind_and_data(tmp_path):
    encoder = Counting()
    cache = EmbeddingCache(tmp_path, encoder)
    changed = IMAGES.copy()
    changed[3, 2, 1, 0] += 1
    cache.images(IMAGES), cache.images(changed), cache.patches(IMAGES), cache.images(IMAGES[::-1])
    assert encoder.n_calls == 4
    assert len({array_hash(one) for one in (IMAGES, IMAGES.astype(np.int16), IMAGES.reshape(7, 5, 7, 3))}) == 3
    other = Counting("two")
    EmbeddingCache(tmp_path, other).images(IMAGES)
    assert other.n_calls == 1


def other_versions(monkeypatch, root):
    monkeypatch.setattr(module, "package_versions", lambda: {"transformers": "0"})


def other_code(monkeypatch, root):
    """Of the encoder itself, or of what it imports."""
    shutil.copytree(
        paths.LIBRARY, root / "lib" / "verdict", ignore=shutil.ignore_patterns("*.h5", "*.safetensors", "__pycache__")
    )
    monkeypatch.setattr(paths, "LIBRARY", root / "lib" / "verdict")
    with (paths.LIBRARY / "clip" / "encoder" / "encode.py").open("a") as file:
        file.write("\n# changed\n")


@pytest.mark.parametrize("change", [other_versions, other_code])
def test_other_code_or_libraries_make_other_embeddings(tmp_path, monkeypatch, change):
    encoder = Counting()
    EmbeddingCache(tmp_path / "cache", encoder).images(IMAGES)
    change(monkeypatch, tmp_path)
    module.made_with.cache_clear()
    EmbeddingCache(tmp_path / "cache", encoder).images(IMAGES)
    module.made_with.cache_clear()
    assert encoder.n_calls == 2


def test_a_damaged_file_is_refused_by_name(tmp_path):
    cache = EmbeddingCache(tmp_path, Counting())
    cache.images(IMAGES)
    path = next(tmp_path.glob("images-*.npy"))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=f"{path.name}.* is damaged"):
        cache.images(IMAGES)
    np.save(path, np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="2 rows for 5"):
        cache.images(IMAGES)


def test_an_encoding_that_fails_leaves_nothing(tmp_path):
    def fail(images, *, progress):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        EmbeddingCache(tmp_path, SimpleNamespace(identity="x", images=fail)).images(IMAGES)
    assert list(tmp_path.iterdir()) == []
