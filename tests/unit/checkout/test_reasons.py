"""A check of ruff's that is switched off has its reason beside it."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CODES = r"[A-Z]+\d+(, [A-Z]+\d+)*"


def without_reason(source: str) -> list[int]:
    """Lines on which a check is switched off, and not as `# noqa: CODE  # reason`."""
    comments = [one for one in tokenize.generate_tokens(io.StringIO(source).readline) if one.type == tokenize.COMMENT]
    off = [one for one in comments if re.match(r"#\s*(ruff:\s*)?noqa\b", one.string, re.IGNORECASE)]
    return [one.start[0] for one in off if not re.fullmatch(rf"# (ruff: )?noqa: {CODES}  # \S.*", one.string)]


def files() -> Iterator[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", "*.py", "run"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).exists():
            yield ROOT / name


@pytest.mark.parametrize(
    ("comment", "is_reasoned"),
    [
        ("# noqa: S105  # the name of a field", True),
        ("# noqa: S105, S106  # names of fields", True),
        ("# ruff: noqa: E501  # a table", True),
        ("# noqa: S105", False),
        ("# noqa: S105  #", False),
        ("# noqa", False),
        ("#noqa:S105", False),
    ],
)
def test_what_is_a_reason(comment: str, is_reasoned: bool) -> None:
    assert without_reason(f'NAME = "a # noqa"  {comment}\n') == ([] if is_reasoned else [1])


def test_each_check_that_is_switched_off_has_its_reason() -> None:
    found = {path: without_reason(path.read_text(encoding="utf-8")) for path in files()}
    assert len(found) > 1000
    assert [f"{path.relative_to(ROOT)}:{line}" for path, lines in found.items() for line in lines] == []
