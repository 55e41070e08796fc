"""Making a login a member of a role, and taking that back."""

from __future__ import annotations

from typing import Any, LiteralString

from psycopg import Connection

from registry.database.errors import translated
from registry.database.roles.state import OWNER, ROLES, Roles, roles_of
from registry.database.roles.step import statement
from registry.errors import Conflict, Invalid, NotFound, Unprepared


def grant(conn: Connection[Any], role: str, login: str) -> list[str]:
    """Make `login` a member of `role` who may connect to this database; returns the statements that were run.

    Raises `NotFound` when there is no such login, `Conflict` when it would get rights in another database with it,
    `Unprepared` when this user may not.
    """
    found = _checked(conn, role, login)
    (described,) = [one for one in found.roles if one.name == role]
    if described.open_elsewhere:
        raise Conflict(
            f"{role} has rights in database {', '.join(described.open_elsewhere)}, too, to which anybody may connect: "
            f"{login} would have them there as well; run there: imi-registry roles setup"
        )
    if role != OWNER and role in found.missing:
        raise Conflict(
            f"{role} has not all its rights in database {found.database.name}; run: imi-registry roles setup"
        )
    return _run(
        conn,
        ("GRANT CONNECT ON DATABASE {} TO {}", (found.database.name, login)),
        ("GRANT {} TO {}", (role, login)),
    )


def revoke(conn: Connection[Any], role: str, login: str) -> list[str]:
    """Take `role` from `login`, and with the last one the right to connect. Raises as `grant` does."""
    found = _checked(conn, role, login)
    statements: list[tuple[LiteralString, tuple[str, str]]] = [("REVOKE {} FROM {}", (role, login))]
    if not any(login in other.members for other in found.roles if other.name != role):
        statements.append(("REVOKE CONNECT ON DATABASE {} FROM {}", (found.database.name, login)))
    return _run(conn, *statements)


def _checked(conn: Connection[Any], role: str, login: str) -> Roles:
    found = roles_of(conn)
    if role not in ROLES:
        raise Invalid(f'role "{role}": there are {", ".join(ROLES)}')
    if not next(one.exists for one in found.roles if one.name == role):
        raise NotFound(f"role {role} is not there; run: imi-registry roles setup")
    with translated():
        row = conn.execute("SELECT FROM pg_catalog.pg_roles WHERE rolname = %s", [login]).fetchone()
    if row is None:
        made = statement(conn, "CREATE ROLE {} LOGIN", login)
        raise NotFound(f'there is no login "{login}" on this server; {made}')
    return found


def _run(conn: Connection[Any], *statements: tuple[LiteralString, tuple[str, str]]) -> list[str]:
    """All of them, or none. Only who administers a role may grant it: others are told what to ask for."""
    texts = [statement(conn, text, *names) for text, names in statements]
    try:
        with translated(), conn.transaction():
            for text in texts:
                conn.execute(text.encode())
    except Unprepared as error:
        raise Unprepared(f"{error}; an administrator of the server runs: {'; '.join(texts)}") from error
    return texts
