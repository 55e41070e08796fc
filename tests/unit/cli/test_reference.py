"""docs/cli-reference.md is what the program says of itself today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.unit.cli.test_cli_help import COMMANDS

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "cli-reference.md"


def test_the_page_is_the_one_that_the_program_writes() -> None:
    command = [sys.executable, str(ROOT / "docs" / "cli_reference.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_has_every_command_and_each_of_its_options() -> None:
    sections = dict(part.split("\n", 1) for part in PAGE.read_text().split("\n## ")[1:])
    assert [" ".join(path) for path in COMMANDS] == list(sections)[1:]
    for path, command in COMMANDS.items():
        for parameter in command.params:
            if parameter.name != "help" and parameter.param_type_name == "option":
                assert f"`{parameter.opts[0]}`" in sections[" ".join(path)], path


def test_no_option_is_told_twice_in_one_table() -> None:
    for part in PAGE.read_text().split("\n## ")[1:]:
        names = [line.split(" | ")[0] for line in part.splitlines() if line.startswith("| `--")]
        assert len(names) == len(set(names)), part
