"""A mirror beside the registry of a test: its database, and who follows."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import psycopg
from prometheus_client import CollectorRegistry

from publisher.mirror.follower import Follower
from publisher.mirror.health import MirrorHealth
from publisher.settings import Settings
from tests.support.mirror.copies import assert_same
from tests.support.processes import run
from tests.support.relay_process import RelayProcess, relay_process
from tests.support.world import World, running

PATIENCE_SECONDS = 120


class Mirror:
    """A database that mirrors the registry of `source`."""

    def __init__(self, source: World, database: str, *, is_set_up: bool = True) -> None:
        self.source = source
        self.database = database
        if not is_set_up:
            return
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute("SELECT begin_mirror('headquarters', %s)", [source.stream])

    @property
    def prefix(self) -> str:
        """Of its own queries, and of its events once it is promoted."""
        return f"{self.source.prefix}m"

    def settings(self, **overrides: object) -> Settings:
        """Those of a service that follows."""
        theirs = {"mirror_nats_url": self.source.nats_url, "mirror_prefix": self.source.prefix}
        return self.source.at(database=self.database, prefix=self.prefix).settings(**theirs | overrides)

    def follower(self, **overrides: object) -> Follower:
        """Who follows, not yet running."""
        return Follower(self.settings(**overrides), MirrorHealth(CollectorRegistry()))

    @asynccontextmanager
    async def following(self, **overrides: object) -> AsyncIterator[MirrorHealth]:
        """Somebody follows inside the block, or stands by."""
        follower = self.follower(**overrides)
        async with running(follower):
            yield follower.health

    def process(self, **settings: object) -> AbstractContextManager[RelayProcess]:
        """`imi-registry serve` that follows, as a process of its own."""
        theirs = {"mirror_nats_url": self.source.nats_url, "mirror_prefix": self.source.prefix}
        return relay_process(self.database, self.source.nats_url, self.prefix, **theirs | settings)

    async def command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `imi-registry mirror …` at the mirror's site."""
        places = {"DATABASE_URL": self.database, "NATS_URL": self.source.nats_url, "IMI_PREFIX": self.prefix}
        theirs = {"IMI_MIRROR_NATS_URL": self.source.nats_url, "IMI_MIRROR_PREFIX": self.source.prefix}
        return await asyncio.to_thread(run, "mirror", name, *arguments, **places | theirs)

    def state(self, *columns: str) -> tuple[Any, ...]:
        """Columns of what the database knows of itself as a mirror."""
        with psycopg.connect(self.database) as conn:
            query = f"SELECT {', '.join(columns)} FROM public.mirror_source"  # noqa: S608  # names that a test gives
            return conn.execute(query.encode()).fetchone() or ()

    async def until(self, column: str, at_least: int) -> None:
        """Wait until a number of the state is that high."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.state(column)[0] < at_least:
                await asyncio.sleep(0.02)

    async def caught_up(self) -> None:
        """Wait until everything that the source has committed is published, and applied here."""
        if self.source.rows("SELECT id FROM outbox LIMIT 1"):
            await self.source.drained()
        last = (await self.source.nats.jetstream().stream_info(self.source.stream)).state.last_seq
        await self.until("CASE WHEN known_at IS NULL THEN -1 ELSE sequence END", last)

    async def assert_same(self, *, is_snapshot: bool = False) -> None:
        """Wait until it has caught up, and fail unless it is what the source is."""
        await self.caught_up()
        await asyncio.to_thread(assert_same, self.source.database, self.database, is_snapshot=is_snapshot)
