"""What the tests of this room have in common: a connection, the events it makes, a project and a worktree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.outbox_reader import OutboxReader, add_project, add_worktree

Conn = psycopg.Connection[Any]


@pytest.fixture
def conn(database: str) -> Iterator[Conn]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def outbox(conn: Conn) -> OutboxReader:
    return OutboxReader(conn)


@pytest.fixture
def project(conn: Conn, outbox: OutboxReader) -> UUID:
    project_id = add_project(conn)
    outbox.new()
    return project_id


@pytest.fixture
def worktree(conn: Conn, outbox: OutboxReader, project: UUID) -> UUID:
    worktree_id = add_worktree(conn, project)
    outbox.new()
    return worktree_id
