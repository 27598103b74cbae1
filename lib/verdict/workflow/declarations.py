"""The declarations of the stages, in reading order: what each asks, which results it may read, which parameters.

A stage is one notebook, or a function without a notebook. To add one, declare it here and put its notebook beside the
others. Nothing is computed from this file, so that a declaration makes no other stage run again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Spec:
    """A stage, the question that it answers, stages whose results it reads, and parameter sections: it sees no others.

    Its name is the notebook's stem, `<stem>-<source>` where that is executed once more on another source's predictions,
    or the name of a stage without a notebook.
    """

    name: str
    question: str
    needs: tuple[str, ...]
    sections: tuple[str, ...]


# What pages on the kept trial read, and those that ask its network; and sections that several declare.
KEPT = ("01_data", "03_staged_unfreezing", "04_model_selection")
NETWORK = ("01_data", "features", "03_staged_unfreezing", "04_model_selection")
JUDGED = ("calibrate", "policy", "statistics")
TRAINED = ("model", "training", "statistics")
DECIDED = (*KEPT, "07_calibration", "signals", "08_policy")

SPECS = (
    Spec("01_data", "What is in the data, and can it leak?", (), ("data", "statistics")),
    Spec("features", "Frozen prefixes of every image and hypothesis", ("01_data",), ("model", "plans", "views")),
    Spec(
        "02_warmup",
        "What does a proxy task teach the fusion head while both encoders stay frozen?",
        ("01_data", "features"),
        TRAINED,
    ),
    Spec(
        "03_staged_unfreezing",
        "How much does each unfreezing step add?",
        ("01_data", "features", "02_warmup"),
        ("trial", *TRAINED),
    ),
    Spec(
        "04_model_selection",
        "Which configuration do we keep, and is it really better?",
        ("01_data", "02_warmup", "03_staged_unfreezing"),
        ("training", "statistics"),
    ),
    Spec("05_test", "How good is it on unseen images, and where does it fail?", NETWORK, ("data", "report", *TRAINED)),
    Spec("06_interpretation", "What does it look at?", NETWORK, ("interpret", *TRAINED)),
    Spec(
        "signals",
        "The kept model's answers to changed views and to questions about each pair",
        NETWORK,
        ("data", "model"),
    ),
    Spec("07_calibration", "Can its probabilities be believed?", KEPT, JUDGED),
    Spec("08_policy", "When may it act alone?", (*KEPT, "07_calibration", "signals"), ("model", *JUDGED)),
    Spec("08_with_people", "What do people cost and save?", DECIDED, JUDGED),
    Spec("09_independent_set", "Does any of this survive another distribution?", DECIDED, JUDGED),
    Spec(
        "13_defects",
        "What did the originals get wrong, and what would it do here?",
        ("01_data", "features", "02_warmup", "03_staged_unfreezing", "04_model_selection", "05_test"),
        ("data", "defects", *TRAINED),
    ),
    Spec(
        "13_reproducibility",
        "Could someone else get these numbers?",
        ("01_data",),  # and every other stage of the profile before it
        ("data", *TRAINED),
    ),
)
# Saved logits have no images: this page takes the place of all before those that judge predictions.
RECORDED_SPEC = Spec("01_recorded", "What was recorded, and can it be used?", (), ("data", "report", "statistics"))
# The page of `make monitor`: no part of a report, and made from a log of decisions that came after it.
MONITOR_SPEC = Spec("monitor", "Is the promise still kept?", (), ("monitor", "statistics"))
# Pages on a dual encoder: beside the others where `clip.source` is given, alone where `data.source` is clip.
ENCODED, ANSWERED = ("clip_embeddings",), ("clip_answers", "07_calibration-clip")
PERTURBED = ("clip", "clip_robustness", "statistics")
CLIP_SPECS = (
    Spec("clip_model", "A tiny dual encoder, taught on the profile's own pictures", (), ("clip",)),
    Spec("clip_embeddings", "Pictures of the dual encoder's pages and their embeddings", ("clip_model",), ("clip",)),
    Spec(
        "clip_answers",
        "CLIP's zero-shot answers to pictures, their changed views and questions",
        ENCODED,
        ("clip", "clip_policy"),
    ),
    Spec("07_calibration-clip", "Can CLIP's probabilities be believed?", ("clip_answers",), JUDGED),
    Spec("08_policy-clip", "When may CLIP act alone?", ANSWERED, JUDGED),
    Spec(
        "08_with_people-clip", "What do people cost and save where CLIP answers?", (*ANSWERED, "08_policy-clip"), JUDGED
    ),
    Spec(
        "10_clip_probes",
        "What do CLIP's embeddings and similarities encode?",
        ENCODED,
        ("clip", "calibrate", "statistics"),
    ),
    Spec("11_clip_robustness", "Which visual factors and corruptions break it?", ENCODED, PERTURBED),
    Spec(
        "11_clip_shift",
        "Does it know what it does not know, and does its calibration travel?",
        ("clip_embeddings", "11_clip_robustness"),
        ("clip", "clip_robustness", "calibrate", "statistics"),
    ),
    Spec("11_clip_tasks", "What else can it do: find captions, see depth, answer questions?", ENCODED, PERTURBED),
    Spec(
        "12_clip_concepts", "Which concepts do CLIP's two encoders share?", ENCODED, ("clip", "concepts", "statistics")
    ),
)
