"""Databases of a test's own, made and dropped by the role that may."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict


@contextmanager
def new_database(admin_url: str, template: str = "template1") -> Iterator[str]:
    """URL of a database that is a copy of `template` (a name, to which nobody is connected), dropped afterwards."""
    name = f"imi_test_{secrets.token_hex(6)}"
    with psycopg.connect(admin_url, autocommit=True) as conn:
        query = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        conn.execute(query.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield url_of(admin_url, name)
    finally:
        with psycopg.connect(admin_url, autocommit=True) as conn:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def name_of(url: str) -> str:
    """Name of the database."""
    return str(conninfo_to_dict(url)["dbname"])


def url_of(server_url: str, name: str) -> str:
    """`server_url`, in any form that libpq takes, with another database."""
    parts = {key: value for key, value in conninfo_to_dict(server_url).items() if key != "dbname"}
    return f"postgresql:///{name}?{urlencode(parts, quote_via=quote)}"
