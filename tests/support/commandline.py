"""The command line called within the test's own process: a tenth of the time of a process of its own."""

from __future__ import annotations

import io
import json
import logging
import signal
import sys
from collections.abc import Callable
from contextvars import copy_context
from functools import cache
from typing import Any, NamedTuple

import pytest
import structlog
import typer.main

from publisher.cli import main

built = cache(typer.main.get_command)
"""All commands built once: typer does it at every call, which would be most of the time."""


class Done(NamedTuple):
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output, which must be one JSON document."""
        assert self.code == 0, self.err
        return json.loads(self.out)


CommandLine = Callable[..., Done]


def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **variables: str) -> CommandLine:
    """Calls `imi-registry` at 80 columns, with `variables` set; `stdin` is what the user types."""
    monkeypatch.setattr(typer.main, "get_command", built)
    for name, value in ({"COLUMNS": "80", "TERM": "dumb"} | variables).items():
        monkeypatch.setenv(name, value)

    def call(*arguments: object, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["imi-registry", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
        log_handlers = list(logging.getLogger().handlers)
        try:
            copy_context().run(main.main)  # what a command sets for itself, as the folder of `up`, ends with it
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            structlog.reset_defaults()  # it logged to the standard error of this test
            logging.getLogger().handlers[:] = log_handlers
        return Done(code, *capsys.readouterr())

    return call
