"""Files and folders of this repository that a page names are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
NAMED = re.compile(
    r"(?<![\w./:@-])(?:benchmarks|deploy|docs|examples|migrations|publisher|registry|schemas|tests)/[\w./*@-]*[\w*]"
)
ELSEWHERE = {"docs/event-naming.md", "docs/NAME.md"}
"""In the repository of the shared stream's contract; and any page."""


def test_what_a_page_names_is_there() -> None:
    named = {(page.name, path) for page in PAGES for path in NAMED.findall(page.read_text())}
    assert len(named) > 100
    assert [one for one in sorted(named) if one[1] not in ELSEWHERE and not any(ROOT.glob(one[1]))] == []
