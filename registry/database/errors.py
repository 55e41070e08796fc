"""What an error of PostgreSQL means: by its SQLSTATE, one of `registry/errors.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from registry.errors import Conflict, Invalid, NotFound, RegistryError, Unavailable, Unprepared

# What it means for a command stands in apply_command (migrations/004_commands.sql), too; a test compares both.
_NOT_FOUND_STATE = "P0002"
_READ_ONLY_STATE = "25006"
_DEPENDED_ON_STATE = "2BP01"
"""Cannot be dropped; what depends on it stands in the detail alone."""
_CONFLICT_STATES = {"23505", "23503", "23P01", "23001", "55000", "2BP01"}
_INVALID_STATES = {"23514", "23502"}
_INVALID_CLASSES = {"22", "54"}  # 54: longer than an index takes, deeper than the stack

# 28, 3D: of a pooler that cannot log in, say. 25: read only, as a standby, or ended by a time limit for transactions.
# HV: of a foreign table. 57014: canceled, by a time limit for statements.
_TRANSIENT_STATES = {"55P03"}
_TRANSIENT_CLASSES = {"08", "25", "28", "3D", "40", "53", "57", "58", "72", "F0", "HV", "XX"}

# A right, a schema, table, column, function or type that is not there, or is another one than it should be: not
# granted, not migrated, or being restored. 0A000 and 26000: a statement that was prepared before that was done; a new
# connection prepares it again.
_UNPREPARED_STATES = {"0A000", "26000"}
_UNPREPARED_CLASSES = {"3F", "42"}


_PLACES_OF_A_FULL_QUEUE = {("54000", "PreCommit_Notify")}
"""SQLSTATE and function of PostgreSQL: a session that listens and idles in a transaction has filled the queue of
notifications. It shares its SQLSTATE with values that are too large."""

_CLASSES_OF_A_VALUE = {"22", "54", "XX"}
"""What belongs to the value at hand: text that is none, text of more than 1 GB, a page or a TOAST chunk damaged."""
_OUT_OF_MEMORY = "53200"
_FILES_OF_SHARED_MEMORY = {"lock.c", "predicate.c", "dynahash.c", "shmem.c"}
"""Of PostgreSQL's source: there the same SQLSTATE says that what all sessions share is full, the table of locks above
all. Anybody who may log in to the server can fill that, and no value is to blame."""


def is_of_a_value(error: psycopg.Error) -> bool:
    """Whether a statement may have failed over one value that it found, so that others can be read without that."""
    state = error.sqlstate or ""
    is_memory = state == _OUT_OF_MEMORY and error.diag.source_file not in _FILES_OF_SHARED_MEMORY
    return state[:2] in _CLASSES_OF_A_VALUE or is_memory


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
    if state is None and isinstance(error, psycopg.DataError | psycopg.ProgrammingError):
        return Invalid(text)
    if state == _READ_ONLY_STATE:
        why = "a standby, or default_transaction_read_only is on"
        return Unavailable(f"{text}: the database takes no writes now ({why})")
    if state is None:
        return Unavailable(f"PostgreSQL: {text}")  # the words of libpq, which are of any server
    if _is_one_of(state, _TRANSIENT_STATES, _TRANSIENT_CLASSES):
        return Unavailable(text)
    if (state, error.diag.source_function) in _PLACES_OF_A_FULL_QUEUE:
        return Unavailable(text)
    if _is_one_of(state, _UNPREPARED_STATES, _UNPREPARED_CLASSES):
        return Unprepared(f"{text} (SQLSTATE {state})")
    if state == _NOT_FOUND_STATE:
        return NotFound(text)
    if state == _DEPENDED_ON_STATE and error.diag.message_detail:
        return Conflict(f"{text}: {'; '.join(error.diag.message_detail.splitlines())}")
    if state in _CONFLICT_STATES:
        return Conflict(text)
    if _is_one_of(state, _INVALID_STATES, _INVALID_CLASSES):
        return Invalid(text)
    return RegistryError(f"{text} (SQLSTATE {state})")


def _is_one_of(state: str, states: set[str], classes: set[str]) -> bool:
    return state in states or state[:2] in classes
