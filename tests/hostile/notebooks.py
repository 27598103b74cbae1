"""Notebooks: code edited after it ran, foreign kernels, damaged files, outputs that would do something in a reader."""

import json
from functools import partial

from corpus import Case

from report_tools import (
    Reader,
    assert_sound,
    code,
    displayed,
    markdown,
    page_text,
    record,
    sample_numbers,
    write_notebook,
)
from verdict.report.exporter import Site
from verdict.report.lint import lint_notebook
from verdict.report.outputs import MIME
from verdict.workflow.kernel import check_kernel

TITLE = markdown("# How good is it?\n\n**Question.** How good?")
RAN = [TITLE, code("x = 1"), code("y = 2")]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt">{}</svg>'


def page_of(folder, live, executed, raw=None):
    """The page that two copies of a notebook make; `raw` replaces the executed file."""
    one = write_notebook(folder / "05_test.ipynb", live)
    two = write_notebook(folder / "run" / "executed.ipynb", executed)
    if raw is not None:
        two.write_bytes(raw)
    page = Reader(page_text(one, two, record(params={}), sample_numbers(), Site("demo")))
    assert_sound(page)
    return page


def refusal(name, message, *, live=RAN, executed=RAN, raw=None):
    use = partial(page_of, live=live, executed=executed, raw=raw)
    return Case(name, use, refused=rf"(?s)(05_test|executed)\.ipynb.*{message}")


def shown(folder, outputs, words):
    """Whether a page shows some words, keeps quiet about others (marked !), and holds no script but its own."""
    page = page_of(folder, [TITLE, code("x = 1")], [code("x = 1", outputs=outputs)])
    wanted = [word in page.words for word in words if word[0] != "!"]
    unwanted = [word[1:] in str(page.elements) + page.words for word in words if word[0] == "!"]
    return all(wanted), any(unwanted)


def output(name, *words, **bundle):
    """A displayed output that must be shown by these words."""
    data = {key.replace("_", "/", 1).replace("_", "+"): value for key, value in bundle.items()}
    return Case(name, partial(shown, outputs=[displayed(data)], words=words), gives=(True, False))


def own(name, payload, message):
    """One of our structured outputs that cannot be what a notebook wrote."""
    ran = [TITLE, code("x = 1", outputs=[displayed({MIME: payload})])]
    return refusal(name, f"cell 2.*{message}", live=[TITLE, code("x = 1")], executed=ran)


def figure(inside, file="../../x.svg"):
    """A figure whose drawing holds something."""
    payload = {"kind": "figure", "caption": "Caption", "alt": "a line", "csv": "", "file": file}
    return displayed({MIME: payload, "image/svg+xml": SVG.format(inside)})


def drawing(name, inside):
    """A drawing that is shown without the evil that it holds."""
    use = partial(shown, outputs=[figure(inside)], words=("Caption", "!evil"))
    return Case(f"drawing-{name}", use, gives=(True, False))


def undrawable(name, outputs, message):
    ran = [TITLE, code("x = 1", outputs=outputs)]
    return refusal(f"drawing-{name}", f"cell 2.*{message}", live=[TITLE, code("x = 1")], executed=ran)


def prose(name, text, message="", words=()):
    live = [TITLE, markdown(text)]
    if message:
        return refusal(name, f"cell 2.*{message}", live=live, executed=live)
    return Case(name, partial(said, live=live, words=words), gives=True)


def said(folder, live, words):
    page = page_of(folder, live, live)
    return all(word in page.words for word in words)


def linted(folder, cells):
    """Findings in a notebook that is about to be committed."""
    if findings := lint_notebook(write_notebook(folder / "05_test.ipynb", cells)):
        raise ValueError("\n".join(map(str, findings)))
    return "clean"


def started(folder, metadata):
    """What the driver asks before it executes a notebook."""
    path = folder / "05_test.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": RAN}))
    check_kernel(path)
    return "may run"


def kernel(name, **metadata):
    return Case(name, partial(started, metadata=metadata), refused=r"05_test\.ipynb is made for")


