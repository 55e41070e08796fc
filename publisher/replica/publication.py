"""At the source: what is published to replicas, to whom, and what their slots keep on its disk."""

from __future__ import annotations

from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection, sql

from publisher.outbox.connection import translated
from registry.errors import NotFound, Unprepared

PUBLICATION = "imi_registry"
RECORDS = ("registry_metadata", "mirror_source", "replica_source")
"""What a replica reads beside its tables: of which registry they are, and of which schema."""

SETTINGS: LiteralString = """
SELECT
    current_setting('wal_level'),
    current_setting('max_replication_slots')::integer,
    current_setting('max_wal_senders')::integer,
    (SELECT count(*) FROM pg_catalog.pg_replication_slots),
    pg_is_in_recovery(),
    (SELECT relkind = 'p' FROM pg_catalog.pg_class WHERE oid = 'public.agent_activities'::regclass)
"""
PUBLISHED: LiteralString = """
SELECT
    EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = %(name)s),
    ARRAY(
        SELECT t.tablename::text
        FROM pg_catalog.pg_publication_tables AS t
        WHERE t.pubname = %(name)s AND t.schemaname = 'public'
    ),
    ARRAY(SELECT r FROM public.replica_tables() AS r)
"""
LOGIN: LiteralString = "SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname = %s AND rolcanlogin"

# Who may not read statistics of others sees no `replay_lag`. Of a slot that was lost there is no `restart_lsn`.
SLOTS: LiteralString = """
SELECT
    slot.slot_name::text,
    slot.active,
    slot.wal_status,
    pg_wal_lsn_diff(pg_current_wal_lsn(), slot.restart_lsn)::bigint,
    greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), slot.confirmed_flush_lsn), 0)::bigint,
    slot.safe_wal_size,
    extract(epoch FROM sender.replay_lag)::float8
FROM pg_catalog.pg_replication_slots AS slot
LEFT JOIN pg_catalog.pg_stat_replication AS sender ON sender.pid = slot.active_pid
WHERE slot.slot_type = 'logical'
    AND slot.plugin = 'pgoutput'
    AND NOT slot.temporary
    AND slot.database = current_database()
    AND NOT pg_is_in_recovery()
ORDER BY slot.slot_name
"""
MOST_KEPT: LiteralString = (
    "SELECT setting::bigint * 1024 * 1024 FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'"
)
LOST = "lost"
"""State of a slot's WAL from which its reader does not come back."""
AT_RISK = "unreserved"
"""State in which more WAL was written than may be kept, and none of it is removed yet: its reader may come back."""


class Slot(NamedTuple):
    """What a replica's slot at the source is like."""

    name: str
    is_active: bool
    wal_status: str | None
    """reserved, extended, unreserved or lost."""
    kept_bytes: int | None
    """WAL that is kept for it; None where it was lost."""
    behind_bytes: int | None
    """WAL that its replica has not confirmed."""
    left_bytes: int | None
    """What may still be written before it is lost; None where nothing bounds it."""
    lag_seconds: float | None
    """As the replica told last; None while it is away or idle, or where this user is not told."""

    @property
    def is_lost(self) -> bool:
        """Whether its replica cannot go on."""
        return self.wal_status == LOST


class Published(NamedTuple):
    """What the publication has of what it should."""

    is_there: bool
    wanted: list[str]
    """The tables that replicas are to have."""
    missing: list[str]
    more: list[str]

    @property
    def is_exact(self) -> bool:
        """Whether it has each table of the registry, and no other."""
        return self.is_there and not self.missing and not self.more


