"""Where stages run, and the resources of each: `params/execution/<where>/`, a base and the overrides of a profile."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from verdict.base import paths
from verdict.base.parameter_files import ParamsError, merge, read_yaml
from verdict.base.params import Count, CountOrNone, Model
from verdict.workflow import stages

WHERES = ("local", "slurm")
DEFAULT = "default"


class Ask(Model):
    """Resources of one stage: megabytes, minutes until it is stopped, GPUs, processors; None: as in `default`."""

    mem_mb: Annotated[int, Field(ge=100)] | None = None
    minutes: Count | None = None
    gpu: Annotated[int, Field(ge=0, le=1)] | None = None
    cpus: Count | None = None


class SlurmParams(Model):
    """How jobs are submitted and watched; a partition or account of "" is the cluster's default."""

    account: Annotated[str, Field(pattern=r"^[\w.-]*$")]
    partition: Annotated[str, Field(pattern=r"^[\w.-]*$")]
    gpu_partition: Annotated[str, Field(pattern=r"^[\w.-]*$")]
    first_check_s: Count
    report_waiting_s: Count
    give_up_minutes: Count


class Execution(Model):
    """Where and how a profile runs; none of it changes a number."""

    jobs: Count
    retries: CountOrNone
    latency_s: CountOrNone
    stages: dict[str, Ask]
    slurm: SlurmParams | None = None

    def _faults(self) -> Iterator[str]:
        default = self.stages.get(DEFAULT)
        if default is None or None in default.model_dump().values():
            yield f"stages.{DEFAULT} must say all of {list(Ask.model_fields)}"
        if unknown := sorted(set(self.stages) - {DEFAULT, *stages.ALL_NAMES}):
            yield f"stages names {unknown}; there are {list(stages.ALL_NAMES)}"

    def ask(self, stage: str) -> Ask:
        """Resources of a stage, with defaults filled in."""
        given = self.stages.get(stage, Ask()).model_dump(exclude_none=True)
        return self.stages[DEFAULT].model_copy(update=given)


def load_execution(where: str, profile: str, folder: Path | None = None) -> Execution:
    """Load and validate where a profile runs; ParamsError for an unknown key, a wrong type or a stage that is none."""
    folder = (folder or paths.PARAMS / "execution") / where
    content, own = read_yaml(folder / "base.yaml"), folder / f"{profile}.yaml"
    content = merge(content, read_yaml(own)) if own.is_file() else content
    try:
        return Execution.model_validate_json(json.dumps(content))
    except ValidationError as error:
        faults = "\n".join(f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ParamsError(f"{folder}, profile {profile!r}: {error.error_count()} faults\n{faults}") from None
