"""What is said of something that fails over and over: at once, then ever less often, and once when it goes on."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from registry.log import log

SAID_SECONDS = (2.0, 600.0)
"""Pause after the first line, doubled with each further one up to the longest: an hour makes some 15 lines."""
MOST_REASONS = 8
"""A reason that was not told before is told at once, up to so many of them."""
QUIET_SECONDS = 10.0
"""What fails again within so many seconds had not gone on: it is the same outage."""


def is_told(count: int) -> bool:
    """Whether to log the one of this number, from 1 on, of things of which there may be any number.

    The first ones are told, then each that doubles how many there were: a million make some 25 lines.
    """
    return count <= MOST_REASONS or count & (count - 1) == 0


class Outage:
    """Logs the failures of `what` with their reasons, and that it goes on; what it leaves out, at level debug."""

    def __init__(self, what: str, *, now: Callable[[], float] = monotonic, **fields: object) -> None:
        """`fields` stand in every line; `now` is a clock in seconds."""
        self.what = what
        self._now = now
        self._fields = fields
        self._began_at: float | None = None
        self._ended_at: float | None = None
        self._said_at = 0.0
        self._pause_seconds = SAID_SECONDS[0]
        self._reasons: set[str] = set()
        self._noted: set[str] = set()
        self._tries = 0
        self._is_said = False

    def failed(self, error: Exception, event: str = "", /, *, is_bug: bool = False, **fields: object) -> None:
        """It failed, which `event` says, or else `WHAT interrupted`; a bug is told with its traceback."""
        now = self._now()
        if not self._is_now(now):
            self._begin(now)
        self._ended_at = None
        self._tries += 1
        reason = str(error)
        is_due = self._tries == 1 or now - self._said_at >= self._pause_seconds
        if not is_due and (reason in self._reasons or len(self._reasons) >= MOST_REASONS):
            log.debug(event or f"{self.what} interrupted", reason=reason, **self._fields, **fields)
            return
        if is_due and self._tries > 1:
            self._pause_seconds = min(2 * self._pause_seconds, SAID_SECONDS[1])
        self._said_at = now
        self._reasons.add(reason)
        self._is_said = True
        if is_bug:
            log.error(event or f"{self.what} failed", exc_info=error, **self._so_far(now), **fields)
        else:
            log.warning(event or f"{self.what} interrupted", reason=reason, **self._so_far(now), **fields)

    def over(self, **fields: object) -> None:
        """It works. Says so, and for how long it did not, when a failure was told since it worked last."""
        if self._began_at is None or self._ended_at is not None:
            return
        self._ended_at = self._now()
        if self._is_said:
            seconds = round(self._ended_at - self._began_at, 1)
            log.info(f"{self.what} goes on", outage_seconds=seconds, **self._fields, **fields)
        self._is_said = False

    def note(self, event: str, **fields: object) -> None:
        """Log a step on the way; the same one only once in an outage."""
        if self._is_now(self._now()) and event in self._noted:
            log.debug(event, **self._fields, **fields)
            return
        self._noted.add(event)
        log.info(event, **self._fields, **fields)

    def _is_now(self, now: float) -> bool:
        if self._began_at is None:
            return False
        return self._ended_at is None or now - self._ended_at <= QUIET_SECONDS

    def _begin(self, now: float) -> None:
        self._began_at = now
        self._pause_seconds = SAID_SECONDS[0]
        self._reasons.clear()
        self._noted.clear()
        self._tries = 0

    def _so_far(self, now: float) -> dict[str, object]:
        if self._tries == 1 or self._began_at is None:
            return self._fields
        return self._fields | {"tries": self._tries, "outage_seconds": round(now - self._began_at, 1)}
