"""Latency: from the end of a commit to the delivery of its event, against publishing directly after the commit."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from statistics import median
from time import perf_counter
from uuid import uuid4

import orjson
import psycopg
from nats.aio.client import Client
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError
from psycopg import AsyncConnection

from benchmarks.harness import backlog, least_relay
from benchmarks.harness.bounds import bounded
from benchmarks.harness.measure import Report, Target, interleaved, percentile, ratio
from benchmarks.harness.servers import Servers, drop_stream, new_prefix, reached
from benchmarks.harness.sizes import Sizes
from benchmarks.triggers.sides import drop_event_triggers
from publisher.relay.lane import LEAST_BACKLOG
from registry.broker.connection import connect_nats
from registry.client import RegistryClient
from registry.events.message import EVENT_ID_HEADER, OUTBOX_ID_HEADER
from registry.subjects import Names

WRITERS = 8
CHANGE = """
UPDATE worktrees
SET last_commit_hash = %(token)s, ahead_of_trunk = ahead_of_trunk + 1
WHERE name = %(name)s
"""
QUIET = """
WITH project AS (
    SELECT register_project('quiet', 'git@github.com:bench/quiet.git') AS id
)
INSERT INTO worktrees (project_id, type_id, name, branch_name, path)
SELECT id, 1, 'quiet', 'quiet', '/bench/quiet' FROM project
UNION ALL
SELECT id, 1, 'calm', 'calm', '/bench/calm' FROM projects WHERE name = 'bench'
"""
MANY = """
INSERT INTO worktrees (project_id, type_id, name, branch_name, path)
SELECT id, 1, 'many-' || number, 'many/' || number, '/bench/many-' || number
FROM projects, generate_series(1, %(events)s) AS number
WHERE name = 'bench'
"""
TOUCH_ALL = "UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1 WHERE name ~ '^(many|feat)-'"
BEHIND_BACKLOG = {"the same row": "feat-1", "another row of the same project": "calm", "another project": "quiet"}
LANE_ROUNDS = 3
OVERTAKE = {
    "another row of the same project": "by decision: a project is told in the order of its outbox, whose state a "
    "consumer folds (docs/adr/0018-lane.md)",
    "another project": "",
}
"""Who is to overtake a backlog, to what keeps it."""
OF_WORKTREE = "SELECT project_id::text, (SELECT count(*) FROM outbox) FROM worktrees WHERE name = %s"
OURS, LEAST, DIRECT = "imi-registry serve", least_relay.NAME, "commit, then publish"
REST = "cursor, fence and acknowledgement"
"""What `serve` does beyond `LEAST`."""
SUBJECT = "{}.evt.v1.worktree.git_state_updated.bench"
PERCENTILES = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9}
ROUNDS_AT_ONE = 2
"""At one commit a second, where no figure is near a limit."""
LIMITS = {(100, "p99"): 3.0, (1000, "p99"): 10.0}
"""Milliseconds at most, by commits a second."""

_direct_ids = itertools.count(1)

Publish = Callable[[str], Awaitable[None]]


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Milliseconds from commit to delivery at each rate, of `serve` and of the direct publish."""
    report = Report(
        "latency",
        f"{WRITERS} connections commit one change each at a steady rate in all; a JetStream consumer takes the events. "
        "The time runs from the acknowledged COMMIT to the delivery. Baseline: no outbox, the writer publishes to the "
        "stream itself when its COMMIT is acknowledged (and loses the event when it dies in between). `the least "
        "relay` listens, asks once for what is new and publishes it, without cursor, fence or acknowledgement.",
    )
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect_nats(servers.nats_url, "bench"))
        urls = {side: stack.enter_context(servers.database()) for side in (OURS, LEAST, DIRECT)}
        prefixes = {OURS: new_prefix(), LEAST: await _bare_stream(client), DIRECT: await _bare_stream(client)}
        for side, url in urls.items():
            with psycopg.connect(url) as conn:
                if side == DIRECT:
                    drop_event_triggers(conn)
                backlog.prepare(conn)
        await stack.enter_async_context(servers.service(urls[OURS], prefixes[OURS]))
        subject = SUBJECT.format(prefixes[LEAST])
        await stack.enter_async_context(least_relay.least_relay(urls[LEAST], servers.nats_url, subject))
        for rate in sizes.latency_rates:
            found: dict[str, list[list[float]]] = {side: [] for side in urls}

            async def measure(side: str, rate: int = rate, found: dict[str, list[list[float]]] = found) -> float:
                publish = partial(_publish, client, prefixes[side]) if side == DIRECT else None
                times = await latencies(
                    *(servers.nats_url, urls[side], prefixes[side]),
                    rate=rate,
                    seconds=sizes.latency_seconds,
                    publish=publish,
                )
                found[side].append(times)
                return median(times)

            rounds = sizes.rounds if rate > 1 else min(sizes.rounds, ROUNDS_AT_ONE)
            await interleaved({side: partial(measure, side) for side in urls}, rounds)
            record(report, rate, {side: rounds[1:] for side, rounds in found.items()})
        for prefix in prefixes.values():
            await drop_stream(client, prefix)
        await _lane(servers, client, sizes, report)
    return report


