"""The schedule of a run: which faults, in which order, for how long, two at once now and then; all from one seed."""

from __future__ import annotations

import asyncio
import math
import os
import random
from collections import Counter
from contextlib import AsyncExitStack, suppress
from time import monotonic
from typing import NamedTuple

import nats.errors
import nats.js.errors
import psycopg
from psycopg import AsyncConnection

from tests.faults.suite import kinds
from tests.faults.suite.fault import ALONE, FAULTS, Fault
from tests.faults.suite.history import HANDLED, SCHEDULE, Notes
from tests.faults.suite.installation import PREFIX, Installation
from tests.faults.suite.writers import CONNECT, LOST, MARKER, Writers, change
from tests.support.nats.reading import connected

assert kinds  # they declare FAULTS
TWO_AT_ONCE = 0.3
CALM = 5
"""After so many steps it is awaited that commands are answered and the subscriber has caught up, too."""
FLOWING_SECONDS = 90.0
"""A run fails when events do not flow this long after a fault is over."""
HEALED_SECONDS = 360.0
"""A run fails when harm and healing take so much longer than the fault is to last."""
POLL_SECONDS = 0.05
OWED_SHARE = 0.3
LONG_FORM = 100
"""A run of so many faults has those of minutes, too."""
MINUTES_SECONDS = 30.0
"""What may last longer than this is to last for minutes: at least half of its longest."""
LOOKED_AT_BYTES = 4 * 1024 * 1024
"""So much of the end of the subscriber's notes is searched for a marker."""


class Step(NamedTuple):
    """What happens at once, and for how long."""

    number: int
    faults: list[Fault]
    seconds: float
    rng: random.Random


def plan(seed: str, faults: int, only: str = "") -> list[Step]:
    """So many faults, of those kinds that have `only` in their names; the same for the same seed.

    In a long one each kind comes once at least.
    """
    longest = math.inf if only or faults >= LONG_FORM else MINUTES_SECONDS
    kinds_of_run = [fault for fault in FAULTS.values() if only in fault.name and fault.longest_seconds <= longest]
    steps: list[Step] = []
    left = faults
    owed = random.Random(seed).sample(kinds_of_run, len(kinds_of_run)) if faults >= LONG_FORM else []
    while left:
        rng = random.Random(f"{seed}/{len(steps)}")
        is_owed = bool(owed) and (left <= 2 * len(owed) or rng.random() < OWED_SHARE)
        chosen = [owed.pop() if is_owed else _choose(rng, kinds_of_run)]
        others = [fault for fault in kinds_of_run if fault.target not in (chosen[0].target, ALONE)]
        if left > 1 and others and chosen[0].target != ALONE and rng.random() < TWO_AT_ONCE:
            chosen.append(_choose(rng, others))
        steps.append(Step(len(steps), chosen, min(_seconds(rng, fault) for fault in chosen), rng))
        left -= len(chosen)
    return steps


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

    async def run(self, steps: list[Step]) -> None:
        """Do harm, heal, and wait until events flow, step by step."""
        for step in steps:
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
            text = await self._mark()
            while text not in await self._last_marker():
                await asyncio.sleep(POLL_SECONDS)
        return monotonic() - began

    async def _until_calm(self) -> None:
        """Wait until a command was carried out, and the subscriber has handled a change made now."""
        applied = self._writers.applied
        async with asyncio.timeout(FLOWING_SECONDS):
            text = await self._mark()
            while self._writers.applied == applied or not self._is_handled(text):
                await asyncio.sleep(POLL_SECONDS)

    async def _mark(self) -> str:
        """Change the row of markers; returns the text that its event has. Of a lost COMMIT the outcome is no matter."""
        while True:
            with suppress(*LOST):
                async with await AsyncConnection.connect(self._there.database.url, **CONNECT) as conn:
                    async with conn.transaction():
                        entry = await change(conn, MARKER)
                    return entry.text
            await asyncio.sleep(POLL_SECONDS)

    async def _last_marker(self) -> str:
        """The last event of that row which the stream has, as a text; empty while nobody can tell."""
        with suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError):
            async with connected(self._there.cluster.nodes_up()) as client:
                message = await client.jetstream(timeout=2).get_last_msg(self._there.event_stream, self._subject)
                return (message.data or b"").decode()
        return ""

    def _is_handled(self, text: str) -> bool:
        with (self._there.folder / f"{HANDLED}.jsonl").open("rb") as notes:
            notes.seek(max(notes.seek(0, os.SEEK_END) - LOOKED_AT_BYTES, 0))
            return text.split(" ")[-1].encode() in notes.read()


def subject_of_markers(there: Installation) -> str:
    """The subject of events of the row that is changed to see that they flow."""
    with psycopg.connect(there.database.url) as conn:
        found = conn.execute("SELECT id FROM projects WHERE name = %s", [MARKER]).fetchone()
    assert found is not None
    return f"{PREFIX}.evt.v1.project.updated.{found[0]}"
