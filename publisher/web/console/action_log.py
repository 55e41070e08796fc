"""What was done in this console: noted at once, and written into the log of actions that all processes share.

The service's own log has every line, too.
"""

from __future__ import annotations

import asyncio
from collections import deque

from prometheus_client import CollectorRegistry

from publisher.actions import Action, Actions, Entry, entry_of
from publisher.part import Part
from publisher.settings import Settings
from publisher.web.console.sources.broker import Broker
from publisher.web.console.sources.health import QuietHealth
from registry.errors import Conflict, RegistryError, Unavailable, Unprepared
from registry.log import log

KEPT = 500
SHOWN = 200
MOST_TRIES = 5
"""So often an entry is tried that fails by itself, as by a bug: it is left out then, and stands in the log alone."""


class ActionLog(Part):
    """The log, as the console of one process writes and reads it."""

    def __init__(self, settings: Settings, broker: Broker, registry: CollectorRegistry) -> None:
        self.quiet = QuietHealth("action_log", registry)
        super().__init__(settings, self.quiet, "console")
        self._broker = broker
        self._own: deque[Entry] = deque(maxlen=KEPT)
        self._unwritten: deque[Entry] = deque(maxlen=KEPT)
        self._failures = 0
        """Of the first of these, by itself."""
        self._news = asyncio.Event()
        self.settled.set()

    @property
    def is_behind(self) -> bool:
        """Whether something that was noted is not written yet."""
        return bool(self._unwritten)

    def note(self, who: str, what: str, about: str, outcome: str, *, is_well: bool = True) -> None:
        """Note an action."""
        entry = entry_of("console", who, what, about, outcome, is_well=is_well)
        self._own.appendleft(entry)
        self._unwritten.append(entry)
        self._news.set()
        log.info("console", action=what, about=about, by=who, outcome=outcome)

    def latest(self) -> list[Action]:
        """The last actions in this process, newest first."""
        return [entry.action for entry in self._own]

    async def shown(self) -> tuple[list[Entry], str]:
        """The last actions of all, newest first; and why only those of this process are there, where that is so."""
        unwritten = list(self._unwritten)
        try:
            stored = await self._actions().latest(SHOWN)
        except RegistryError as error:
            return list(self._own), str(error)
        known = {entry.id for entry in stored}
        found = [*stored, *(entry for entry in unwritten if entry.id not in known)]
        return sorted(found, key=lambda entry: entry.action.at, reverse=True), ""

    async def work(self) -> None:
        """Write what was noted, until cancelled. While NATS is away, it waits."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._write()
            except (Unprepared, Conflict) as error:  # what waiting does not heal is tried again with the next action
                self.quiet.failed(error)
            else:
                self.quiet.well()

    def interrupted(self) -> None:
        """What could not be written is tried again."""
        self._news.set()

    async def _write(self) -> None:
        while self._unwritten:
            entry = self._unwritten[0]
            if self._failures < MOST_TRIES:
                try:
                    await self._actions().add(entry)
                except Exception as error:
                    self._failures += not isinstance(error, (Unavailable, Conflict))  # of NATS, or what is there
                    raise
            self._failures = 0
            if self._unwritten[0] is entry:  # and was not pushed out meanwhile
                self._unwritten.popleft()

    def _actions(self) -> Actions:
        return Actions(self._broker.client, self._broker.profile.letters)
