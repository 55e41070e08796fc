"""Events as the registry database keeps them."""

from __future__ import annotations

from uuid import UUID

from registry.database.part import Part
from registry.database.sizes import WHOLE_BYTES
from registry.errors import Invalid


class Events(Part):
    """Reads the outbox."""

    async def get_event_data(self, event_id: UUID, sequence: int, offset: int = 0, limit: int = 2**30) -> str | None:
        """Up to `limit` characters of the JSON text of an event's data, from `offset` on; None where it is not kept.

        `sequence` is the event's: the outbox has no index of ids. Raises `Invalid` for data of more than `WHOLE_BYTES`,
        or that PostgreSQL cannot give: each piece makes all of the text again.
        """
        found: list[str] | None = await self._pool.value(
            "SELECT CASE WHEN octet_length(event.text) <= %s"
            " THEN ARRAY[substr(event.text, %s::int + 1, %s::int)] ELSE '{}'::text[] END"
            " FROM (SELECT CASE WHEN pg_column_size(data) <= %s AND pg_column_size(data #> '{}') <= %s"
            " THEN data::text END AS text FROM public.outbox WHERE id = %s AND event_id = %s OFFSET 0) AS event",
            WHOLE_BYTES,
            offset,
            limit,
            WHOLE_BYTES,
            WHOLE_BYTES,
            sequence,
            event_id,
        )
        if found == []:
            raise Invalid(
                f"event_id {event_id}: its data has more than {WHOLE_BYTES:,} bytes; read it from the table outbox"
            )
        return found[0] if found else None
