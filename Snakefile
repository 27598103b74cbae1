# Which stage needs which; nothing is computed here. Run through `make report` (python -m verdict.pipeline).
import sys

sys.path.insert(0, str(workflow.current_basedir) + "/lib")

from verdict import stage as stages
from verdict.artifacts import canonical_json
from verdict.params import load_params

PROFILE = config.get("profile", "digits")
GPUS = int(config.get("gpus", 0))
PARAMS = load_params(PROFILE)
SPECS = stages.specs_for(PARAMS)
RUN = f"{sys.executable} -m verdict.run"
# These compute with the framework.
ON_GPU = (*stages.WITHOUT_NOTEBOOK, "02_warmup", "05_test", "06_interpretation", "08_policy", "13_reproducibility")


def record(name, trial=None, seed=None):
    return f"work/{PROFILE}/" + "/".join(filter(None, [name, stages.instance(trial, seed)])) + "/run.json"


def records(name):
    if name != stages.TRIAL_STAGE:
        return [record(name)]
    return [record(name, trial, seed) for trial, seed in stages.runs(PARAMS)]


def upstream(name):
    return [path for need in stages.spec(name, PARAMS).needs for path in records(need)]


def trial_upstream(w):
    parent = PARAMS.trial(w.trial).parent
    own = [record("01_data"), record(stages.FEATURES), record("02_warmup")]
    return own + ([] if parent == "warmup" else [record(stages.TRIAL_STAGE, parent, int(w.seed))])


def asked(name, trial=None, seed=None):
    return canonical_json(stages.resolved(PARAMS, name, trial, seed))


rule site:
    input:
        [path for spec in SPECS for path in records(spec.name)],
        sorted({f"notebooks/{stages.notebook_of(spec.name)}.ipynb" for spec in SPECS if spec.name not in stages.WITHOUT_NOTEBOOK}),
        f"notebooks/{stages.index_text(PARAMS)}",
        [str(path) for path in (*stages.library_files(["import verdict.report.site"]), *stages.page_files())],
    params:
        profile=PARAMS.hash,
    output:
        f"reports/{PROFILE}/index.html",
    shell:
        f"{sys.executable} -m verdict.report --profile {PROFILE}"


rule trial:
    input:
        trial_upstream,
    params:
        code=lambda w: stages.code_digest(stages.TRIAL_STAGE),
        asked=lambda w: asked(stages.TRIAL_STAGE, w.trial, int(w.seed)),
    output:
        f"work/{PROFILE}/{stages.TRIAL_STAGE}/{{trial}}-s{{seed}}/run.json",
    wildcard_constraints:
        trial="[a-z][a-z0-9_]*",
        seed="[0-9]+",
    resources:
        gpu=min(1, GPUS),
        mem_mb=2000,
        runtime=240,
    shell:
        f"{RUN} {stages.TRIAL_STAGE} --profile {PROFILE} --trial {{wildcards.trial}} --seed {{wildcards.seed}}"


for spec in SPECS:
    if spec.name == stages.TRIAL_STAGE:
        continue

    rule:
        name:
            f"stage_{spec.name.replace('-', '_')}"
        input:
            upstream(spec.name),
        params:
            name=spec.name,
            code=stages.code_digest(spec.name),
            asked=asked(spec.name),
        output:
            record(spec.name),
        resources:
            gpu=min(1, GPUS) if spec.name in ON_GPU else 0,
            mem_mb=2000,
            runtime=240,
        shell:
            f"{RUN} {{params.name}} --profile {PROFILE}"
