"""A stream that somebody deletes and makes anew: its events come back from the outbox, when a person says so."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial

from tests.faults.suite.fault import ALONE, fault
from tests.faults.suite.installation import PREFIX, PUBLISHERS, Installation
from tests.support.nats.reading import connected
from tests.support.nats.streams import delete_stream, recreate_stream
from tests.support.processes import run

REBUILD_SECONDS = 300.0
"""Of a hundred thousand events, in a cluster that shares two cores with everything else."""


@fault("event stream made anew by a stranger", ALONE, longest_seconds=3, weight=0.5)
async def made_anew(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    await recreate_stream(there.cluster, there.event_stream)
    if rng.random() < 0.5:  # it is used, too
        async with connected(there.cluster.url) as client:
            await client.jetstream(timeout=10).publish(f"{PREFIX}.evt.v1.project.updated.-", b"{}")
    yield
    for name in PUBLISHERS:  # both have ended, and said why; a supervisor may have started them again
        await there.parties[name].kill()
    await delete_stream(there.cluster, there.event_stream)
    places = {"DATABASE_URL": there.database.url, "NATS_URL": there.cluster.url, "IMI_PREFIX": PREFIX}
    variables = places | {"IMI_STREAM_REPLICAS": "3"}
    rebuild = partial(run, "rebuild-stream", seconds=REBUILD_SECONDS, **variables)
    async with asyncio.timeout(REBUILD_SECONDS):
        while (ran := await asyncio.to_thread(rebuild)).returncode != 0:
            assert "a publisher leads" in ran.stderr, ran.stderr  # PostgreSQL has not noticed yet that it is gone
    for name in PUBLISHERS:
        there.parties[name].start()
