"""One exception tree. A caller's one question is "retry or not?": `Unavailable` is the only yes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg


class RegistryError(Exception):
    """Base of everything this package raises on purpose; its text is one line a person can act on."""


class NotFound(RegistryError):
    """The thing named does not exist (SQLSTATE P0002)."""


class Conflict(RegistryError):
    """The request contradicts what is already there (SQLSTATE class 23 other than checks, 55xxx states)."""


class Invalid(RegistryError):
    """The request breaks a rule whatever the state is (SQLSTATE classes 22 and 54, check violations)."""


class Unavailable(RegistryError):
    """A server cannot be reached or cannot serve now; trying again later may work."""


class OutcomeUnknown(Unavailable):
    """A command was sent and no answer came: it may be carried out. Any other `Unavailable` means that it is not."""


_CONFLICT_STATES = {"23505", "23503", "23P01", "23001", "55000", "2BP01"}
_INVALID_STATES = {"23514", "23502", "42883", "42804", "P0001"}
_INVALID_CLASSES = {"22", "54"}  # 54: longer than an index takes, deeper than the stack
_TRANSIENT_STATES = {"40001", "40P01", "55P03", "25P03"}
_TRANSIENT_CLASSES = {"08", "53", "57", "58"}


def from_database(error: psycopg.Error) -> RegistryError:
    """Translate a psycopg error by SQLSTATE, never by message text.

    An error without SQLSTATE is a value that psycopg itself refuses to send: `Invalid`, or else a connection that could
    not be made or broke: `Unavailable`.
    """
    from psycopg import DataError  # here, so that the command line starts without psycopg (60 ms)

    state = error.sqlstate
    text = error.diag.message_primary or str(error).strip().split("\n", 1)[0] or type(error).__name__
    if state is None and isinstance(error, DataError):
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
