"""The relay knows how many bytes wait to be sent: by that it bounds what it reads."""

from __future__ import annotations

import json

import psycopg
import pytest

from publisher.outbox.page import Page
from publisher.relay import drain, pages
from publisher.relay.drain import Drain
from tests.support.world import World

PAGE_BYTES = 64 * 1024
SMALL, LARGE = 400, 5000
"""Bytes of data; of the latter a row is read alone, in a page of so few bytes."""
LARGEST = 24 * 1024
INSERT = """
INSERT INTO outbox (entity, action, data)
SELECT 'project', 'updated', jsonb_build_object('x', repeat('x', CASE WHEN n %% 100 = 0 THEN %s ELSE %s END))
FROM generate_series(1, 400) AS n
"""


async def test_what_is_counted_is_what_waits_also_where_a_page_ends_before_a_row_that_is_read_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    counted: list[tuple[int, int]] = []
    cut: list[int] = []
    encode, send = Drain._encode, Drain._send_next

    def count(one: Drain) -> None:
        counted.append((one._waiting_bytes, sum(message.size for message in one._waiting)))

    async def encoded(self: Drain, page: Page) -> tuple[Page, int]:
        found = await encode(self, page)
        cut.append(len(page.rows) - len(found[0].rows))
        count(self)
        return found

    async def sent(self: Drain, limit: int) -> int:
        found = await send(self, limit)
        count(self)
        return found

    for module in (drain, pages):
        monkeypatch.setattr(module, "PAGE_BYTES", PAGE_BYTES)
    monkeypatch.setattr(Drain, "_encode", encoded)
    monkeypatch.setattr(Drain, "_send_next", sent)
    with psycopg.connect(world.database) as conn:
        conn.execute(INSERT, [LARGE, SMALL])

    # when
    async with world.relay():
        await world.drained()

    # then
    assert any(cut)
    assert [pair for pair in counted if pair[0] != pair[1]] == []
    assert counted[-1] == (0, 0)


async def test_no_further_large_row_is_read_while_more_than_half_a_page_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a `max_payload` of 8 MiB that is what keeps the memory of `serve` below its bound: test_large_rows."""
    waiting: list[int] = []
    encode = Drain._encode

    async def encoded(self: Drain, page: Page) -> tuple[Page, int]:
        found = await encode(self, page)
        waiting.append(self._waiting_bytes)
        return found

    monkeypatch.setattr(drain, "WAITING_BYTES", PAGE_BYTES // 2)
    for module in (drain, pages):
        monkeypatch.setattr(module, "PAGE_BYTES", PAGE_BYTES)
    monkeypatch.setattr(Drain, "_encode", encoded)
    with psycopg.connect(world.database, autocommit=True) as conn:
        for _ in range(12):
            conn.execute("INSERT INTO outbox (entity, action, data) SELECT 'project', 'updated', %s", [large(LARGEST)])

    async with world.relay():
        await world.drained()

    envelope = 1024
    assert LARGEST < max(waiting) <= PAGE_BYTES // 2 + LARGEST + envelope


def large(size: int) -> str:
    return json.dumps({"x": "x" * size})
