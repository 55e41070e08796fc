"""Errors as the answers of services and the outcomes of commands tell them, and back: the one table for both.

A service's refusal is an answer with two headers, as NATS micro services have them (NATS ADR-32): a code and one line
of text. A command's outcome has a code of its own (`registry/commands`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from registry.commands import Code
from registry.errors import Conflict, Invalid, NotFound, RegistryError, Unavailable

ERROR_CODE, ERROR_TEXT = "Nats-Service-Error-Code", "Nats-Service-Error"
"""Headers of an answer that is an error."""
TOO_LARGE = "413"
"""The answer exceeds what the server carries: the request has to ask for less, so its sender takes it as `Invalid`."""


class _Entry(NamedTuple):
    error: type[RegistryError]
    header: str
    outcome: Code | None


_TABLE = [
    _Entry(Invalid, "400", "VALIDATION_ERROR"),
    _Entry(NotFound, "404", "NOT_FOUND"),
    _Entry(Conflict, "409", "CONFLICT"),
    _Entry(Unavailable, "503", None),  # no outcome: the applier tries again
    _Entry(RegistryError, "500", "INTERNAL_ERROR"),
]
"""The errors that are told apart; a subclass is told as the class it is of, so the base of all stands last."""


def header_code(error: RegistryError) -> str:
    """The code with which a service refuses: that of the error's class."""
    return next(entry.header for entry in _TABLE if isinstance(error, entry.error))


def header_text(error: RegistryError) -> str:
    """What the error says, as one line: names that others gave are in it, as that of a role of PostgreSQL."""
    return " ".join(str(error).split())


def refusal_headers(error: RegistryError) -> dict[str, str]:
    """Headers of the answer that tells `error`."""
    return {ERROR_CODE: header_code(error), ERROR_TEXT: header_text(error)}


def raise_refusal(headers: Mapping[str, str] | None) -> None:
    """Raise the error that an answer with these headers tells; return when it tells none.

    A code that is not ours is a `RegistryError`: nothing says that asking again would help.
    """
    if not headers or ERROR_CODE not in headers:
        return
    code = headers[ERROR_CODE]
    error = next((entry.error for entry in _TABLE if entry.header == code), RegistryError)
    if code == TOO_LARGE:
        error = Invalid
    raise error(headers.get(ERROR_TEXT) or f"refused with code {code} and no reason")


def outcome_error(code: Code, message: str) -> RegistryError:
    """The error of a command that was rejected with `code`."""
    error = next(entry.error for entry in _TABLE if entry.outcome == code)
    return error(message)


def outcome_code(error: RegistryError) -> Code:
    """The code of a command rejected for `error`. Raises it when it is `Unavailable`, which is no outcome."""
    code = next(entry.outcome for entry in _TABLE if isinstance(error, entry.error))
    if code is None:
        raise error
    return code
