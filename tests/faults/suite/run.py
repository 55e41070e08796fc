"""One run: start everything, write, attack, let all of it come to rest, and judge what everybody noted."""

from __future__ import annotations

import asyncio
import json
import math
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from publisher.relay.lane import OVERTAKING
from registry.client import RegistryClient
from registry.subjects import Names
from tests.faults.suite import history
from tests.faults.suite.checker import Verdict, judge
from tests.faults.suite.entries import Entry, entry_of
from tests.faults.suite.history import LEDGER, MESSAGES, REPLAY, STREAM, Notes
from tests.faults.suite.installation import PREFIX, WRITERS, Installation, installed
from tests.faults.suite.markers import mark
from tests.faults.suite.schedule import Attack, Limits, left_out, plan
from tests.faults.suite.writers import COMMAND_ROWS, Setting, Writers, ledger
from tests.support.nats.reading import connected, messages

PAUSE_SECONDS = 0.05
SETTINGS = [
    *[Setting(is_durable=True, pause_seconds=PAUSE_SECONDS)] * 4,
    Setting(is_durable=True, pause_seconds=PAUSE_SECONDS, is_pooled=True),
    Setting(is_durable=False, pause_seconds=PAUSE_SECONDS),
]
ID = "Nats-Msg-Id"
REST_SECONDS = 120.0
"""So long after the last fault everything must be told to everybody."""


class Stored(NamedTuple):
    """A message of the stream, as far as it is judged."""

    sequence: int
    id: str
    entry: Entry | None


@dataclass
class Outcome:
    """What a run tells."""

    seed: str
    counts: dict[str, int]
    """How often each kind of fault was injected."""
    left_out: dict[str, str]
    """Why each other kind was not."""
    recovery_seconds: dict[str, float]
    """The longest time, for each kind, until events flowed again when it was over."""
    seconds: float
    messages: int
    """In the event stream at the end."""
    overtaking: int
    """Messages that went before a backlog."""
    verdict: Verdict

    @property
    def faults(self) -> int:
        """How many there were."""
        return sum(self.counts.values())


async def attack(seed: str, limits: Limits, directory: Path, folder: Path, only: str = "") -> Outcome:
    """Run the faults of `seed`, of kinds with `only` in their names, up to the limits.

    Servers store in `directory`, the history is kept in `folder`.
    """
    began = monotonic()
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    async with installed(directory, folder, is_eager=True) as there:
        try:
            writers = Writers(there.lines[WRITERS].database_url, there.pooled_url, folder)
            attacking = Attack(there, writers)
            async with _writing(there, writers, seed):
                until = math.inf if limits.minutes is None else monotonic() + 60 * limits.minutes
                await attacking.run(plan(seed, limits, only), until)
            count = await collect(there)
            seconds = monotonic() - began
        finally:
            await asyncio.to_thread(_keep_logs, there, directory)
    counts = dict(sorted(attacking.counts.items()))
    others = left_out(counts, limits, only)
    return Outcome(seed, counts, others, attacking.recovery_seconds, seconds, count, overtaking(folder), judge(folder))


@asynccontextmanager
async def _writing(there: Installation, writers: Writers, seed: str) -> AsyncIterator[None]:
    """Writers at work for the block; at its end their last changes are confirmed, or not."""
    async with AsyncExitStack() as stack:
        stack.callback(writers.close)
        client = await stack.enter_async_context(
            RegistryClient.connect(there.lines[WRITERS].nats_url, prefix=PREFIX, name="writer")
        )
        async with asyncio.TaskGroup() as tasks:
            for number, setting in enumerate(SETTINGS):
                tasks.create_task(writers.write_sql(random.Random(f"{seed}/writer/{number}"), setting))
            for row in COMMAND_ROWS:
                tasks.create_task(writers.write_commands(client, row))
            try:
                yield
            finally:
                writers.stop()


async def collect(there: Installation) -> int:
    """Note what everybody was told, as `collected` does."""
    return await collected(there.database.url, there.cluster.url, PREFIX, there.folder)


async def collected(database_url: str, nats_url: str, prefix: str, folder: Path) -> int:
    """Wait until everybody was told everything, and note what the ledger, the stream and a replay hold.

    Returns how many messages the stream holds. The subscriber is to be running.
    """
    names = Names(prefix)
    async with connected(nats_url) as client:
        async with asyncio.timeout(REST_SECONDS):
            await _until_no_command_waits(client, names.commands.stream)
            await mark(database_url)  # behind the events of the last commands, which no ledger has
        committed = ledger(database_url)
        _note(folder, LEDGER, list(enumerate(committed)))
        wanted = {entry.as_told for entry in committed}
        try:
            async with asyncio.timeout(REST_SECONDS):
                while missing := wanted:
                    handled = set(history.entries(folder, history.HANDLED))
                    wanted = missing - handled
                    await asyncio.sleep(0.2)
        except TimeoutError:
            pass  # what is missing is told by the judge
        stored = await _stored(client, names.event_stream)
    _note(folder, STREAM, [(message.sequence, message.entry) for message in stored if message.entry is not None])
    ids = Notes(folder, MESSAGES)
    for message in stored:
        ids.add(id=message.id)
    ids.close()
    async with RegistryClient.connect(nats_url, prefix=prefix, name="judge") as registry:
        replayed: list[Entry] = []
        async with registry.replay() as events:
            async for event in events:
                entry = entry_of(event.payload)
                if entry is not None:
                    replayed.append(entry)
        _note(folder, REPLAY, list(enumerate(replayed)))
    return len(stored)


async def _stored(client: Client, stream: str) -> list[Stored]:
    """Every message of the stream, in its order. A node that has just come back may interrupt a reader: once more."""
    async with asyncio.timeout(REST_SECONDS):
        while True:
            with suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError):
                return [
                    Stored(
                        message.metadata.sequence.stream, (message.headers or {}).get(ID, ""), entry_of(message.data)
                    )
                    async for message in messages(client, stream)
                ]
            await asyncio.sleep(0.5)


def overtaking(folder: Path) -> int:
    """How many messages went before a backlog, as the logs of the publishers tell."""
    lines = (line for log in folder.glob("publisher-*.log") for line in log.read_bytes().splitlines())
    told = (json.loads(line) for line in lines if OVERTAKING.encode() in line and line.endswith(b"}"))
    return sum(int(line["events"]) for line in told)


async def _until_no_command_waits(client: Client, stream: str) -> None:
    waiting = 1
    while waiting:
        await asyncio.sleep(0.1)
        with suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError):
            waiting = (await client.jetstream(timeout=1).stream_info(stream)).state.messages


def _note(folder: Path, name: str, entries: list[tuple[int, Entry]]) -> None:
    notes = Notes(folder, name)
    notes.add_all(entries)
    notes.close()


def _keep_logs(there: Installation, directory: Path) -> None:
    for log in (*directory.glob("pg*/postgres.log"), *directory.glob("node*/nats.log")):
        if log.exists():
            shutil.copy(log, there.folder / f"{log.parent.name}-{log.name}")
