"""The outbox does not depend on the settings of the writer, but for those that name actor, cause and trace."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.support.outbox_reader import OutboxReader, add_project, add_worktree

Conn = psycopg.Connection[Any]


@pytest.mark.parametrize(
    "setting",
    [
        "timezone = 'Pacific/Chatham'",
        "datestyle = 'SQL, DMY'",
        "intervalstyle = 'sql_standard'",
        "bytea_output = 'escape'",
        "extra_float_digits = -15",
        "lc_monetary = 'C'",
        "standard_conforming_strings = off",
        "default_transaction_isolation = 'serializable'",
        "row_security = off",
        "check_function_bodies = off",
        "enable_hashjoin = off",
        "plan_cache_mode = 'force_custom_plan'",
        "work_mem = '64kB'",
        "search_path = ''",
        "search_path = 'pg_temp'",
        "transform_null_equals = on",
        "array_nulls = off",
        "jit_above_cost = 0",
    ],
)
def test_settings_of_the_writer_do_not_change_the_data(database: str, setting: str) -> None:
    insert = (
        "INSERT INTO public.projects (name, remote_origin, trunk_path, description, metadata, created_at) VALUES"
        " ('a', 'git@github.com:owner/a.git', '/t', E'back\\\\slash', '{\"n\": 1.50}', '2020-02-03 04:05:06.789+00')"
    )
    update = "UPDATE public.projects SET description = NULL, created_at = '2021-01-01Z'"
    told = []
    for settings in ([], [f"SET {setting}"]):
        with (
            psycopg.connect(database, autocommit=True) as conn,
            psycopg.connect(database, autocommit=True) as observer,
        ):
            outbox = OutboxReader(observer)
            for statement in (*settings, insert, update):
                conn.execute(statement.encode())
            events = outbox.new()
            conn.execute("DELETE FROM public.projects")
        for event in events:
            for key in ("project_id", "updated_at"):
                event.data.pop(key)
            event.changed.pop("updated_at", None)
        told.append([(event.name, event.data) for event in events])
    assert told[0] == told[1]
    assert told[0][0][1]["created_at"] == "2020-02-03T04:05:06.789+00:00"


def test_text_and_json_arrive_as_they_are(conn: Conn, outbox: OutboxReader) -> None:
    metadata = {
        "": None,
        "ключ": "ñ🚀",
        "deep": [[{"a": "\\u0000 \\ \" ' ; --"}]],
        "n": 12345678901234567890,
        "e": "\u2028",
    }
    name = "a'\"\\;--\n\t\u200b🚀 e\u0301"
    conn.execute(
        "INSERT INTO projects (name, remote_origin, trunk_path, metadata)"
        " VALUES (%s, 'git@github.com:owner/a.git', '/t', %s)",
        (name, json.dumps(metadata)),
    )
    event = outbox.one()
    assert (event.data["name"], event.data["metadata"]) == (name, metadata)


def test_metadata_of_a_mebibyte_is_reported_whole(conn: Conn, outbox: OutboxReader) -> None:
    worktree_id = add_worktree(conn, add_project(conn))
    outbox.new()
    big = {"blob": "x" * 2**20}
    conn.execute("UPDATE worktrees SET metadata = %s WHERE id = %s", (json.dumps(big), worktree_id))
    conn.execute("UPDATE worktrees SET metadata = '{}'")
    grown, emptied = outbox.new()
    assert (grown.data["metadata"], grown.changed["metadata"]) == (big, {})
    assert (emptied.data["metadata"], emptied.changed["metadata"]) == ({}, big)


def test_the_writer_names_actor_cause_and_trace(conn: Conn, outbox: OutboxReader) -> None:
    correlation, causation = uuid4(), uuid4()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with conn.transaction():
        conn.execute(
            "SELECT set_config('imi.actor', 'agent-1', true), set_config('imi.correlation_id', %s, true),"
            " set_config('imi.causation_id', %s, true), set_config('imi.traceparent', %s, true)",
            (str(correlation), str(causation), trace),
        )
        add_project(conn)
    event = outbox.one()
    assert (event.actor, event.correlation_id, event.causation_id, event.traceparent) == (
        "agent-1",
        correlation,
        causation,
        trace,
    )
    add_project(conn, "beta")
    event = outbox.one()
    assert (event.actor, event.correlation_id, event.causation_id, event.traceparent) == (None, None, None, None)


@pytest.mark.parametrize("setting", ["imi.correlation_id", "imi.causation_id"])
def test_an_id_that_is_none_is_refused_by_name(conn: Conn, outbox: OutboxReader, setting: str) -> None:
    conn.execute("SELECT set_config(%s, 'nonsense', false)", (setting,))
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f'setting {setting}: "nonsense" is not a UUID'):
        add_project(conn)
    assert outbox.names() == []


def test_an_actor_that_no_envelope_has_room_for_is_refused(conn: Conn, outbox: OutboxReader) -> None:
    conn.execute("SELECT set_config('imi.actor', %s, false)", ("👩" * 200,))
    add_project(conn)
    assert outbox.one().actor == "👩" * 200
    conn.execute("SELECT set_config('imi.actor', %s, false)", ("x" * 201,))
    with pytest.raises(psycopg.errors.CheckViolation, match="outbox_actor_is_short"):
        add_project(conn, "beta")


@pytest.mark.parametrize(
    "trace",
    [
        "nonsense",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    ],
)
def test_an_invalid_trace_is_left_out(conn: Conn, outbox: OutboxReader, trace: str) -> None:
    conn.execute("SELECT set_config('imi.traceparent', %s, false)", (trace,))
    add_project(conn)
    assert outbox.one().traceparent is None
