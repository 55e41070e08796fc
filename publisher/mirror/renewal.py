"""A snapshot of the source takes the place of all rows: at the beginning, and where events do not lead on."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from publisher.mirror.source import Source
from publisher.mirror.state import MirrorState
from publisher.outbox.connection import translated
from registry.client.whole import whole_snapshot
from registry.errors import Conflict
from registry.history.site import Site, WholeHead

ROWS = "COPY public.mirror_row (kind, fields) FROM STDIN"
REPLACE = "SELECT public.replace_mirrored(%s, %s, %s::bigint, %s, %s, %s, %s::bigint, %s::bigint, %s)"


class OtherSource(Conflict):
    """What answers is not the registry that is mirrored, or a mirror took over from it: for a person to decide."""


async def renew(conn: AsyncConnection[Any], source: Source, state: MirrorState, reason: str) -> WholeHead:
    """Take a snapshot and put it in the place of the rows, in one transaction. Raises `Unavailable`, `OtherSource`."""
    async with whole_snapshot(source.client, source.profile) as (head, pieces):
        check_source(state, head.site)
        with translated():
            async with conn.transaction():
                async with conn.cursor().copy(ROWS) as rows:
                    async for piece in pieces:
                        await rows.write(piece)
                anchor = await source.event_id_at(head.position.sequence)
                site = head.site
                told = [site.registry_id, site.life, site.epoch, site.outbox_id, reason]
                place = [state.position, str(head.position), head.position.sequence, anchor]
                await conn.execute(REPLACE, [*place, *told])
    return head


def check_source(state: MirrorState, site: Site) -> None:
    """Raise `OtherSource` unless `site` is the registry that is mirrored, or nothing is mirrored yet."""
    if state.registry_id is None:
        return
    if site.registry_id != state.registry_id:
        raise OtherSource(
            f"the registry that answers has the id {site.registry_id}, and that of {state.source} is "
            f"{state.registry_id}: was it made anew, or is IMI_MIRROR_NATS_URL another one? To take it as the source, "
            "run: imi-registry mirror refresh --other-source"
        )
    if site.epoch < state.epoch:
        raise OtherSource(
            f"the registry that answers is of epoch {site.epoch}, and {state.source} is of epoch {state.epoch}: a "
            "mirror took over from it; follow that one"
        )
