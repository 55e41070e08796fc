"""How the registry is, which schema it has, and which of its statements take long."""

from __future__ import annotations

from typing import LiteralString

from registry.database.part import Part
from registry.models import HealthCheck, RegistryMetadata, SlowQuery


class Insight(Part):
    """What the registry says of itself."""

    async def registry_health(self) -> list[HealthCheck]:
        """How the registry is, one entry for each thing that was looked at in the database."""
        return await self._pool.rows(HealthCheck, "SELECT * FROM public.registry_health()")

    async def registry_slow_queries(self, limit: int = 20) -> list[SlowQuery]:
        """Statements of the registry, by the time that they took in all.

        Raises `Conflict` where nothing is recorded: that is done by the extension pg_stat_statements.
        """
        return await self._pool.rows(SlowQuery, "SELECT * FROM public.registry_slow_queries(%s::int)", limit)

    async def registry_metadata(self) -> RegistryMetadata:
        """Which schema the database has, and since when."""
        query: LiteralString = (
            "SELECT registry_id, schema_version, migration, installed_at, upgraded_at, derived_ids"
            " FROM public.registry_metadata"
        )
        (row,) = await self._pool.rows(RegistryMetadata, query)
        return row
