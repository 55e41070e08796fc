"""The keeper: tells the bucket which ids this registry has, and lets its projects go on under those that stand there.

Each look compares all projects with all that stands, so nothing that either of them missed stays missed. Why all
registries end at one id, whatever is cut off or killed meanwhile: docs/adr/0020-agreement.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic, thread_time
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from publisher.agreement.bucket import Bucket, connect_bucket
from publisher.agreement.health import AgreementHealth
from publisher.agreement.standing import Standing, Unsettled, key_of
from publisher.outbox.connection import LOOKER, connect, translated
from publisher.part import Part
from publisher.settings import Settings
from registry.errors import NotFound, RegistryError, Unavailable
from registry.log import log

LOOK_SECONDS, SELDOM_SECONDS = 1.0, 10.0
"""How often projects and bucket are compared, and where they are many."""
REFUSED_SECONDS = 60.0
"""A change that was refused is tried again so much later: as a rule a person must do something before."""
MOST_SHARE = 0.02
"""Of a processor that looking is to take: with very many projects it is done less often."""

ACTOR = "SELECT set_config('imi.actor', 'imi-registry agreement', false)"
PROJECTS = """
SELECT id, remote_origin, created_at FROM public.projects WHERE remote_origin > %s ORDER BY remote_origin LIMIT %s
"""
PAGE = 1_000
"""Projects that are read at once: other parts of the service have their turn in between."""
ADOPT = "SELECT public.adopt_project_id(%s, %s)"


class Change(NamedTuple):
    """A project that goes on under another id."""

    remote_origin: str
    former_id: UUID
    project_id: UUID


@dataclass
class Looked:
    """What one look found, and did."""

    projects: int = 0
    changed: list[Change] = field(default_factory=list)
    unsettled: dict[str, Unsettled] = field(default_factory=dict)
    """By origin, the projects that keep another id than the one that stands."""


class Comparison:
    """All that is known to stand in the bucket, beside the projects of one database."""

    def __init__(self, conn: AsyncConnection[Any], bucket: Bucket) -> None:
        self._conn = conn
        self._bucket = bucket
        self._standing: dict[str, Standing] = {}
        self._refused: dict[Change, tuple[float, Unsettled]] = {}
        """When each was refused, and why."""

    async def look(self) -> Looked:
        """Bring bucket and projects together. Raises `Unavailable`, `NotFound` when the bucket is gone."""
        await self._read_bucket()
        looked = Looked()
        async for project_id, origin, registered_at in self._projects():
            looked.projects += 1
            known = self._standing.get(origin)
            if known is not None and known.project_id == project_id:
                continue
            if key_of(origin) is None:  # an older release stored it, by other rules
                continue
            mine = Standing.of(origin, project_id, registered_at)
            if known is None or mine < known:
                known = self._standing[origin] = await self._bucket.agree(origin, mine)
            if known.project_id != project_id:
                await self._adopt(Change(origin, project_id, known.project_id), looked)
        self._refused = {
            change: why for change, why in self._refused.items() if change.remote_origin in looked.unsettled
        }
        return looked

    async def _projects(self) -> AsyncIterator[tuple[UUID, str, datetime]]:
        after = ""
        while True:
            with translated():
                rows = await (await self._conn.execute(PROJECTS, [after, PAGE])).fetchall()
            for row in rows:
                yield row
            if len(rows) < PAGE:
                return
            after = rows[-1][1]

    async def _read_bucket(self) -> None:
        async for origin, standing in self._bucket.changes():
            if not origin:
                self._standing.clear()
            elif standing is None:
                self._standing.pop(origin, None)
            else:
                self._standing[origin] = standing

    async def _adopt(self, change: Change, looked: Looked) -> None:
        if change in self._refused:
            refused_at, unsettled = self._refused[change]
            if monotonic() - refused_at < REFUSED_SECONDS:
                looked.unsettled[change.remote_origin] = unsettled
                return
        try:
            with translated():
                await self._conn.execute(ADOPT, [change.former_id, change.project_id])
        except NotFound:  # it was removed meanwhile, or is another project now
            return
        except RegistryError as error:  # the id is that of another project here, or somebody holds a lock
            if self._conn.closed:
                raise
            unsettled = looked.unsettled[change.remote_origin] = Unsettled(change.project_id, str(error))
            if not isinstance(error, Unavailable):
                self._refused[change] = monotonic(), unsettled
            return
        looked.changed.append(change)


class Keeper(Part):
    """Compares again and again. Several may: each change is one transaction, and done once."""

    def __init__(self, settings: Settings, health: AgreementHealth) -> None:
        super().__init__(settings, health, "agreement")
        self.health: AgreementHealth = health

    async def work(self) -> None:
        """Look until an error ends it. Raises `Unavailable` while there is no quorum, or no database."""
        async with (
            connect(self._database_url, self._name, LOOKER) as conn,
            connect_bucket(self._settings, self._name) as bucket,
        ):
            with translated():
                await conn.execute(ACTOR)
            comparison = Comparison(conn, bucket)
            while True:
                began = thread_time()
                looked = await comparison.look()
                for change in looked.changed:
                    told = {name: str(value) for name, value in change._asdict().items()}
                    log.info("project goes on under the id agreed on", **told)
                self.health.looked(looked)
                self.settled.set()
                wanted_seconds = (thread_time() - began) / MOST_SHARE
                await asyncio.sleep(min(max(LOOK_SECONDS, wanted_seconds), SELDOM_SECONDS))

    def interrupted(self) -> None:
        """Settled as well: the registry works without agreement, and it is told what is waited for."""
        self.settled.set()


async def settle(settings: Settings, name: str) -> Looked:
    """One look, for a person. Raises `Invalid`, `Unavailable`, `NotFound`."""
    async with (
        connect(settings.database_url or "", name, LOOKER) as conn,
        connect_bucket(settings, name, reconnect=False) as bucket,
    ):
        with translated():
            await conn.execute(ACTOR)
        return await Comparison(conn, bucket).look()
