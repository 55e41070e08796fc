"""The examination: everything is looked at, once for `imi-registry doctor`, again and again in a service."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from time import monotonic

from nats.aio.client import Client
from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable

from publisher.doctor.accounts import account_findings
from publisher.doctor.agreement import agreement_findings
from publisher.doctor.columns import column_findings
from publisher.doctor.commands import command_findings
from publisher.doctor.consumers import consumer_findings
from publisher.doctor.counts import count_findings
from publisher.doctor.database import database_findings, lock_findings
from publisher.doctor.dead_letters import dead_letter_findings
from publisher.doctor.findings import LOCKS, Counts, Examined, Finding, Findings, of_check
from publisher.doctor.health import health_findings
from publisher.doctor.listening import listening_findings
from publisher.doctor.mirror import mirror_findings
from publisher.doctor.replica import replica_findings, slot_findings
from publisher.doctor.schema import missing_findings, schema_findings
from publisher.doctor.server import server_findings
from publisher.doctor.shared import shared_findings
from publisher.doctor.stream import stream_findings
from publisher.doctor.stream_settings import stream_settings_findings
from publisher.history.shared_tail import AT_FIRST, SharedTail
from publisher.outbox.backlog import WITHOUT_EVENT, rows_without_event
from publisher.outbox.blocked import keepers
from publisher.outbox.connection import LOOKER, connect, translated
from publisher.outbox.faults import Fault, noted
from publisher.outbox.known import Known, known_stream, known_streams
from publisher.outbox.lead import holder_of_lead, stranger_leads
from publisher.part import Part
from publisher.settings import Settings, profile_of
from registry.broker.connection import connect_nats
from registry.broker.errors import is_leaderless
from registry.errors import Unavailable, Unprepared
from registry.events.reference import UNREADABLE

INTERVAL_SECONDS = (0.5, 10.0)
"""How often a service looks while something is not well, and when all is."""
PAUSE_FACTOR = 25
"""It pauses at least so many times as long as it looked; to wait for somebody's lock is no work."""
MOMENT_SECONDS = 1.0
"""What waits longer than a publisher that works would let it wait."""
LEADERLESS = "nothing is stored, and no command is taken; start what is missing of NATS"
NO_WRITES = "the database takes no writes now: it is a standby, or default_transaction_read_only is on"
SESSION = LOOKER
FAULTS_LISTED = 20

READ_ONLY = "SELECT current_setting('transaction_read_only') = 'on'"
COUNTED = "SELECT (SELECT count(*) FROM public.outbox_fault), (SELECT count(*) FROM public.command_ledger)"


