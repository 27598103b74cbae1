"""What reviewers are asked: `params/rubric.yaml`, checked strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from verdict.base import paths
from verdict.base.parameter_files import ParamsError, read_yaml

FILE = "rubric.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Criterion(_Strict):
    """One question to the reviewer, the pages where the answer is found, and its weight."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    ask: Annotated[str, Field(min_length=1)]
    look: tuple[str, ...] = ()
    weight: Annotated[float, Field(gt=0)] = 1.0


class Rubric(_Strict):
    """Questions with one scale; its steps, from the worst on, count 0, 1, 2 … points."""

    title: Annotated[str, Field(min_length=1)]
    scale: Annotated[tuple[str, ...], Field(min_length=2)]
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        ids = [criterion.id for criterion in self.criteria]
        if repeated := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"criteria need ids of their own, repeated: {repeated}")
        return self


def load_rubric(path: Path | None = None) -> Rubric | None:
    """The rubric, or None where the project has none; ParamsError names the file and what is wrong."""
    path = path or paths.PARAMS / FILE
    if not path.is_file():
        return None
    content = read_yaml(path)
    try:
        return Rubric.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'rubric'}: {e['msg']}" for e in error.errors())
        raise ParamsError(f"{path}: {faults}") from None
