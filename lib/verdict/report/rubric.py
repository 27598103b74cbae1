"""The questions to reviewers (`params/rubric.yaml`), and checklists with answers (`notebooks/checklists.yaml`)."""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from verdict.base import paths
from verdict.base.parameter_files import ParamsError, read_yaml

FILE, CHECKLISTS = "rubric.yaml", "checklists.yaml"


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


class Item(_Strict):
    """An item of a checklist in our own words, its answer, the pages that show it, and why."""

    id: Annotated[str, Field(min_length=1)]
    ask: Annotated[str, Field(min_length=1)]
    answer: Literal["done", "partly", "not done", "not applicable"]
    look: tuple[str, ...] = ()
    why: Annotated[str, Field(min_length=1)]


class Checklist(_Strict):
    """A checklist that graders use, and its source."""

    title: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    items: Annotated[tuple[Item, ...], Field(min_length=1)]


class _Checklists(_Strict):
    checklists: tuple[Checklist, ...]


_Read = TypeVar("_Read", bound=_Strict)


def load_rubric(path: Path | None = None) -> Rubric | None:
    """The rubric, or None where the project has none; ParamsError names the file and what is wrong."""
    return _load(path or paths.PARAMS / FILE, Rubric)


def load_checklists(path: Path | None = None) -> tuple[Checklist, ...]:
    """The checklists, none where the project has none; ParamsError names the file and what is wrong."""
    found = _load(path or paths.NOTEBOOKS / CHECKLISTS, _Checklists)
    return found.checklists if found else ()


def _load(path: Path, kind: type[_Read]) -> _Read | None:
    if not path.is_file():
        return None
    content = read_yaml(path)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or path.stem}: {e['msg']}" for e in error.errors())
        raise ParamsError(f"{path}: {faults}") from None
