"""A mirror becomes a registry of its own, or begins to be one: what a person asks for, and what is looked at before."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from publisher.mirror.source import connect_source, is_gone, source_profile
from publisher.mirror.state import MirrorState, read_state
from publisher.outbox.connection import connect, translated
from publisher.settings import Settings, profile_of
from registry.broker.connection import connect_nats
from registry.client.replay import replay
from registry.database.stepping.copies import FOLLOWED
from registry.errors import Conflict, NotFound, Unavailable
from registry.position import FromStart

BEGIN = "SELECT public.begin_mirror(%s, %s, %s)"
PROMOTE = "SELECT public.promote_mirror()"
RENEW = "UPDATE public.mirror_source SET position = '' WHERE promoted_at IS NULL"
FORGET = "UPDATE public.mirror_source SET position = '', registry_id = NULL, epoch = 0 WHERE promoted_at IS NULL"
SESSION = "imi-registry mirror"


async def set_up(settings: Settings, name: str, *, may_replace: bool) -> None:
    """Make the database a mirror. Raises `Conflict` when it has rows that may not be replaced, or is a copy already."""
    stream = source_profile(settings).event_stream
    async with connect(settings.database_url or "", SESSION) as conn:
        with translated():
            followed = await (await conn.execute(FOLLOWED)).fetchone()
            if followed is not None:
                raise Conflict(f"this registry is a replica of {followed[0]} and follows it: imi-registry replica drop")
            await conn.execute(BEGIN, [name, stream, may_replace])


async def state_of(settings: Settings) -> MirrorState:
    """How the mirror is. Raises `NotFound` where the registry is none and never was."""
    async with connect(settings.database_url or "", SESSION) as conn:
        return await _known(conn)


async def ask_for_snapshot(settings: Settings, *, of_other_source: bool) -> MirrorState:
    """Let the next snapshot take the place of all rows, also that of another registry. Raises `NotFound`."""
    async with connect(settings.database_url or "", SESSION) as conn:
        state = await _known(conn)
        with translated():
            done = await conn.execute(FORGET if of_other_source else RENEW)
        if not done.rowcount:
            raise Conflict(f"this registry was promoted: it is no longer a mirror of {state.source}")
    return state


async def promote(settings: Settings, *, is_forced: bool) -> int:
    """Make the mirror a registry of its own; returns its epoch.

    Raises `Conflict` unless the source is gone, or it `is_forced`, or where the stream that is to have
    its events has others.
    """
    async with connect(settings.database_url or "", SESSION) as conn:
        state = await _known(conn)
        if not is_forced:
            await _check_source(settings, state)
            await _check_stream(settings)
        with translated():
            (epoch,) = await (await conn.execute(PROMOTE)).fetchone() or (0,)
    return int(epoch)


async def _known(conn: AsyncConnection[Any]) -> MirrorState:
    state = await read_state(conn)
    if state is None:
        raise NotFound("this registry is no mirror; imi-registry mirror setup makes it one")
    return state


async def _check_source(settings: Settings, state: MirrorState) -> None:
    """Raise `Conflict` when the source is there, or may be: two registries would take writes."""
    not_known = f"whether {state.source} still takes writes is not known"
    if not settings.mirror_nats_url:
        raise Conflict(
            f"{not_known}: set IMI_MIRROR_NATS_URL to its NATS, so that it is asked; --force promotes all the same"
        )
    try:
        async with connect_source(settings, SESSION) as source:
            word = await source.word()
    except Unavailable as error:
        if await is_gone(settings):
            return
        raise Conflict(f"{not_known}: {error}; --force promotes all the same") from error
    if word is not None:
        raise Conflict(
            f"{state.source} answers ({word}; this mirror has sequence {state.sequence}): stop it first, or two "
            "registries take writes; --force promotes all the same"
        )


async def _check_stream(settings: Settings) -> None:
    """Raise `Conflict` where the stream of this site has events already."""
    if not settings.nats_url:
        return
    stream = profile_of(settings).event_stream
    try:
        async with (
            connect_nats(settings.nats_url, SESSION, settings.nats_access, reconnect=False) as client,
            replay(client, profile_of(settings), FromStart()) as events,
        ):
            async for _ in events:
                break
            else:
                return
    except (NotFound, Unavailable):
        return
    raise Conflict(
        f"stream {stream} of this site has events of another history: delete it, or set another IMI_PREFIX; --force "
        "promotes all the same"
    )
