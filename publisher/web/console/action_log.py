"""The action log: who did what in this console, and what came of it. The service's own log has every line, too."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

log = structlog.get_logger()

KEPT = 500


class Action(NamedTuple):
    """Something that was done."""

    at: datetime
    who: str
    what: str
    """The action, as `dead letter retried`."""
    about: str
    """What it was done to."""
    outcome: str
    is_well: bool


class ActionLog:
    """The last actions since this process began."""

    def __init__(self) -> None:
        self._actions: deque[Action] = deque(maxlen=KEPT)

    def note(self, who: str, what: str, about: str, outcome: str, *, is_well: bool = True) -> None:
        """Note one."""
        self._actions.appendleft(Action(datetime.now(UTC), who, what, about, outcome, is_well))
        log.info("console", action=what, about=about, by=who, outcome=outcome)

    def latest(self) -> list[Action]:
        """All that are kept, newest first."""
        return list(self._actions)
