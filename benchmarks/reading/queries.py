"""Registry queries: every function of the specification in a large registry, and what its plans scan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from time import perf_counter

import psycopg

from benchmarks.harness import population
from benchmarks.harness.bounds import bounded
from benchmarks.harness.indexes import built_behind
from benchmarks.harness.measure import Report, Target, percentile, ratio
from benchmarks.harness.population import project_id, worktree_id
from benchmarks.harness.servers import Servers
from benchmarks.harness.sizes import Sizes

SEARCH_LIMIT_MS = 10.0
LAST_LOOK = "one look by trigrams for a misspelt name, at the last closeness"
"""What `search_projects` cannot do without: names that resemble the text as little as 0.3."""
LOOK_ONCE = """
CREATE FUNCTION pg_temp.look_once(wanted text)
RETURNS bigint
LANGUAGE plpgsql
STABLE
SET pg_trgm.word_similarity_threshold = 0.3
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_indexscan = off
SET jit = off
AS $$
BEGIN
    RETURN (
        SELECT count(*)
        FROM (
            SELECT FROM projects WHERE active AND project_search_text(name, remote_origin) %> wanted LIMIT 300
        ) AS hit
    );
END
$$
"""
ROUNDS = 2
"""The first fills the caches and is thrown away."""
ONE_LOOK = "one look at each inactive worktree"
"""What `prune_inactive_worktrees` cannot do without a B-tree on `updated_at`, which each activity would change."""
BY_BRIN = "the same look by a BRIN index of updated_at, where no page has a row that old"
"""From PostgreSQL 16 on such an index leaves updates in place. No migration makes it: 14 and 15 are supported, too."""
MAKE_BRIN = "CREATE INDEX worktrees_by_age ON worktrees USING brin (updated_at) WHERE NOT active"
LOOK = "SELECT count(*) FROM worktrees WHERE NOT active AND updated_at < '2000-01-01'"
BY_KEY = "what get_agent_recent_work tells, each row by its key"
"""What `get_agent_recent_work` cannot do without; the activities of an agent are of as many worktrees and projects."""
OF_AN_AGENT = """
SELECT a.*, w.name, p.name
FROM (SELECT * FROM agent_activities WHERE agent_id = %s ORDER BY created_at DESC, id LIMIT 50) AS a
LEFT JOIN worktrees AS w ON w.id = a.worktree_id
LEFT JOIN projects AS p ON p.id = w.project_id
"""
PRUNE, RECENT = "prune_inactive_worktrees", "get_agent_recent_work"
FLOORS = {PRUNE: ONE_LOOK, RECENT: BY_KEY}
MOST_MS = {PRUNE: 111.0, RECENT: 8.6}
"""What they took before they were made faster, 10^5 projects, 10^6 worktrees and 10^7 activities."""
ABOVE_FLOOR = 1.25
WHOLE_TABLE = {"v_projects_summary (all)", "cleanup_old_activities", PRUNE, ONE_LOOK, BY_BRIN}
"""These list or look through whole tables: reading them in full is their work."""
LONG, LONG_CALLS = {"v_projects_summary (all)", "cleanup_old_activities"}, 3
WHOLE_CALLS = 20
LARGE = ("projects", "worktrees", "agent_activities")

Parameters = Callable[[Random], tuple[object, ...]]


async def run(servers: Servers, sizes: Sizes) -> Report:
    """The slowest percent of calls, in milliseconds, and sequential scans of large tables."""
    report = Report(
        "queries",
        f"{sizes.projects:,} projects, {sizes.worktrees:,} worktrees, {sizes.activities:,} activities, indexed when "
        "all are there. Each function "
        f"is called {sizes.query_calls} times with random arguments over one connection, p99 in milliseconds.",
    )
    with servers.database() as url:
        await asyncio.to_thread(_run, url, sizes, report)
    return report


def _run(database_url: str, sizes: Sizes, report: Report) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        with built_behind(conn, *LARGE):
            population.load(conn, sizes.projects, sizes.worktrees, sizes.activities)
        conn.execute("VACUUM ANALYZE")
        conn.execute(LOOK_ONCE.encode())
        scanning = []
        p99: dict[str, float] = {}
        calls = asked(sizes)
        for name in calls:
            if name in FLOORS.values():
                continue
            sides = {one: calls[one] for one in (name, FLOORS.get(name)) if one is not None}
            before = _large_scans(conn)
            times = _in_turn(conn, name, sides, min(sizes.query_calls, _most_calls(name)))
            if _large_scans(conn) > before and name not in WHOLE_TABLE:
                scanning.append(name)
            p99 |= record(report, name, times)
        conn.execute(MAKE_BRIN)
        conn.execute("ANALYZE worktrees")
        p99 |= record(report, BY_BRIN, _in_turn(conn, BY_BRIN, {BY_BRIN: (LOOK, lambda _: ())}, WHOLE_CALLS))
    judge(report, p99)
    report.targets.append(Target("functions that scan a large table for one row", "", len(scanning), at_most=0))
    if scanning:
        report.notes.append(f"Sequential scans of large tables: {', '.join(scanning)}.")
    report.notes.append(
        f"A floor is {' and '.join(f'`{floor}`' for floor in FLOORS.values())}, as plain queries with the same "
        "arguments, call by call in turn with the function; the target is a median over the calls."
    )
    report.notes.append(
        "The searches: names, names with two letters exchanged, parts of names, single words, one and two letters."
    )


def record(report: Report, name: str, times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Add the slowest percent of the milliseconds of a function and of its floor, if it has one; returns both."""
    p99 = {side: percentile(milliseconds, 99) for side, milliseconds in times.items()}
    for side, milliseconds in p99.items():
        report.add(f"{side}: p99", "ms", [milliseconds])
    if name in FLOORS:
        above = ratio(times[name], times[FLOORS[name]])
        report.targets.append(Target(f"{name}, against its floor", "times", above, at_most=ABOVE_FLOOR))
    return p99


