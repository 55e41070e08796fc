"""Health and slow queries on the command line."""

from __future__ import annotations

import psycopg

from tests.support.commandline import CommandLine


def test_health_shows_each_check_and_ends_with_1_where_one_is_bad(cli: CommandLine, database: str) -> None:
    done = cli("health")
    assert (done.code, "publisher" in done.out, "serve" in done.out) == (0, True, True)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("ALTER TABLE worktrees DISABLE TRIGGER worktrees_updated_at")
    done = cli("health")
    assert (done.code, "worktrees_updated_at" in done.out) == (1, True)
    assert '"state":"bad"' in cli("health", "--json").out.replace(" ", "")


def test_health_has_what_to_do_below_what_was_found(cli: CommandLine) -> None:
    lines = [line.strip() for line in cli("health").out.splitlines()]
    row = next(number for number, line in enumerate(lines) if "slow queries" in line)
    assert lines[row].endswith("pg_stat_statements is not")
    assert any(line.startswith("to do: shared_preload_libraries =") for line in lines[row + 1 : row + 3])


def test_slow_queries_say_what_is_missing_to_record_them(cli: CommandLine) -> None:
    done = cli("slow-queries")
    assert (done.code, "pg_stat_statements is not there" in done.err) == (1, True)
    assert cli("slow-queries", "--limit", 0).code == 2