async def latencies(
    nats_url: str,
    database_url: str,
    prefix: str,
    *,
    rate: int,
    seconds: float,
    publish: Publish | None = None,
    subscribers: int = 1,
) -> list[float]:
    """Milliseconds from commit to delivery of `rate * seconds` changes, to each of `subscribers`."""
    count = max(int(rate * seconds), 1)
    committed: dict[str, float] = {}
    delivered: list[tuple[str, float]] = []
    ready = asyncio.Barrier(subscribers + 1)

    async def subscribe() -> None:
        async with RegistryClient.connect(nats_url, prefix=prefix) as client, client.tail() as events:
            await ready.wait()
            left = count
            async for event in events:
                now = perf_counter()
                delivered.append((orjson.loads(event.payload)["data"]["last_commit_hash"], now))
                left -= 1
                if left == 0:
                    return

    async def write(writer: int, start: float) -> None:
        async with await AsyncConnection.connect(database_url, autocommit=True) as conn:
            for number in range(writer, count, WRITERS):
                await asyncio.sleep(start + number / rate - perf_counter())
                token = f"{start * 1e6:.0f}x{number}"
                await conn.execute(CHANGE, {"token": token, "name": f"feat-{number % 100}"}, prepare=True)
                committed[token] = perf_counter()
                if publish is not None:
                    await publish(token)

    gc.collect()
    async with asyncio.timeout(seconds + 120), asyncio.TaskGroup() as tasks:
        for _ in range(subscribers):
            tasks.create_task(subscribe())
        await ready.wait()
        start = perf_counter() + 0.2
        for writer in range(min(WRITERS, count)):
            tasks.create_task(write(writer, start))
    return [(at - committed[token]) * 1000 for token, at in delivered]


async def _lane(servers: Servers, client: Client, sizes: Sizes, report: Report) -> None:
    """One event behind a backlog, of a row that waits, of another of its project, and of another project."""
    contestants = {
        f"one event of {whose} behind a backlog of {sizes.growth_backlog:,}": partial(
            behind_backlog, servers, client, sizes.growth_backlog, worktree
        )
        for whose, worktree in BEHIND_BACKLOG.items()
    }
    values = await interleaved(contestants, min(sizes.rounds, LANE_ROUNDS), warm_up=False)
    for (name, milliseconds), (whose, _) in zip(values.items(), BEHIND_BACKLOG.items(), strict=True):
        report.add(name, "ms", milliseconds)
        if whose in OVERTAKE:
            report.targets.append(Target(name, "ms", report.series[-1].median, at_most=100, bound=OVERTAKE[whose]))


async def behind_backlog(servers: Servers, client: Client, events: int, worktree: str) -> float:
    """Milliseconds until an event of `worktree` is stored that is committed right behind one UPDATE of `events` rows.

    Raises `RuntimeError` where half of a backlog that the lane is for was published before it was committed.
    """
    prefix = new_prefix()
    names = Names(prefix)
    with servers.database() as url:
        with psycopg.connect(url) as conn:
            backlog.prepare(conn)
            conn.execute(QUIET)
            conn.execute(MANY, {"events": events})
            ((project_id, written),) = conn.execute(OF_WORKTREE, [worktree]).fetchall()
        subject = names.event_subject("worktree", "git_state_updated", project_id)
        async with servers.service(url, prefix), await AsyncConnection.connect(url, autocommit=True) as conn:
            await reached(client, prefix, written)
            await conn.execute(TOUCH_ALL)
            await conn.execute(CHANGE, {"token": "last", "name": worktree})
            start = perf_counter()
            state = (await client.jetstream().stream_info(names.event_stream)).state
            while await _last_token(client, names.event_stream, subject) != "last":  # noqa: ASYNC110  # a stream is asked, it does not call
                await asyncio.sleep(0.005)
            seconds = perf_counter() - start
    if events > LEAST_BACKLOG and state.messages > written + events / 2:
        raise RuntimeError(
            f"{state.messages - written:,} of {events:,} events were published before the one was committed"
        )
    await drop_stream(client, prefix)
    return seconds * 1000


async def _last_token(client: Client, stream: str, subject: str) -> str | None:
    try:
        message = await client.jetstream().get_last_msg(stream, subject)
    except NotFoundError:
        return None
    return str(orjson.loads(message.data or b"")["data"]["last_commit_hash"])


def record(report: Report, rate: int, found: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Add the percentiles of each side's milliseconds, round by round, at a rate, and the targets."""
    values = {
        (name, label): [percentile(times, percent) for times in rounds]
        for name, rounds in found.items()
        for label, percent in PERCENTILES.items()
    }
    for (name, label), figures in values.items():
        report.add(f"{name}, {rate}/s, {label}", "ms", figures)
    if rate == 100:
        times, least = (ratio(values[side, "p50"], values[DIRECT, "p50"]) for side in (OURS, LEAST))
        target = Target("latency p50 at 100/s, against commit then publish", "times", times, at_most=3)
        report.targets.append(bounded(target, {LEAST: least}, REST))
    if (rate, "p99") in LIMITS:
        p99 = {side: median(values[side, "p99"]) for side in (OURS, LEAST, DIRECT)}
        target = Target(f"latency p99 at {rate}/s", "ms", p99[OURS], at_most=LIMITS[rate, "p99"])
        report.targets.append(bounded(target, {side: p99[side] for side in (LEAST, DIRECT)}, REST))


async def _bare_stream(client: Client) -> str:
    prefix = new_prefix()
    names = Names(prefix)
    await client.jetstream().add_stream(StreamConfig(name=names.event_stream, subjects=[names.event_subjects]))
    return prefix


async def _publish(client: Client, prefix: str, token: str) -> None:
    """As an event: about as many bytes, and with the headers by which a subscriber knows one."""
    payload = orjson.dumps({"data": {"last_commit_hash": token, "metadata": "x" * 1100}})
    headers = {OUTBOX_ID_HEADER: str(next(_direct_ids)), EVENT_ID_HEADER: str(uuid4())}
    await client.jetstream().publish(SUBJECT.format(prefix), payload, headers=headers)
