"""One exception tree. A caller's one question is "retry or not?": `Unavailable` is the only yes."""

from __future__ import annotations

from registry.urls import safe_to_tell


class RegistryError(Exception):
    """Base of everything this package raises on purpose; its text is one line a person can act on.

    It goes to terminals, logs, senders of commands and dead letters: no credential is in it, wherever it comes from.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(safe_to_tell(text))


class NotFound(RegistryError):
    """The thing named does not exist (SQLSTATE P0002)."""


class Conflict(RegistryError):
    """The request contradicts what is already there (SQLSTATE class 23 other than checks, 55xxx states)."""


class Invalid(RegistryError):
    """The request breaks a rule whatever the state is (SQLSTATE classes 22 and 54, check violations)."""


class Unusable(Invalid):
    """The value is well formed, and what it names cannot be used as it is: a file, a folder, a checkout, a port."""


class Unavailable(RegistryError):
    """A server cannot be reached or cannot serve now; trying again later may work."""


class Unprepared(Unavailable):
    """The server is there and lacks what is needed, as a right or a table; it may work once somebody has seen to it."""


class Busy(Unavailable):
    """More commands wait than may. The one that was sent is not taken: send it again later."""


class OutcomeUnknown(Unavailable):
    """A command was sent and no answer came: it may be carried out. Any other `Unavailable` means that it is not."""
