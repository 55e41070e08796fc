"""What a release tries its wheel on: each Python that is here, and each way that the page tells of."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import installations
import pytest

INSTALL = (Path(__file__).parents[3] / "docs" / "install.md").read_text()


def test_a_python_that_is_not_here_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [f"python3.{minor}" for minor in (11, 12, 13) if minor != sys.version_info.minor]
    here, broken = others
    for program, code in ((here, 0), (broken, 127)):  # as pyenv puts one into the path that is not chosen
        (tmp_path / program).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert installations.other_pythons() == [here]
    assert capsys.readouterr().out == f"{broken} is not here: not tried\n"

    (tmp_path / here).unlink()
    assert installations.other_pythons() == []
    assert capsys.readouterr().out == "".join(f"{other} is not here: not tried\n" for other in others)


def test_the_ways_that_are_tried_are_those_of_the_page() -> None:
    commands = re.findall(r"^\| [^|]+ \| `(\w+) [^`]*imi.registry[^`]*` \|$", INSTALL, re.MULTILINE)
    assert sorted(set(commands)) == sorted(installations.WAYS)
