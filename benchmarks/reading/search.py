"""The search in all texts: how long a question takes in a large registry, and what its indexes cost who writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random
from time import perf_counter

import psycopg

from benchmarks.harness import texts
from benchmarks.harness.bounds import bounded
from benchmarks.harness.cpu import process_seconds
from benchmarks.harness.indexes import built_behind
from benchmarks.harness.measure import Report, Target, interleaved, percentile
from benchmarks.harness.population import worktree_id
from benchmarks.harness.servers import Servers
from benchmarks.harness.sizes import Sizes
from registry.database.migration import load
from registry.database.stepping import back
from registry.database.stepping.script import run_alone, script

LIMIT_MS = 20.0
INDEX_ALONE = """
CREATE FUNCTION pg_temp.index_alone(wanted tsquery)
RETURNS boolean
LANGUAGE plpgsql
STABLE
SET enable_seqscan = off
SET enable_indexscan = off
SET plan_cache_mode = force_generic_plan
SET max_parallel_workers_per_gather = 0
SET jit = off
AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM worktrees WHERE search_words_of_worktree(name, branch_name, path, last_commit_message) @@ wanted
    ) OR EXISTS (SELECT FROM agent_activities WHERE search_words_of_activity(description, file_path) @@ wanted);
END
$$
"""
"""The indexes are read to their ends, of the rows one is looked at: nothing is ranked, and nothing told."""
ASKED = {
    "two words": "SELECT pg_temp.index_alone(search_query(%s))",
    "the beginning of a word": "SELECT pg_temp.index_alone(search_unfinished(search_query(%s)))",
}
SEARCH = "SELECT * FROM search_registry(%s)"
MIGRATION = next(one for one in load() if one.name.endswith("_search.sql"))
WRITES = {
    "log_activity": """
        SELECT log_activity('ada', %(worktree)s, 'modified', 'Updated the login of the session router', 'src/auth.rs')
    """,
    "update_worktree_git_state, another commit": """
        SELECT update_worktree_git_state(
            %(worktree)s, p_ahead := %(number)s::int, p_last_commit_hash := 'a' || %(number)s,
            p_last_commit_message := 'Fix the session router, number ' || %(number)s
        )
    """,
    "update_worktree_git_state, the same commit": """
        SELECT update_worktree_git_state(%(worktree)s, p_ahead := %(number)s::int)
    """,
}


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Milliseconds of the slowest percent of searches, by kind; CPU time of a write, with the indexes and without."""
    report = Report(
        "search",
        f"search_registry() with {sizes.projects:,} projects, {sizes.worktrees:,} worktrees and {sizes.activities:,} "
        "activities, of 20,000 words, the most frequent in a quarter of all texts. Writes: CPU time of PostgreSQL's "
        "process, with the three indexes and without, round by round.",
    )
    with servers.database() as url:
        await asyncio.to_thread(_searches, url, sizes, report)
    with servers.database() as indexed, servers.database() as bare:
        await _writes(indexed, bare, sizes, report)
    return report


def _searches(database_url: str, sizes: Sizes, report: Report) -> None:
    words = texts.Texts(5)
    with psycopg.connect(database_url, autocommit=True) as conn:
        parts = script(MIGRATION.name, MIGRATION.sql)
        run_alone(conn, "down", script("down", MIGRATION.down or "").before)
        with built_behind(conn, "projects", "worktrees", "agent_activities"):
            texts.load(conn, words, sizes.projects, sizes.worktrees, sizes.activities)
        began = perf_counter()
        run_alone(conn, parts.name, parts.behind)
        report.add("building the indexes, beside writers", "s", [perf_counter() - began])
        conn.execute("VACUUM ANALYZE")
        conn.execute(INDEX_ALONE.encode())
        everything: list[float] = []
        alone: dict[str, float] = {}
        for kind, question in _questions(words, sizes).items():
            rng = Random(kind)
            for _ in range(2):  # the first fills the caches
                asked = [question(rng) for _ in range(max(sizes.query_calls // 5, 20))]
                times = [_milliseconds(conn, SEARCH, one) for one in asked]
            report.add(f"{kind}: p99", "ms", [percentile(times, 99)])
            everything += times
            if kind in ASKED:
                for _ in range(2):
                    times = [_milliseconds(conn, ASKED[kind], one) for one in asked]
                alone[kind] = percentile(times, 99)
                report.add(f"{kind}, the index alone: p99", "ms", [alone[kind]])
    p99 = percentile(everything, 99)
    less = {f"{kind}, the index alone": milliseconds for kind, milliseconds in alone.items()}
    target = Target("search_registry p99", "ms", p99, at_most=LIMIT_MS)
    report.targets.append(bounded(target, less, "ranking what is found, and telling it"))


def _questions(words: texts.Texts, sizes: Sizes) -> dict[str, Callable[[Random], str]]:
    def said(rng: Random, count: int) -> list[str]:
        return words.words(rng.randrange(sizes.activities) + 123, 6)[:count]

    def misspelt(rng: Random) -> str:
        word = max(said(rng, 6), key=len)
        return word[:2] + word[3] + word[2] + word[4:] if len(word) > 3 else word

    return {
        "a word": lambda rng: said(rng, 1)[0],
        "two words": lambda rng: " ".join(said(rng, 2)),
        "the beginning of a word": lambda rng: said(rng, 1)[0][:3],
        "a frequent word": lambda rng: rng.choice(("updated", "home", "feat", "src", "fixed", "code")),
        "a phrase": lambda rng: f'"{" ".join(said(rng, 2))}"',
        "a worktree's name": lambda rng: texts.worktree_name(words, rng.randrange(sizes.worktrees)),
        "a misspelt word": misspelt,
        "one letter": lambda rng: rng.choice("abcdefg"),
        "what nothing says": lambda rng: f"qqzzy{rng.randrange(99)}",
    }


def _milliseconds(conn: psycopg.Connection, query: str, question: str) -> float:
    began = perf_counter()
    conn.execute(query.encode(), (question,)).fetchall()
    return 1000 * (perf_counter() - began)


async def _writes(indexed: str, bare: str, sizes: Sizes, report: Report) -> None:
    sides = {}
    for name, url in (("with the search", indexed), ("without", bare)):
        conn = psycopg.connect(url, autocommit=True, prepare_threshold=0)
        if url == bare:
            back.down(conn, to=MIGRATION.version - 1)
        texts.load(conn, texts.Texts(5), 100, 1000, 10_000)
        sides[name] = conn
    for write, statement in WRITES.items():
        contestants = {
            name: partial(asyncio.to_thread, _microseconds, conn, statement, sizes.cpu_transactions)
            for name, conn in sides.items()
        }
        for name, values in (await interleaved(contestants, 4 * sizes.rounds)).items():
            report.add(f"{write}, {name}", "µs", values)
    for conn in sides.values():
        conn.close()


def _microseconds(conn: psycopg.Connection, statement: str, count: int) -> float:
    """CPU time of one write in the server process of this connection; what its index puts off is in it now and then."""
    before = process_seconds(conn.info.backend_pid)
    for number in range(count):
        conn.execute(statement.encode(), {"worktree": worktree_id(number % 1000), "number": str(number)})
    return 1e6 * (process_seconds(conn.info.backend_pid) - before) / count
