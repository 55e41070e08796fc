"""What is to be done about the roles, as statements for whoever may run them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import Connection

from registry.database.errors import from_database
from registry.database.roles.handover import handover
from registry.database.roles.state import OWNER, Roles, roles_of
from registry.database.roles.step import Step, statement

GRANT_RIGHTS = "SELECT public.grant_role_rights()"


def steps(conn: Connection[Any], *, hand_over: bool = False) -> list[Step]:
    """What is missing, in the order in which it is to be done; none when all is as it should be.

    With `hand_over` the registry comes to belong to `imi_owner`.
    """
    found = roles_of(conn)
    return [
        *_roles(conn, found),
        *_temporary(conn, found),
        *_closing(conn, found),
        *_schema(conn, found),
        *_rights(found),
        *_calls(found),
        *(handover(conn, found) if hand_over else ()),
    ]


def set_up(conn: Connection[Any], *, hand_over: bool = False) -> tuple[list[Step], list[Step]]:
    """Do what is missing, as far as this user may: what was done, and what is left for an administrator.

    `conn` is in autocommit. Raises what `from_database` makes of an error that is not about a right.
    """
    done, left = [], []
    for step in steps(conn, hand_over=hand_over):
        try:
            with conn.transaction():
                conn.execute(step.statement.encode())
        except psycopg.errors.InsufficientPrivilege:
            left.append(step)
        except psycopg.errors.UndefinedObject:  # a role that could not be made
            left.append(step)
        except psycopg.Error as error:
            raise from_database(error) from error
        else:
            done.append(step)
    return _told_apart(conn, done, left, hand_over=hand_over)


def _told_apart(
    conn: Connection[Any], done: list[Step], left: list[Step], *, hand_over: bool
) -> tuple[list[Step], list[Step]]:
    """PostgreSQL only warns of a grant that it does not make: what is still missing was not done."""
    missing = {step.statement for step in steps(conn, hand_over=hand_over)}
    undone = [step for step in done if step.statement in missing]
    return [step for step in done if step.statement not in missing], [*left, *undone]


def _roles(conn: Connection[Any], found: Roles) -> Iterator[Step]:
    for role in found.roles:
        if not role.exists:
            yield Step(f"role {role.name} is not there", statement(conn, "CREATE ROLE {} NOLOGIN", role.name))
        elif role.can_login:
            yield Step(f"role {role.name} can log in", statement(conn, "ALTER ROLE {} NOLOGIN", role.name))


def _temporary(conn: Connection[Any], found: Roles) -> Iterator[Step]:
    """In a database that is open whoever owns the registry has the right as anybody has it, and loses it with them."""
    database = found.database
    if database.owner != database.database_owner and (database.is_open or not database.is_owner_temporary):
        yield Step(
            f"{database.owner} makes temporary tables of what a mirror gets",
            statement(conn, "GRANT TEMPORARY ON DATABASE {} TO {}", database.name, database.owner),
        )


def _closing(conn: Connection[Any], found: Roles) -> Iterator[Step]:
    """Whoever has rights here today still connects afterwards; a member only where there is no other registry."""
    database = found.database
    if not database.is_open:
        return
    members = {name for role in found.roles if not role.elsewhere for name in role.members}
    for name in sorted({*database.grantees, database.owner, *members} - {database.database_owner}):
        yield Step(
            f"{name} has rights here", statement(conn, "GRANT CONNECT ON DATABASE {} TO {}", database.name, name)
        )
    yield Step(
        f"anybody may connect to database {database.name}, members of these roles for another registry, too",
        statement(conn, "REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC", database.name),
    )


def _schema(conn: Connection[Any], found: Roles) -> Iterator[Step]:
    """Whoever migrates goes on creating there."""
    if not found.database.anybody_creates:
        return
    yield Step(
        f"{found.database.owner} migrates the registry",
        statement(conn, "GRANT CREATE ON SCHEMA public TO {}", found.database.owner),
    )
    yield Step(
        "anybody may create functions in the schema public that others then call unawares",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )


def _rights(found: Roles) -> Iterator[Step]:
    """Rights can be missing of roles that are to be made yet, too."""
    lacking = [role.name for role in found.roles if role.name in found.missing]
    made = [role.name for role in found.roles if not role.exists and role.name != OWNER]
    if lacking or made:
        yield Step(f"rights are missing of {', '.join([*lacking, *made])}", GRANT_RIGHTS)


def _calls(found: Roles) -> Iterator[Step]:
    """To the roles, and not to everybody: somebody took that from everybody. Those of one owner at a time."""
    closed = {one for functions in found.closed.values() for one in functions}
    roles = ", ".join(found.closed)
    for owner in sorted({one.owner for one in closed}):
        functions = sorted(one.name for one in closed if one.owner == owner)
        yield Step(
            f"functions of {owner} that everybody may call elsewhere are closed to {roles}",
            f"GRANT EXECUTE ON ROUTINE {', '.join(functions)} TO {roles}",
        )
