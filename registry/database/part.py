"""What the parts of `Registry` have in common: their pool, the cause of their writes, values in their SQL form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from registry import exact
from registry.database.pool import NO_CAUSE, Cause, Pool

FEWEST_DIGITS = 4
"""Of the beginning of an id."""


class Part:
    """Methods over one noun of the registry; `Registry` has all of them."""

    def __init__(self, pool: Pool, cause: Cause = NO_CAUSE) -> None:
        self._pool = pool
        self._cause = cause


def as_json(metadata: Mapping[str, Any] | None) -> Jsonb:
    """`metadata` as a value of type jsonb, with all digits of its numbers; none is the empty object.

    Raises `Invalid` naming field, value and rule.
    """
    return Jsonb(exact.checked(dict(metadata or {}), "metadata"), dumps=exact.dumps)


def ids_with_prefix(reference: str) -> tuple[UUID | None, UUID | None]:
    """The first and the last id that begin with `reference`; none for what is no beginning of an id.

    What has fewer than `FEWEST_DIGITS` is none: "0" and "add" are meant as names.
    """
    digits = reference.replace("-", "").lower()
    is_beginning = FEWEST_DIGITS <= len(digits) <= 32 and set(digits) <= set("0123456789abcdef")
    if not is_beginning or not str(UUID(digits.ljust(32, "0"))).startswith(reference.lower()):
        return None, None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
