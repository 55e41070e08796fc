"""A registry on a PostgreSQL that can record its statements, and takes prepared transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from publisher.embedded.postgres import postgres
from registry.database import migrate
from tests.support.services import scratch_directory

SETTINGS = {"fsync": "off", "shared_preload_libraries": "pg_stat_statements", "max_prepared_transactions": "2"}
RECORD = 'CREATE SCHEMA "Their Own"; CREATE EXTENSION pg_stat_statements SCHEMA "Their Own"'
"""Begins to show what is recorded, to whoever asks the extension in a schema that is not ours."""


@contextmanager
def recording_registry() -> Iterator[str]:
    """URL of its database, as a superuser, for the block."""
    with scratch_directory() as directory, postgres(directory, settings=SETTINGS) as server:
        with psycopg.connect(server.url) as conn:
            migrate.apply(conn)
        yield server.url
