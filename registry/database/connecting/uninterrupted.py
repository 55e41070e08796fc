"""A connection to PostgreSQL that is made to the end, whoever gives it up meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

ConnectionT = TypeVar("ConnectionT", bound=AsyncConnection[Any])


async def uninterrupted(connecting: Coroutine[Any, Any, ConnectionT]) -> ConnectionT:
    """The connection that `connecting` makes. When this is cancelled it is made all the same, and closed.

    psycopg would leave it to the garbage collector, and PostgreSQL would wait a minute for the rest of its greeting.
    """
    making = asyncio.ensure_future(connecting)
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        with suppress(psycopg.Error):
            await (await making).close()
        raise
