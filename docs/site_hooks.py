"""What the site needs beside mkdocs: pictures drawn while it is built, links out of docs/, pages nobody listed.

The build fails where a page would load anything from another host.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import mmdr
from mkdocs.exceptions import PluginError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from docs.site_loads import foreign

ROOT = Path(__file__).resolve().parents[1]
PICTURE = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTSIDE = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#]+)(?:#[^)]*)?\)")
DECISIONS, OTHERS = "Decisions", "More"


def on_config(config: Any) -> Any:
    """Add the decisions, in their order, and every page that mkdocs.yml does not place, to the navigation."""
    folder = Path(config["docs_dir"])
    listed = {page for section in config["nav"] for page in _pages(section)}
    decisions = sorted(f"adr/{page.name}" for page in (folder / "adr").glob("*.md"))
    others = sorted(page.name for page in folder.glob("*.md") if page.name not in listed)
    config["nav"].append({DECISIONS: decisions})
    if others:
        config["nav"].append({OTHERS: others})
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Draw the pictures, and tell links to files that are not part of the site as the paths of these files.

    Raises `FileNotFoundError` for a link to a file that is not there.
    """
    folder = Path(page.file.abs_src_path).parent
    markdown = OUTSIDE.sub(lambda link: _outside(folder, link[0], link[1], link[2]), markdown)
    return PICTURE.sub(lambda picture: _drawn(picture[1]), markdown)


def on_post_build(config: Any) -> None:
    """Look at all pages as they are given out.

    Raises `PluginError`, which ends the build, where one loads anything from another host.
    """
    found = foreign(Path(config["site_dir"]))
    if found:
        raise PluginError("loaded from another host: " + "; ".join(found))


def _drawn(diagram: str) -> str:
    """The picture as a block of HTML: one line, since Markdown ends such a block at an empty one."""
    drawing = mmdr.render(diagram, backend="mermaid-rs-renderer").svg()
    return f'<div style="overflow-x: auto">{" ".join(drawing.split())}</div>'


def _pages(section: Any) -> list[str]:
    if isinstance(section, str):
        return [section]
    if isinstance(section, dict):
        return [page for part in section.values() for page in _pages(part)]
    return [page for part in section for page in _pages(part)]


def _outside(folder: Path, whole: str, text: str, target: str) -> str:
    path = (folder / target).resolve()
    if not path.exists():
        raise FileNotFoundError(f"link to {target}: there is no such file")
    if path.is_relative_to(ROOT / "docs"):
        return whole
    name = str(path.relative_to(ROOT))
    return text if name in text else f"{text} (`{name}`)"
