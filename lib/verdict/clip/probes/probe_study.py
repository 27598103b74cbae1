"""The tables of the page on probes: what prompts alone answer, what probes read, and what the controls say about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import pandas as pd
from scipy.special import entr

from verdict.base import paths
from verdict.base.numbers import EXACT, POINTS, SETTING, Number, named
from verdict.clip import SHIPPED
from verdict.clip.encoder.embeddings import EmbeddedPictures
from verdict.clip.pictures import scenes, words
from verdict.clip.pictures.corpora import at_px
from verdict.clip.probes import linear
from verdict.clip.probes.zero_shot import accuracy_row, cosines, fit_temperature, scale_effect, scaled_logits
from verdict.stats.metrics import confusion_counts, ece_change
from verdict.stats.scores import softmax, top_class
from verdict.stats.uncertainty import Interval, Resampler, bounded, with_bounds

N_PROMPTS = 32
N_SMALL = 300
TAUS = (1.0, 0.5, 0.25, 0.125)
COSTS = tuple(4.0**k for k in range(-2, 3))
PUBLISHED_TAUS = (1.0, 0.5, 0.07, 0.03, 0.02)
SHOTS = (1, 2, 4, 8, 16)
SHRUNK_TO = (8, 12, 16, 24, 32, 48, 64, 96, 128, 224)


@dataclass(frozen=True, eq=False)
class Page:
    """A study with the parts that probes use; numbers are recorded in its stage."""

    study: EmbeddedPictures

    @cached_property
    def resampler(self) -> Resampler:
        """Intervals over groups of test pictures."""
        return self.study.stage.resampler(self.test[2])

    @cached_property
    def train_rows(self) -> np.ndarray:
        """Rows of the pictures that probes learn from, at most `n_probe`."""
        rows = self.study.rows("train")
        return self.study.stage.rng("probes.train").permutation(rows)[: self.study.stage.params.clip.n_probe]

    @cached_property
    def train(self) -> linear.Part:
        """Embeddings and classes that probes learn from."""
        rows, y = self.train_rows, self.study.pictures.table["y"].to_numpy()
        return np.asarray(self.study.embeddings[rows]), y[rows]

    @cached_property
    def val(self) -> linear.Part:
        """Embeddings and classes that choose."""
        return self.study.of("val")[:2]

    @cached_property
    def test(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Embeddings, classes and groups of test."""
        return self.study.of("test")

    @cached_property
    def is_held_out(self) -> np.ndarray:
        """Test pictures of couples that were kept from the encoder's training, bool (n,): known of the shipped one."""
        table = self.study.pictures.table.iloc[self.study.rows("test")]
        is_known = self.study.pictures.is_scenes and self.study.facts["name"] == SHIPPED
        return table["held_out"].to_numpy() if is_known else np.zeros(len(table), dtype=bool)

    def keep(self, name: str, found: Interval, *, unit: str = "%", n: int | None = None) -> None:
        """Record an estimate on test, or on `n` pictures of it, under a name."""
        self.study.stage.numbers[name] = found.number(n=n or len(self.test[1]), split="test", unit=unit)

    def row(self, label: str, answer: np.ndarray, name: str = "") -> dict:
        """A row for a table of accuracies on test; recorded where it has a name."""
        row = accuracy_row(label, self.test[1], answer, self.resampler)
        if name:
            self.keep(name, Interval(row["value"], row["low"], row["high"]))
        return row

    # What prompts alone answer.

    @cached_property
    def answer(self) -> np.ndarray:
        """Classes that prompts with all templates give to the test pictures, int (n,)."""
        return top_class(cosines(self.test[0], self.study.classes()))

    def zero_shot(self) -> pd.DataFrame:
        """Accuracy on test with one template, with all, with names as the source writes them where that differs, and by
        whether couples were kept from training where some were; `zero_shot.*_gap` is mean confidence minus accuracy.
        """
        study, pictures = self.study, self.study.pictures
        n_changed, rows = sum(words.clean(name) != name for name in pictures.class_names), []
        for label, name, n_shown, is_clean in (
            ("one template", "one_template", 1, True),
            (f"{len(pictures.templates)} templates", "templates", None, True),
            ("one template, names as written", "as_written", 1, False),
        )[: 3 if n_changed else 2]:
            answer = top_class(cosines(self.test[0], study.classes(pictures.templates[:n_shown], is_clean=is_clean)))
            rows.append(self.row(label, answer, f"zero_shot.{name}"))
        (z, y, _), held = self.test, self.is_held_out
        gap = softmax(scaled_logits(z, study.classes(), study.logit_scale)).max(axis=1) - (self.answer == y)
        for name, part in (("taught", ~held), ("held_out", held)):
            if held.any():
                resampler, label = self.resampler.of(part), f"{rows[1]['label']}, couples {name.replace('_', ' ')}"
                row = accuracy_row(label, y[part], self.answer[part], resampler)
                self.keep(f"zero_shot.{name}", Interval(row["value"], row["low"], row["high"]), n=row["n"])
                self.keep(f"zero_shot.{name}_gap", resampler.mean(gap[part], span=(-1, 1)), unit=POINTS, n=row["n"])
                rows.append(row)
        study.stage.number("zero_shot.n_held_out", held.sum(), unit="count", split="test")
        study.stage.number("zero_shot.n_names_cleaned", n_changed, unit="count")
        study.stage.number("zero_shot.n", len(self.test[0]), unit="count", split="test")
        study.stage.number("zero_shot.chance", 1 / len(pictures.class_names), unit="%", kind=EXACT)
        return pd.DataFrame(rows)

    def couples(self) -> pd.DataFrame:
        """Scenes by couple of colour and digit: taught, and never shown or named; no row where none was held out.

        `couples.digit_gain`: how much oftener the digit of held-out ones is right by a couple's name than by its own.
        """
        held = self.is_held_out
        if not held.any():
            return pd.DataFrame(columns=["label", "n", "value", "low", "high"])
        table = self.study.pictures.table.iloc[self.study.rows("test")]
        written = (table["colour"] + "_" + table["digit"]).to_numpy()
        names = [f"{colour}_{digit}" for colour in scenes.FACTORS["colour"] for digit in scenes.DIGITS]
        y, rows = np.array([names.index(name) for name in written]), []
        self.study.stage.number("couples.chance", 1 / len(names), unit="%", kind=EXACT)
        for how, key, is_clean in (("names as words", "clean", True), ("names with underscores", "written", False)):
            answer = top_class(cosines(self.test[0], self.study.classes(words.PLAIN, names=names, is_clean=is_clean)))
            for couples, part in (("taught", ~held), ("held out", held)):
                row = accuracy_row(f"{couples}, {how}", y[part], answer[part], self.resampler.of(part))
                found = Interval(row["value"], row["low"], row["high"])
                self.keep(f"couples.{couples.replace(' ', '_')}_{key}", found, n=row["n"])
                rows.append(row)
            if is_clean:
                (z, digit, _), by_couple = self.test, answer % len(scenes.DIGITS)
                alone = top_class(cosines(z, self.study.classes(words.PLAIN)))
                gain = ((by_couple == digit) - (alone == digit).astype(float))[held]
                found = self.resampler.of(held).mean(gain, span=(-1, 1))
                self.keep("couples.digit_gain", found, unit=POINTS, n=len(gain))
        return pd.DataFrame(rows)

    def scale(self) -> pd.DataFrame:
        """NLL and ECE of softmax over cosines, with the logit scale, and at the temperature that all of calib fits."""
        study, stage, classes = self.study, self.study.stage, self.study.classes()
        (z, y, groups), (z_test, y_test, _) = study.of("calib"), self.test
        fitted = fit_temperature(scaled_logits(z, classes, study.logit_scale), y, stage.resampler(groups))[1]
        logits, n_bins = scaled_logits(z_test, classes, study.logit_scale), stage.params.statistics.ece_bins
        options = {"logit_scale": study.logit_scale, "fitted": fitted, "n_bins": n_bins}
        table = scale_effect(logits, y_test, self.resampler, **options)
        stage.numbers["scale.fitted"] = fitted.number(n=len(y), split="calib")
        stage.number("scale.logit_scale", study.logit_scale, kind=SETTING)
        for row in table.to_dict("records"):
            self.keep(f"scale.ece_{row['logits'].split()[0]}", Interval.from_columns(row, "ece"), unit="")
        both = (softmax(logits), softmax(logits / fitted.value))
        self.keep("scale.ece_change", ece_change(*both, y_test, self.resampler, n_bins=n_bins), unit="")
        return table

    # What probes read from embeddings.

    @cached_property
    def chosen(self) -> dict[str, linear.Chosen]:
        """Every kind of probe on embeddings, its strength chosen on val."""
        return {kind: linear.choose(kind, self.train, self.val, self.test[0]) for kind in linear.GRIDS}

    def probe_table(self) -> pd.DataFrame:
        """Accuracy on test of every kind of probe, its strength chosen on val; number `probe.lead`: best minus next.

        Where couples were held out, `probe.<learnt from>_<judged on>`: the logistic probe by couple, as it is (`every`)
        and learnt from pictures of taught couples alone (`taught`).
        """
        rows, right = [], {}
        for kind, probe in self.chosen.items():
            name = f"probe.{kind.lower().replace(' ', '_')}"
            rows.append({**self.row(kind, probe.answer, name), "strength": probe.strength})
            right[kind] = (probe.answer == self.test[1]).astype(float)
        best, following = sorted(right.values(), key=np.mean, reverse=True)[:2]
        self.keep("probe.lead", self.resampler.mean(best - following, span=(-1, 1)), unit=POINTS)
        if (held := self.is_held_out).any():
            (z, y), kept = self.train, ~self.study.pictures.table["held_out"].to_numpy()[self.train_rows]
            again = linear.new_probe("logistic", self.chosen["logistic"].strength).fit(z[kept], y[kept])
            answers = {"every": self.chosen["logistic"].answer, "taught": again.predict(self.test[0])}
            for (learnt, answer), (judged, part) in product(answers.items(), (("taught", ~held), ("held_out", held))):
                found = self.resampler.of(part).mean((answer == self.test[1])[part], span=(0, 1))
                self.keep(f"probe.{learnt}_{judged}", found, n=int(part.sum()))
        return pd.DataFrame(rows)

    # Prompts that name no class.

    @cached_property
    def prompt_sets(self) -> dict[str, list[str]]:
        """Sets of prompts without a class: of two natural kinds, and for scenes of the captions' own grammar."""
        sets = {"qualities": list(words.QUALITIES), "kinds": list(words.KINDS)}
        if self.study.pictures.is_scenes:
            sets["grammar"] = words.of_scenes(4 * N_PROMPTS, rng=self.study.stage.rng("probes.grammar"))
        return sets

    @cached_property
    def words(self) -> np.ndarray:
        """Text vectors of every prompt without a class, (n_words, d): the grammar's first."""
        ordered = sorted(self.prompt_sets, key=lambda name: name != "grammar")
        return np.asarray(self.study.cache.texts([text for name in ordered for text in self.prompt_sets[name]]))

    def along(self, rows: np.ndarray) -> tuple[linear.Part, linear.Part, np.ndarray]:
        """Cosines with some directions as features: of train, val and test."""
        (x, y), (x_val, y_val), (x_test, *_) = self.train, self.val, self.test
        return (x @ rows.T, y), (x_val @ rows.T, y_val), x_test @ rows.T

    def agnostic(self) -> pd.DataFrame:
        """Probes on cosines with prompts that name no class: as published, and standardised with C chosen on val."""
        out = []
        for name, texts in self.prompt_sets.items():
            rows = np.asarray(self.study.cache.texts(texts))[:N_PROMPTS]
            train, val, test = self.along(rows)
            plain = linear.machine(*train, 1.0).predict(test)
            tuned = linear.choose("logistic", train, val, test, grid=linear.C_GRID[1:6]).answer
            out.append(self.row(f"{name}, as they are, C = 1", plain, f"agnostic.{name}_plain"))
            out.append(self.row(f"{name}, standardised, C tuned", tuned, f"agnostic.{name}"))
        return pd.DataFrame(out).assign(prompts=N_PROMPTS)

    def ranks(self, sizes: Sequence[int] = (4, 8, 16, 32, 64, 128), n: int = 1500) -> pd.DataFrame:
        """Accuracy on test of tuned logistic probes along M directions: prompts, and five controls; n learn.

        Numbers at the least and the most M below the embedding's width, from which on any M may span all of it:
        `ranks.prompts_*` and `.gain_*`, paired, over random directions; and at how many such M it has a sign.
        """
        out, right, width = [], {}, self.train[0].shape[1]
        shared = {"words": self.words, "classes": self.study.classes(), "train": self.train[0]}
        for kind in linear.CONTROLS:
            for m in sizes:
                if kind == "prompts" and m > len(self.words):
                    continue
                rows = linear.directions(kind, m, rng=self.study.stage.rng("probes.directions", m), **shared)
                (x, y), val, test = self.along(rows)
                answer = linear.choose("logistic", (x[:n], y[:n]), val, test, grid=(0.1, 10.0)).answer
                right[kind, m] = (answer == self.test[1]).astype(float)
                out.append({**self.row(kind, answer), "directions": m, "rank": linear.rank(rows)})
        below, mean = [m for m in sizes if ("prompts", m) in right and m < width], self.resampler.mean
        gains = {m: mean(right["prompts", m] - right["random", m], span=(-1, 1)) for m in below}
        for end, m in (("least", below[0]), ("most", below[-1])):
            self.keep(f"ranks.prompts_{end}", mean(right["prompts", m], span=(0, 1)))
            self.keep(f"ranks.gain_{end}", gains[m], unit=POINTS)
            self.study.stage.number(f"ranks.{end}", m, unit="count", kind=SETTING)
        n_more, n_less = sum(one.low > 0 for one in gains.values()), sum(one.high < 0 for one in gains.values())
        self.study.stage.counts("ranks", {"n_below": len(below), "n_more": n_more, "n_less": n_less, "width": width})
        return pd.DataFrame(out)

    def entropies(self) -> pd.DataFrame:
        """How far the mean entropy over prompts lies below its bound, without and with the logit scale, in nats."""
        rows = []
        for name, texts in self.prompt_sets.items():
            cos = cosines(self.test[0], np.asarray(self.study.cache.texts(texts))[:N_PROMPTS])
            for label, factor in (("cosines", 1.0), ("scaled", self.study.logit_scale)):
                found = self.resampler.mean(entr(softmax(factor * cos)).sum(axis=1))
                bound = float(np.log(cos.shape[1]))
                deficit = Interval(bound - found.value, bound - found.high, bound - found.low)
                self.keep(f"entropy.{name}_{label}", deficit, unit="nats")
                row = {"prompts": name, "logits": label, "bound": bound}
                rows.append(row | bounded({"mean_entropy": found, "deficit": deficit}))
        return pd.DataFrame(rows)

    # Temperature is C.

    @cached_property
    def small(self) -> tuple[linear.Part, np.ndarray]:
        """Cosines with one set of prompts for linear machines: few pictures of train, and test."""
        (x, y), _, test = self.along(self.words[:N_PROMPTS])
        return (x[:N_SMALL], y[:N_SMALL]), test

    def temperatures(self) -> pd.DataFrame:
        """The published table: features / tau, C = 1, beside C / tau² on plain features.

        Columns tau, equal_cost, accuracy (with its interval), equal_answers (share of these pictures that both machines
        answer alike); the last row is the share that they answer alike at every tau, the number `tau.equal_answers`.
        """
        both = linear.both_machines(*self.small, taus=PUBLISHED_TAUS, costs=(1.0,))
        rows, is_alike = [], np.equal(*both)[:, 0]
        for tau, answer, is_equal in zip(PUBLISHED_TAUS, both[0][:, 0], is_alike, strict=True):
            row = self.row(f"{tau:g}", answer, f"agnostic.tau_{f'{tau:g}'.replace('.', '_')}")
            accuracy = Interval(row["value"], row["low"], row["high"])
            found = {**with_bounds("accuracy", accuracy), "equal_answers": is_equal.mean()}
            rows.append({"tau": row["label"], "equal_cost": 1.0 / tau**2, **found})
        everywhere = float(is_alike.all(axis=0).mean())
        self.study.stage.number("tau.equal_answers", everywhere, n=len(is_alike[0]), unit="%", split="test", kind=EXACT)
        return pd.DataFrame([*rows, {"tau": "every one of these", "equal_answers": everywhere}])

    def tau_map(self) -> tuple[np.ndarray, np.ndarray]:
        """Accuracy over tau and C, of divided features and of plain ones with C / tau²."""
        both = linear.both_machines(*self.small, taus=TAUS, costs=COSTS)
        divided, plain = ((answer == self.test[1]).mean(axis=-1) for answer in both)
        self.study.stage.number("tau.map_difference", float(np.abs(divided - plain).max()), kind=EXACT)
        return divided, plain

    # Few pictures, few pixels, no labels.

    def few_shot(self, n_repeats: int = 5) -> pd.DataFrame:
        """Accuracy on test of probes on a few pictures of each class: mean over draws, interval over test groups."""
        strength, rng = max(self.chosen["logistic"].strength, 1.0), self.study.stage.rng("probes.few_shot")
        options = {"shots": SHOTS, "n_repeats": n_repeats, "strength": strength, "rng": rng}
        drawn, rows = linear.few_shot(self.study.of("train")[:2], self.test[:2], **options), []
        for shots, right in drawn.items():
            found = self.resampler.mean(right.mean(axis=0), span=(0, 1))
            spread = float(right.mean(axis=1).std(ddof=1))
            rows.append({"shots": shots, "accuracy": found.value, "low": found.low, "high": found.high, "sd": spread})
        for name, row in (("least", rows[0]), ("most", rows[-1])):
            self.keep(f"few_shot.{name}", Interval(row["accuracy"], row["low"], row["high"]))
        return pd.DataFrame(rows)

    def resolutions(self, n: int = 1000) -> pd.DataFrame:
        """The same test pictures shrunk and brought back to their size: from prompts, and by the chosen probe."""
        z, y, groups = (part[:n] for part in self.test)
        images = np.asarray(self.study.pictures.images[self.study.rows("test")[:n]])
        side, rows, resampler = images.shape[1], [], self.study.stage.resampler(groups)
        classes = self.study.classes()
        probe = linear.new_probe("logistic", self.chosen["logistic"].strength).fit(*self.train)
        for px in [*(px for px in SHRUNK_TO if px < side), side]:
            seen = z if px == side else np.asarray(self.study.cache.images(at_px(at_px(images, px), side)))
            for label, answer in (("prompts", top_class(cosines(seen, classes))), ("probe", probe.predict(seen))):
                rows.append({**accuracy_row(label, y, answer, resampler), "px": px})
        numbers, smallest = self.study.stage.numbers, rows[0]["px"]
        numbers["resolution.px"] = Number(smallest, unit="px", kind=SETTING)
        for name, row in zip(("prompts_least", "probe_least", "prompts", "probe"), rows[:2] + rows[-2:], strict=True):
            found = Interval(row["value"], row["low"], row["high"])
            numbers[f"resolution.{name}"] = found.number(n=len(y), split="test", unit="%")
        return pd.DataFrame(rows)

    def clustering(self) -> pd.DataFrame:
        """K-means with as many clusters as classes: on embeddings, and on cosines with prompts or random directions."""
        z, y, _ = self.test
        rng, seed = self.study.stage.rng("probes.noise"), self.study.stage.params.statistics.seed
        noise = linear.directions("random", N_PROMPTS, words=self.words, classes=z, train=z, rng=rng)
        features = {"embedding": z, "prompts": z @ self.words[:N_PROMPTS].T, "random": z @ noise.T}
        rows = []
        for name, part in features.items():
            cluster = linear.clusters(part, len(self.study.pictures.class_names), seed=seed)
            found = linear.cluster_scores(y, cluster, self.resampler, n_chance=20)
            self.keep(f"clusters.{name}_purity", Interval.from_columns(found, "purity"))
            self.keep(f"clusters.{name}_ami", Interval.from_columns(found, "ami"), unit="")
            rows.append({"features": name, **found})
        return pd.DataFrame(rows)

    def confusions(self) -> np.ndarray:
        """Counts of true class against the answer from prompts; the most frequent mistake, where there is one, becomes
        the numbers `mistake.true`, `.answer` (names) and `.share` of the class, unadjusted for having been picked.
        """
        _, y, _ = self.test
        names, numbers = self.study.pictures.class_names, self.study.stage.numbers
        counts = confusion_counts(y, self.answer, len(names)).astype(int)
        mistaken = counts - np.diag(np.diag(counts))
        if not mistaken.any():
            return counts
        true, wrong = np.unravel_index(np.argmax(mistaken), counts.shape)
        numbers.merge({"mistake.true": named(names[true]), "mistake.answer": named(names[wrong])})
        own = y == true
        found = self.resampler.of(own).mean(self.answer[own] == wrong, span=(0, 1))
        numbers["mistake.share"] = found.number(n=int(own.sum()), split="test", unit="%")
        return counts

    def published(self) -> pd.DataFrame:
        """Published values in per cent beside this report's, where it does the analogue of the experiment.

        Numbers `published.n` and `.n_here`: experiments, and those of which this report does the analogue.
        """
        table = pd.read_csv(paths.LIBRARY / "clip" / "published.csv", comment="#")
        here = [self.study.stage.numbers.get(key) for key in table["key"].fillna("")]
        for name, n in {"n": len(here), "n_here": sum(number is not None for number in here)}.items():
            self.study.stage.number(f"published.{name}", n, unit="count")
        return table.drop(columns="key").assign(here=here)

    def prompt_similarity(self) -> pd.DataFrame:
        """Mean cosine between the texts of two classes, and between templates of one class: how spread texts are."""
        study, names = self.study, self.study.pictures.class_names
        texts = np.asarray(study.cache.texts(words.prompts(names, study.pictures.templates)))
        cos = study.classes() @ study.classes().T
        between = float(cos[~np.eye(len(cos), dtype=bool)].mean())
        split = texts.reshape(len(names), -1, texts.shape[1])
        n = split.shape[1]
        within = float(np.mean([((t @ t.T).sum() - n) / max(1, n * (n - 1)) for t in split])) if n > 1 else float("nan")
        return pd.DataFrame([{"between_classes": between, "between_templates_of_a_class": within}])
