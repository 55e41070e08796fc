"""Numbers in metadata: every digit is kept, and what no double holds is refused; so is what is nested too deep."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import psycopg
import pytest

Conn = psycopg.Connection[Any]

HUGE = {
    "1e5000": '{"huge": 1e5000}',
    "1e400": '{"a": [{"n": 1e400}]}',
    "negative": '{"n": -1e309}',
    "5,000 digits": f'{{"n": {"7" * 5000}}}',
}


@pytest.mark.parametrize("metadata", HUGE.values(), ids=HUGE.keys())
def test_a_number_beyond_a_double_is_refused_wherever_metadata_is_written(
    db: Conn, ids: dict[str, UUID], metadata: str
) -> None:
    told = (
        r"metadata has the number -?[17]\d{15,19}… \(\d+ characters\); it must have none beyond 1.7976931348623157e308$"
    )
    for call in (
        "SELECT register_project('a', 'git@github.com:o/a.git', p_metadata => %(value)s)",
        "SELECT register_worktree(%(project)s, 'feat', 'v', 'v', '/v', NULL, %(value)s)",
        "SELECT update_project(%(project)s, p_metadata => %(value)s)",
        "SELECT update_worktree(%(worktree)s, p_metadata => %(value)s)",
        "SELECT log_activity('a', %(worktree)s, 'other', 'x', NULL, %(value)s)",
        "SELECT add_worktree_type('t', p_metadata => %(value)s)",
        "SELECT update_worktree_type('spike', p_metadata => %(value)s)",
        "UPDATE projects SET metadata = %(value)s",
        "UPDATE worktrees SET metadata = metadata || %(value)s",
        "UPDATE worktree_types SET metadata = %(value)s",
        "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, metadata)"
        " VALUES ('a', %(worktree)s, 'other', 'x', %(value)s)",
    ):
        with pytest.raises((psycopg.errors.InvalidParameterValue, psycopg.errors.CheckViolation)) as caught:
            db.execute(call.encode(), {**ids, "value": metadata})
        assert re.search(told, str(caught.value.diag.message_primary)), call


def test_the_digits_of_a_number_are_kept(db: Conn, ids: dict[str, UUID]) -> None:
    kept = (
        '{"d": 0.12345678901234567890123, "i": 12345678901234567890123, "z": 1.10, '
        '"max": 179769313486231570000, "tiny": 0.' + "0" * 400 + "1}"
    )
    for call in (
        "SELECT update_project(%s, p_metadata => %s)",
        "SELECT register_project('a', 'git@github.com:o/a.git', p_metadata => %s)",
    ):
        db.execute("UPDATE projects SET metadata = '{}'")
        db.execute(call.encode(), (ids["project"], kept) if call.count("%s") == 2 else (kept,))
        assert db.execute("SELECT metadata = %s::jsonb, metadata ->> 'z' FROM projects", (kept,)).fetchone() == (
            True,
            "1.10",
        )
    told = db.execute("SELECT data -> 'metadata' ->> 'i' FROM outbox ORDER BY id DESC LIMIT 1").fetchone()
    assert told == ("12345678901234567890123",)


def test_metadata_nested_too_deep_is_refused_in_plain_writes_too(db: Conn, ids: dict[str, UUID]) -> None:
    deep = '{"a":' * 101 + "1" + "}" * 101
    with pytest.raises(
        psycopg.errors.CheckViolation, match="projects: metadata is nested too deep; it must not be deeper"
    ):
        db.execute("UPDATE projects SET metadata = %s", (deep,))
