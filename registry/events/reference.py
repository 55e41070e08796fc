"""An event without its data: a reference to the outbox row that has it, and why."""

from __future__ import annotations

from typing import NamedTuple

TOO_LARGE, UNREADABLE, INVALID, INVALID_TIME = "too_large", "unreadable", "invalid", "invalid_time"
URN = "urn:imi:registry:outbox:"
"""What a reference begins with; the event id follows."""


class Omission(NamedTuple):
    """Why an event goes out without its data, as a reference."""

    reason: str
    """For programs: `TOO_LARGE`, `UNREADABLE` (PostgreSQL cannot give it), `INVALID` or `INVALID_TIME`."""
    detail: str
    """For people."""


def reference(event_id: str, omission: Omission) -> dict[str, str]:
    """What an event has in place of `data` (CloudEvents extension "dataref", the claim check pattern)."""
    return {"dataref": f"{URN}{event_id}", "datarefreason": omission.reason}


def too_large(size: int, max_bytes: int) -> Omission:
    """The omission of data with which a message would have `size` bytes."""
    return Omission(TOO_LARGE, f"a message of {size} bytes; the server takes {max_bytes}")
