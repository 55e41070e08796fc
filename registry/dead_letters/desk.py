"""What people do with dead letters: list, show, redeliver, drop. Command line and console go through here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
from nats.aio.client import Client

from registry.arguments import checked_arguments
from registry.broker.durable import checked_durable, is_durable
from registry.broker.errors import translated_nats
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS, answer_in
from registry.broker.permitted import api_of
from registry.dead_letters.letter import DeadLetter
from registry.dead_letters.record import Action, Record, Records
from registry.dead_letters.stream import LetterStream
from registry.errors import Invalid, NotFound, Unprepared
from registry.events.filter import EventFilter
from registry.profiles.profile import Profile
from registry.validation import printable


class DeadLetterDesk:
    """The dead letters of all subscriptions of one registry."""

    def __init__(self, client: Client, profile: Profile) -> None:
        self._client = client
        self._names = profile.letters
        self._records = Records(client, profile.letters)

    async def durables(self, *, if_permitted: bool = False) -> list[str]:
        """The subscriptions that have a stream of dead letters, by name. Raises `Unavailable`.

        A stream whose name is none of a subscription is somebody else's.
        An account that may not list streams gets `Unprepared`; `if_permitted` none, for who tells of other things, too.
        """
        try:
            names = await self._stream_names()
        except Unprepared:
            if not if_permitted:
                raise
            return []
        prefix = self._names.stream("")
        found = [self._names.durable_of(name) for name in names if name.startswith(prefix)]
        return sorted(filter(is_durable, found))

    async def _stream_names(self) -> list[str]:
        found: list[str] = []
        subject = f"{api_of(self._client)}.STREAM.NAMES"
        while True:
            asked = orjson.dumps({"subject": self._names.all_subjects, "offset": len(found)})
            with translated_nats("cannot list streams"):
                answer = await self._client.request(subject, asked, timeout=REQUEST_TIMEOUT_SECONDS)
                page = answer_in(answer.data)
            found += page.get("streams") or []
            if len(found) >= page.get("total", 0) or not page.get("streams"):
                return found

    async def prepare(self, durable: str) -> None:
        """Make the stream of a subscription's dead letters where there is none: it may itself not be permitted to.

        Raises `Invalid`, `Conflict` for a stream of somebody else, `Unavailable`.
        """
        await self._stream(durable).open()

    async def counts(self, *, if_permitted: bool = False) -> dict[str, int]:
        """How many dead letters each subscription has. Raises `Unavailable`.

        `if_permitted` leaves out what the account may not look at.
        """
        counts = {}
        for durable in await self.durables(if_permitted=if_permitted):
            try:
                counts[durable] = await self._stream(durable).count()
            except NotFound:  # deleted meanwhile
                continue
            except Unprepared:
                if not if_permitted:
                    raise
        return counts

    @checked_arguments
    async def find(
        self, durable: str | None = None, *, reason: str | None = None, after: int = 0, **wanted: Any
    ) -> AsyncIterator[DeadLetter]:
        """Dead letters behind number `after`, of each subscription the oldest first; None means any.

        `wanted` are fields of `EventFilter`; `reason` is a part of the error, in any case. Raises `Invalid`,
        `NotFound` when `durable` has none and never had, `Unavailable`.
        """
        matching = EventFilter.of(**wanted)
        if after < 0:
            raise Invalid(f"after: {after}: it must be 0 or more")
        for name in [durable] if durable is not None else await self.durables():
            try:
                async for letter in self._stream(name).all(after):
                    has_reason = reason is None or reason.lower() in letter.failure.reason.lower()
                    if has_reason and (not wanted or matching.matches(letter.payload)):
                        yield letter
            except NotFound:
                if durable is not None:
                    raise self._none(name) from None

    @checked_arguments
    async def get(self, durable: str, number: int) -> DeadLetter:
        """One dead letter. Raises `NotFound`, `Unavailable`."""
        if number < 1:
            raise Invalid(f"dead letter {number}: a number is 1 or more")
        try:
            return await self._stream(durable).get(number)
        except NotFound as error:
            if await self._is_there(durable):
                raise
            raise self._none(durable) from error

    @checked_arguments
    async def of_event(self, durable: str, event_id: UUID) -> DeadLetter | None:
        """The dead letter that a subscription has of an event. Raises `NotFound` where none ever was, `Unavailable`."""
        return await self._stream(durable).of_event(str(event_id))

    @checked_arguments
    async def redeliver(self, durable: str, number: int, *, actor: str) -> DeadLetter:
        """Let the subscription handle a dead letter once more, as soon as it runs; it stays until that is done.

        One that fails again stays a dead letter, with its new error and a new number. Recorded as done by `actor`.
        Raises `NotFound`, `Unavailable`.
        """
        letter = await self._recorded("redeliver", durable, number, actor)
        await self._stream(durable).ask(letter.event_id, actor)
        return letter

    @checked_arguments
    async def drop(self, durable: str, number: int, *, actor: str) -> DeadLetter:
        """Delete a dead letter for good. Recorded as done by `actor`. Raises `NotFound`, `Unavailable`."""
        letter = await self._recorded("drop", durable, number, actor)
        stream = self._stream(durable)
        if not await stream.drop(letter.number):
            raise NotFound(f"dead letter {number} of {durable}: it is gone meanwhile")
        if letter.redelivery is not None:
            await stream.drop(letter.redelivery.number)
        return letter

    @checked_arguments
    async def records(self, durable: str | None = None) -> AsyncIterator[Record]:
        """What was done with dead letters, by whom and when, oldest first. Raises `Unavailable`."""
        if durable is not None:
            self._stream(durable)
        async for record in self._records.all(durable):
            yield record

    async def _recorded(self, action: Action, durable: str, number: int, actor: str) -> DeadLetter:
        if not actor.strip():
            raise Invalid(f"actor {printable(actor)}: it must not be blank")
        letter = await self.get(durable, number)
        await self._records.add(actor, action, letter)
        return letter

    def _stream(self, durable: str) -> LetterStream:
        return LetterStream(self._client, self._names, checked_durable(durable))

    async def _is_there(self, durable: str) -> bool:
        return durable in await self.durables()

    def _none(self, durable: str) -> NotFound:
        return NotFound(f"subscription {printable(durable)} has no dead letters: was it started with max_attempts?")
