"""Whether each project has the id that registries agreed on for its origin, and what a person must settle."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from publisher.agreement.bucket import read_bucket
from publisher.agreement.standing import to_settle
from publisher.doctor.findings import Finding
from publisher.outbox.connection import translated
from publisher.settings import Settings
from registry.errors import NotFound, RegistryError

NAME = "imi-registry doctor"
LISTED = 20

DIFFERING = """
SELECT p.remote_origin, p.id, agreed.id, other.remote_origin
FROM unnest(%s::text[], %s::uuid[]) AS agreed (origin, id)
JOIN public.projects AS p ON p.remote_origin = agreed.origin AND p.id <> agreed.id
LEFT JOIN public.projects AS other ON other.id = public.current_project_id(agreed.id) AND other.id <> p.id
ORDER BY p.remote_origin
"""


class Differing(NamedTuple):
    """A project, and the id that registries agreed on for its origin."""

    remote_origin: str
    project_id: UUID
    agreed_id: UUID
    other: str | None
    """Origin of the project that has the agreed id here: a person must settle it. None: `serve` does."""


async def agreement_findings(conn: AsyncConnection, settings: Settings) -> list[Finding]:
    """Compare projects with the bucket; nothing where none is set, or where nobody has agreed on anything yet."""
    if not settings.agreement_nats_url:
        return []
    try:
        differing = await _differing(conn, settings)
    except NotFound:  # serve makes the bucket
        return []
    except RegistryError as error:
        text = f"whether projects have the ids that registries agreed on is not known: {error}"
        return [Finding(False, text, is_hindrance=False)]
    unsettled = [one for one in differing if one.other is not None]
    texts = [
        f"{one.remote_origin} keeps the id {one.project_id}: registries agreed on {one.agreed_id}, which is "
        f"{one.other} here. {to_settle(one.remote_origin, one.project_id, one.agreed_id)}"
        for one in unsettled[:LISTED]
    ]
    if len(unsettled) > LISTED:
        texts.append(f"{len(unsettled) - LISTED:,} more projects keep another id than registries agreed on")
    if waiting := len(differing) - len(unsettled):
        texts.append(
            f"projects that are to go on under the ids that registries agreed on: {waiting:,}; start imi-registry "
            "serve, or run imi-registry agreement settle"
        )
    return [Finding(False, text, is_hindrance=False) for text in texts]


async def _differing(conn: AsyncConnection, settings: Settings) -> list[Differing]:
    agreed = await read_bucket(settings, NAME)
    values = [list(agreed), [standing.project_id for standing in agreed.values()]]
    with translated():
        return [Differing(*row) for row in await (await conn.execute(DIFFERING, values)).fetchall()]
