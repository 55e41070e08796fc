"""What each role may do, as PostgreSQL answers when it is done: the tables of docs/security.md.

`python -m tests.support.roles.matrix` writes them anew, from a server of its own.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from publisher.embedded.postgres import postgres
from registry.database import migrate, months
from registry.database.roles.state import OWNER as OWNING
from registry.database.roles.state import ROLES as ALL_ROLES
from tests.integration.schema.test_rights import populate
from tests.support.postgres.recording import SETTINGS
from tests.support.roles.calls import CALLS, COUNTS, HOSTS, SERVICE
from tests.support.roles.owner_calls import OWNER, PREPARED
from tests.support.roles.relations import TRIED, rights
from tests.support.roles.trial import Conn, acting_as, works
from tests.support.services import scratch_directory

PAGE = Path(__file__).parents[3] / "docs/security.md"
BEGIN, END = "<!-- made by tests/support/roles/matrix.py: {} -->", "<!-- end of {} -->"
ROLES = [role for role in ALL_ROLES if role != OWNING]
NOBODY = f"imi_nobody_{secrets.token_hex(4)}"
EVERYBODY = [OWNING, *ROLES, NOBODY]
FUNCTIONS = CALLS | HOSTS | SERVICE | COUNTS | OWNER
RECORD = "CREATE SCHEMA statements; GRANT USAGE ON SCHEMA statements TO PUBLIC"
RECORD += "; CREATE EXTENSION pg_stat_statements SCHEMA statements"


@contextmanager
def registry(binaries: Path | None = None, *, by_month: bool = False) -> Iterator[Conn]:
    """A superuser's connection to a registry of `imi_owner` with all roles, on a server of its own."""
    with scratch_directory() as directory, postgres(directory, settings=SETTINGS, bin_dir=binaries) as server:
        with psycopg.connect(server.url, autocommit=True) as admin:
            for role in EVERYBODY:
                admin.execute(f"CREATE ROLE {role}".encode())
            admin.execute(f"CREATE DATABASE registry OWNER {OWNING}".encode())
        with psycopg.connect(make_conninfo(server.url, dbname="registry"), autocommit=True) as conn:
            migrate.apply(conn)
            if by_month:
                months.move(conn, by_month=True)
            conn.execute("INSERT INTO publisher_cursor (stream) VALUES ('S')")
            yield conn


def tables(conn: Conn) -> dict[str, dict[str, str]]:
    """What works on each table, view and sequence, by its name and that of the role; "" where nothing does."""
    with conn.transaction(force_rollback=True):
        return rights(conn, EVERYBODY, populate(conn))


def calls(conn: Conn) -> dict[str, dict[str, str]]:
    """ "yes" for who can call each function and has its work done, by its name and that of the role."""
    with conn.transaction(force_rollback=True):
        conn.execute(RECORD.encode())
        ids = populate(conn)
        return {name: _callers(conn, name, call, ids) for name, call in sorted(FUNCTIONS.items())}


def _callers(conn: Conn, name: str, call: str, ids: Mapping[str, Any]) -> dict[str, str]:
    with conn.transaction(force_rollback=True):
        acting_as(conn, OWNING)
        for statement in PREPARED.get(name, ()):
            conn.execute(statement.encode(), ids)
        return {role: "yes" if works(conn, role, call, ids) else "" for role in EVERYBODY}


def table_of(found: Mapping[str, Mapping[str, str]]) -> str:
    """A table as it stands in the page."""
    named = [*(role.removeprefix("imi_") for role in (OWNING, *ROLES)), "a stranger"]
    lines = [f"| | {' | '.join(named)} |", "|---" * (len(named) + 1) + "|"]
    for name, by_role in found.items():
        lines.append(f"| `{name}` | {' | '.join(_shown(by_role[role]) for role in EVERYBODY)} |")
    return re.sub(r" +\|", " |", "\n".join(lines))


def _shown(works_there: str) -> str:
    """As it stands in the page: of who owns a table what he may not."""
    if "SWITCH OFF" not in works_there:
        return works_there
    lacking = [right for right in TRIED if right not in works_there.split(", ")]
    return f"all but {', '.join(lacking)}" if lacking else "all"


def in_page(name: str) -> str:
    """The table of this name as it stands in the page."""
    return PAGE.read_text().split(BEGIN.format(name))[1].split(END.format(name))[0].strip()


def write(**made: str) -> None:
    """Put tables into the page, each by its name."""
    for name, table in made.items():
        text = PAGE.read_text()
        before, rest = text.split(BEGIN.format(name))
        after = rest.split(END.format(name))[1]
        PAGE.write_text(f"{before}{BEGIN.format(name)}\n\n{table}\n\n{END.format(name)}{after}")


if __name__ == "__main__":
    with registry() as one_table:
        write(functions=table_of(calls(one_table)))
    with registry(by_month=True) as by_month:
        write(tables=table_of(tables(by_month)))
