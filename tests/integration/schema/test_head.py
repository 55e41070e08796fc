"""`migrations/head/` is the schema of a migrated database."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from registry.database.head import FILES, head

HEAD = Path(__file__).parents[3] / "migrations/head"


@pytest.mark.parametrize("name", FILES)
def test_what_is_checked_in_is_the_schema_of_a_migrated_database(database: str, name: str) -> None:
    with psycopg.connect(database) as conn:
        assert (HEAD / name).read_text(encoding="utf-8") == head(conn)[name], "run: imi-registry migrate head"
