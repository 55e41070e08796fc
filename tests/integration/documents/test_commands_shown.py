"""Every command that a page shows is one of the program, with options that it has: docs/cli-reference.md says which."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "cli-reference.md"
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "examples/*.md")
    for page in ROOT.glob(pattern)
    if page not in {REFERENCE, ROOT / "CHANGELOG.md"}
)
OF_ALL = {"--help", "--version", "--install-completion", "--show-completion"}
OF_RUN = {"demo", "up", "serve", "events", "project", "worktree", "sync", "migrate", "doctor", "status"}
"""What `./run` hands on to the program; the rest is its own."""


def commands() -> dict[tuple[str, ...], set[str]]:
    """Options of each command, by the words of its name."""
    head, *sections = re.split(r"^## ", REFERENCE.read_text(), flags=re.MULTILINE)
    assert head.startswith("# Command line reference")
    return {tuple(section.splitlines()[0].split()): set(re.findall(r"`(--?[a-z-]+)`", section)) for section in sections}


KNOWN = commands()
GROUPS = {name[:length] for name in KNOWN for length in range(len(name))}


def shown(page: str) -> list[str]:
    """The command lines in a page: those of its blocks, and those between backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```\w*\n.*?^```", "", page, flags=re.MULTILINE | re.DOTALL))
    starts = re.compile(r"^(?:\$ |# )?(?:[A-Z_]+=\S+ )*(?:\S*/)?(?:imi-registry|\./run) (.+)$")
    return [match[0] for line in lines if (match := starts.match(line.strip()))]


def fault(line: str) -> str | None:
    """What is wrong with a command line, if anything."""
    words = shlex.split(re.split(r" [|&<>]+ |;|…", line)[0].removeprefix("$ ").removeprefix("# "), comments=True)
    while "=" in words[0]:
        words = words[1:]
    program, *rest = words
    if program == "./run" and (not rest or rest[0] not in OF_RUN):
        return None
    name: tuple[str, ...] = ()
    while rest and name in GROUPS and not rest[0].startswith("-") and not rest[0].isupper():
        choices = rest[0].split("|")
        unknown = [word for word in choices if (*name, word) not in GROUPS | KNOWN.keys()]
        if unknown:
            return f"no command {' '.join([*name, unknown[0]])}"
        name, rest = (*name, choices[0]), rest[1:]
    known = OF_ALL | {
        option for command, options in KNOWN.items() if command[: len(name)] == name for option in options
    }
    given = [word.partition("=")[0].strip("[]") for word in rest if word.startswith(("-", "[-"))]
    wrong = [option for option in given if option not in known]
    return f"{' '.join(name)} has no option {wrong[0]}" if wrong else None


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_command_in_a_page_is_one_of_the_program(page: Path) -> None:
    faults = [f"{line}: {found}" for line in shown(page.read_text()) if (found := fault(line))]
    assert faults == []


def test_a_command_that_is_none_is_noticed() -> None:
    page = (
        "```console\n$ imi-registry project lst\n```\n`imi-registry events tail --loud`, `imi-registry health --json`"
    )
    assert [fault(line) for line in shown(page)] == ["no command project lst", "events tail has no option --loud", None]
    assert sum(len(shown(page.read_text())) for page in PAGES) > 150
