"""The source of a replica, asked from there: which registry it is, of which schema, and where its WAL stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_attempts_async, conninfo_to_dict, make_conninfo
from psycopg.pq import PGconn, Ping

from publisher.outbox.connection import connect, translated
from publisher.replica.publication import LOST, PUBLICATION, check_publisher, published
from publisher.replica.state import ANEW, ReplicaState
from registry.errors import Conflict, Unprepared

SESSION = "imi-registry replica"
NOBODY: dict[str, Any] = {
    "password": "-",
    "sslmode": "disable",
    "sslrootcert": "",
    "gssencmode": "disable",
    "target_session_attrs": "any",
    "connect_timeout": 5,
}
"""Who asks whether a server is there: any server has a word for him, if only that it does not let him in."""
FACTS: LiteralString = """
SELECT
    meta.registry_id,
    meta.migration,
    public.registry_epoch(),
    coalesce((to_jsonb(meta) ->> 'derived_ids')::boolean, false),
    (
        SELECT format('%%s of %%s', s.kind, quote_ident(s.name))
        FROM (
            SELECT 'mirror' AS kind, m.name FROM public.mirror_source AS m WHERE m.promoted_at IS NULL
            UNION ALL
            SELECT 'replica', r.name FROM public.replica_source AS r WHERE r.promoted_at IS NULL
        ) AS s
    ),
    slot.wal_status,
    slot.slot_name IS NOT NULL,
    CASE
        WHEN NOT pg_is_in_recovery()
            THEN pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(%(applied)s::pg_lsn, slot.confirmed_flush_lsn))::bigint
    END,
    pg_is_in_recovery()
FROM public.registry_metadata AS meta
LEFT JOIN pg_catalog.pg_replication_slots AS slot ON slot.slot_name = %(slot)s
"""
# Of a transaction, so that it is on disk, with all that was committed before; what WAL there is ends behind it.
MARK: LiteralString = "SELECT pg_logical_emit_message(true, 'imi_registry', '')::text"
READABLE: LiteralString = """
SELECT t FROM public.replica_tables() AS t WHERE NOT has_table_privilege('public.' || t, 'SELECT')
UNION ALL
SELECT 'REPLICATION'
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = current_user AND NOT (r.rolsuper OR r.rolreplication)
"""


class Facts(NamedTuple):
    """What the source says of itself, and of the slot of one replica."""

    registry_id: UUID
    migration: int
    epoch: int
    derived_ids: bool
    """Whether new projects get the ids that follow from their origins there."""
    is_copy: str | None
    """Of which registry it is a copy itself, in words; None of one that takes writes."""
    wal_status: str | None
    has_slot: bool
    behind_bytes: int | None
    """WAL that is not applied at the replica."""

    def problems(self, state: ReplicaState) -> list[str]:
        """Why this replica does not fit to it, or cannot follow."""
        if self.registry_id != state.registry_id:
            return [
                f"the registry that answers for {state.source} has the id {self.registry_id}, and this is a replica of "
                f"{state.registry_id}"
            ]
        found = []
        if self.migration != state.migration:
            found.append(
                f"{state.source} has schema migration {self.migration}, and this replica {state.migration}: "
                "imi-registry replica drop here, migrate both, then replica create --replace"
            )
        if not self.has_slot:
            found.append(f"{state.source} has no slot {state.slot}: {ANEW}")
        elif self.wal_status == LOST:
            found.append(
                f"slot {state.slot} of {state.source} is lost: more WAL was written than "
                f"max_slot_wal_keep_size lets it keep; {ANEW}"
            )
        return found


@asynccontextmanager
async def connect_source(url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection to the source's database for the block. Raises `Unavailable`, `Invalid` for a URL that is none."""
    async with connect(url, SESSION) as conn:
        yield conn


async def says_a_word(url: str) -> bool | None:
    """Whether a PostgreSQL is there that says anything, if only that it lets nobody in; None where that is not known.

    None is a name that leads nowhere, and a URL by which nobody can be asked. No password of the URL is sent.
    """
    params = conninfo_to_dict(url)
    nobody = NOBODY | ({"sslnegotiation": "postgres"} if "sslnegotiation" in params else {})
    names = [] if params.get("hostaddr") else str(params.get("host") or "").split(",")
    try:
        for name in filter(None, names):  # of several one may lead nowhere
            await conninfo_attempts_async({"host": name})
    except psycopg.OperationalError:
        return None
    found = await asyncio.to_thread(PGconn.ping, make_conninfo(url, **nobody).encode())
    return None if found == Ping.NO_ATTEMPT else found != Ping.NO_RESPONSE


async def facts(source: AsyncConnection[Any], slot: str, applied_lsn: str | None = None) -> Facts:
    """What the source says. Raises `Unavailable`, `Unprepared` for a standby and where there is no such registry."""
    with translated():
        row = await (await source.execute(FACTS, {"slot": slot, "applied": applied_lsn})).fetchone()
    if row is None:
        raise Unprepared("the source has no registry: its registry_metadata is empty")
    *told, is_standby = row
    if is_standby:
        raise Unprepared("a standby answers, which has neither the slots nor the WAL of its primary: name that one")
    return Facts(*told)


async def mark(source: AsyncConnection[Any]) -> str:
    """A place in the source's WAL behind all that is committed there now. Raises `Unavailable`."""
    with translated():
        (lsn,) = await (await source.execute(MARK)).fetchone() or ("0/0",)
    return str(lsn)


async def check_source(source: AsyncConnection[Any], slot: str, migration: int) -> Facts:
    """What a replica of this schema needs of its source before it is made. Raises `Conflict`, `Unprepared`."""
    found = await facts(source, slot)
    if found.migration != migration:
        raise Conflict(
            f"the source has schema migration {found.migration}, and this registry {migration}: bring both to the same "
            "with imi-registry migrate"
        )
    if found.is_copy is not None:
        raise Conflict(f"the source is itself a read-only {found.is_copy}: take that one as the source")
    await check_publisher(source)
    there = await published(source)
    if not there.is_exact:
        what = f"lacks {', '.join(there.missing)}" if there.is_there and there.missing else "is not that of its tables"
        told = what if there.is_there else "is not there"
        raise Unprepared(f"publication {PUBLICATION} of the source {told}: imi-registry replica publish there")
    with translated():
        lacking = [name for (name,) in await (await source.execute(READABLE)).fetchall()]
    if lacking:
        raise Unprepared(
            f"user {source.info.user} of the source lacks {', '.join(lacking)}: imi-registry replica publish --login "
            f"{source.info.user} there, and ALTER ROLE … REPLICATION"
        )
    if found.has_slot:
        raise Conflict(
            f"the source has a slot {slot} already, of another replica or of one that is gone: give another --slot, or "
            f"drop it there: imi-registry replica drop --slot {slot}"
        )
    return found
