"""What the parts of `Registry` have in common: their pool, the cause of their writes, values in their SQL form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg.types.json import Jsonb

from registry import exact
from registry.arguments import check_methods
from registry.database.errors import is_of_a_value
from registry.database.pool import NO_CAUSE, Cause, Pool
from registry.database.sizes import WHOLE_BYTES, Told
from registry.errors import Invalid, RegistryError
from registry.models import Row
from registry.validation import MOST_LEVELS, MOST_VALUES, not_too_deep

RowT = TypeVar("RowT", bound=Row)


class Part:
    """Methods over one noun of the registry; `Registry` has all of them. What each is given is checked."""

    def __init_subclass__(cls) -> None:
        check_methods(cls)

    def __init__(self, pool: Pool, cause: Cause = NO_CAUSE) -> None:
        self._pool = pool
        self._cause = cause

    async def _told(
        self, model: type[RowT], rows: Told, condition: LiteralString, *values: object, most_bytes: int = WHOLE_BYTES
    ) -> list[RowT]:
        """The rows of a condition, in its order; one with larger values than `most_bytes` together is shortened.

        So is one whose values PostgreSQL cannot give: then each row is asked for alone.
        """
        try:
            return await self._pool.rows(model, rows.sql(condition), most_bytes, *values)
        except RegistryError as error:
            if not (isinstance(error.__cause__, psycopg.Error) and is_of_a_value(error.__cause__)):
                raise
        shortened = await self._pool.rows(model, rows.sql(condition), -1, *values)
        return [await self._alone(row, rows, most_bytes) for row in shortened]

    async def _alone(self, row: RowT, rows: Told, most_bytes: int) -> RowT:
        try:
            found = await self._pool.row(type(row), rows.sql(f" WHERE {rows.key} = %s"), most_bytes, vars(row)["id"])
        except RegistryError as error:
            if not (isinstance(error.__cause__, psycopg.Error) and is_of_a_value(error.__cause__)):
                raise
            return row
        return found or row


def as_json(metadata: Mapping[str, Any] | None) -> Jsonb:
    """`metadata` as a value of type jsonb, with all digits of its numbers; none is the empty object.

    Raises `Invalid` naming field, value and rule.
    """
    try:
        value = not_too_deep(dict(metadata or {}))
    except ValueError:
        raise Invalid(
            f"metadata: is nested too deep, or too large; it must not be deeper than {MOST_LEVELS} levels, "
            f"nor have more than {MOST_VALUES:,} values"
        ) from None
    return Jsonb(exact.checked(value, "metadata"), dumps=exact.dumps)
