"""The applier whose streams are deleted, or made anew as others, while it works: it says so, and comes back by itself.

What waited in the stream of commands is gone with it, and its senders know no outcome: they send it again, as it was.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import nats.errors
import nats.js.errors
import pytest
from nats.js.api import RetentionPolicy, StorageType, StreamConfig

from publisher.applier.metrics import ApplierMetrics
from tests.support.commands import envelope
from tests.support.world import World

WORK_QUEUE = RetentionPolicy.WORK_QUEUE
PATIENCE_SECONDS = 60
ANSWERED_SECONDS = 1.0
"""A command that came to the stream while it was being deleted is acknowledged by nobody."""
PROJECTS = 5
PAUSE_SECONDS = 0.005
"""Between two commands: nothing is to be judged of a backlog."""
STORED_AT_LEAST = 30
"""Commands that the stream has taken before it is lost, and those that it has once it is there again."""


@dataclass
class Senders:
    """They send commands all the time, and each command again until it has an outcome."""

    world: World
    sent: dict[UUID, bytes] = field(default_factory=dict)
    stored: int = 0
    is_done: bool = False

    async def go_on(self) -> None:
        """Send ever more of them, whether a stream takes them or not."""
        while not self.is_done:
            number, command_id = len(self.sent), uuid4()
            data = {"name": "p", "remote_origin": f"git@github.com:a/p{number % PROJECTS}.git"}
            data["metadata"] = {"last": f"name-{number}"}  # type: ignore[assignment]
            self.sent[command_id] = envelope("project.register", data, id=str(command_id))
            await self._send(command_id)
            await asyncio.sleep(PAUSE_SECONDS)

    async def more(self) -> None:
        """Wait until some more are in the stream."""
        wanted = self.stored + STORED_AT_LEAST
        await until(lambda: self.stored >= wanted, "commands are stored")

    async def finish(self) -> None:
        """Send each command that has no outcome once more, under its id, until all have one."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while left := self.sent.keys() - {command_id for command_id, *_ in self.world.outcome_events()}:
                for command_id in left:
                    await self._send(command_id)
                await self.world.commands_done()

    async def _send(self, command_id: UUID) -> None:
        with suppress(nats.errors.Error, nats.js.errors.Error):  # nobody takes it, or nobody says so
            subject = self.world.names.commands.command_subject("project.register")
            await self.world.nats.jetstream().publish(subject, self.sent[command_id], timeout=ANSWERED_SECONDS)
            self.stored += 1

    def assert_each_carried_out_once(self) -> None:
        """Fail unless the database has one change and one outcome of each."""
        told = self.world.outcome_events()
        assert Counter(command_id for command_id, *_ in told) == dict.fromkeys(self.sent, 1)
        assert {verdict for *_, verdict in told} == {"applied"}
        changes = "SELECT causation_id, count(*) FROM outbox WHERE entity = 'project' GROUP BY 1"
        assert dict(self.world.rows(changes)) == dict.fromkeys(self.sent, 1)


@asynccontextmanager
async def sending(world: World) -> AsyncIterator[Senders]:
    """Commands are sent inside the block; at its end each has an outcome."""
    senders = Senders(world)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(senders.go_on())
        try:
            await senders.more()
            yield senders
        finally:
            senders.is_done = True
    await senders.finish()


async def until(is_so: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"it is not so that {what}") from None


async def until_told(metrics: ApplierMetrics, problem: str) -> None:
    """Wait until `/readyz` has this sentence in it."""
    await until(lambda: problem in " ".join(metrics.problems()), f'"{problem}" is told: {metrics.problems()}')


async def until_back(metrics: ApplierMetrics, interrupted: int) -> None:
    """Wait until an applier, after it was `interrupted` so often, is interrupted once more, and leads again."""
    await until(lambda: metrics.interrupted > interrupted, "it is told")
    await until(lambda: metrics.role == "leader", "it is back")