def judge(report: Report, p99: Mapping[str, float]) -> None:
    """Add the targets in milliseconds."""
    floors = {PRUNE: (ONE_LOOK, BY_BRIN), RECENT: (BY_KEY,), "search_projects": (LAST_LOOK,)}
    for name, at_most in {**MOST_MS, "search_projects": SEARCH_LIMIT_MS}.items():
        target = Target(f"{name} p99", "ms", p99[name], at_most=at_most)
        report.targets.append(bounded(target, {floor: p99[floor] for floor in floors[name]}))


def _most_calls(name: str) -> int:
    return LONG_CALLS if name in LONG else WHOLE_CALLS if name in WHOLE_TABLE else 10**9


def _in_turn(
    conn: psycopg.Connection, seed: str, sides: Mapping[str, tuple[str, Parameters]], calls: int
) -> dict[str, list[float]]:
    """Milliseconds of each call; every side has the same arguments."""
    for _ in range(ROUNDS):
        found: dict[str, list[float]] = {side: [] for side in sides}
        rngs = {side: Random(seed) for side in sides}
        for _ in range(calls):
            for side, (query, parameters) in sides.items():
                found[side].append(_milliseconds(conn, query, parameters(rngs[side])))
    return found


def asked(sizes: Sizes) -> dict[str, tuple[str, Parameters]]:
    """Function to the query that calls it and its arguments; writes come last, the largest of all at the end."""

    def project(rng: Random) -> tuple[object, ...]:
        return (project_id(rng.randrange(sizes.projects)),)

    def worktree(rng: Random) -> tuple[object, ...]:
        return (worktree_id(rng.randrange(sizes.worktrees)),)

    def active_path(rng: Random) -> tuple[object, ...]:
        return (f"/code/{rng.randrange(sizes.worktrees // 10) * 10}",)

    def agent(rng: Random) -> tuple[object, ...]:
        return (f"agent-{rng.randrange(1000)}",)

    def origin(rng: Random) -> tuple[object, ...]:
        number = rng.randrange(sizes.projects)
        return (f"git@github.com:owner{number % 500}/{names[number]}.git",)

    def text(rng: Random) -> tuple[object, ...]:
        return (_search(rng, names),)

    def misspelt(rng: Random) -> tuple[object, ...]:
        return (_misspelt(rng, rng.choice(names)),)

    def new_project(rng: Random) -> tuple[object, ...]:
        name = f"new-{rng.getrandbits(64):x}"
        return (name, f"git@github.com:bench/{name}.git")

    def new_worktree(rng: Random) -> tuple[object, ...]:
        name = f"new-{rng.getrandbits(64):x}"
        return (*project(rng), "feat", name, f"feat/{name}", f"/new/{name}")

    names = population.names(sizes.projects)
    return {
        "get_project_by_origin": ("SELECT * FROM get_project_by_origin(%s)", origin),
        "get_worktree_by_path": ("SELECT * FROM get_worktree_by_path(%s)", active_path),
        "get_project_working_path": ("SELECT get_project_working_path(%s)", project),
        RECENT: ("SELECT * FROM get_agent_recent_work(%s)", agent),
        BY_KEY: (OF_AN_AGENT, agent),
        "get_inflight_work (one project)": ("SELECT * FROM get_inflight_work(%s)", project),
        "get_inflight_work (all)": ("SELECT * FROM get_inflight_work()", lambda _: ()),
        "v_projects_summary (one project)": ("SELECT * FROM v_projects_summary WHERE id = %s", project),
        "v_projects_summary (all)": ("SELECT * FROM v_projects_summary", lambda _: ()),
        "search_projects": ("SELECT * FROM search_projects(%s)", text),
        LAST_LOOK: ("SELECT pg_temp.look_once(%s)", misspelt),
        "get_registry_stats": ("SELECT * FROM get_registry_stats()", lambda _: ()),
        "register_project": ("SELECT register_project(%s, %s)", new_project),
        "register_worktree": ("SELECT register_worktree(%s, %s, %s, %s, %s)", new_worktree),
        "update_worktree_git_state": ("SELECT update_worktree_git_state(%s, p_ahead := 3)", worktree),
        "log_activity": (
            "SELECT log_activity(%s, %s, 'modified', 'bench')",
            lambda rng: (*agent(rng), *worktree(rng)),
        ),
        "mark_worktree_merged": ("SELECT mark_worktree_merged(%s, 'bench', 'c0ffee')", worktree),
        "deactivate_project": ("SELECT deactivate_project(%s)", project),
        "cleanup_old_activities": ("SELECT cleanup_old_activities(36500)", lambda _: ()),
        ONE_LOOK: (LOOK, lambda _: ()),
        PRUNE: ("SELECT prune_inactive_worktrees(36500)", lambda _: ()),
    }


def _search(rng: Random, names: list[str]) -> str:
    name = rng.choice(names)
    match rng.randrange(6):
        case 0:
            return name
        case 1:
            return _misspelt(rng, name)
        case 2:
            return name[: len(name) // 2 + 1]
        case 3:
            return rng.choice(population.WORDS)
        case 4:
            return name[:2]
        case _:
            return name[:1]


def _misspelt(rng: Random, name: str) -> str:
    """With two letters exchanged."""
    at = rng.randrange(len(name) - 1)
    return name[:at] + name[at + 1] + name[at] + name[at + 2 :]


def _milliseconds(conn: psycopg.Connection, query: str, parameters: tuple[object, ...]) -> float:
    start = perf_counter()
    conn.execute(query.encode(), parameters, prepare=True).fetchall()
    return (perf_counter() - start) * 1000


def _large_scans(conn: psycopg.Connection) -> int:
    """Sequential scans so far of the tables that grow."""
    conn.execute("SELECT pg_stat_force_next_flush()")
    row = conn.execute(
        "SELECT sum(seq_scan) FROM pg_stat_user_tables"
        " WHERE relname IN ('projects', 'worktrees', 'agent_activities', 'outbox')"
    ).fetchone()
    assert row is not None
    return int(row[0])
