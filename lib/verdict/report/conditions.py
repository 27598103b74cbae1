"""Text cells that say only what holds: `{% if test.gain.low > 0 %} … {% else %} … {% endif %}`.

Conditions compare stored numbers by `.value`, `.low` or `.high`; `has("independent.accuracy")` asks whether a number is
stored and defined. They are evaluated when a page is rendered, so that changing one executes nothing. Numbers in braces
are left for the renderer.
"""

from __future__ import annotations

import math

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from verdict.base.numbers import Numbers
from verdict.report.markdown import MarkdownError

_PARTS = ("value", "low", "high")
_ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Compare, nodes.Operand),
    *(nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Const, nodes.Name, nodes.Getattr, nodes.Call),
)
# `{{ name }}` and `{# … #}` are not jinja's here: no text holds these characters.
_NOBODYS = {"variable_start_string": "\x00<", "variable_end_string": ">\x00"}
_NOBODYS |= {"comment_start_string": "\x00#", "comment_end_string": "#\x00"}
_ENGINE = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, **_NOBODYS)
_ENGINE.globals.clear()


def chosen_text(source: str, numbers: Numbers) -> str:
    """The text, without the parts of which a condition does not hold.

    MarkdownError for a number that is not stored, and for anything that is no comparison of numbers.
    """
    if "{%" not in source:
        return source
    try:
        for node in _ENGINE.parse(source).find_all(nodes.Node):
            is_other_call = isinstance(node, nodes.Call) and getattr(node.node, "name", "") != "has"
            if not isinstance(node, _ALLOWED) or is_other_call:
                kind = type(node).__name__.lower()
                raise MarkdownError(f'a condition compares numbers and asks has("a.name"); it holds no {kind}')
        tops = {name.partition(".")[0] for name in numbers}
        known = {top: _Name(numbers, top) for top in tops}
        finite = {name for name, number in numbers.items() if math.isfinite(number.value)}
        return _ENGINE.from_string(source).render(known, has=finite.__contains__)
    except (TemplateError, TypeError) as error:
        raise MarkdownError(f"a condition cannot be evaluated: {error}") from None


class _Name:
    """The start of a number's name; its parts are looked up as attributes."""

    def __init__(self, numbers: Numbers, path: str):
        self._numbers, self._path = numbers, path

    def __getattr__(self, part: str) -> _Name | float:
        name = f"{self._path}.{part}"
        if any(known == name or known.startswith(f"{name}.") for known in self._numbers):
            return _Name(self._numbers, name)
        try:
            number = self._numbers[self._path if part in _PARTS else name]
        except KeyError as error:
            raise MarkdownError(f"{error.args[0]}; ask has(…) first where it may be missing") from None
        bound = getattr(number, part)
        return math.nan if bound is None else bound
