"""A server on which the roles of the registry may be made and dropped, since they are the whole server's."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
from psycopg import sql

from registry.database import migrate
from registry.database.roles import ROLES
from tests.support.databases import Role, name_of, new_database, plain_role, url_of

Conn = psycopg.Connection[Any]


@contextmanager
def no_roles_afterwards(admin_url: str) -> Iterator[str]:
    """`admin_url`; at the end no database may have rights of the roles any more, and they are dropped."""
    yield admin_url
    with psycopg.connect(admin_url, autocommit=True) as conn:
        for name in ROLES:
            conn.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def connect(url: str) -> Conn:
    """A connection in autocommit."""
    return psycopg.connect(url, autocommit=True)


@contextmanager
def migrated(admin_url: str) -> Iterator[tuple[str, str]]:
    """A registry of a plain owner's: its URL as the owner, and as a superuser."""
    with plain_role(admin_url) as owner, new_database(admin_url, owner) as url:
        with psycopg.connect(url) as conn:
            migrate.apply(conn)
        yield url, url_of(admin_url, name_of(url))


def create_roles(admin_url: str) -> None:
    """What an administrator does."""
    with connect(admin_url) as conn:
        for name in ROLES:
            conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))


@contextmanager
def login(admin_url: str, *roles: str) -> Iterator[Role]:
    """A login who is a member of `roles`."""
    member = Role(f"imi_login_{secrets.token_hex(4)}", secrets.token_hex(8))
    with connect(admin_url) as conn:
        conn.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(member.name), member.password))
        for role in roles:
            conn.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(member.name)))
    yield member
    with connect(admin_url) as conn:
        conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(member.name)))


def as_login(url: str, member: Role) -> str:
    """The database of `url`, for another login."""
    return url_of(url, name_of(url), member)


@contextmanager
def with_policies(admin_url: str, policies: str, role: str) -> Iterator[Conn]:
    """The owner of a registry for which an administrator ran `policies`, which make `role`; dropped afterwards."""
    create_roles(admin_url)
    with migrated(admin_url) as (as_owner, as_superuser):
        with connect(as_superuser) as admin:
            admin.execute(policies.encode())
        with connect(as_owner) as conn:
            yield conn
    with connect(admin_url) as conn:
        conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@contextmanager
def members(admin_url: str, owner: Conn, role: str, count: int) -> Iterator[list[Conn]]:
    """So many members of `role`, each logged in as itself, in the database of `owner`."""
    url = url_of(admin_url, owner.info.dbname)
    with ExitStack() as stack:
        logins = [stack.enter_context(login(admin_url, role)) for _ in range(count)]
        yield [stack.enter_context(connect(as_login(url, member))) for member in logins]
