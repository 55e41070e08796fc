"""Two hosts of one registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest

from tests.support.schema.rows import dictionaries, scalar


@pytest.fixture
def db(database: str):
    with dictionaries(database) as connection:
        yield connection


@pytest.fixture
def hosts(db) -> dict[str | None, UUID | None]:
    """Ids of two hosts by their names, and of who names none."""
    return {None: None} | {name: scalar(db, "SELECT register_host(%s)", name) for name in ("laptop", "server")}


@pytest.fixture
def on_host(db, hosts):
    """`with on_host("laptop"):` says that the connection is there; None that it names no host."""

    @contextmanager
    def on(name: str | None) -> Iterator[None]:
        db.execute("SELECT set_config('imi.host_id', %s, false)", [str(hosts[name] or "")])
        try:
            yield
        finally:
            db.execute("RESET imi.host_id")

    return on
