"""Events as the registry database keeps them."""

from __future__ import annotations

from uuid import UUID

from registry.database.part import Part


class Events(Part):
    """Reads the outbox."""

    async def get_event_data(self, event_id: UUID, sequence: int, offset: int = 0, limit: int = 2**30) -> str | None:
        """Up to `limit` characters of the JSON text of an event's data, from `offset` on; None where it is not kept.

        `sequence` is the event's: the outbox has no index of ids.
        """
        text: str | None = await self._pool.value(
            "SELECT substr(data::text, %s::int + 1, %s::int) FROM public.outbox WHERE id = %s AND event_id = %s",
            offset,
            limit,
            sequence,
            event_id,
        )
        return text
