"""A stream of ours is opened again and again, mostly by who may not change it: as it is wanted, it is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import permutations
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig

from registry.broker.connection import connect_nats
from registry.broker.own_stream import open_own
from registry.client import Access
from registry.errors import Conflict, Unprepared
from tests.support.nats.process import nats_process
from tests.support.nats.reading import connected
from tests.support.services import scratch_directory

NEW: dict[str, Any] = {"discard": DiscardPolicy.NEW}
LIMITED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "messages and bytes": {"max_msgs": 10, "max_bytes": 65_536, "max_msg_size": 1_024},
    "messages of a subject": NEW | {"max_msgs_per_subject": 5, "discard_new_per_subject": True},
}
KINDS = LIMITED | {
    "the last of a subject": {"max_msgs_per_subject": 1},
    "the last of a subject, none beyond": NEW | {"max_msgs_per_subject": 1, "max_msgs": 10},
}
"""What limits a stream; of the last two the limit of a subject is its nature, and is not changed."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server on which one user may do anything, and another one may not update a stream, or look at one."""
    denied = {"publish": {"deny": ["$JS.API.STREAM.UPDATE.>", "$JS.API.STREAM.INFO.HIDDEN"]}}
    users = [{"user": "maker", "password": "w"}, {"user": "opener", "password": "w", "permissions": denied}]
    with scratch_directory() as folder, nats_process(folder, authorization={"users": users}) as server:
        yield server.port


@pytest.fixture
async def maker(port: int) -> AsyncIterator[Client]:
    async with connected(f"nats://maker:w@127.0.0.1:{port}") as client:
        yield client
        await client.jetstream().delete_stream("OWN")


def opener(port: int) -> AbstractAsyncContextManager[Client]:
    """Who may open, and not update."""
    return connect_nats(f"nats://127.0.0.1:{port}", "test", Access(user="opener", password="w"))  # noqa: S106  # of a test


def wanted(kind: str) -> StreamConfig:
    return StreamConfig(name="OWN", subjects=["own.>"], **KINDS[kind])


def as_wanted(found: StreamConfig, kind: str) -> bool:
    limits = ("max_msgs", "max_bytes", "max_msg_size", "max_msgs_per_subject")
    config = KINDS[kind]
    return all(getattr(found, name) == config.get(name, -1) for name in limits) and (
        found.discard == config.get("discard", DiscardPolicy.OLD)
        and bool(found.discard_new_per_subject) == config.get("discard_new_per_subject", False)
    )


@pytest.mark.parametrize(
    ("theirs", "problem"),
    [
        ({"retention": RetentionPolicy.INTEREST}, "retention is interest, expected limits"),
        ({"subjects": ["others.>"]}, "subjects are"),
    ],
    ids=["it keeps nothing", "it takes others"],
)
async def test_a_stream_of_somebody_else_is_no_stream_of_ours(
    maker: Client, theirs: dict[str, Any], problem: str
) -> None:
    made = await maker.jetstream().add_stream(StreamConfig(**{"name": "OWN", "subjects": ["own.>"]} | theirs))

    with pytest.raises(Conflict, match=f"stream OWN cannot be used: {problem}"):
        await open_own(maker, wanted("nothing"))

    assert (await maker.jetstream().stream_info("OWN")).config == made.config


async def test_a_work_queue_is_taken_where_messages_are_kept_by_limits_since_it_keeps_what_nobody_takes(
    maker: Client,
) -> None:
    queue = StreamConfig("OWN", subjects=["own.>"], retention=RetentionPolicy.WORK_QUEUE)
    await maker.jetstream().add_stream(queue)

    assert not await open_own(maker, wanted("messages and bytes"))

    found = (await maker.jetstream().stream_info("OWN")).config
    assert found.retention == RetentionPolicy.WORK_QUEUE
    assert as_wanted(found, "messages and bytes")


async def test_who_makes_a_stream_is_told_so_and_nobody_else(maker: Client) -> None:
    assert await open_own(maker, wanted("nothing"))
    assert not await open_own(maker, wanted("nothing"))
    assert not await open_own(maker, wanted("messages and bytes"))


@pytest.mark.parametrize("kind", KINDS)
async def test_who_may_not_update_a_stream_opens_one_that_is_as_it_should_be(
    maker: Client, port: int, kind: str
) -> None:
    await open_own(maker, wanted(kind))
    made = (await maker.jetstream().stream_info("OWN")).config
    assert as_wanted(made, kind)

    async with opener(port) as client:
        await open_own(client, wanted(kind))

    assert (await maker.jetstream().stream_info("OWN")).config == made


@pytest.mark.parametrize(("before", "after"), list(permutations(LIMITED, 2)))
async def test_other_limits_are_set_once_by_who_may(maker: Client, port: int, before: str, after: str) -> None:
    await open_own(maker, wanted(before))
    async with opener(port) as client:
        with pytest.raises(Unprepared, match=r"STREAM\.UPDATE\.OWN"):
            await open_own(client, wanted(after))

        await open_own(maker, wanted(after))
        await open_own(client, wanted(after))

    assert as_wanted((await maker.jetstream().stream_info("OWN")).config, after)


@pytest.mark.parametrize("like", ["GONE", "HIDDEN"])
async def test_a_stream_is_made_also_where_the_one_it_is_to_be_like_cannot_be_looked_at(
    port: int, maker: Client, like: str
) -> None:
    async with opener(port) as client:
        assert await open_own(client, wanted("nothing"), like=like)
    assert (await maker.jetstream().stream_info("OWN")).config.num_replicas == 1
