"""What an error of PostgreSQL means: by its SQLSTATE, one of `registry/errors.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from registry.errors import Conflict, Invalid, NotFound, RegistryError, Unavailable, Unprepared

_CONFLICT_STATES = {"23505", "23503", "23P01", "23001", "55000", "2BP01"}
_INVALID_STATES = {"23514", "23502", "42804", "P0001"}
_INVALID_CLASSES = {"22", "54"}  # 54: longer than an index takes, deeper than the stack
_TRANSIENT_STATES = {"40001", "40P01", "55P03", "25P03", "25006"}  # 25006: read only, as a standby
_TRANSIENT_CLASSES = {"08", "28", "3D", "53", "57", "58", "F0", "XX"}  # 28, 3D: of a pooler that cannot log in, say

# A right, a schema, table, column, function or type that is not there: not granted, not migrated, or being restored.
# 0A000 and 26000: a statement that was prepared before that was done; a new connection prepares it again.
_UNPREPARED_STATES = {"42501", "3F000", "42P01", "42703", "42883", "42704", "0A000", "26000"}


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
    if state in _UNPREPARED_STATES:
        return Unprepared(f"{text} (SQLSTATE {state})")
    if state == "P0002":
        return NotFound(text)
    if state in _CONFLICT_STATES:
        return Conflict(text)
    if state in _INVALID_STATES or state[:2] in _INVALID_CLASSES:
        return Invalid(text)
    return RegistryError(f"{text} (SQLSTATE {state})")