class Examination(Part):
    """Looks at everything again and again, so that a service tells what `imi-registry doctor` tells."""

    def __init__(self, settings: Settings, findings: Findings, after: asyncio.Event) -> None:
        """`after` is set when a publisher may be expected to lead: before, its absence says nothing."""
        super().__init__(settings, findings, "examination")
        self._findings = findings
        self._after = after

    async def work(self) -> None:
        """Look, wait, look again. Settled once it was looked."""
        await self._until_expected()
        tail = SharedTail(most=AT_FIRST)
        async with connections(self._settings) as (conn, client):
            while True:
                began = monotonic()
                found = await examined(conn, client, self._settings, tail)
                self._findings.found(found)
                self.settled.set()
                tail.most = None
                if found.known is not None:
                    await tail.keep(conn, found.known)
                looked_seconds = 0.0 if found.counts is None else monotonic() - began
                pause_seconds = INTERVAL_SECONDS[0 if self._findings.problems() else 1]
                await asyncio.sleep(max(pause_seconds, PAUSE_FACTOR * looked_seconds))

    async def _until_expected(self) -> None:
        """Wait until a publisher may be expected to lead. It may wait for a lock itself, and that is told."""
        if self._after.is_set():
            return
        async with _database(self._settings) as conn:
            while not self._after.is_set():
                self._findings.found(Examined(await lock_findings(conn)))
                with suppress(TimeoutError):
                    async with asyncio.timeout(INTERVAL_SECONDS[0]):
                        await self._after.wait()

    def interrupted(self) -> None:
        """Settled as well: it says why it knows nothing."""
        self.settled.set()


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything. Raises `Unavailable` when a server cannot be reached."""
    pooled = of_check("servers", await listening_findings(settings.database_url or ""))
    try:
        return [*pooled, *await _examine(settings)]
    except Unavailable as error:
        if not pooled:
            raise
        return [*pooled, Finding(False, str(error), check="servers")]  # what a pooler does to sessions


async def _examine(settings: Settings) -> list[Finding]:
    async with connections(settings) as (conn, client):
        found = await examined(conn, client, settings)
        if found.counts is None or found.is_leaderless:  # blocked, without a leader, or never fed
            return found.findings
        try:
            return [*found.findings, *await _around(conn, client, settings)]
        except Unprepared as error:
            return [*found.findings, *await _lacking(conn, settings, error)]
        except Unavailable as error:  # the server that led the stream may still tell of it, alone
            told = [_leaderless(settings)] if is_leaderless(error) else await _locked(conn, error)
            known = {finding.text for finding in found.findings}
            return [*found.findings, *(finding for finding in told if finding.text not in known)]


def _leaderless(settings: Settings) -> Finding:
    return Finding(False, f"stream {profile_of(settings).event_stream} has no leader: {LEADERLESS}", check="stream")


async def _around(conn: AsyncConnection, client: Client, settings: Settings) -> list[Finding]:
    """What changes rarely, or takes a while to look at: not for a service that looks every few seconds."""
    url = settings.database_url or ""
    return [
        *of_check("server", await server_findings(conn, client)),
        *of_check("columns", await column_findings(conn)),
        *of_check("schema", await schema_findings(conn)),
        *of_check("counts", await count_findings(conn)),
        *of_check("health", await health_findings(conn)),
        *of_check("roles", await asyncio.to_thread(account_findings, url)),
        *of_check("replicas", await slot_findings(conn)),
        *of_check("agreement", await agreement_findings(conn, settings)),
        *of_check("commands", await command_findings(client, settings)),
        *of_check("consumers", await consumer_findings(client, settings)),
        *of_check("stream settings", await stream_settings_findings(client, settings)),
    ]


def _database(settings: Settings) -> AbstractAsyncContextManager[AsyncConnection]:
    return connect(settings.database_url or "", f"imi-registry doctor {os.getpid()}", SESSION)


@asynccontextmanager
async def connections(settings: Settings) -> AsyncIterator[tuple[AsyncConnection, Client]]:
    """To database and NATS, for who looks: nothing that is locked keeps it waiting for long. Raises `Unavailable`."""
    async with (
        _database(settings) as conn,
        connect_nats(settings.nats_url or "", "imi-registry doctor", settings.nats_access, reconnect=False) as client,
    ):
        yield conn, client


async def examined(
    conn: AsyncConnection, client: Client, settings: Settings, tail: SharedTail | None = None
) -> Examined:
    """Look at everything, and count; of a shared stream at what is not in `tail`.

    Raises `Unavailable` when a server cannot be reached.
    """
    waiting = await lock_findings(conn)
    if any(finding.is_hindrance for finding in waiting):
        return Examined(waiting)
    try:
        found = await _examined(conn, client, settings, tail or SharedTail())
    except Unprepared as error:
        found = Examined(await _lacking(conn, settings, error))
    except Unavailable as error:
        return Examined(await _locked(conn, error))
    return found._replace(findings=[*found.findings, *waiting])


async def _locked(conn: AsyncConnection, error: Unavailable) -> list[Finding]:
    """Who has locked what is to be looked at, so that `error` came of it. Raises `error` where that is no lock."""
    if not isinstance(error.__cause__, LockNotAvailable):
        raise error
    return of_check(LOCKS, [Finding(False, text) for text in await keepers(conn) or [str(error)]])


async def _lacking(conn: AsyncConnection, settings: Settings, error: Unprepared) -> list[Finding]:
    """What of the schema is gone, or else of the account's rights: `error` came of it. Raises `error` for neither."""
    if missing := await missing_findings(conn):
        return of_check("schema", missing)
    rights = await asyncio.to_thread(account_findings, settings.database_url or "")
    if lacking := [finding for finding in rights if finding.is_hindrance]:
        return of_check("roles", lacking)
    raise error


