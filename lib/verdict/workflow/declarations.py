"""The declarations of the stages, in reading order: which results each may read, and which parameters.

A stage is one notebook, or a function without a notebook. To add one, declare it here and put its notebook beside the
others. Nothing is computed from this file, so that a declaration makes no other stage run again.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spec:
    """A stage, the stages whose results it reads, and parameter sections: it sees no others.

    Its name is the notebook's stem, `<stem>-<source>` where that is executed once more on another source's predictions,
    or the name of a stage without a notebook.
    """

    name: str
    needs: tuple[str, ...]
    sections: tuple[str, ...]


# What pages on the kept trial read, those that ask its network and those that train again; sections of several.
KEPT = ("01_data", "03_staged_unfreezing", "04_model_selection")
NETWORK = ("01_data", "features", "03_staged_unfreezing", "04_model_selection")
TRIED = ("01_data", "features", "02_warmup", "03_staged_unfreezing", "04_model_selection")
JUDGED = ("calibrate", "policy", "statistics")
TRAINED = ("model", "training", "statistics")
DECIDED = (*KEPT, "07_calibration", "signals", "08_policy")

SPECS = (
    Spec("01_data", (), ("data", "statistics")),
    Spec("features", ("01_data",), ("model", "plans", "views")),
    Spec("02_warmup", ("01_data", "features"), TRAINED),
    Spec("03_staged_unfreezing", ("01_data", "features", "02_warmup"), ("trial", *TRAINED)),
    Spec("04_model_selection", ("01_data", "02_warmup", "03_staged_unfreezing"), ("training", "statistics")),
    Spec("05_test", NETWORK, ("data", "report", *TRAINED)),
    Spec("06_interpretation", NETWORK, ("interpret", *TRAINED)),
    Spec("signals", NETWORK, ("data", "model")),
    Spec("07_calibration", KEPT, JUDGED),
    Spec("08_policy", (*KEPT, "07_calibration", "signals"), ("model", *JUDGED)),
    Spec("08_with_people", DECIDED, JUDGED),
    Spec("09_independent_set", DECIDED, JUDGED),
    Spec("13_defects", (*TRIED, "05_test"), ("data", "defects", *TRAINED)),
    # It needs every other stage of the profile besides.
    Spec("13_reproducibility", ("01_data",), ("data", *TRAINED)),
)
# Saved logits have no images: this page takes the place of all before those that judge predictions.
RECORDED_SPEC = Spec("01_recorded", (), ("data", "report", "statistics"))
# The page of `make monitor`: no part of a report, and made from a log of decisions that came after it.
MONITOR_SPEC = Spec("monitor", (), ("monitor", "statistics"))
# Pages on a dual encoder: beside the others where `clip.source` is given, alone where `data.source` is clip.
ENCODED, ANSWERED = ("clip_embeddings",), ("clip_answers", "07_calibration-clip")
PERTURBED = ("clip", "clip_robustness", "statistics")
CLIP_SPECS = (
    Spec("clip_model", (), ("clip",)),
    Spec("clip_embeddings", ("clip_model",), ("clip",)),
    Spec("clip_answers", ENCODED, ("clip", "clip_policy")),
    Spec("07_calibration-clip", ("clip_answers",), JUDGED),
    Spec("08_policy-clip", ANSWERED, JUDGED),
    Spec("08_with_people-clip", (*ANSWERED, "08_policy-clip"), JUDGED),
    Spec("10_clip_probes", ENCODED, ("clip", "calibrate", "statistics")),
    Spec("11_clip_robustness", ENCODED, PERTURBED),
    Spec("11_clip_shift", (*ENCODED, "11_clip_robustness"), ("calibrate", *PERTURBED)),
    Spec("11_clip_tasks", ENCODED, PERTURBED),
    Spec("12_clip_concepts", ENCODED, ("clip", "concepts", "statistics")),
)
