"""The bucket: a key for each origin, written with its revision, so that of two that come at once one meets the other.

A write is there when most of the bucket's replicas have it. What that promises: docs/adr/0020-agreement.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig, StorageType, StreamInfo
from nats.js.kv import KV_OP, KeyValue

from publisher.agreement.standing import Standing, key_of, origin_of
from publisher.settings import Settings
from publisher.stream.replicas import replicas_away
from registry.broker.access import OtherAccess
from registry.broker.connection import connect_nats
from registry.broker.errors import WRONG_END, translated_nats
from registry.broker.ordered import ordered_reader
from registry.broker.stored import first_message
from registry.errors import Invalid, NotFound
from registry.validation import printable_origin

DESCRIPTION = "Which id the project of each origin has, in all registries that agree."


class BucketState(NamedTuple):
    """What the servers tell of the bucket."""

    name: str
    replicas: int
    leader: str | None
    away: int
    """Replicas that are not there."""
    origins: int


class Bucket:
    """The bucket that the settings name. Open it with `connect_bucket`."""

    def __init__(self, js: JetStreamContext, kv: KeyValue, name: str) -> None:
        self._js = js
        self._kv = kv
        self._name = name
        self._stream = _stream_of(name)
        self._root = _root_of(name)
        self._made = ""
        self._read = 0

    async def standing(self, remote_origin: str) -> Standing | None:
        """What stands for an origin. Raises `Invalid` for one that is none, `Unavailable`."""
        return (await self._look(_key(remote_origin)))[0]

    async def agree(self, remote_origin: str, mine: Standing, *, is_new: bool = False) -> Standing:
        """The id that all registries have for an origin: `mine`, unless a better one stands there.

        Who `is_new`, and has no project of that id yet, takes what stands, whatever it is. When it returns, most
        replicas have it. Raises `Unavailable` while they are not there: it may be written all the same, and again is
        right.
        """
        key = _key(remote_origin)
        while True:
            standing, revision = await self._look(key)
            if standing is not None and (is_new or standing <= mine):
                return standing
            with translated_nats(f"cannot agree on the id of {origin_of(key)}"):
                try:
                    await self._kv.update(key, mine.encode(), last=revision)
                except nats.js.errors.KeyWrongLastSequenceError:  # somebody was first
                    continue
            return mine

    async def forget(self, remote_origin: str) -> bool:
        """Let the next who comes decide again about an origin. Returns whether something stood there."""
        key = _key(remote_origin)
        while True:
            standing, revision = await self._look(key)
            if standing is None:
                return False
            with translated_nats(f"cannot forget the id of {origin_of(key)}"):
                try:
                    await self._kv.delete(key, last=revision)
                except nats.js.errors.BadRequestError as error:  # nats-py tells an update alone what it is
                    if error.err_code not in WRONG_END:
                        raise
                    continue
            return True

    async def changes(self) -> AsyncIterator[tuple[str, Standing | None]]:
        """What stands since the last call, by origin; at first all. None is what no longer stands.

        An origin `""` says that the bucket is another one than before, and all that is known of it worth nothing.
        """
        info = await self._info()
        made = str(info.created)
        if made != self._made or info.state.last_seq < self._read:
            self._made, self._read = made, 0
            yield "", None
        while self._read < info.state.last_seq:
            message = await first_message(self._js, self._stream, self._read + 1, f"{self._root}>")
            if message is None:
                return
            self._read = int(message.seq or 0)
            origin = origin_of((message.subject or "").removeprefix(self._root))
            yield origin, _standing(origin, message.headers, message.data)

    async def state(self) -> BucketState:
        """How the bucket is. Raises `Unavailable`, `NotFound`."""
        info = await self._info()
        leader = info.cluster.leader if info.cluster else None
        away = len(replicas_away(info.cluster))
        return BucketState(self._name, info.config.num_replicas or 1, leader, away, info.state.messages)

    async def _look(self, key: str) -> tuple[Standing | None, int]:
        """What stands under a key, as the leader has it, and its revision; 0 where nothing was ever written."""
        try:
            with translated_nats(f"cannot read bucket {self._name}"):
                message = await self._js.get_msg(self._stream, subject=f"{self._root}{key}", direct=False)
        except NotFound:
            return None, 0
        return _standing(origin_of(key), message.headers, message.data), int(message.seq or 0)

    async def _info(self) -> StreamInfo:
        with translated_nats(f"cannot read bucket {self._name}"):
            return await self._js.stream_info(self._stream)


def _key(remote_origin: str) -> str:
    key = key_of(remote_origin)
    if key is None:
        shown = printable_origin(remote_origin)
        raise Invalid(f"remote origin {shown} is not owner/repo on GitHub: registries cannot agree on it")
    return key


def _stream_of(bucket: str) -> str:
    return f"KV_{bucket}"


def _root_of(bucket: str) -> str:
    return f"$KV.{bucket}."


def _standing(origin: str, headers: Mapping[str, str] | None, value: bytes | None) -> Standing | None:
    if KV_OP in (headers or {}):  # deleted
        return None
    return Standing.decode(origin, value)


@asynccontextmanager
async def connect_bucket(settings: Settings, name: str, *, reconnect: bool = True) -> AsyncIterator[Bucket]:
    """The bucket for the length of the block, made where it is not there. Raises `Invalid`, `Unavailable`."""
    async with _connected(settings, name, reconnect=reconnect) as client:
        js = client.jetstream()
        with translated_nats(f"cannot open bucket {settings.agreement_bucket}"):
            kv = await _opened(js, settings)
        yield Bucket(js, kv, settings.agreement_bucket)


async def read_bucket(settings: Settings, name: str) -> dict[str, Standing]:
    """All that stands, by origin; a bucket that is not there is not made.

    Raises `Invalid`, `Unavailable`, `NotFound` where there is none.
    """
    found: dict[str, Standing] = {}
    root = _root_of(settings.agreement_bucket)
    async with (
        _connected(settings, name, reconnect=False) as client,
        ordered_reader(client, _stream_of(settings.agreement_bucket), f"{root}>", patience_seconds=0) as reader,
    ):
        await reader.start(0)
        while messages := await reader.next():
            for message in messages:
                origin = origin_of(message.subject.removeprefix(root))
                standing = _standing(origin, message.headers, message.payload)
                if standing is not None:
                    found[origin] = standing
    return found


def _connected(settings: Settings, name: str, *, reconnect: bool) -> AbstractAsyncContextManager[Client]:
    if not settings.agreement_nats_url:
        raise Invalid(
            "setting agreement_nats_url: missing; set IMI_AGREEMENT_NATS_URL to the NATS in which registries agree"
        )
    access = OtherAccess(
        prefix="agreement_",
        creds=settings.agreement_nats_creds,
        tls_ca=settings.agreement_nats_tls_ca,
        inbox_prefix=settings.agreement_inbox_prefix,
        js_domain=settings.agreement_js_domain,
    )
    access.check()
    return connect_nats(settings.agreement_nats_url, name, access, reconnect=reconnect)


async def _opened(js: JetStreamContext, settings: Settings) -> KeyValue:
    try:
        return await js.key_value(settings.agreement_bucket)
    except nats.js.errors.BucketNotFoundError:
        return await js.create_key_value(
            KeyValueConfig(
                bucket=settings.agreement_bucket,
                description=DESCRIPTION,
                history=1,
                storage=StorageType.FILE,
                replicas=settings.agreement_replicas,
            )
        )
