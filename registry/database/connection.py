"""A connection to PostgreSQL as this project makes it, and what its errors mean."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

from registry.errors import Conflict, Invalid, NotFound, RegistryError, Unavailable

ConnectionT = TypeVar("ConnectionT", bound=AsyncConnection[Any])

# A dead peer is noticed within about ten seconds, whatever the network does with the packets.
KEEPALIVE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
}

_CONFLICT_STATES = {"23505", "23503", "23P01", "23001", "55000", "2BP01"}
_INVALID_STATES = {"23514", "23502", "42883", "42804", "P0001"}
_INVALID_CLASSES = {"22", "54"}  # 54: longer than an index takes, deeper than the stack
_TRANSIENT_STATES = {"40001", "40P01", "55P03", "25P03"}
_TRANSIENT_CLASSES = {"08", "53", "57", "58"}


async def uninterrupted(connecting: Coroutine[Any, Any, ConnectionT]) -> ConnectionT:
    """The connection that `connecting` makes. When this is cancelled it is made all the same, and closed.

    psycopg would leave it to the garbage collector, and PostgreSQL would wait a minute for the rest of its greeting.
    """
    making = asyncio.ensure_future(connecting)
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        with suppress(psycopg.Error):
            await (await making).close()
        raise


@contextmanager
def translated() -> Iterator[None]:
    """Raise what psycopg raises inside the block as an error of `registry/errors.py`."""
    try:
        yield
    except psycopg.Error as error:
        raise from_database(error) from error


def from_database(error: psycopg.Error) -> RegistryError:
    """Translate a psycopg error by SQLSTATE, never by message text.

    An error without SQLSTATE is a value that psycopg itself refuses to send: `Invalid`, or else a connection that could
    not be made or broke: `Unavailable`.
    """
    state = error.sqlstate
    text = error.diag.message_primary or str(error).strip().split("\n", 1)[0] or type(error).__name__
    if state is None and isinstance(error, psycopg.DataError):
        return Invalid(text)
    if state is None or state in _TRANSIENT_STATES or state[:2] in _TRANSIENT_CLASSES:
        return Unavailable(text)
    if state == "P0002":
        return NotFound(text)
    if state in _CONFLICT_STATES:
        return Conflict(text)
    if state in _INVALID_STATES or state[:2] in _INVALID_CLASSES:
        return Invalid(text)
    return RegistryError(f"{text} (SQLSTATE {state})")
