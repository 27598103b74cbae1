# Which stage needs which; nothing is computed here. Run through `make report` (python -m verdict.workflow.pipeline).
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(workflow.current_basedir) + "/lib")

from verdict.workflow import stages
from verdict.base.artifacts import canonical_json, relative
from verdict.workflow.code_digest import code_digest, library_files, page_files
from verdict.workflow.execution import load_execution
from verdict.base.params import load_params
from verdict.workflow.remaining import longest_ways
from verdict.workflow.stage_parameters import resolved

PROFILE = config.get("profile", "digits")
WHERE = config.get("where", "local")
GPUS = int(config.get("gpus", 0))
PARAMS = load_params(PROFILE)
EXECUTION = load_execution(WHERE, PROFILE)
SPECS = stages.specs_for(PARAMS)
# The process is Snakemake's own child, without a shell in between, so that it ends when Snakemake does.
PYTHON = "exec " + shlex.quote(sys.executable).replace("{", "{{").replace("}", "}}")
RUN = f"{PYTHON} -m verdict.workflow.warm verdict.workflow.run"
SHARDS = PARAMS.execution.feature_shards
WAYS = longest_ways(PARAMS, PROFILE)


def record(name, trial=None):
    return f"work/{PROFILE}/" + "/".join(filter(None, [name, trial])) + "/run.json"


def records(name, trial=None):
    return [record(*execution) for execution in stages.upstream(PARAMS, name, trial)]


def upstream(name):
    shards = [f"work/{PROFILE}/{stages.shard_folder(k, SHARDS)}/run.json" for k in range(SHARDS)]
    return records(name) + (shards if name == stages.FEATURES and SHARDS > 1 else [])


def parent_of(w):
    return records(stages.TRIAL_STAGE, w.trial)


def trial_upstream(w):
    apart = stages.seeds(PARAMS, w.trial) if PARAMS.execution.seeds_apart else ()
    return parent_of(w) + [f"work/{PROFILE}/{stages.seed_folder(w.trial, seed)}/run.json" for seed in apart]


def asked(name, trial=None):
    return canonical_json(resolved(PARAMS, name, trial))


def asks(name):
    """Resources of a stage: a local run has as many GPUs as there are, a cluster as many as it is asked for."""
    ask = EXECUTION.ask(name)
    gpu = ask.gpu if WHERE != "local" else min(ask.gpu, GPUS)
    partition = EXECUTION.slurm.gpu_partition if WHERE == "slurm" and gpu else ""
    return {
        "mem_mb": lambda w, attempt: ask.mem_mb * attempt,
        "runtime": ask.minutes,
        "gpu": gpu,
        "cpus_per_task": max(ask.cpus, PARAMS.execution.threads),
        **({"slurm_partition": partition} if partition else {}),
    }


localrules:
    site,


rule site:
    input:
        [record(*execution) for execution in stages.executions(PARAMS)],
        sorted({f"notebooks/{stages.notebook_of(spec.name)}.ipynb" for spec in SPECS if spec.name not in stages.WITHOUT_NOTEBOOK}),
        f"notebooks/{stages.index_text(PARAMS)}",
        [path for path in ["notebooks/glossary.md", "notebooks/checklists.yaml"] if (Path(workflow.current_basedir) / path).is_file()],
        [relative(path) for path in (*library_files(["import verdict.report.site"]), *page_files())],
    params:
        profile=PARAMS.hash,
    output:
        f"work/{PROFILE}/rendered.json",
    shell:
        f"{PYTHON} -m verdict.workflow.start verdict.report --profile {PROFILE}"


rule trial:
    input:
        trial_upstream,
    params:
        code=lambda w: code_digest(stages.TRIAL_STAGE),
        asked=lambda w: asked(stages.TRIAL_STAGE, w.trial),
    output:
        f"work/{PROFILE}/{stages.TRIAL_STAGE}/{{trial}}/run.json",
    wildcard_constraints:
        trial="[a-z][a-z0-9_]*",
    priority: lambda w: WAYS[stages.label(stages.TRIAL_STAGE, w.trial)]
    resources:
        **asks(stages.TRIAL_STAGE),
    shell:
        f"{RUN} {stages.TRIAL_STAGE} --profile {PROFILE} --trial {{wildcards.trial}}"


if PARAMS.execution.seeds_apart:

    rule seed:
        input:
            parent_of,
        params:
            code=lambda w: code_digest(stages.TRIAL_STAGE),
            asked=lambda w: asked(stages.TRIAL_STAGE, w.trial),
        output:
            f"work/{PROFILE}/{stages.seed_folder('{trial}', '{seed}')}/run.json",
        wildcard_constraints:
            trial="[a-z][a-z0-9_]*",
            seed="[0-9]+",
        priority: lambda w: WAYS[stages.label(stages.TRIAL_STAGE, w.trial)]
        resources:
            **asks(stages.TRIAL_STAGE),
        shell:
            f"{RUN} {stages.TRIAL_STAGE} --profile {PROFILE} --trial {{wildcards.trial}} --seed {{wildcards.seed}}"


if SHARDS > 1 and stages.FEATURES in {spec.name for spec in SPECS}:

    rule feature_shard:
        input:
            record("01_data"),
        params:
            code=code_digest(stages.FEATURES),
            asked=asked(stages.FEATURES),
        output:
            f"work/{PROFILE}/{stages.shard_folder('{k}', SHARDS)}/run.json",
        wildcard_constraints:
            k="[0-9]+",
        priority: WAYS[stages.FEATURES]
        resources:
            **asks(stages.FEATURES),
        shell:
            f"{RUN} {stages.FEATURES} --profile {PROFILE} --shard {{wildcards.k}}"


for spec in SPECS:
    if spec.name == stages.TRIAL_STAGE:
        continue

    rule:
        name:
            stages.rule_name(spec.name)
        input:
            upstream(spec.name),
        params:
            name=spec.name,
            code=code_digest(spec.name),
            # A function: braces in what a person wrote (a prompt) are no wildcards.
            asked=lambda w, name=spec.name: asked(name),
        output:
            record(spec.name),
        priority: WAYS[spec.name]
        resources:
            **asks(spec.name),
        shell:
            f"{RUN} {{params.name:q}} --profile {PROFILE}"
