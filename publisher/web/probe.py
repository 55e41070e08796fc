"""Asking a service on this machine whether it lives; `python -m publisher.web.probe` is a container's health check.

It imports nothing but what Python has: a health check runs again and again, beside a service that may need the CPU.
"""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

OK = 200
ANSWER_SECONDS = 10.0
MOST_BYTES = 1024 * 1024
LOCAL = "localhost"
"""The name that a service is called by on its own machine, whichever are set for others."""
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # where a service listens, not we


class Answer(NamedTuple):
    """What a page of a service answered."""

    status: int
    body: str


def place_of(host: str, port: int) -> tuple[str, int]:
    """Where a service that listens on `host` and `port` is reached from this machine."""
    return EVERYWHERE.get(host, host), port


def ask(place: tuple[str, int], path: str) -> Answer:
    """The answer of a service at `place`. Raises `OSError` or `HTTPException` when there is none in time."""
    connection = HTTPConnection(*place, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers={"Host": LOCAL, "Connection": "close"})
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(MOST_BYTES).decode(errors="replace"))
    finally:
        connection.close()


def main() -> int:
    """0 when the service of the environment's `IMI_HTTP_HOST` and `IMI_HTTP_PORT` lives, else 1, and why."""
    port = os.environ.get("IMI_HTTP_PORT", "0")
    if not port.strip().isdecimal():
        print(f'setting http_port: value "{port}": it must be a number', file=sys.stderr)
        return 1
    place = place_of(os.environ.get("IMI_HTTP_HOST", ""), int(port))
    try:
        status = ask(place, "/healthz").status
    except (OSError, HTTPException, OverflowError, UnicodeError) as error:  # the last two of what is no port or name
        print(f"no service answers: {error}", file=sys.stderr)
        return 1
    print("alive" if status == OK else f"status {status}")
    return 0 if status == OK else 1


if __name__ == "__main__":
    sys.exit(main())
