"""nbconvert's Markdown engine as pages need it, and nh3's rules for what may stand on a page.

Imported when something is rendered, since nbconvert takes a second.
"""

import html
import re
from collections.abc import Mapping
from urllib.parse import unquote

import mistune
import nh3
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from verdict.report.markdown import Markdown, MarkdownError, embed_image, plain_text

# Landmarks and figures are the page's own.
_NOT_ALLOWED = {"area", "article", "aside", "figcaption", "figure", "footer", "header", "hgroup", "map", "nav"}
_TAGS = nh3.ALLOWED_TAGS - _NOT_ALLOWED
_IN_PROSE_ALONE = {"details", "img", "summary"}
# These go with their content; all other tags leave their text.
_DROPPED = {"script", "style", "title", "textarea", "iframe", "object", "template", "noscript", "svg", "math"}
_OWN_ATTRIBUTES = {"id", "class", "role", "tabindex", "aria-label"}
_ATTRIBUTES = {"*": {"dir", "lang", "style", "title", *_OWN_ATTRIBUTES}, "a": {"href"}, "img": {"src", "alt"}}
_ATTRIBUTES |= {"td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan", "scope"}, "ol": {"start"}}
_ADDRESS = re.compile(r"https?://|mailto:|#|[\w./%~-]+(#|$)")
# Nobody's character marks the attributes that are written here; all others of their names are dropped.
_OWN = "\ue002"


def _attribute(tag: str, name: str, value: str) -> str | None:
    if name in _OWN_ATTRIBUTES:
        return value[1:] if value.startswith(_OWN) else None
    if name == "src":
        return value if value.startswith("data:image/") else None
    return value if name != "href" or _ADDRESS.match(value) else None


def clean(fragment: str, *, is_prose: bool = False) -> str:
    """HTML with what is allowed alone: what is displayed may hold text that strangers wrote."""
    return nh3.clean(
        fragment,
        tags=_TAGS if is_prose else _TAGS - _IN_PROSE_ALONE,
        clean_content_tags=_DROPPED,
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        filter_style_properties={"text-align"},
        url_schemes={"http", "https", "mailto", "data"},
    )


def to_html(text: str, page: Markdown, *, escape: bool, attachments: Mapping[str, Mapping[str, str]]) -> str:
    """HTML of Markdown; with `escape`, raw HTML is shown as text."""
    renderer = _Renderer(page, escape=escape, attachments=dict(attachments))
    # Formulas are out by now: the plain parsers see a lone $ as what it is, and #1 is no heading.
    engine = MarkdownWithMath(renderer, mistune.BlockParser(), mistune.InlineParser())
    found = clean(engine.render(text.replace(_OWN, "")), is_prose=True)
    for image in re.findall(r"<img\b[^>]*>", found):
        if "src=" not in image or not re.search(r'alt="\s*[^"\s]', image):
            page.complain(f"the picture {image} is not shown: write ![what it shows](file)", is_fatal=False)
            found = found.replace(image, "")
    return found


class _Renderer(IPythonRenderer):
    """HTML of mistune's tokens."""

    def __init__(self, page: Markdown, *, escape: bool, attachments: dict[str, dict[str, str]]):
        super().__init__(escape=escape, allow_harmful_protocols=False, attachments=attachments)
        self._page = page

    def text(self, text: str) -> str:
        # What strangers wrote, and sentences of the code, are escaped.
        if not self._escape and (found := re.search(r"\{\{|\}\}", text)):
            near = text[max(found.start() - 20, 0) : found.end() + 20].strip()
            self._page.complain(
                f"{near!r}: a number stands between {{{{ and }}}}; where braces are meant, write \\{{\\{{"
            )
        return super().text(text)

    def heading(self, text: str, level: int, **_attrs: object) -> str:
        found = self._page.add_heading(plain_text(self._page.filled(text)), level)
        link = f'<a class="{_OWN}anchor" href="#{found.anchor}" aria-label="{_OWN}Link to this section">#</a>'
        text += link if found.level > 1 else ""
        return f'<h{found.level} id="{_OWN}{html.escape(found.anchor)}">{text}</h{found.level}>\n'

    def table(self, text: str) -> str:
        box = f'class="{_OWN}scroll" tabindex="{_OWN}0" role="{_OWN}region" aria-label="{_OWN}Table"'
        return f"<div {box}><table>{text}</table></div>\n"

    def block_code(self, code: str, info: str | None = None) -> str:
        shown = html.escape(self._page.restored(code).rstrip())
        return f'<pre class="{_OWN}text" tabindex="{_OWN}0"><code>{shown}</code></pre>\n'

    def codespan(self, text: str) -> str:
        return f"<code>{html.escape(self._page.restored(text))}</code>"

    def task_list_item(self, text: str, checked: bool = False) -> str:
        return f"<li>{'☑' if checked else '☐'} {text.removeprefix('<p>').removesuffix('</p>')}</li>\n"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        target = self._page.target(url)
        if not target or self.sanitize_url(url) != url:
            return text
        told = f' title="{html.escape(title)}"' if title else ""
        return f'<a href="{html.escape(target)}"{told}>{text}</a>'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        alt = plain_text(self._page.filled(text))
        if not alt:
            self._page.complain(f"the image {url!r} has no alt text: write ![what it shows]({url})", is_fatal=False)
        pasted = next(iter(self.attachments.get(unquote(url.removeprefix("attachment:")), {}).items()), None)
        try:
            source = f"data:{pasted[0]};base64,{pasted[1]}" if pasted else embed_image(url, self._page.folder)
        except MarkdownError as error:
            self._page.complain(str(error))
            return html.escape(alt)
        return f'<img src="{html.escape(source)}" alt="{html.escape(alt or "Picture without a description")}">'
