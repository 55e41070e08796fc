"""What was done in this console: noted at once, and written into the log of actions that all processes share.

The service's own log has every line, too.
"""

from __future__ import annotations

import asyncio
from collections import deque

from publisher.actions import Action, Actions, Entry, entry_of
from publisher.web.console.sources.broker import Broker
from registry.concurrency.backoff import Backoff
from registry.concurrency.outage import Outage
from registry.errors import Conflict, RegistryError, Unprepared
from registry.log import log

KEPT = 500
SHOWN = 200


class ActionLog:
    """The log, as the console of one process writes and reads it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._own: deque[Entry] = deque(maxlen=KEPT)
        self._unwritten: deque[Entry] = deque(maxlen=KEPT)
        self._news = asyncio.Event()
        self._outage = Outage("action_log")

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

    async def run(self) -> None:
        """Write what was noted, until cancelled. While NATS is away, it waits."""
        retry = Backoff()
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._write()
            except RegistryError as error:
                self._outage.failed(error)
                if not isinstance(error, Unprepared | Conflict):  # those are tried again with the next action
                    self._news.set()
                await retry.sleep()
            else:
                self._outage.over()

    async def _write(self) -> None:
        while self._unwritten:
            entry = self._unwritten[0]
            await self._actions().add(entry)
            if self._unwritten[0] is entry:  # and was not pushed out meanwhile
                self._unwritten.popleft()

    def _actions(self) -> Actions:
        return Actions(self._broker.client, self._broker.profile.letters)
