"""Writer cost in PostgreSQL's own CPU time and bytes of WAL: ratios that hold on a busy machine, too."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import psycopg
from psycopg import Connection

from benchmarks.harness.bounds import bounded
from benchmarks.harness.cpu import process_seconds
from benchmarks.harness.measure import Report, Target, interleaved, ratio
from benchmarks.harness.servers import Servers
from benchmarks.harness.sizes import Sizes
from benchmarks.triggers.sides import NAMED, OTHER_FORMS, OWNED, STEPS
from benchmarks.writers import BARE, BULK, BY_HAND, EVENTS, OTHER_TRIGGERS, WORKTREES

SIDES = (BARE, BY_HAND, EVENTS)
PREPARED = OTHER_TRIGGERS | STEPS | OTHER_FORMS
OF_AN_UPDATE = (*SIDES, *STEPS, *OTHER_FORMS)
OF_AN_INSERT = (*SIDES, NAMED, OWNED)
"""What each is compared with: of a row that is inserted nothing is compared, and it has one form."""
ONE_ROW = {
    "UPDATE of one row": """
        UPDATE worktrees SET ahead_of_trunk = %(value)s WHERE path = '/bench/feat-' || %(number)s AND active
    """,
    "INSERT of one row": """
        INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)
        SELECT 'agent-1', id, 'modified', 'words' FROM worktrees
        WHERE path = '/bench/feat-' || %(number)s AND active AND %(value)s > 0
    """,
}
LEAST = 0.95
ONE_ROW_ROUNDS = 5
"""A round of single rows takes a tenth of a second: more rounds tell more."""


class Clients:
    """Connections to one database, each with a thread of its own, that stay for all rounds."""

    def __init__(self, database_url: str, clients: int, rows: int) -> None:
        self._conns = [psycopg.connect(database_url, autocommit=True, prepare_threshold=0) for _ in range(clients)]
        self._rows = rows
        self._done = 0

    def close(self) -> None:
        """End the connections."""
        for conn in self._conns:
            conn.close()

    async def microseconds(self, statement: str, transactions: int) -> float:
        """CPU time of the servers of all connections, each transaction of one statement; `transactions` in all."""
        each = max(transactions // len(self._conns), 1)
        with ThreadPoolExecutor(len(self._conns)) as threads:
            before = self._cpu_seconds()
            list(threads.map(partial(self._run, statement, each), self._conns, range(len(self._conns))))
            spent = self._cpu_seconds() - before
        self._done += each
        return 1e6 * spent / (each * len(self._conns))

    async def microseconds_a_row(self, statement: str) -> float:
        """CPU time of one bulk statement, by its rows."""
        conn = self._conns[0]
        before = process_seconds(conn.info.backend_pid)
        changed = (await asyncio.to_thread(conn.execute, statement.encode())).rowcount
        return 1e6 * (process_seconds(conn.info.backend_pid) - before) / changed

    async def wal_bytes(self, statement: str, transactions: int) -> float:
        """Bytes of WAL a transaction of one statement writes, by one connection."""
        conn = self._conns[0]
        before = _wal_position(conn)
        await asyncio.to_thread(self._run, statement, transactions, conn, 0)
        self._done += transactions
        return (_wal_position(conn) - before) / transactions

    def _cpu_seconds(self) -> float:
        return sum(process_seconds(conn.info.backend_pid) for conn in self._conns)

    def _run(self, statement: str, transactions: int, conn: Connection, client: int) -> None:
        """Rows in an order that looks random, no two clients at the same one."""
        query = statement.encode()
        for step in range(self._done, self._done + transactions):
            number = (step * 7_919 + client * self._rows // len(self._conns)) % self._rows + 1
            conn.execute(query, {"value": step + 1, "number": str(number)})


async def run(servers: Servers, sizes: Sizes) -> Report:
    """CPU time and WAL of writes without triggers, with the trigger written by hand, and with events."""
    report = Report(
        "writer-cpu",
        f"CPU time of the connection's server process as the kernel counts it, {sizes.cpu_clients} connections that "
        "stay, all sides in turn: a busy machine makes each slower, but the ratios stay. Sides as under Writers, "
        "steps from the trigger by hand to an event, and of an update two other forms of the triggers "
        "(`benchmarks/triggers/`). WAL is what one transaction adds to the log, its commit included.",
    )
    with ExitStack() as stack:
        clients = {name: connected(stack, servers, name, sizes.cpu_clients, sizes.bulk_rows) for name in OF_AN_UPDATE}
        await measure(clients, sizes, report)
    return report


def connected(stack: ExitStack, servers: Servers, side: str, clients: int, rows: int) -> Clients:
    """Clients of a database of its own with the triggers of `side` and so many worktrees; `stack` ends both."""
    url = stack.enter_context(servers.database())
    with psycopg.connect(url, autocommit=True) as conn:
        if side in PREPARED:
            PREPARED[side](conn)
        conn.execute(WORKTREES, [rows])
        conn.execute("VACUUM ANALYZE")
    found = Clients(url, clients, rows)
    stack.callback(found.close)
    return found


async def measure(clients: Mapping[str, Clients], sizes: Sizes, report: Report) -> None:
    """Add to `report` what each side takes for one row, for many, and of the log."""
    for figure, statement in ONE_ROW.items():
        sides = {name: clients[name] for name in _sides_of(figure)}
        values = await interleaved(
            {name: partial(client.microseconds, statement, sizes.cpu_transactions) for name, client in sides.items()},
            ONE_ROW_ROUNDS * sizes.rounds,
        )
        _add(report, figure, "µs", values)
        logged = await interleaved(
            {name: partial(client.wal_bytes, statement, 100) for name, client in sides.items()}, sizes.rounds
        )
        for name, sizes_of_wal in logged.items():
            report.add(f"{name}, {figure}: WAL", "bytes", sizes_of_wal)
    for kind, statement in BULK.items():
        figure = f"{kind} of {sizes.bulk_rows:,} rows"
        values = await interleaved(
            {name: partial(clients[name].microseconds_a_row, statement) for name in _sides_of(figure)}, sizes.rounds
        )
        _add(report, figure, "µs a row", values)


def _sides_of(figure: str) -> tuple[str, ...]:
    return OF_AN_UPDATE if figure.startswith("UPDATE") else OF_AN_INSERT


def _add(report: Report, figure: str, unit: str, values: Mapping[str, list[float]]) -> None:
    for name, spent in values.items():
        report.add(f"{name}, {figure}", unit, spent)
    times = {name: ratio(values[BY_HAND], spent) for name, spent in values.items()}
    target = Target(f"{figure}, CPU, against the trigger by hand", "times", times[EVENTS], at_least=LEAST)
    others = {name: times[name] for name in (*STEPS, *OTHER_FORMS) if name in times}
    report.targets.append(bounded(target, others, "what changed told by aspect, and the place among events"))


def _wal_position(conn: Connection) -> int:
    row = conn.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()
    assert row is not None
    return int(row[0])
