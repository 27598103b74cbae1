"""Whether descriptors that are added to the prompts help to classify, against plain prompts and random ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from verdict.clip import concepts
from verdict.clip.bank import material
from verdict.clip.concept_setup import CachedReader, Setup, mean_of, store
from verdict.clip.variants import WHOLE
from verdict.clip.words import class_vectors, prompts
from verdict.numbers import POINTS
from verdict.scores import top_class
from verdict.uncertainty import with_bounds


def added_descriptors(setup: Setup) -> pd.DataFrame:
    """Accuracy on all test pictures of the classes when descriptors are added to the prompts.

    Descriptors are found on pictures of train, whose handwriting is not that of test.

    Returns
    -------
    DataFrame
        prompts, n, accuracy, difference to the plain prompts (paired), with intervals. Numbers `concepts.added_gain`,
        `.random_gain`.
    """
    settings, study, reader = setup.stage.params.concepts, setup.study, setup.readers[WHOLE]
    source = material(study.pictures, setup.classes, setup.bank, "train", n_images=settings.n_images)
    judged = material(study.pictures, setup.classes, setup.bank, "test")
    found = setup.look(WHOLE, pictures=source)
    n_classes, n_bank = len(setup.classes), len(setup.bank)
    frequent = concepts.frequent_descriptors(found.is_visual(n_bank), source.y_true, n_classes, settings.n_added)
    drawn = setup.stage.rng("concepts.added").integers(n_bank, size=(n_classes, settings.n_added))
    ways = {
        "found in pictures": frequent,
        "nearest to the class's name": found.textual[:, : settings.n_added],
        "drawn at random": drawn,
    }
    vectors = np.asarray(reader.images(judged.images))
    plain = _right(vectors, setup.words(reader).classes, judged.y_true)
    alone = mean_of(setup, plain, judged.groups, span=(0, 1))
    rows = [{"prompts": "the class's name alone", "n": len(judged), **with_bounds("accuracy", alone)}]
    for name, chosen in ways.items():
        right = _right(vectors, described_classes(setup, reader, chosen), judged.y_true)
        gain = mean_of(setup, right - plain, judged.groups, span=(-1, 1))
        accuracy = with_bounds("accuracy", mean_of(setup, right, judged.groups, span=(0, 1)))
        row = {"prompts": f"with descriptors {name}", "n": len(judged), **accuracy}
        rows.append(row | with_bounds("difference", gain))
        if name in _GAINS:
            store(setup, _GAINS[name], gain, unit=POINTS, n=len(judged))
    return pd.DataFrame(rows)


_GAINS = {"found in pictures": "added_gain", "drawn at random": "random_gain"}


def described_classes(setup: Setup, reader: CachedReader, chosen: np.ndarray) -> np.ndarray:
    """Class vectors of prompts that end with a descriptor, the mean over templates and descriptors, (K, d).

    Parameters
    ----------
    chosen : int, (K, n)
        Descriptors of each class.
    """
    texts = setup.texts
    named = [
        f"{text}, {texts[place]}"
        for name, ids in zip(setup.classes["name"], chosen, strict=True)
        for text in prompts([name], setup.templates)
        for place in ids
    ]
    return class_vectors(np.asarray(reader.texts(named)), len(setup.templates) * chosen.shape[1])


def _right(vectors: np.ndarray, classes: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    return (top_class(vectors @ classes.T) == y_true).astype(float)
