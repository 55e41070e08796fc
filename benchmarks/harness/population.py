"""A large registry for the query benchmarks, loaded with COPY and without triggers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random
from uuid import UUID

import psycopg

WORDS = """
api app agent archive auth backup batch billing blog board bot bridge build cache calendar catalog chat checkout client
cloud cluster code compiler config console context core crawler dashboard data deploy design device docs editor email
engine event export feed fetch file filter flow form forms gateway graph grid group health hook hub image import index
ingest inventory invoice job kernel key label lab ledger library link loader log mail map market media memory message
meter mobile model monitor native network node notes notify object order parser payment pipeline planner player plugin
policy portal print profile project proxy python queue rate react recorder registry relay render report repo review
route runner scheduler schema scraper search sensor server service session shell site socket sql stack state storage
store stream studio support sync system table task template terminal test theme ticket timer token tool trace tracker
transfer translate tree trigger tunnel update upload user vault vector video view voice wallet watch web widget worker
""".split()  # noqa: SIM905  # a list of 180 strings is no easier to read
BLOCK = 10_000


def load(conn: psycopg.Connection, projects: int, worktrees: int, activities: int) -> None:
    """Fill an empty registry; project names are two or three words, the frequent ones in many names, and a number."""
    conn.execute("SET session_replication_role = replica")  # neither events nor checks: the rows are right
    _copy(
        conn,
        "projects (id, name, remote_origin, trunk_path)",
        (
            f"{project_id(number)}\t{name}\tgit@github.com:owner{number % 500}/{name}.git\t/code/{name}/trunk-main\n"
            for number, name in enumerate(names(projects))
        ),
    )
    _copy(
        conn,
        "worktrees (id, project_id, type_id, name, branch_name, path, agent_id, has_uncommitted_changes,"
        " uncommitted_files_count, active)",
        (
            f"{worktree_id(number)}\t{project_id(number % projects)}\t{number % 5 + 1}\tfeat-{number}\tfeat/{number}"
            f"\t/code/{number}\tagent-{number % 1000}\t{'tf'[number % 50 > 0]}\t{int(number % 50 == 0)}"
            f"\t{'tf'[number % 10 == 0]}\n"
            for number in range(worktrees)
        ),
    )
    _copy(
        conn,
        "agent_activities (agent_id, worktree_id, activity_type, description, created_at)",
        (
            f"agent-{number % 1000}\t{worktree_id(number % worktrees)}\tmodified\tchanged file {number}"
            f"\t2026-0{number % 9 + 1}-1{number % 10} 0{number % 10}:{number % 60:02}:00Z\n"
            for number in range(activities)
        ),
    )
    conn.execute("RESET session_replication_role")
    conn.execute("CALL recount_registry()")


def names(projects: int) -> list[str]:
    """Names of the projects, by number."""
    rng = Random(20)
    weights = [1 / (rank + 5) for rank in range(len(WORDS))]
    words = rng.sample(WORDS, len(WORDS))
    return [f"{'-'.join(rng.choices(words, weights, k=rng.choice((2, 3))))}-{number}" for number in range(projects)]


def project_id(number: int) -> UUID:
    """Id of the project `number`."""
    return UUID(int=(1 << 124) + number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 120))


def worktree_id(number: int) -> UUID:
    """Id of the worktree `number`."""
    return UUID(int=(2 << 124) + number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 120))


def _copy(conn: psycopg.Connection, target: str, lines: Iterator[str]) -> None:
    with conn.cursor().copy(f"COPY {target} FROM STDIN".encode()) as copy:
        while block := "".join(islice(lines, BLOCK)):
            copy.write(block)
