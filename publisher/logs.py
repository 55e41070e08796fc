"""Logging of the long-running commands: for people on a terminal, JSON Lines elsewhere; always on standard error.

Libraries that log with Python's own `logging` (nats-py, psycopg, asyncio) come out in the same form.
"""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from publisher.text import visible
from registry.urls import safe_to_tell

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Inside the block there is no such module, unless it is imported already."""
    is_hidden = sys.modules.setdefault(module, None) is None  # type: ignore[arg-type]  # which says: it is not there
    try:
        yield
    finally:
        if is_hidden:
            del sys.modules[module]


with _without("rich"), _without("rich.traceback"):  # which is never used (below), and takes 70 ms and 6 MiB
    import structlog


def configure(level: str) -> None:
    """Send log lines of at least `level` (debug, info, warning, error) to standard error."""
    common: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Never rich's traceback, which structlog would take for a terminal: it shows all variables, and passwords in URLs.
    last: list[Processor] = [structlog.processors.format_exc_info, _hide_credentials]
    if sys.stderr.isatty():
        last += [
            _show_control_characters,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    else:
        last.append(structlog.processors.JSONRenderer())
    structlog.configure(
        processors=[*common, *last],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _configure_libraries(level, common, last)


def _configure_libraries(level: str, common: list[Processor], last: list[Processor]) -> None:
    """Let the root logger of `logging` write as we do: warnings and worse, or all of it at level debug."""
    is_debug = level == "debug"
    first = [*common, structlog.stdlib.add_logger_name]
    if not is_debug:
        first.append(_error_in_one_line)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=first, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if isinstance(known.formatter, type(handler.formatter))]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if is_debug else max(logging.WARNING, getattr(logging, level.upper())))
    # Whoever waits for a connection is told why it failed; the pool's word on each attempt is for who looks for it.
    # And a stranger's bad request to the status page is answered; a line for each would let him fill the log.
    for talkative in ("psycopg.pool", "uvicorn.error"):
        logging.getLogger(talkative).setLevel(logging.DEBUG if is_debug else logging.ERROR)
    logging.getLogger("asyncio").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of asyncio's is news: that a host name is not found is none once its connection was given up."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, socket.gaierror) and "never retrieved" in record.getMessage())


def _error_in_one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A library's stack says nothing to who runs the service; the error itself does."""
    exc_info = event.pop("exc_info", None)
    error = exc_info[1] if isinstance(exc_info, tuple) else None
    if error is not None:
        event["error"] = f"{type(error).__name__}: {error}".removesuffix(": ")
    return event


def _hide_credentials(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A library's error may have a URL in it, ours have none."""
    return {name: safe_to_tell(value) if isinstance(value, str) else value for name, value in event.items()}


def _show_control_characters(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Each value on one line, but for a stack."""
    shown = {name: visible(value) if isinstance(value, str) else value for name, value in event.items()}
    if isinstance(stack := event.get("exception"), str):
        shown["exception"] = "\n".join(map(visible, stack.split("\n")))
    return shown