async def _examined(conn: AsyncConnection, client: Client, settings: Settings, tail: SharedTail) -> Examined:
    stream = profile_of(settings).event_stream
    if as_mirror := await mirror_findings(conn):
        return Examined([Finding(True, "database and NATS answer", check="servers"), *of_check("mirror", as_mirror)])
    if as_replica := await replica_findings(conn):
        return Examined([Finding(True, "database and NATS answer", check="servers"), *of_check("replica", as_replica)])
    with translated():
        waiting = await rows_without_event(conn)
    known = await known_streams(conn, stream)
    holder = await holder_of_lead(conn, stream, settings.stale_seconds)
    findings = [Finding(True, "database and NATS answer", check="servers")]
    if waiting:
        findings += [Finding(False, f"{waiting:,} rows {WITHOUT_EVENT}", check="backfill")]
    if holder is not None and not holder.is_publisher:
        findings += [Finding(False, stranger_leads(holder, stream), check="publisher")]
    (ours,) = (one for one in known if one.stream == stream)
    findings += of_check("shared streams", await shared_findings(client, settings, ours))
    if not ours.is_fed:
        nothing = Finding(False, f"nothing was ever published to {stream}: start up or serve", check="publisher")
        return Examined([*findings, nothing], known=ours)
    findings += of_check("publisher", [await _publisher(conn, ours, settings.stale_seconds)])
    findings += of_check("other streams", [_other(cursor) for cursor in known if cursor is not ours])
    findings += await database_findings(conn, stream)
    findings += of_check("events without data", [_faulty(fault) for fault in await noted(conn, FAULTS_LISTED)])
    try:
        findings += of_check("stream", await stream_findings(conn, client, settings, ours, tail))
        findings += of_check("dead letters", await dead_letter_findings(client, settings))
    except Unavailable as error:
        if not is_leaderless(error):
            raise
        return Examined([*findings, _leaderless(settings)], await _counts(conn, ours), ours, is_leaderless=True)
    return Examined(findings, await _counts(conn, ours), ours)


async def _counts(conn: AsyncConnection, known: Known) -> Counts:
    with translated():
        references, commands = await (await conn.execute(COUNTED)).fetchone() or (0, 0)
    return Counts(known.published, references, known.dead_ids, commands, known.withheld)


async def _publisher(conn: AsyncConnection, known: Known, stale_seconds: float) -> Finding:
    """Whether somebody publishes, and whether it goes on: a heartbeat says nothing about what waits."""
    age = abs(known.heartbeat_age_seconds)  # one from the future is of before the clock was set back
    said = "" if known.hindrance is None else f"; it said last: {known.hindrance}"
    if age > stale_seconds:
        with translated():
            is_read_only = (await (await conn.execute(READ_ONLY)).fetchone() or (False,))[0]
        return Finding(
            False,
            f"no publisher: the last one, {known.leader}, was heard {age:,.0f} s ago{said}; {known.told} events "
            f"wait; {NO_WRITES if is_read_only else 'start up or serve'}",
        )
    if known.hindrance is None and not await _is_stuck(conn, known, stale_seconds):
        return Finding(True, f"{known.leader} publishes; {known.told} events wait")
    if not known.waiting:
        return Finding(False, f"{known.leader} cannot publish{said}; no event waits")
    waiting = "1 event waits" if known.waiting == 1 else f"{known.told} events wait"
    oldest = ""
    if known.waiting_seconds is not None:
        oldest = f", the oldest for {timedelta(seconds=round(max(known.waiting_seconds, 0)))}"
    return Finding(False, f"{waiting}{oldest}, and {known.leader} publishes none{said}")


async def _is_stuck(conn: AsyncConnection, known: Known, stale_seconds: float) -> bool:
    """Whether what waits does not move. It is looked at twice: an old transaction commits events that are old."""
    if not known.seems_stuck(stale_seconds):
        return False
    await asyncio.sleep(MOMENT_SECONDS)
    later = await known_stream(conn, known.stream)
    return (later.last, later.first_waiting) == (known.last, known.first_waiting)


def _other(known: Known) -> Finding:
    return Finding(
        False,
        f"stream {known.stream} was fed from this database, too, {known.heartbeat_age_seconds:,.0f} s ago: while it "
        "lags, retention removes nothing; if it is no longer wanted, remove its row from publisher_cursor",
        is_hindrance=False,
    )


def _faulty(fault: Fault) -> Finding:
    """A row that PostgreSQL cannot read is damage; the others are told as far as they can be."""
    return Finding(
        fault.reason != UNREADABLE,
        f"event {fault.outbox_id}, {fault.event}, went out without its data ({fault.reason}): {fault.detail}",
    )
