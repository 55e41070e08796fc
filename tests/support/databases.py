"""Databases of a test's own, made and dropped by the role that may."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict


class Role(NamedTuple):
    """Somebody who may log in."""

    name: str
    password: str


@contextmanager
def plain_role(admin_url: str, database_url: str | None = None) -> Iterator[Role]:
    """A role that may log in and nothing else; it must own nothing at the end.

    What it was granted in the database of `database_url` ends with it.
    """
    role = Role(f"imi_test_{secrets.token_hex(6)}", secrets.token_hex(8))
    with psycopg.connect(admin_url, autocommit=True) as conn:
        hash_quickly(conn)
        conn.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role.name), role.password))
    try:
        yield role
    finally:
        if database_url is not None:
            with psycopg.connect(url_of(admin_url, name_of(database_url)), autocommit=True) as conn:
                conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role.name)))
        with psycopg.connect(admin_url, autocommit=True) as conn:
            conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role.name)))


def hash_quickly(conn: psycopg.Connection[Any]) -> None:
    """Let passwords set in this session be hashed once: 4,096 times, as usual, takes 4 ms at each connection."""
    if conn.info.server_version >= 16_00_00:
        conn.execute("SET scram_iterations = 1")


@contextmanager
def new_database(admin_url: str, owner: Role, template: str = "template1") -> Iterator[str]:
    """URL, as its owner, of a database that is a copy of `template`, dropped afterwards.

    `template` is the name of a database to which nobody is connected.
    """
    name = f"imi_test_{secrets.token_hex(6)}"
    with psycopg.connect(admin_url, autocommit=True) as conn:
        query = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
        conn.execute(query.format(*map(sql.Identifier, (name, owner.name, template))))
    try:
        yield url_of(admin_url, name, owner)
    finally:
        with psycopg.connect(admin_url, autocommit=True) as conn:
            _send_away(conn, name)
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _send_away(conn: psycopg.Connection, database: str) -> None:
    """End all connections to `database`: DROP DATABASE would look every 100 ms whether they have ended."""
    query = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND datname = %s"
    )
    deadline = time.monotonic() + 5
    while conn.execute(query, [database]).fetchone() != (0,) and time.monotonic() < deadline:
        time.sleep(0.001)


def name_of(url: str) -> str:
    """Name of the database."""
    return str(conninfo_to_dict(url)["dbname"])


def user_of(url: str) -> str:
    """The name of the user of a URL."""
    return str(conninfo_to_dict(url)["user"])


def url_of(server_url: str, name: str, role: Role | None = None) -> str:
    """`server_url`, in any form that libpq takes, with another database, and as another role."""
    parts = conninfo_to_dict(server_url) | ({"user": role.name, "password": role.password} if role else {})
    parts.pop("dbname", None)
    return f"postgresql:///{name}?{urlencode(parts, quote_via=quote)}"


async def until_nobody_connects(database: str) -> None:
    """Wait until PostgreSQL has no client in this database, and none of which it does not know yet where it goes."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND (datname IS NULL OR datname = %s)"
    )
    with psycopg.connect(database, autocommit=True) as conn:
        async with asyncio.timeout(20):
            while conn.execute(query, [conn.info.dbname]).fetchone() != (0,):
                await asyncio.sleep(0.01)
