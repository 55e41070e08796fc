"""Loggers of structlog, which is imported with the first line: many processes write none.

It takes rich along where that is installed, which a component would wait for longer than for the client itself.
"""

from __future__ import annotations

from typing import Any


class Logger:
    """`log.info("event", key=value)`, and the other levels, as a logger of structlog has them at that time."""

    def __getattr__(self, level: str) -> Any:
        if level.startswith("__"):
            raise AttributeError(level)
        import structlog

        return getattr(structlog.get_logger(), level)


log = Logger()
