"""Each command explains itself, with an example that is one."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile

import pytest
from typer.main import get_command

from publisher.cli.main import app
from tests.support.cli.commands import commands

COMMANDS = dict(commands(get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_that_it_can_parse(path: tuple[str, ...]) -> None:
    example = re.search(r"Example: (.*)", COMMANDS[path].help or "")
    assert example is not None
    words = shlex.split(example[1].replace('cd "$(', "").replace(')"', ""))
    start = next(
        place
        for place, word in enumerate(words, start=1)
        if word == "imi-registry" and tuple(words[place : place + len(path)]) == path
    )
    arguments = list(takewhile(lambda word: word not in ("|", ">"), words[start + len(path) :]))
    COMMANDS[path].make_context(" ".join(path), arguments)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_is_explained(path: tuple[str, ...]) -> None:
    unexplained = [option.name for option in COMMANDS[path].params if option.name != "help" and not option.help]
    assert unexplained == []
