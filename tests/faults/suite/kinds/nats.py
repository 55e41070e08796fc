"""Faults of nats-servers: each node of the cluster, its leader, two at once, and what is between them."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import nats.errors

from tests.faults.suite.fault import fault
from tests.faults.suite.installation import Installation
from tests.support.nats.cluster import SIZE
from tests.support.nats.reading import connected

NATS = "nats"
CUT_BYTES = 400
"""Some part of the last message, or a little more."""


async def _leader(there: Installation) -> int:
    return await there.cluster.leader(there.event_stream)


async def _follower(there: Installation, rng: random.Random) -> int:
    leader = await _leader(there)
    return rng.choice([number for number in range(SIZE) if number != leader])


@fault("nats leader killed", NATS, weight=2)
async def leader_killed(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    number = await _leader(there)
    await there.cluster.kill(number)
    yield
    await there.cluster.start(number)


@fault("nats follower killed", NATS)
async def follower_killed(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    number = await _follower(there, rng)
    await there.cluster.kill(number)
    yield
    await there.cluster.start(number)


@fault("two nats nodes killed", NATS)
async def two_killed(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    numbers = rng.sample(range(SIZE), 2)
    await there.cluster.kill(*numbers)
    yield
    await there.cluster.start(*numbers)


@fault("all nats nodes killed", NATS, longest_seconds=2)
async def all_killed(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    await there.cluster.kill(*range(SIZE))
    yield
    await there.cluster.start(*range(SIZE))


@fault("nats node stopped", NATS)
async def stopped(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    number = rng.randrange(SIZE)
    await there.cluster.stop(number)
    yield
    await there.cluster.start(number)


@fault("nats leader frozen", NATS, longest_seconds=8, weight=2)
async def leader_frozen(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    number = await _leader(there)
    there.cluster.freeze(number)
    yield
    there.cluster.thaw(number)


@fault("nats follower frozen", NATS, longest_seconds=8)
async def follower_frozen(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    number = await _follower(there, rng)
    there.cluster.freeze(number)
    yield
    there.cluster.thaw(number)


@fault("two nats nodes frozen", NATS, longest_seconds=6)
async def two_frozen(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    numbers = rng.sample(range(SIZE), 2)
    there.cluster.freeze(*numbers)
    yield
    there.cluster.thaw(*numbers)


@fault("nats leader parted", NATS, longest_seconds=10, weight=2)
async def leader_parted(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    there.cluster.part(await _leader(there))
    yield
    there.cluster.join()


@fault("nats follower parted", NATS, longest_seconds=10)
async def follower_parted(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    there.cluster.part(await _follower(there, rng))
    yield
    there.cluster.join()


@fault("nats leader steps down", NATS, longest_seconds=1)
async def steps_down(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    async with connected(there.cluster.url) as client:
        await client.publish(f"$JS.API.STREAM.LEADER.STEPDOWN.{there.event_stream}", b"")
        with suppress(nats.errors.Error, TimeoutError):
            await client.flush()
    yield


@fault("nats node sends clients away", NATS, longest_seconds=1)
async def lame_duck(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    number = rng.randrange(SIZE)
    await there.cluster.stop(number, signal.SIGUSR2)
    yield
    await there.cluster.start(number)


@fault("nats node killed and the end of its last block cut", NATS)
async def block_cut(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    async with _cut(there, await _follower(there, rng), rng):
        yield


@fault("nats leader killed and the end of its last block cut", NATS)
async def block_of_leader_cut(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    async with _cut(there, await _leader(there), rng):
        yield


@fault("two nats nodes cut, one after the other", NATS, longest_seconds=2)
async def blocks_cut(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    """Each is killed, and the end of its last block cut; the second one when the first is whole again."""
    first, second = rng.sample(range(SIZE), 2)
    async with _cut(there, first, rng):
        pass
    async with _cut(there, second, rng):
        yield


@asynccontextmanager
async def _cut(there: Installation, number: int, rng: random.Random) -> AsyncIterator[None]:
    """A node is killed and the end of its last block cut; behind the block it has all of the others again."""
    await there.cluster.kill(number)
    there.cluster.cut_last_block(number, there.event_stream, rng.randrange(1, CUT_BYTES))
    yield
    await there.cluster.start(number)
    await there.cluster.until_whole(there.event_stream)
