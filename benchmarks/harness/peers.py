"""What a user would take instead, from PyPI, each set up as its documentation says, with the settings it is best with.

Each drains the payloads that it is given from a table of its own into a stream, and tells its rate in events a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import nats
import orjson
import psycopg
from nats.aio.client import Client
from nats.js.api import StreamConfig
from psycopg.conninfo import conninfo_to_dict

from benchmarks.harness.servers import Servers, drop_stream, fill_seconds, new_prefix
from registry.subjects import Names

Peer = Callable[[Servers, Client, list[bytes]], Awaitable[float]]


async def nats_outbox(servers: Servers, client: Client, payloads: list[bytes]) -> float:
    """nats-outbox 0.1.0: its polling relay, with the largest batch it takes (1,000)."""
    from nats_outbox.core.models import OutboxEvent, create_tables
    from nats_outbox.publishers.nats_publisher import NatsPublisher
    from nats_outbox.relay.polling import PollingRelay
    from nats_outbox.settings import OutboxSettings
    from sqlalchemy import insert
    from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

    logging.getLogger("nats_outbox").setLevel(logging.ERROR)
    prefix = await _stream(client)
    subject = f"{prefix}.evt.v1.peer"
    with servers.database() as url:
        engine = create_async_engine(_asyncpg(url))
        await create_tables(engine)
        async with engine.begin() as conn:
            rows = [{"subject": subject, "headers": {}, "payload": orjson.loads(payload)} for payload in payloads]
            await conn.execute(insert(OutboxEvent), rows)
        connection = await nats.connect(servers.nats_url)
        settings = OutboxSettings(database_url=_asyncpg(url), nats_url=servers.nats_url, batch_size=1000)
        publisher = await NatsPublisher.from_nats_client(connection)
        relay = PollingRelay(async_sessionmaker(engine, expire_on_commit=False), publisher, settings)
        running = asyncio.create_task(relay.start())
        seconds = await fill_seconds(client, prefix, len(payloads))
        await relay.stop()
        await running
        await connection.close()
        await engine.dispose()
    await drop_stream(client, prefix)
    return len(payloads) / seconds


async def faststream_outbox(servers: Servers, client: Client, payloads: list[bytes]) -> float:
    """faststream-outbox 0.19.0: its relay to FastStream's NATS broker, 16 workers, batches of 500."""
    from faststream.nats import JStream, NatsBroker
    from faststream_outbox import OutboxBroker, make_outbox_table
    from sqlalchemy import MetaData, insert
    from sqlalchemy.ext.asyncio import create_async_engine

    prefix = await _stream(client)
    with servers.database() as url:
        engine = create_async_engine(_asyncpg(url), pool_size=20, max_overflow=20)
        metadata = MetaData()
        table = make_outbox_table(metadata, table_name="peer_outbox")
        async with engine.begin() as conn:
            await conn.run_sync(metadata.create_all)
            headers = {"content-type": "application/json"}
            rows = [{"queue": "events", "payload": payload, "headers": headers} for payload in payloads]
            await conn.execute(insert(table), rows)
        broker = OutboxBroker(engine, outbox_table=table, logger=None)
        target = NatsBroker(servers.nats_url, logger=None)
        stream = JStream(Names(prefix).event_stream, declare=False)

        async def relay(body: dict[str, Any]) -> dict[str, Any]:
            return body

        taking = broker.subscriber("events", max_workers=16, fetch_batch_size=500, terminal_flush_batch_size=100)
        target.publisher(f"{prefix}.evt.v1.peer", stream=stream)(taking(relay))
        await target.connect()
        await broker.start()
        seconds = await fill_seconds(client, prefix, len(payloads))
        await broker.stop()
        await target.stop()
        await engine.dispose()
    await drop_stream(client, prefix)
    return len(payloads) / seconds


async def mq_bridge(servers: Servers, client: Client, payloads: list[bytes]) -> float:
    """mq-bridge 1.2.0 (Rust): a table read by its id column, to JetStream with message ids, batches of 1,000."""
    from mq_bridge import Route

    prefix = await _stream(client)
    with servers.database() as url:
        with psycopg.connect(url) as conn:
            conn.execute("CREATE TABLE peer_outbox (id bigint PRIMARY KEY, payload jsonb NOT NULL)")
            with conn.cursor().copy("COPY peer_outbox FROM STDIN") as copy:
                for number, payload in enumerate(payloads):
                    copy.write_row((number, payload.decode()))
        server = urlsplit(servers.nats_url)
        route = Route.from_config(
            {
                "input": {"sqlx": {"url": url, "table": "peer_outbox", "cursor_column": "id", "cursor_id": "bench"}},
                "output": {
                    "nats": {
                        "url": f"nats://{server.hostname}:{server.port}",
                        "token": server.username,
                        "stream": Names(prefix).event_stream,
                        "subject": f"{prefix}.evt.v1.peer",
                        "deduplicate": True,
                    }
                },
                "batch_size": 1000,
            }
        )
        await asyncio.to_thread(route.start)
        seconds = await fill_seconds(client, prefix, len(payloads))
        route.stop()
        await asyncio.to_thread(route.join)
    await drop_stream(client, prefix)
    return len(payloads) / seconds


PURE_PYTHON, OUTBOX_PEER = ("nats-outbox", "faststream-outbox"), "mq-bridge"
PEERS: dict[str, Peer] = {
    "nats-outbox": nats_outbox,
    "faststream-outbox": faststream_outbox,
    OUTBOX_PEER: mq_bridge,
}


async def _stream(client: Client) -> str:
    """A new stream that takes the subjects of its prefix; returns the prefix."""
    prefix = new_prefix()
    names = Names(prefix)
    await client.jetstream().add_stream(StreamConfig(name=names.event_stream, subjects=[names.event_subjects]))
    return prefix


def _asyncpg(database_url: str) -> str:
    """SQLAlchemy's form of a libpq URL."""
    parts = conninfo_to_dict(database_url)
    return f"postgresql+asyncpg://{parts['user']}:{parts['password']}@/{parts['dbname']}?host={parts['host']}"
