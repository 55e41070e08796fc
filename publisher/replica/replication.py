"""A registry becomes a replica, ends being one, or takes over: what a person asks for, and what is looked at before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, LiteralString

from psycopg import AsyncConnection, sql

from publisher.outbox.connection import connect, translated
from publisher.replica.copies import LostCopies
from publisher.replica.publication import PUBLICATION, drop_slot, make_slot
from publisher.replica.reason import errors_told, last_error, stopped_because
from publisher.replica.source import SESSION, check_source, connect_source, says_a_word
from publisher.replica.state import ReplicaState, read_state
from publisher.replica.subscription import read_subscription
from registry.errors import Conflict, NotFound, RegistryError, Unavailable, Unprepared

BEGIN: LiteralString = "SELECT public.begin_replica(%s, %s, %s, %s::bigint, %s)"
DERIVE: LiteralString = "SELECT public.derive_project_ids(%s)"
COPIED: LiteralString = "SELECT public.copied_replica()"
# What the source is told to be applied must be on disk here; by default it need not be. Why: docs/adr/0019-replica.md.
SUBSCRIBE: LiteralString = """
CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {}
WITH (create_slot = false, slot_name = {}, synchronous_commit = 'on')
"""
MIGRATION: LiteralString = "SELECT migration FROM public.registry_metadata"
CONNECTION: LiteralString = "SELECT subconninfo FROM pg_catalog.pg_subscription WHERE oid = %s"
MAY_SUBSCRIBE: LiteralString = """
SELECT
    rolsuper OR to_regrole('pg_create_subscription') IS NOT NULL AND pg_has_role('pg_create_subscription', 'MEMBER'),
    to_regrole('pg_create_subscription') IS NOT NULL