async def until_there(world: World, stream: str) -> StreamConfig:
    """Wait for a stream; returns how it is configured."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(nats.js.errors.NotFoundError):
                return (await world.nats.jetstream().stream_info(stream)).config
            await asyncio.sleep(0.01)


async def test_a_stream_of_commands_that_is_deleted_is_made_again(world: World) -> None:
    stream = world.names.commands.stream
    async with world.applier() as one, world.applier() as other:
        before = await until_there(world, stream)
        async with sending(world) as senders:
            for _ in range(3):
                await world.nats.jetstream().delete_stream(stream)
                assert await until_there(world, stream) == before
                await senders.more()
        assert one.interrupted + other.interrupted >= 3
        await until(lambda: {one.role, other.role} == {"leader", "standby"}, "one of them leads")
        assert one.problems() == other.problems() == []
    senders.assert_each_carried_out_once()


@pytest.mark.parametrize("is_bare", [False, True], ids=["as it was", "without limits, in memory"])
async def test_one_that_is_made_anew_by_somebody_is_taken_as_it_is(world: World, is_bare: bool) -> None:
    stream = world.names.commands.stream
    async with world.applier() as metrics:
        before = await until_there(world, stream)
        bare = StreamConfig(stream, subjects=before.subjects, retention=WORK_QUEUE, storage=StorageType.MEMORY)
        async with sending(world) as senders:
            for _ in range(3):
                interrupted = metrics.interrupted
                await replaced(world, stream, bare if is_bare else before)
                await senders.more()
                await until_back(metrics, interrupted)
        found = await until_there(world, stream)
        assert (found.discard, found.max_msgs) == (before.discard, before.max_msgs)
        await until(lambda: metrics.problems() == [], "it is well")
    senders.assert_each_carried_out_once()


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"subjects": ["{prefix}.cmd.>"]}, "retention is limits, expected workqueue"),
        ({"subjects": ["{prefix}.cmd.v1.>"], "retention": WORK_QUEUE}, "subjects are"),
        ({"subjects": ["{prefix}.cmd.>"], "name": "{stream}_OTHER"}, "subjects overlap with an existing stream"),
    ],
    ids=["one that keeps all", "with other subjects", "under another name"],
)
async def test_one_that_is_made_anew_and_cannot_carry_commands_is_told_until_somebody_mends_it(
    world: World, config: dict[str, Any], told: str
) -> None:
    stream = world.names.commands.stream
    subjects = [subject.format(prefix=world.prefix) for subject in config["subjects"]]
    theirs = config | {"name": config.get("name", "{stream}").format(stream=stream), "subjects": subjects}
    async with world.applier() as metrics, sending(world) as senders:
        await replaced(world, stream, StreamConfig(**theirs))
        await until_told(metrics, told)
        await senders.more()  # into theirs
        assert told in " ".join(metrics.problems())

        await world.nats.jetstream().delete_stream(theirs["name"])
        await until_there(world, stream)
        await until(lambda: metrics.problems() == [], "it is well")
    senders.assert_each_carried_out_once()


async def replaced(world: World, stream: str, config: StreamConfig) -> None:
    """Delete a stream, and make another one before the applier has made its own again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            await world.nats.jetstream().delete_stream(stream)
            with suppress(nats.js.errors.BadRequestError):  # it was quicker
                await world.nats.jetstream().add_stream(config)
                return


async def test_events_go_on_and_readyz_tells_while_the_stream_of_commands_is_anothers(world: World) -> None:
    stream = world.names.commands.stream
    theirs = StreamConfig(stream, subjects=[f"{world.prefix}.cmd.>"])
    with world.process() as process:
        await process.until_logged("applying")
        await replaced(world, stream, theirs)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "retention is limits, expected workqueue" not in str((told := await process.readyz())[1]):
                await asyncio.sleep(0.01)
        assert told[0] == 503
        world.write()
        await world.assert_exactly_once()

        await world.nats.jetstream().delete_stream(stream)
        await until_there(world, stream)
        data = {"name": "p", "remote_origin": "git@github.com:a/p.git"}
        assert (await world.ask("project.register", envelope("project.register", data)))["verdict"] == "applied"
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await process.readyz())[0] != 200:
                await asyncio.sleep(0.01)
        reasons = [str(line["reason"]) for line in process.logged("applier interrupted")]
        assert any("expected workqueue" in reason for reason in reasons), reasons
        (line,) = process.logged("a stream was gone with what it held: made anew")
        assert line["stream"] == stream


@pytest.mark.parametrize("made_anew", [False, True])
async def test_a_dead_letter_that_comes_while_their_stream_is_away_is_kept(world: World, made_anew: bool) -> None:
    stream = world.names.commands.dead_letter_stream
    async with world.applier() as metrics:
        before = await until_there(world, stream)
        async with sending(world) as senders:
            for _ in range(3):
                await world.nats.jetstream().delete_stream(stream)
                if made_anew:
                    await world.nats.jetstream().add_stream(before)
                await world.send("project.register", b"nonsense")
                assert "payload is not JSON" in await reason_of_the_first(world)
        assert await until_there(world, stream) == before
        await until(lambda: metrics.problems() == [], "it is well")
        assert bool(metrics.interrupted) is not made_anew
    senders.assert_each_carried_out_once()


async def test_it_waits_in_the_stream_of_commands_while_theirs_is_anothers_and_that_is_told(world: World) -> None:
    stream = world.names.commands.dead_letter_stream
    async with world.applier() as metrics, sending(world) as senders:
        theirs = StreamConfig(stream, subjects=[f"{world.prefix}.elsewhere.>"])
        await replaced(world, stream, theirs)
        await world.send("project.register", b"nonsense")
        await until_told(metrics, f"stream {stream} cannot be used: subjects are")
        assert (await world.nats.jetstream().stream_info(stream)).state.messages == 0
        assert await world.commands_waiting() > 0

        await world.nats.jetstream().delete_stream(stream)
        assert "payload is not JSON" in await reason_of_the_first(world)
        await until(lambda: metrics.problems() == [], "it is well")
    senders.assert_each_carried_out_once()


async def reason_of_the_first(world: World) -> str:
    """Wait for a dead letter; returns why it is one."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(nats.js.errors.NotFoundError):
                letter = await world.nats.jetstream().get_msg(world.names.commands.dead_letter_stream, 1)
                return (letter.headers or {})["Imi-Reason"]
            await asyncio.sleep(0.01)
