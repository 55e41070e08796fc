"""The schedule of a run: which faults, in which order, for how long, two at once now and then; all from one seed."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from contextlib import AsyncExitStack, suppress
from time import monotonic
from typing import NamedTuple

import nats.errors
import nats.js.errors

from tests.faults.suite import kinds
from tests.faults.suite.fault import ALONE, FAULTS, Fault
from tests.faults.suite.history import SCHEDULE, Notes
from tests.faults.suite.installation import Installation
from tests.faults.suite.markers import POLL_SECONDS, mark, subject_of_markers, until_handled
from tests.faults.suite.writers import Writers
from tests.support.nats.reading import connected

assert kinds  # they declare FAULTS
TWO_AT_ONCE = 0.3
CALM = 5
"""After so many steps it is awaited that commands are answered and the subscriber has caught up, too."""
FLOWING_SECONDS = 90.0
"""A run fails when events do not flow this long after a fault is over."""
HEALED_SECONDS = 360.0
"""A run fails when harm and healing take so much longer than the fault is to last."""
OWED_SHARE = 0.3
LONG_FORM, LONG_FORM_MINUTES = 100, 10
"""A run of so many faults, or minutes, has those of minutes, too, and each kind that this machine can have."""
MINUTES_SECONDS = 30.0
"""What may last longer than this is to last for minutes: at least half of its longest."""


class Limits(NamedTuple):
    """When a run ends: after so many faults, or so many minutes, whichever comes first; None is no limit."""

    faults: int | None = None
    minutes: int | None = None

    def __str__(self) -> str:
        given = {"faults": self.faults, "minutes": self.minutes}
        return " or ".join(f"{limit} {unit}" for unit, limit in given.items() if limit is not None)

    @property
    def is_long(self) -> bool:
        """Whether it is the long form."""
        return (self.faults or math.inf) >= LONG_FORM and (self.minutes or math.inf) >= LONG_FORM_MINUTES


class Step(NamedTuple):
    """What happens at once, and for how long."""

    number: int
    faults: list[Fault]
    seconds: float
    rng: random.Random


def plan(seed: str, limits: Limits, only: str = "") -> Iterator[Step]:
    """So many faults, of those kinds that have `only` in their names; the same for the same arguments.

    In a long one each kind comes once at least; where time is the limit, before any comes often.
    """
    kinds_of_run = [fault for fault in FAULTS.values() if obstacle(fault, limits, only) is None]
    owed = random.Random(seed).sample(kinds_of_run, len(kinds_of_run)) if limits.is_long else []
    owed_share = OWED_SHARE if limits.minutes is None else 1.0
    left = limits.faults or math.inf
    number = 0
    while left:
        rng = random.Random(f"{seed}/{number}")
        is_owed = bool(owed) and (left <= 2 * len(owed) or rng.random() < owed_share)
        chosen = [owed.pop() if is_owed else _choose(rng, kinds_of_run)]
        others = [fault for fault in kinds_of_run if fault.target not in (chosen[0].target, ALONE)]
        if left > 1 and others and chosen[0].target != ALONE and rng.random() < TWO_AT_ONCE:
            chosen.append(_choose(rng, others))
        yield Step(number, chosen, min(_seconds(rng, fault) for fault in chosen), rng)
        left -= len(chosen)
        number += 1


def obstacle(fault: Fault, limits: Limits, only: str = "") -> str | None:
    """Why a run does not have a kind; None where it may."""
    if only not in fault.name:
        return f'not asked for: only "{only}"'
    if fault.lacks is None and fault.longest_seconds > MINUTES_SECONDS and not (only or limits.is_long):
        return "lasts for minutes"
    return fault.lacks


def left_out(injected: Container[str], limits: Limits, only: str = "") -> dict[str, str]:
    """Why each kind was not injected that was not, by its name."""
    lacking = [fault for fault in FAULTS.values() if fault.name not in injected]
    return {fault.name: obstacle(fault, limits, only) or "not drawn" for fault in lacking}


def _choose(rng: random.Random, among: list[Fault]) -> Fault:
    return rng.choices(among, [fault.weight for fault in among])[0]


def _seconds(rng: random.Random, fault: Fault) -> float:
    share = rng.random()
    return fault.longest_seconds * (share**2 if fault.longest_seconds <= MINUTES_SECONDS else (1 + share) / 2)


class Attack:
    """Carries out a plan while writers write."""

    def __init__(self, there: Installation, writers: Writers) -> None:
        self._there = there
        self._writers = writers
        self._notes = Notes(there.folder, SCHEDULE)
        self._subject = subject_of_markers(there)
        self.counts: Counter[str] = Counter()
        self.recovery_seconds: dict[str, float] = {}
        """By kinds of faults: the longest time from when they were over until a change was in the stream."""

    async def run(self, steps: Iterable[Step], until: float = math.inf) -> None:
        """Do harm, heal, and wait until events flow, step by step, and begin none after the time `until`."""
        for step in steps:
            if monotonic() >= until:
                break
            await self._harm(step)
            seconds = await self._until_flowing()
            if step.number % CALM == 0:
                await self._until_calm()
            names = " + ".join(fault.name for fault in step.faults)
            self.counts.update(fault.name for fault in step.faults)
            self.recovery_seconds[names] = max(seconds, self.recovery_seconds.get(names, 0.0))
            self._notes.add(event="flows again", step=step.number, seconds=round(seconds, 3))
        self._notes.close()

    async def _harm(self, step: Step) -> None:
        names = [fault.name for fault in step.faults]
        self._notes.add(event="harm", step=step.number, faults=names, seconds=round(step.seconds, 3))
        async with asyncio.timeout(step.seconds + HEALED_SECONDS), AsyncExitStack() as stack:
            for fault in step.faults:
                await stack.enter_async_context(fault.context(self._there, step.rng))
            await asyncio.sleep(step.seconds)  # how long the fault lasts
        self._notes.add(event="healed", step=step.number)

    async def _until_flowing(self) -> float:
        """Write a change, and wait until it is in the stream; returns the seconds that took."""
        began = monotonic()
        async with asyncio.timeout(FLOWING_SECONDS):
            text = (await mark(self._there.database.url)).text
            while text not in await self._last_marker():
                await asyncio.sleep(POLL_SECONDS)
        return monotonic() - began

    async def _until_calm(self) -> None:
        """Wait until a command was carried out, and the subscriber has handled a change made now."""
        applied = self._writers.applied
        async with asyncio.timeout(FLOWING_SECONDS):
            await until_handled(self._there)
            while self._writers.applied == applied:
                await asyncio.sleep(POLL_SECONDS)

    async def _last_marker(self) -> str:
        """The last event of that row which the stream has, as a text; empty while nobody can tell."""
        with suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError):
            async with connected(self._there.cluster.nodes_up()) as client:
                message = await client.jetstream(timeout=2).get_last_msg(self._there.event_stream, self._subject)
                return (message.data or b"").decode()
        return ""
