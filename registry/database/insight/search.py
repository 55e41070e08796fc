"""A search in all that people wrote and named."""

from __future__ import annotations

from collections.abc import Sequence

from registry.database.part import Part
from registry.models import KINDS, Kind, RegistryMatch


class Search(Part):
    """Finds projects, worktrees and activities by words."""

    async def search_registry(
        self, query: str, *, limit: int = 20, kinds: Sequence[Kind] = KINDS
    ) -> list[RegistryMatch]:
        """What of `kinds` has the words of `query`, or words that begin so: best first, at most `limit`.

        `query` is written as in web searches: words, "a phrase", or, -not. Misspelt words are forgiven where nothing
        has them as they stand.
        """
        query_of_all = "SELECT * FROM public.search_registry(%s, %s::int, %s::text[])"
        return await self._pool.rows(RegistryMatch, query_of_all, query, limit, list(kinds))
