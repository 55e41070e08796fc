"""What the pages of a site load from elsewhere; links, which people follow, are none of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

LOADED = {"src", "data", "poster", "background", "xlink:href"}
"""Attributes whose value is loaded, whatever they belong to."""
LOADED_BY_HREF = {"base", "image", "use", "feimage", "script"}
FOR_PEOPLE = {"alternate", "author", "canonical", "help", "license", "next", "prev", "search"}
"""What a `link` may be without anything being loaded."""
BY_STYLE = re.compile(r"(?:@import\s*(?:url\()?|url\()\s*[\"']?\s*([^\"')\s;]+)", re.IGNORECASE)
FOREIGN = re.compile(r"(?:https?|wss?|ftp):|//|\\\\", re.IGNORECASE)
DRAWN_LATER = "mermaid"
"""A class: the theme's own script fetches the program that draws it from a foreign host."""


def foreign(site: Path) -> list[str]:
    """Each script, style, font or picture of another host, as `PAGE: ADDRESS`."""
    found = []
    for file in sorted(path for path in site.rglob("*") if path.suffix in {".html", ".svg", ".css"}):
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".css":
            addresses = BY_STYLE.findall(text)
        else:
            page = _Page()
            page.feed(text)
            page.close()
            addresses = page.addresses
        found += [f"{file.relative_to(site)}: {address}" for address in addresses if FOREIGN.match(address)]
    return found


class _Page(HTMLParser):
    """Collects what is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self._is_in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_in_style = tag == "style"
        given = {name: (value or "").strip() for name, value in attrs}
        for name, value in given.items():
            if name == "srcset":
                self.addresses += [one.split()[0] for one in value.split(",") if one.strip()]
            elif name in LOADED or (name == "href" and _loads(tag, given)):
                self.addresses.append(value)
            elif name == "style":
                self.addresses += BY_STYLE.findall(value)
            elif name == "class" and DRAWN_LATER in value.split():
                self.addresses.append("https://… (a picture that is to be drawn in the browser)")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002  # whichever it is, that of a style is the first
        self._is_in_style = False

    def handle_data(self, data: str) -> None:
        if self._is_in_style:
            self.addresses += BY_STYLE.findall(data)


def _loads(tag: str, attributes: dict[str, str]) -> bool:
    """Whether a tag loads what is in its `href`."""
    if tag == "link":
        return not set(attributes.get("rel", "").lower().split()) <= FOR_PEOPLE
    return tag in LOADED_BY_HREF
