"""What the tests of this room have in common: a connection to a registry, whose rows are dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.schema.rows import dictionaries


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with dictionaries(database) as connection:
        yield connection
