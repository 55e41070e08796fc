"""Dead letters of commands and of subscriptions, searched in bounded time; and what is done with them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from publisher.applier.dead_letters import DeadLetter as CommandLetter
from publisher.applier.dead_letters import DeadLetters
from registry.dead_letters import DeadLetter, DeadLetterDesk
from registry.errors import NotFound

if TYPE_CHECKING:
    from publisher.web.console.console import Console

MOST_SHOWN = 50
MOST_AT_ONCE = 500
"""That one form retries or drops; the page says how many are left."""
LOOK_SECONDS = 2.0
"""Letters are read one by one, from the oldest on, for so long."""
READ_SECONDS, ACT_SECONDS = 20.0, 30.0
"""For finding those that are meant, then for doing it: together less than a request has."""
COMMANDS = ".commands"
"""The name of those of the command stream beside the names of subscriptions, none of which has a dot."""
ALL = ".all"
"""In place of a name: all that are meant, whosever they are."""


class Letter(NamedTuple):
    """A dead letter."""

    where: str
    """`COMMANDS`, or the name of the subscription."""
    number: int
    subject: str
    reason: str
    sequence: int
    """Of the message in its stream."""
    attempts: int
    failed_at: datetime
    headers: dict[str, str]
    payload: bytes
    is_asked_for: bool = False
    """Whether somebody has asked already that it is handled once more."""

    def has(self, text: str) -> bool:
        """Whether the text is in it, in any case."""
        wanted = text.lower()
        return (
            not wanted
            or wanted in self.reason.lower()
            or wanted in self.subject.lower()
            or wanted in self.payload.decode(errors="replace").lower()
        )


class Page(NamedTuple):
    """Some letters, oldest first."""

    letters: list[Letter]
    matching: int
    """How many match among those that were looked at."""
    looked_at: int
    is_whole: bool
    """Whether those are all."""
    last: int
    """Number of the last one that was looked at."""


async def durables(console: Console) -> dict[str, int]:
    """Subscriptions with dead letters, and how many, as far as we may know. Raises `Unavailable`."""
    return await DeadLetterDesk(console.broker.client, console.profile).counts(if_permitted=True)


async def page_of(console: Console, where: str, text: str, after: int = 0) -> Page:
    """Letters behind number `after` that have a text. Raises `Unavailable`."""
    found: list[Letter] = []
    matching = looked_at = last = 0
    ends_at = monotonic() + LOOK_SECONDS
    async with aclosing(_letters(console, where, after)) as letters:
        async for letter in letters:
            looked_at, last = looked_at + 1, letter.number
            if letter.has(text):
                matching += 1
                if len(found) < MOST_SHOWN:
                    found.append(letter)
            if monotonic() > ends_at:
                return Page(found, matching, looked_at, False, last)
    return Page(found, matching, looked_at, True, last)


async def letter_of(console: Console, where: str, number: int) -> Letter:
    """One letter. Raises `NotFound`, `Unavailable`."""
    if where == COMMANDS:
        desk = _commands(console)
        await desk.find()
        found = await desk.get(number)
        return _of_command(found)
    return _of_event(await DeadLetterDesk(console.broker.client, console.profile).get(where, number))


async def again(console: Console, where: str, number: int, who: str) -> None:
    """Send a command once more, or have its event handled once more. Raises `NotFound`, `Unavailable`."""
    if where == COMMANDS:
        await _commands(console).retry(number)
    else:
        await DeadLetterDesk(console.broker.client, console.profile).redeliver(where, number, actor=who)


async def drop(console: Console, where: str, number: int, who: str) -> None:
    """Delete a letter for good. Raises `NotFound`, `Unavailable`."""
    if where == COMMANDS:
        await _commands(console).drop(number)
    else:
        await DeadLetterDesk(console.broker.client, console.profile).drop(where, number, actor=who)


DEEDS: dict[str, Callable[[Console, str, int, str], Awaitable[None]]] = {"retry": again, "drop": drop}


async def all_matching(
    console: Console, where: str, text: str, among: range, deed: str, who: str, done: list[int]
) -> bool:
    """Do it with all letters of numbers in `among` that have a text; whether those are all. `done` gets their numbers.

    `among` are those of which somebody was told when asked whether they mean it: what came since is not meant. Raises
    `Unavailable`, also with some of it done.
    """
    numbers, is_whole = await _matching(console, where, text, among)
    ends_at = monotonic() + ACT_SECONDS
    for number in numbers:
        if monotonic() > ends_at:
            return False
        with suppress(NotFound):  # somebody else was faster
            await DEEDS[deed](console, where, number, who)
            done.append(number)
    return is_whole


async def _matching(console: Console, where: str, text: str, among: range) -> tuple[list[int], bool]:
    """Numbers of letters that have a text, as many as one form acts on; and whether those are all."""
    ends_at = monotonic() + READ_SECONDS
    numbers: list[int] = []
    async with aclosing(_letters(console, where, among.start - 1)) as letters:
        async for letter in letters:
            if letter.number >= among.stop:
                break
            if letter.has(text):
                numbers.append(letter.number)
            if len(numbers) > MOST_AT_ONCE or monotonic() > ends_at:
                return numbers[:MOST_AT_ONCE], False
    return numbers, True


def _commands(console: Console) -> DeadLetters:
    return DeadLetters(console.broker.client, console.profile, console.settings)


async def _letters(console: Console, where: str, after: int) -> AsyncGenerator[Letter, None]:
    """Those behind number `after`, oldest first."""
    if where == COMMANDS:
        desk = _commands(console)
        try:
            await desk.find()
        except NotFound:  # no applier ever ran
            return
        async for found in desk.all(after):
            yield _of_command(found)
        return
    async for letter in DeadLetterDesk(console.broker.client, console.profile).find(where, after=after):
        yield _of_event(letter)


def _of_command(letter: CommandLetter) -> Letter:
    return Letter(
        COMMANDS,
        letter.number,
        letter.subject,
        letter.reason,
        letter.sequence,
        letter.attempts,
        letter.buried_at,
        letter.headers,
        letter.payload,
    )


def _of_event(letter: DeadLetter) -> Letter:
    return Letter(
        letter.durable,
        letter.number,
        letter.subject,
        letter.failure.reason,
        letter.sequence,
        letter.failure.attempts,
        letter.failure.failed_at,
        letter.headers,
        letter.payload,
        letter.redelivery is not None,
    )
