"""A repository's readme as HTML that is safe to show on the site.

Owns the rendering: Markdown without any HTML of the author's, links into the repository's own
pages, no picture that would be fetched from elsewhere. Plain text stays plain.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

from markdown_it import MarkdownIt
from markupsafe import Markup

from fossilrepo.insight import Readme

_ENDINGS = (".md", ".markdown")
_MOST = 100_000  # characters


def rendered(readme: Readme, home: str) -> Markup:
    """`home`: the address of the repository's pages, to which what is relative leads."""
    text = readme.text[:_MOST]
    if not readme.name.lower().endswith(_ENDINGS):
        return Markup("<pre>{}</pre>").format(text)
    tokens = _parser().parse(text)
    _lead_home(tokens, home)
    return Markup(_parser().renderer.render(tokens, _parser().options, {}))  # noqa: S704 - no HTML


@cache
def _parser() -> MarkdownIt:
    """CommonMark with tables; HTML is text, and links lead to http, https and mailto only."""
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _lead_home(tokens: list[Any], home: str) -> None:
    for token in tokens:
        if token.type == "link_open":
            token.attrs["href"] = _address(str(token.attrs.get("href", "")), home)
            token.attrs["rel"] = "nofollow ugc"
        elif token.type == "image":  # nothing is fetched from elsewhere: its words stand for it
            words = token.content or "picture"
            token.type, token.tag, token.content, token.children = "text", "", f"[{words}]", None
        elif token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"  # below those of the page
        if token.children:
            _lead_home(token.children, home)


def _address(typed: str, home: str) -> str:
    try:
        parts = urlsplit(typed)
    except ValueError:
        return "#"
    if parts.scheme or parts.netloc:
        return typed if parts.scheme in ("http", "https", "mailto") else "#"
    if not parts.path:
        return f"#{parts.fragment}" if parts.fragment else home
    return f"{home}doc/tip/{quote(parts.path.lstrip('/'))}"
