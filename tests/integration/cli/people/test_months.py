"""Activities by month on the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import psycopg
import pytest

from tests.support.commandline import CommandLine
from tests.support.schema.months import fill


def month(ahead: int) -> str:
    """This month in UTC, or one that is so many months later."""
    now = datetime.now(UTC)
    number = now.year * 12 + now.month - 1 + ahead
    return f"{number // 12}-{number % 12 + 1:02}"


def test_there_and_back(cli: CommandLine, database: str) -> None:
    fill(database, activities=100)
    assert cli("months", "status").out == "activities are kept in one table\n"
    assert cli("months", "off").out == "nothing to do: activities are kept in one table\n"

    assert cli("months", "on").out == "activities are kept by month now; copied 100\n"

    assert cli("months", "on").out == "nothing to do: activities are kept by month\n"
    assert "all other times" in cli("months", "status").out
    state = json.loads(cli("months", "status", "--json").out)
    assert (state["by_month"], state["is_moving"]) == (True, False)
    assert state["months"][-1]["name"] == "agent_activities_other"
    assert state["months"][-1]["begins_at"] is None
    told = cli("months", "status").out
    assert f"made next: {month(4)}, by serve" in told
    assert (
        f"dropped next: {state['months'][0]['begins_at'][:7]}, by imi-registry maintain cleanup-activities --days"
        in told
    )
    assert cli("months", "ahead", 5).out == "made 2 months\n"
    assert f"made next: {month(6)}, by serve" in cli("months", "status").out
    first = state["months"][0]["name"]
    assert "dropped " + first in cli("months", "drop", first, "--yes").out
    refused = cli("months", "drop", first, "--yes")
    assert refused.code == 1
    assert f'"{first}" is no month of agent_activities' in refused.err
    assert "activities are kept in one table now" in cli("months", "off").out
    assert cli("months", "ahead").out == "made 0 months\n"


def test_a_move_that_was_begun_is_told_and_given_up(cli: CommandLine, database: str) -> None:
    with psycopg.connect(database) as conn:
        conn.execute("SELECT begin_activity_move(true)")
    assert "imi-registry months on goes on" in cli("months", "status").out
    assert cli("months", "cancel").out == "gave up the move\n"
    assert cli("months", "cancel").out == "nothing to do: no move was begun\n"


def test_a_month_is_not_dropped_unless_confirmed(cli: CommandLine, database: str) -> None:
    fill(database, activities=100)
    cli("months", "on")
    with psycopg.connect(database) as conn:
        (name,) = conn.execute("SELECT name FROM activity_months() LIMIT 1").fetchone() or ("",)
    assert cli("months", "drop", name, stdin="n\n").code == 1
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT count(*) FROM agent_activities").fetchone() == (100,)


@pytest.mark.parametrize("months", [-1, 121])
def test_so_many_months_are_not_made(cli: CommandLine, months: int) -> None:
    assert cli("months", "ahead", "--", months).code == 2