PARAMETERS = code('profile = "digits"', "parameters")
LINTED = {
    "shell-command": (code("!touch sprung"), "no shell commands or magics"),
    "cell-that-hides-as-parameters": (code("evil()", "injected-parameters"), "a cell injected by papermill"),
    "outputs-in-a-commit": (code("x = 1", outputs=[displayed({"text/plain": "1"})]), "outputs are stripped"),
    "not-python": (code("x ="), "not valid Python"),
}
BROKEN = {
    "file-cut-in-half": b'{"nbformat": 4, "cells": [{"cell_type": "code", "sou',
    "nothing": b"",
    "hundred-thousand-deep": b"[" * 100_000,
    "list": b"[]",
    "cells-that-are-none": json.dumps({"nbformat": 4, "cells": {}}).encode(),
    "cell-that-is-a-number": json.dumps({"nbformat": 4, "cells": [7]}).encode(),
    "source-that-is-a-number": json.dumps({"nbformat": 4, "cells": [code(7)]}).encode(),
    "metadata-that-is-nothing": json.dumps({"nbformat": 4, "cells": [code("x") | {"metadata": None}]}).encode(),
    "outputs-that-are-text": json.dumps({"nbformat": 4, "cells": [code("x") | {"outputs": "evil"}]}).encode(),
}
TABLE = {"kind": "table", "caption": "c", "columns": [], "rows": []}
CASES = [
    refusal("code-that-was-edited", "cell 3: the code differs", live=[*RAN[:2], code("y = evil()")]),
    refusal("code-that-was-added", "cell 4: 3 code cells now, 2 when", live=[*RAN, code("evil()")]),
    refusal("code-that-ran-and-is-not-there", "code cells now", executed=[*RAN, code("evil()")]),
    *(refusal(f"executed-{name}", "", raw=content) for name, content in BROKEN.items()),
    kernel("kernel-of-a-shell", kernelspec={"name": "bash", "language": "bash"}),
    kernel("language-of-another-kernel", language_info={"name": "bash"}),
    # A kernel's name is read by nobody.
    Case("kernel-with-a-command", partial(started, metadata={"kernelspec": {"name": "a; touch b"}}), gives="may run"),
    Case("kernel-unnamed", partial(started, metadata={}), gives="may run"),
    *(
        Case(
            f"lint-{name}",
            partial(linted, cells=[TITLE, PARAMETERS, cell]),
            refused=rf"05_test\.ipynb, cell 3: {text}",
        )
        for name, (cell, text) in LINTED.items()
    ),
    output("output-script", "after", "!alert", text_html="<script>alert(1)</script>after"),
    output("output-handler", "text", "!onclick", text_html="<b onclick='x()'>text</b>"),
    output("output-style", "after", "!example", text_html="<style>@import '//example.org'</style><p style='x'>after"),
    output("output-link-to-a-script", "text", "!javascript", text_html="<a href=' java\nscript:x'>text</a>"),
    output("output-that-is-a-script", "application/javascript", "!alert", application_javascript="alert(1)"),
    output("output-of-a-widget", "application/vnd.x", **{"application_vnd.x": {"model": "evil"}}),
    output("output-in-markdown-with-numbers", "{{ test.accuracy }}", text_markdown="{{ test.accuracy }}"),
    output("output-text-with-terminal-codes", "red", "!\x1b", text_plain="\x1b[31mred\x1b]0;title\x07"),
    output("output-text-of-a-megabyte", "980,000 more characters", text_plain="x" * 1_000_000),
    output("output-picture-with-a-quote", **{"image_png": 'x" onerror="alert(1)'}),
    own("own-output-of-another-kind", {"kind": "evil", "caption": "c", "alt": "a"}, "output"),
    own("own-table-with-ragged-rows", TABLE | {"rows": [["a"]]}, "output|zip"),
    own("own-sentence-without-numbers", {"kind": "say", "template": "{test.evil}", "numbers": {}}, "test.evil"),
    prose("prose-with-a-script", "<script>alert(1)</script>\n\nafter", words=["after"]),
    prose("prose-with-a-picture-from-elsewhere", "![alt](https://example.org/x.png)", "not a local image"),
    prose("prose-with-a-picture-that-leads-out", "![alt](../outside/secret.png)", "does not exist beside"),
    prose("prose-with-a-number-that-is-not-there", "{{ test.evil }}", "test.evil"),
    prose("prose-with-code-in-braces", "{{ ''.__class__ }}", "__class__"),
    prose("prose-with-a-formula-that-reads-a-file", "$$\\input{/etc/passwd}$$", "cannot be converted"),
    drawing("with-a-script", "<script>evil()</script>"),
    drawing("with-a-handler", '<rect onload="evil()"/>'),
    drawing("with-a-picture-from-elsewhere", '<image xlink:href="//evil.org/x"/>'),
    drawing("that-uses-another-file", '<use xlink:href="file:///evil#a"/>'),
    undrawable("with-an-entity", [figure("<text>&evil;</text>")], "not readable as SVG"),
]
