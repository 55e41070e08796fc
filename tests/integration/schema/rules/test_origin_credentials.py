"""A credential in an origin is in no error, no event and no row of the ledger."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg
import pytest

Conn = psycopg.Connection[Any]

SECRET_ORIGINS = [
    "https://me@example.com:s3cret@github.com/o/r",
    "https://user:pa/s3cret@github.com/o/r",
    "https://user:s3cret@gitlab.com/a/b",
    "https://s3cret@gitlab.com/a/b",
    "https://u:a@b/c@s3cret/d@gitlab.com/x",
    "user:s3cret@gitlab.com:a/b",
    "s3cret@gitlab.com:a/b",
    "https:/user:s3cret@github.com/o/r",
    "https://user:s3cret",
    "https://user:s3cret%40github.com/o/r",
    "user:pa/s3cret",
    "https://gitlab.com/o/r?access_token=s3cret",
    "https://gitlab.com/o/r#s3cret",
    "https://user:\ns3cret@gitlab.com/o/r",
]


@pytest.mark.parametrize("origin", SECRET_ORIGINS)
def test_no_credential_of_an_origin_is_in_an_error_or_an_event(db: Conn, ids: dict[str, UUID], origin: str) -> None:
    for call in (
        "SELECT register_project('x', %(origin)s)",
        "INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('x', %(origin)s, '/x')",
        "UPDATE projects SET remote_origin = %(origin)s",
    ):
        with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
            db.execute(call.encode(), {"origin": origin})
        assert "s3cret" not in str(caught.value)
        assert "expected git@github.com:owner/repo.git" in str(caught.value)
    for command in ("project.register", "project.deactivate"):
        db.execute(
            "SELECT apply_command(gen_random_uuid(), %s, %s, %s, gen_random_uuid())",
            (command, json.dumps({"name": "x", "remote_origin": origin}), b"digest"),
        )
    recorded = db.execute(
        "SELECT count(*), string_agg(data::text, ' ') FROM outbox WHERE action = 'rejected'"
    ).fetchone()
    assert recorded is not None
    assert recorded[0] == 2
    assert "s3cret" not in recorded[1]
    assert "s3cret" not in str(db.execute("SELECT l::text FROM command_ledger l").fetchall())