async def check_publisher(conn: AsyncConnection[Any]) -> None:
    """Raise `Unprepared` naming what keeps this server, or its registry, from being replicated from."""
    with translated():
        row = await (await conn.execute(SETTINGS)).fetchone()
    level, most_slots, most_senders, used, is_standby, is_by_month = row or ("", 0, 0, 0, False, False)
    if is_standby:
        raise Unprepared("the source is a standby, which takes no publication: name its primary")
    if level != "logical":
        raise Unprepared(
            f"wal_level of the source is {level}, and it must be logical: ALTER SYSTEM SET wal_level = logical, then "
            "restart PostgreSQL there"
        )
    if used >= most_slots:
        raise Unprepared(
            f"max_replication_slots of the source is {most_slots}, and {used} are in use: raise it, then restart "
            "PostgreSQL there"
        )
    if is_by_month:
        raise Unprepared("the source keeps agent_activities by month, in partitions, which a replica does not follow")
    if not most_senders:
        raise Unprepared("max_wal_senders of the source is 0: raise it, then restart PostgreSQL there")


async def published(conn: AsyncConnection[Any]) -> Published:
    """What is published to replicas here. Raises `Unavailable`."""
    with translated():
        row = await (await conn.execute(PUBLISHED, {"name": PUBLICATION})).fetchone()
    is_there, found, wanted = row or (False, [], [])
    return Published(is_there, wanted, sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted)))


async def publish(conn: AsyncConnection[Any], login: str | None) -> list[str]:
    """Publish the tables of the registry, exactly, and let `login` read them; returns what was run.

    Raises `Unprepared` where the server, the login or this user lacks something.
    """
    await check_publisher(conn)
    if login is not None:
        await _check_login(conn, login)
    found = await published(conn)
    names = sql.SQL(", ").join(sql.Identifier("public", table) for table in found.wanted)
    statements = []
    if not found.is_exact:
        form: LiteralString = (
            "ALTER PUBLICATION {} SET TABLE {}" if found.is_there else "CREATE PUBLICATION {} FOR TABLE {}"
        )
        statements.append(sql.SQL(form).format(sql.Identifier(PUBLICATION), names))
    if login is not None:
        who = sql.Identifier(login)
        records = sql.SQL(", ").join(sql.Identifier("public", table) for table in RECORDS)
        database = sql.Identifier(conn.info.dbname)
        statements += [
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, who),
            sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(who),
            sql.SQL("GRANT SELECT ON {}, {} TO {}").format(names, records, who),
        ]
    with translated():
        async with conn.transaction():
            for statement in statements:
                await conn.execute(statement)
    return [statement.as_string(conn) for statement in statements]


async def _check_login(conn: AsyncConnection[Any], login: str) -> None:
    with translated():
        row = await (await conn.execute(LOGIN, [login])).fetchone()
    who = sql.Identifier(login).as_string(conn)
    if row is None:
        raise NotFound(f'there is no login "{login}" on this server; CREATE ROLE {who} LOGIN REPLICATION PASSWORD …')
    if not row[0]:
        raise Unprepared(f'login "{login}" may not replicate; an administrator runs: ALTER ROLE {who} REPLICATION')


async def slots(conn: AsyncConnection[Any]) -> list[Slot]:
    """The slots of replicas of this database. Raises `Unavailable`."""
    with translated():
        return [Slot(*row) for row in await (await conn.execute(SLOTS)).fetchall()]


async def most_kept_bytes(conn: AsyncConnection[Any]) -> int | None:
    """The most WAL that slots may keep (max_slot_wal_keep_size); None where nothing bounds it."""
    with translated():
        (most,) = await (await conn.execute(MOST_KEPT)).fetchone() or (-1,)
    return None if most < 0 else int(most)


async def make_slot(conn: AsyncConnection[Any], name: str) -> None:
    """Make a slot for a replica that is to come. Raises `Conflict` where there is one of the name."""
    with translated():
        await conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])


async def drop_slot(conn: AsyncConnection[Any], name: str) -> None:
    """Drop the slot of a replica that is gone. Raises `NotFound`, `Conflict` while somebody reads it."""
    with translated():
        row = await (
            await conn.execute("SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = %s", [name])
        ).fetchone()
        if row is None:
            raise NotFound(f"there is no slot {name} on this server")
        await conn.execute("SELECT pg_drop_replication_slot(%s)", [name])
