"""All log lines in one form, whoever writes them."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Iterator

import pytest
import structlog

from publisher import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_what_libraries_log_is_a_line_as_ours(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    logs.configure("info")  # a second time changes nothing
    structlog.get_logger().info("ready", role="leader")
    for name in ("nats.aio.client", "asyncio", "psycopg"):
        try:
            raise ConnectionResetError("gone\x1b[2J")
        except ConnectionResetError:
            logging.getLogger(name).exception("encountered %s", "an error")
        logging.getLogger(name).info("not wanted")
    ours, *theirs = written(capsys)
    assert ours.keys() == {"event", "level", "timestamp", "role"}
    assert [line["logger"] for line in theirs] == ["nats.aio.client", "asyncio", "psycopg"]
    for line in theirs:
        assert line.keys() == {"event", "level", "timestamp", "logger", "error"}
        assert (line["event"], line["level"]) == ("encountered an error", "error")
        assert line["error"] == "ConnectionResetError: gone\x1b[2J"


def test_stacks_of_libraries_are_for_level_debug(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug")
    try:
        raise ConnectionResetError
    except ConnectionResetError:
        logging.getLogger("asyncio").exception("lost")
    (line,) = written(capsys)
    assert "Traceback" in line["exception"]


def test_a_look_up_that_ends_after_its_connection_was_given_up_is_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    loop = asyncio.new_event_loop()
    for error in (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), OSError("lost")):
        loop.create_future().set_exception(error)  # nobody takes it: the future is gone at once, and asyncio says so
    loop.close()
    (line,) = written(capsys)
    assert line["error"] == "OSError: lost"


def test_a_terminal_shows_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    logs.configure("info")
    structlog.get_logger().warning("failed\x1b[2J", name="a\nb\x07")
    logging.getLogger("nats").warning("failed\x1b[2J")
    text = capsys.readouterr().err
    assert "\x07" not in text
    assert "\x1b[2J" not in text
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_crash_shows_no_credential(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    logs.configure("debug")
    database_url = "postgresql://u:s3cret@h/d"  # a variable of the frame
    try:
        raise ValueError(f"bad {database_url}\x1b[2J")
    except ValueError:
        structlog.get_logger().exception("failed", url=database_url)
        logging.getLogger("psycopg.pool").exception("error connecting: %s", database_url)
    text = capsys.readouterr().err
    assert text.count("Traceback") == 2
    assert "s3cret" not in text
    assert "\x1b[2J" not in text
