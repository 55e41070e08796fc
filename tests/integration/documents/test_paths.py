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


def test_tests_that_a_page_names_are_there() -> None:
    written = {
        name for file in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)\(", file.read_text())
    }
    named = {(page.name, name) for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text())}
    assert len(named) > 20
    assert [one for one in sorted(named) if one[1] not in written] == []


def test_each_thing_that_a_stranger_may_try_at_each_place_has_a_test() -> None:
    section = (ROOT / "docs" / "security.md").read_text().partition("## Strangers\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\|( [\w ]+|) \| (.+?) \| (.+?) \| (.*?) ?\|$", section, re.MULTILINE)[1:]
    assert [what for _, what, refused, _ in rows if "test_" in refused] == [
        *("read a secret", "forge an event", "suppress one", "stop the service", "run a program")
    ] * 3
    assert [who.strip() for who, *_ in rows if who.strip()] == [
        "account of the machine",
        "login of the database",
        "user of NATS",
    ]
    named = [{*re.findall(r"`(test_\w+)`", text)} for *_, refused, can in rows for text in (refused, can)]
    both = [refused & can for refused, can in zip(named[::2], named[1::2], strict=True)]
    assert both == [set()] * len(rows), "a test shows that he does not, or that he can"
    assert sum(map(len, named[1::2])) > 10


def test_each_line_about_what_to_do_for_security_says_which_test_holds_it_or_that_none_does() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    checklist = page.partition("## Checklist\n")[2].partition("\n## ")[0]
    secrets = page.partition("## Changing secrets\n")[2].partition("\n## ")[0]
    numbered = re.findall(r"^\| (\d+) \| .+ \| (.+) \|$", checklist, re.MULTILINE)
    assert [int(number) for number, _ in numbered] == list(range(1, len(numbered) + 1))
    rows = re.findall(r"^\| (.+?) \| .+ \| (.*?) ?\|$", secrets, re.MULTILINE)[1:]
    assert len(rows) > 8
    assert len(numbered) > 10
    assert [what for what, held in [*numbered, *rows] if not re.search(r"`test_\w+`|\bnone\b|^as those of", held)] == []
