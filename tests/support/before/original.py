"""The schema 2.0.0 as it was first shipped, with the data that occurs in it: `original_schema` beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import psycopg

FILES = Path(__file__).parent / "original_schema"
Data = Literal["convertible", "duplicates", "undecidable", "identity"]
UUID = """
CREATE OR REPLACE FUNCTION pg_temp.uuid(p_number INTEGER) RETURNS UUID LANGUAGE sql AS $$
    SELECT lpad(p_number::text, 32, '0')::uuid
$$;
"""


def create(url: str, *data: Data) -> None:
    """The original schema in the empty database `url`, and `data`."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute((FILES / "schema.sql").read_bytes())
        for name in data:
            add(conn, (FILES / f"{name}.sql").read_text())


def add(conn: psycopg.Connection[Any], statements: str) -> None:
    """More data; `uuid(1)` in it is the id of project 1."""
    conn.execute(UUID.encode())
    conn.execute(statements.replace("uuid(", "pg_temp.uuid(").encode())


def id_of(number: int) -> str:
    """The id that `uuid(number)` is."""
    return f"00000000-0000-0000-0000-{number:012}"
