"""Parameter files as plain values: YAML that says what it holds, and nothing that a reader would not expect."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from verdict.base import paths

MAX_FILE_BYTES = 1_000_000
MAX_DEPTH = 32

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# YAML 1.1 reads 1:30 as 90 and 010 as 8: nobody who writes them means that.
_SURPRISING = re.compile(r"^[-+]?(?:0[0-9_]+|[0-9][0-9_]*(?::[0-9_]+)+)")


class ParamsError(ValueError):
    """Parameters that cannot be used; the message lists every fault with its place."""


def _fault(place: Any, text: str) -> ParamsError:
    """A fault at an event or a node of YAML, with its line."""
    return ParamsError(f"line {place.start_mark.line + 1}: {text}")


class _Loader(yaml.CSafeLoader):
    """YAML without repeated keys or surprising numbers: what a parameter file says is what it holds."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                hint = "(YAML reads on, off, yes and no as true or false); write it in quotes"
                raise _fault(key_node, f"keys are text, got {key!r} {hint}")
            if key in seen:
                raise _fault(key_node, f"the key {key!r} stands twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        is_number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if is_number and _SURPRISING.match(node.value):
            raise _fault(node, f"{node.value!r} would be read as a number in base 8 or 60; write it plainly")
        try:
            return super().construct_object(node, deep)
        except ParamsError:
            raise
        except ValueError as error:
            raise _fault(node, f"{str(node.value)[:40]!r} cannot be read: {error}") from None


def _refuse_unplain(text: str) -> None:
    """ParamsError where YAML holds an alias or a tag, by which a value is not what stands there, or deep nests."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _fault(event, f"is nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent):
            raise _fault(event, "YAML aliases are not accepted in parameters")
        if getattr(event, "tag", None) is not None:
            raise _fault(event, f"YAML tags are not accepted in parameters, got {event.tag!r}")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a parameter file as plain values. FileNotFoundError names the profiles that there are; ParamsError if it is
    too large, not UTF-8, not YAML, holds tags, aliases, repeated keys or deep nests, or is not a mapping.
    """
    if not path.is_file():
        known = paths.profiles(path.parent)
        raise FileNotFoundError(f"{path} does not exist{nearest(path.stem, known)}; profiles are {known}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ParamsError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes; that is not a parameter file")
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_unplain(text)
        content = yaml.load(text, Loader=_Loader)
    except ParamsError as error:
        raise ParamsError(f"{path}, {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        raise ParamsError(f"{path}, line {line} is not readable as YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not readable as YAML: {error}") from None
    if not isinstance(content, dict):
        raise ParamsError(f"{path} must hold a mapping, got {type(content).__name__}")
    return content


def merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another: mappings are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in override.items():
        both_mappings = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both_mappings else value
    return merged


def nearest(word: str, known: list[str], cutoff: float = 0.5) -> str:
    """What an unknown word may have meant, as the end of a message; "" where nothing is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""


def unreadable(content: Any, place: str = "") -> Iterator[str]:
    """Where keys or texts hold control characters, which no page and no terminal shows as they are."""
    if isinstance(content, str) and (found := _CONTROL.search(content)):
        yield f"{place}: the text holds the control character U+{ord(found[0]):04X}"
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from unreadable(str(key), f"{place or 'a key'}")
            yield from unreadable(value, f"{place}.{key}".strip("."))
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from unreadable(value, f"{place}.{number}")