FROM pg_catalog.pg_roles
WHERE rolname = current_user
"""
POLL_SECONDS = 0.1
FEW_ERRORS = 3
"""Fewer may come of a server that was away; what is wrong fails again and again."""
STOP_SECONDS = 60.0
"""How long is waited for who applies to end, which a large transaction keeps from it."""


async def create(
    database_url: str, name: str, slot: str, source_url: str, connection: str | None, *, may_replace: bool
) -> None:
    """Make the registry a replica of the one at `source_url`, which PostgreSQL reaches by `connection`, or the same.

    Raises `Conflict` where something is there that may not be replaced, `Unprepared` for what source or user lack.
    Nothing is left behind then, here or there.
    """
    async with connect(database_url, SESSION) as conn, connect_source(source_url) as source:
        await _check_user(conn)
        with translated():
            (migration,) = await (await conn.execute(MIGRATION)).fetchone() or (0,)
        found = await check_source(source, slot, migration)
        await make_slot(source, slot)
        try:
            with translated():
                async with conn.transaction():
                    await conn.execute(BEGIN, [name, slot, found.registry_id, found.epoch, may_replace])
                    await conn.execute(DERIVE, [found.derived_ids])
                    await conn.execute(
                        sql.SQL(SUBSCRIBE).format(
                            sql.Identifier(slot),
                            sql.Literal(connection or source_url),
                            sql.Identifier(PUBLICATION),
                            sql.Literal(slot),
                        )
                    )
        except BaseException:
            await drop_slot(source, slot)
            raise


async def copied(database_url: str, source_url: str, told: Callable[[int, int], None]) -> None:
    """Return when the initial copy is complete; `told` is called with how many tables are copied, and of how many.

    Raises `Unprepared` with PostgreSQL's reason when it cannot go on by itself, `Unavailable`: ask again then.
    """
    lost = LostCopies()
    async with connect(database_url, SESSION) as conn, connect_source(source_url) as source:
        while True:
            state = await known(conn)
            if state.copied_at is not None:
                return
            found = await read_subscription(conn, state.slot)
            why_not = None if found is None else await lost.look(source, found, state)
            if why_not is not None:
                raise Unprepared(why_not)
            is_failing = found is not None and found.copy_errors + found.apply_errors >= FEW_ERRORS
            if found is None or not found.is_enabled or (is_failing and not lost.may_be):
                why = [stopped_because(state, found), errors_told(found) if found else ""]
                why.append(await last_error(conn, found) if found else None)
                raise Unprepared(f"the initial copy does not go on: {'; '.join(filter(None, why))}")
            told(found.tables - len(found.uncopied), found.tables)
            if not found.uncopied:
                with translated():
                    await conn.execute(COPIED)
            await asyncio.sleep(POLL_SECONDS)


async def promote(
    database_url: str, source_url: str | None, *, is_forced: bool
) -> tuple[ReplicaState, int, str | None]:
    """Make the replica a registry of its own; returns what it was, its epoch, and why the slot at the source stays.

    Raises `Conflict` unless the source is gone, or it `is_forced`, and for a copy that is not complete.
    """
    async with connect(database_url, SESSION) as conn:
        state = await known(conn)
        if not state.is_replica:
            raise Conflict(f"this registry was promoted already; it was a replica of {state.source}")
        if state.copied_at is None:
            raise Conflict(f"the initial copy is not complete: this replica has a part of {state.source}")
        is_told, source_url = bool(source_url), source_url or await _subscribed_url(conn, state)
        if not is_forced:
            await _check_source_is_gone(source_url, state, is_told=is_told)
        await _unsubscribe(conn, state)
        with translated():
            (epoch,) = await (await conn.execute("SELECT public.promote_replica()")).fetchone() or (0,)
    left = None if state.stopped_at is not None else await _forget_slot(source_url, state)
    return state, int(epoch), left


async def drop(database_url: str, source_url: str | None) -> tuple[ReplicaState, str | None]:
    """Follow no longer; the rows stay, read-only. Returns what it was, and why the slot at the source stays.

    Raises `NotFound` where nothing is followed.
    """
    async with connect(database_url, SESSION) as conn:
        state = await known(conn)
        if not state.follows:
            raise NotFound(f"this registry follows {state.source} no longer")
        source_url = source_url or await _subscribed_url(conn, state)
        await _unsubscribe(conn, state)
        with translated():
            await conn.execute("SELECT public.stop_replica()")
    return state, await _forget_slot(source_url, state)


async def known(conn: AsyncConnection[Any]) -> ReplicaState:
    """The state of a replica. Raises `NotFound` where the registry is none and never was."""
    state = await read_state(conn)
    if state is None:
        raise NotFound("this registry is no replica; imi-registry replica create makes it one")
    return state


async def _check_user(conn: AsyncConnection[Any]) -> None:
    with translated():
        may, has_role = await (await conn.execute(MAY_SUBSCRIBE)).fetchone() or (False, False)
    if not may:
        role = f"GRANT pg_create_subscription TO {conn.info.user}, and GRANT CREATE ON DATABASE" if has_role else ""
        raise Unprepared(
            f"user {conn.info.user} may make no subscription here: {role or 'before PostgreSQL 16 a superuser does'}"
        )


async def _subscribed_url(conn: AsyncConnection[Any], state: ReplicaState) -> str | None:
    """How PostgreSQL reaches the source, where this user is shown it: a superuser is."""
    found = await read_subscription(conn, state.slot)
    if found is None:
        return None
    try:
        with translated():
            (url,) = await (await conn.execute(CONNECTION, [found.oid])).fetchone() or (None,)
    except Unprepared:
        return None
    return url


async def _check_source_is_gone(source_url: str | None, state: ReplicaState, *, is_told: bool) -> None:
    """Raise `Conflict` when the source is there, or may be: two registries would take writes.

    A URL that nobody told is that of the subscription, which PostgreSQL reaches: names and files in it may be others
    here, and where nobody answers nothing is known.
    """
    said = ""
    if source_url is not None:
        is_there: bool | None = True
        try:
            async with connect_source(source_url):
                pass
        except Unavailable as error:
            is_there, said = await says_a_word(source_url), f" ({error})"
        if is_there:
            raise Conflict(
                f"{state.source} answers{said}: stop it first, or two registries take writes; --force promotes all the "
                "same"
            )
        if is_told and is_there is not None:
            return
    raise Conflict(
        f"whether {state.source} still takes writes is not known{said}: set IMI_REPLICA_SOURCE_URL to its database, so "
        "that it is asked; --force promotes all the same"
    )


async def _unsubscribe(conn: AsyncConnection[Any], state: ReplicaState) -> None:
    """Let PostgreSQL apply nothing more. What came is applied by whole transactions; the slot stays."""
    name = sql.Identifier(state.slot)
    found = await read_subscription(conn, state.slot)
    if found is None:
        return
    with translated():
        await conn.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(name))
    try:
        async with asyncio.timeout(STOP_SECONDS):
            while found is not None and found.pid is not None:
                await asyncio.sleep(POLL_SECONDS)
                found = await read_subscription(conn, state.slot)
    except TimeoutError:
        raise Unavailable(
            f"who applies for subscription {state.slot} (pid {found.pid if found else '?'}) did not end within "
            f"{STOP_SECONDS:g} s; the subscription is disabled, try again"
        ) from None
    with translated():
        async with conn.transaction():
            await conn.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(name))
            await conn.execute(sql.SQL("DROP SUBSCRIPTION {}").format(name))


async def _forget_slot(source_url: str | None, state: ReplicaState) -> str | None:
    """Drop the slot at the source; returns why it stays."""
    if source_url is None:
        return "the source's URL is not known here"
    try:
        async with connect_source(source_url) as source:
            await drop_slot(source, state.slot)
    except NotFound:
        return None
    except RegistryError as error:
        return str(error)
    return None
