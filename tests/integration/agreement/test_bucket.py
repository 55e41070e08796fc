"""In the bucket one id stands for each origin: the least of all that came, in whatever order, from wherever."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from nats.aio.client import Client

from publisher.agreement.bucket import Bucket, connect_bucket, read_bucket
from publisher.agreement.standing import Standing, key_of, origin_of
from publisher.settings import Settings
from registry.errors import Invalid, Unavailable
from registry.origin import derived_project_id
from tests.support.nats.process import nats_process

ORIGIN = "git@github.com:33god/engine.git"
DERIVED = derived_project_id(ORIGIN) or UUID(int=0)
THEN = datetime(2026, 1, 21, 8, tzinfo=UTC)
ORDERED = [
    Standing.of(ORIGIN, DERIVED, THEN + timedelta(days=2)),
    Standing.of(ORIGIN, UUID(int=9), THEN),
    Standing.of(ORIGIN, UUID(int=1), THEN + timedelta(microseconds=1)),
    Standing.of(ORIGIN, UUID(int=2), THEN + timedelta(microseconds=1)),
]
"""As they win: who is derived, who is older, who has the lower id."""


async def known(bucket: Bucket) -> dict[str, Standing | None]:
    return {origin: standing async for origin, standing in bucket.changes()}


async def test_the_same_one_wins_in_whatever_order_they_come(bucket: Bucket) -> None:
    for order in permutations(ORDERED[:3]):
        for mine in order:
            await bucket.agree(ORIGIN, mine)
        assert await bucket.standing(ORIGIN) == ORDERED[0]
        await bucket.forget(ORIGIN)


def test_derived_wins_over_random_older_over_younger_and_the_lower_id_where_all_is_the_same() -> None:
    assert sorted([*ORDERED[2:], *ORDERED[:2]]) == ORDERED
    assert [standing.is_random for standing in ORDERED] == [False, True, True, True]


async def test_of_many_that_come_at_once_all_have_one(agreeing: Settings, bucket: Bucket) -> None:
    async def register() -> UUID:
        async with connect_bucket(agreeing, "test") as own:
            mine = Standing.of(ORIGIN, uuid4(), datetime.now(UTC))
            return (await own.agree(ORIGIN, mine, is_new=True)).project_id

    found = await asyncio.gather(*(register() for _ in range(12)))

    assert len(set(found)) == 1
    standing = await bucket.standing("HTTPS://github.com/33GOD/Engine")
    assert standing is not None
    assert {standing.project_id} == set(found)


async def test_who_has_no_project_yet_takes_what_stands(bucket: Bucket) -> None:
    await bucket.agree(ORIGIN, ORDERED[2])

    assert await bucket.agree(ORIGIN, ORDERED[0], is_new=True) == ORDERED[2]
    assert await bucket.standing(ORIGIN) == ORDERED[2]


@pytest.mark.parametrize("value", [b"", b"{}", b"[1]", b"\xff", b'{"project_id": 7, "registered_at": "now"}'])
async def test_what_is_nothing_of_ours_gives_way(
    agreeing: Settings, bucket: Bucket, nats: Client, value: bytes
) -> None:
    kv = await nats.jetstream().key_value(agreeing.agreement_bucket)
    await kv.put("33god/engine", value)

    assert await bucket.standing(ORIGIN) is None
    assert await bucket.agree(ORIGIN, ORDERED[1], is_new=True) == ORDERED[1]


async def test_what_is_forgotten_is_decided_anew(bucket: Bucket) -> None:
    await bucket.agree(ORIGIN, ORDERED[0])

    assert await bucket.forget(ORIGIN)
    assert not await bucket.forget(ORIGIN)
    assert await bucket.standing(ORIGIN) is None
    assert await bucket.agree(ORIGIN, ORDERED[3]) == ORDERED[3]


async def test_who_forgets_tries_again_where_somebody_was_first(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bucket.agree(ORIGIN, ORDERED[2])
    look, coming = bucket._look, [ORDERED[1]]

    async def and_then_somebody_writes(key: str) -> tuple[Standing | None, int]:
        found = await look(key)
        while coming:
            await bucket.agree(ORIGIN, coming.pop())
        return found

    monkeypatch.setattr(bucket, "_look", and_then_somebody_writes)

    assert await bucket.forget(ORIGIN)
    assert await bucket.standing(ORIGIN) is None


async def test_changes_are_told_once_and_a_bucket_made_anew_from_its_start(
    agreeing: Settings, bucket: Bucket, nats: Client
) -> None:
    await bucket.agree(ORIGIN, ORDERED[2])
    assert await known(bucket) == {"": None, ORIGIN: ORDERED[2]}
    assert await known(bucket) == {}
    await bucket.agree(ORIGIN, ORDERED[0])
    assert await known(bucket) == {ORIGIN: ORDERED[0]}
    await bucket.forget(ORIGIN)
    assert await known(bucket) == {ORIGIN: None}

    await nats.jetstream().delete_key_value(agreeing.agreement_bucket)
    async with connect_bucket(agreeing, "test"):
        assert await known(bucket) == {"": None}
        assert await bucket.agree(ORIGIN, ORDERED[3]) == ORDERED[3]


@pytest.mark.parametrize(
    "origin", ["git@github.com:a/b.git", "git@github.com:a-/-b_.c.git", "git@github.com:33god/.github.git"]
)
async def test_every_origin_has_a_key(bucket: Bucket, origin: str) -> None:
    mine = Standing.of(origin, uuid4(), THEN)

    assert await bucket.agree(origin, mine) == mine
    assert await known(bucket) == {"": None, origin: mine}
    assert origin_of(key_of(origin) or "") == origin


async def test_what_is_no_origin_is_refused_by_name(bucket: Bucket) -> None:
    with pytest.raises(Invalid, match=r'remote origin "git@gitlab\.com:a/b\.git" is not owner/repo on GitHub'):
        await bucket.agree("git@gitlab.com:a/b.git", ORDERED[0])


async def test_more_replicas_than_servers_are_told(agreeing: Settings) -> None:
    settings = agreeing.model_copy(update={"agreement_bucket": "OTHER", "agreement_replicas": 3})
    with pytest.raises(Unavailable, match=r"cannot open bucket OTHER: .*replicas"):
        async with connect_bucket(settings, "test"):
            pass


async def test_a_user_who_hears_inboxes_of_its_own_alone_agrees_where_a_setting_names_them(
    agreeing: Settings, state_dir: Path
) -> None:
    permissions = {
        "publish": ["$JS.API.>", f"$KV.{agreeing.agreement_bucket}.>"],
        "subscribe": ["_INBOX.agreement.>"],
    }
    users = [{"user": "agreement", "password": "word", "permissions": permissions}]
    with nats_process(state_dir, accounts={"REGISTRIES": {"jetstream": "enabled", "users": users}}) as server:
        there = {
            "agreement_nats_url": f"nats://agreement:word@127.0.0.1:{server.port}",
            "agreement_inbox_prefix": "_INBOX.agreement",
        }
        settings = agreeing.model_copy(update=there)
        async with connect_bucket(settings, "test") as bucket:
            assert await bucket.agree(ORIGIN, ORDERED[0]) == ORDERED[0]
            assert await known(bucket) == {"": None, ORIGIN: ORDERED[0]}
        assert list(await read_bucket(settings, "test")) == [ORIGIN]
