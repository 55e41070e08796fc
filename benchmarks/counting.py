"""What the counts that are kept cost a writer: forms of the two triggers that fire most, in turn in one database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from functools import partial

import psycopg

from benchmarks.harness.bounds import bounded
from benchmarks.harness.measure import Report, Target, interleaved, ratio
from benchmarks.harness.servers import Servers
from benchmarks.harness.sizes import Sizes
from benchmarks.writer_cpu import Clients

LIMIT = 1.03
PROJECTS = 100
ROUNDS = 14
"""For one of `sizes`: a round is some tenths of a second, and what is looked for is a hundredth of it."""
FIRST = 12
"""Transactions of each client that are not measured: they plan anew what was switched."""
WORKTREES = """
INSERT INTO worktrees (id, project_id, type_id, name, branch_name, path)
SELECT ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, p.id, 1, 'feat-' || n, 'feat/' || n, '/bench/' || n
FROM generate_series(1, %s) AS n
JOIN (
    SELECT k, register_project('p' || k, 'git@github.com:bench/p' || k || '.git') AS id FROM generate_series(1, %s) AS k
) AS p ON p.k = n %% %s + 1
"""
WORKTREE = "('00000000-0000-0000-0000-' || lpad(%(number)s, 12, '0'))::uuid"
WRITES = {
    "update_worktree_git_state": f"SELECT update_worktree_git_state({WORKTREE}, p_ahead => %(value)s)",
    "log_activity": f"SELECT log_activity('agent-1', {WORKTREE}, 'modified', 'words') WHERE %(value)s > 0",
}

TRIGGERS = {"worktrees": "worktrees_count_update", "agent_activities": "agent_activities_count_insert"}
COUNTING = ("count_worktree_updated", "count_activities_inserted")
TELLING = ("outbox_worktree_updated", "outbox_activity_inserted")
DELTAS = (
    "INSERT INTO public.count_delta (project_id, last_worktree_at) VALUES (NEW.project_id, NEW.updated_at);",
    "INSERT INTO public.count_delta (activities) VALUES (1);",
)
"""The least that is exact of one row each which changes no other count."""
FUNCTION = """
CREATE OR REPLACE FUNCTION public.{name}()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ BEGIN {does} RETURN NULL; END $$
"""
NONE, AGAIN = "no counts", "no counts, once more"
NOTHING, AS_IT_IS = "triggers that do nothing", "as it is"
INSIDE, LEAST = "the least, in the event's function", "the least, in triggers"


async def run(servers: Servers, sizes: Sizes) -> Report:
    """CPU time of both writes with each form, and what it is against none."""
    report = Report(
        "counting",
        f"CPU time of the connections' server processes, {sizes.cpu_clients} connections. The two triggers of counts "
        f"that fire most are switched in one database, so that all forms have the same tables. `{NOTHING}`: "
        f"the same, whose functions return at once. `{INSIDE}`: no such triggers; the function that tells the event, "
        f"and is called anyway, adds a row of one or two columns. `{LEAST}`: the triggers add it. `{AGAIN}` is the "
        f"noise. Who folds is part of `{AS_IT_IS}` alone.",
    )
    with servers.database() as url, psycopg.connect(url, autocommit=True) as conn:
        conn.execute(WORKTREES, [sizes.bulk_rows, PROJECTS, PROJECTS])
        conn.execute("CALL fold_counts()")
        conn.execute("VACUUM ANALYZE")
        forms = _forms(conn)
        with closing(Clients(url, sizes.cpu_clients, sizes.bulk_rows)) as clients:
            for write, statement in WRITES.items():
                sides: Mapping[str, Callable[[], Awaitable[float]]] = {
                    name: partial(_measure, conn, form, clients, statement, sizes) for name, form in forms.items()
                }
                values = await interleaved(sides, ROUNDS * sizes.rounds)
                record(report, write, values)
    return report


def _forms(conn: psycopg.Connection) -> Mapping[str, str]:
    """Name of each form to the statements that make it out of any other."""
    counting, telling = ([_source(conn, name) for name in names] for names in (COUNTING, TELLING))
    empty = [FUNCTION.format(name=name, does="") for name in COUNTING]
    least = [FUNCTION.format(name=name, does=delta) for name, delta in zip(COUNTING, DELTAS, strict=True)]
    inside = [
        source.replace("    RETURN NULL;", f"    {delta}\n    RETURN NULL;")
        for source, delta in zip(telling, DELTAS, strict=True)
    ]
    off, on = (
        [f"ALTER TABLE {table} {state} TRIGGER {trigger}" for table, trigger in TRIGGERS.items()]
        for state in ("DISABLE", "ENABLE")
    )
    none = ";".join((*off, *telling))
    return {
        NONE: none,
        AGAIN: none,
        NOTHING: ";".join((*on, *telling, *empty)),
        INSIDE: ";".join((*off, *inside)),
        LEAST: ";".join((*on, *telling, *least)),
        AS_IT_IS: ";".join((*on, *telling, *counting)),
    }


def _source(conn: psycopg.Connection, function: str) -> str:
    (source,) = conn.execute("SELECT pg_get_functiondef(%s::regproc)", [function]).fetchone() or ("",)
    return str(source)


async def _measure(conn: psycopg.Connection, form: str, clients: Clients, statement: str, sizes: Sizes) -> float:
    await asyncio.to_thread(conn.execute, form.encode())
    await clients.microseconds(statement, FIRST * sizes.cpu_clients)
    return await clients.microseconds(statement, sizes.cpu_transactions)


def record(report: Report, write: str, values: Mapping[str, Sequence[float]]) -> None:
    """Add the microseconds of a write with each form, and the target."""
    for name, spent in values.items():
        report.add(f"{write}, {name}", "µs", spent)
    times = {name: ratio(spent, values[NONE]) for name, spent in values.items()}
    target = Target(f"{write}, CPU, with counts against without", "times", times[AS_IT_IS], at_most=LIMIT)
    less = {name: times[name] for name in (INSIDE, LEAST, NOTHING, AGAIN)}
    report.targets.append(bounded(target, less, "all columns of a delta, and who folds them"))
