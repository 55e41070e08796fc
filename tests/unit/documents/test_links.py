"""Every relative link of a page leads to a file that git tracks, and its anchor to a heading, as GitHub names it."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^ *(```+|~~~+).*?^ *\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(?<!`)(`+)(?!`)(?:(?!\n *\n).)*?(?<!`)\1(?!`)", re.DOTALL)
TARGET = re.compile(r"\]\(\s*<?([^()<>\s]+)|^ *\[[^\]]+\]: *<?([^<>\s]+)|(?:href|src)=[\"']([^\"']+)", re.MULTILINE)
HEADING = re.compile(r"^ {0,3}#{1,6} +(.+?)(?: +#+)? *$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def tracked(root: Path) -> list[str]:
    """What git tracks, or would, in the checkout `root`."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return sorted(path for path in set(found.split("\0")) - {""} if (root / path).is_file())


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page: one of the same words has the number of those before behind it."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(BLOCK.sub("", text)):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def faults(root: Path, files: list[str]) -> list[str]:
    """Each link of a Markdown file among `files` that leads nowhere."""
    known = {*files, *(str(folder) for path in files for folder in Path(path).parents)}
    headings = cache(lambda path: anchors((root / path).read_text()))
    found = []
    for page in (path for path in files if path.endswith(".md")):
        text = CODE.sub("", BLOCK.sub("", (root / page).read_text()))
        links = ("".join(match) for match in TARGET.findall(text))
        for link in (link for link in links if not ELSEWHERE.match(link)):
            path, _, anchor = unquote(link).partition("#")
            target = os.path.normpath(Path(page).parent / path) if path else page
            if target not in known:
                found.append(f"{page}: {link}: no such file")
            elif anchor and (not target.endswith(".md") or anchor not in headings(target)):
                found.append(f"{page}: {link}: no such heading")
    return found


def test_every_link_of_every_page_leads_somewhere() -> None:
    files = tracked(ROOT)
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/nats/room.md", "examples/README.md"} <= {*files}
    assert faults(ROOT, files) == []


PAGE = """# One
[file](b.md), [folder](c), [heading](b.md#it-is-so-1), [here](#one), ![picture](c/d.png "title"), [x](https://x.org/y#z)
[`code`](b.md#code-and-a-link), [label]

[label]: c/d.png
"""
OTHER = "# It is so!\n## It is so?\n### `Code`, and a [link](c)\n```\n# none\n```\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", []),
        ("`[x](y.md)`", []),
        ("[x](y.md)", ["a.md: y.md: no such file"]),
        ("[x\ny](../a.md)", ["a.md: ../a.md: no such file"]),
        ("![x](c/e.png)", ["a.md: c/e.png: no such file"]),
        ('<img src="e.png">', ["a.md: e.png: no such file"]),
        ("[x]: e.png", ["a.md: e.png: no such file"]),
        ("[x](#two)", ["a.md: #two: no such heading"]),
        ("[x](b.md#it-is-so-2)", ["a.md: b.md#it-is-so-2: no such heading"]),
        ("[x](b.md#none)", ["a.md: b.md#none: no such heading"]),
        ("[x](c/d.png#none)", ["a.md: c/d.png#none: no such heading"]),
    ],
)
def test_a_link_that_leads_nowhere_is_told(tmp_path: Path, line: str, said: list[str]) -> None:
    (tmp_path / "a.md").write_text(PAGE + line)
    (tmp_path / "b.md").write_text(OTHER)

    assert faults(tmp_path, ["a.md", "b.md", "c/d.png"]) == said
