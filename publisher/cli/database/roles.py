"""`imi-registry roles …`: who may do what in the database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments.options import AsJson, DatabaseUrl, UpFolder
from publisher.cli.servers.session import database, reads
from publisher.cli.terminal.text import emit_document, say, write

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.database.roles import Roles, Step

app = typer.Typer(invoke_without_command=True)

LEFT = 1

RoleName = Annotated[str, typer.Argument(metavar="ROLE", help="writer, reader, publisher, applier or owner.")]
Login = Annotated[str, typer.Argument(metavar="LOGIN", help="A role of PostgreSQL's that can log in.")]
HandOver = Annotated[
    bool, typer.Option("--hand-over", help="Let the registry belong to imi_owner, and to nobody who can log in.")
]


@app.callback()
def default(context: typer.Context) -> None:
    """Show the roles of the registry, and what is to be done about them. Alone it does what `roles show` does."""
    if context.invoked_subcommand is None:
        show()


@app.command("show")
@reads
def show(
    database_url: DatabaseUrl = None, _state_dir: UpFolder = None, hand_over: HandOver = False, as_json: AsJson = False
) -> None:
    """Show each role, who has it, and the SQL that is still to be run. Changes nothing.

    Example: imi-registry roles show --json
    """
    from registry.database import migrate, roles

    with database(database_url) as conn:
        migrate.check(conn)
        found = roles.roles_of(conn)
        steps = roles.steps(conn, hand_over=hand_over)
    if as_json:
        emit_document(json.dumps(_document(found, steps)))
        return
    _print_roles(found)
    _print_steps("to be done (imi-registry roles setup does what you may):", steps)


@app.command("setup")
def setup(database_url: DatabaseUrl = None, _state_dir: UpFolder = None, hand_over: HandOver = False) -> None:
    """Do what is missing, as far as you may, and show it; SQL that is left is for an administrator of the server.

    Makes the roles, gives them their rights in this database, and closes it to everybody who has none. What was done
    stands under "done", what is left under "left". Exit code 1 when something is left.

    Example: imi-registry roles setup
    """
    from registry.database import migrate, roles

    with database(database_url) as conn:
        migrate.check(conn)
        conn.autocommit = True
        done, left = roles.set_up(conn, hand_over=hand_over)
    if done:
        write(f"done, nobody has to run this again ({len(done)}):")
        for step in done:
            write(f"  {step.statement};")
        if not left:
            write("nothing is left to do")
    elif not left:
        write("nothing to do")
    if left:
        say(f"left for an administrator of the server, who runs ({len(left)}):")
        for step in left:
            say(f"  {step.statement};")
        raise typer.Exit(LEFT)


@app.command("grant")
def grant(role: RoleName, login: Login, database_url: DatabaseUrl = None, _state_dir: UpFolder = None) -> None:
    """Give a login a role, and let it connect to this database.

    Example: imi-registry roles grant writer flume
    """
    from registry.database import migrate, roles

    with database(database_url) as conn:
        migrate.check(conn)
        for statement in roles.grant(conn, _full(role), login):
            write(f"{statement};")


@app.command("revoke")
def revoke(role: RoleName, login: Login, database_url: DatabaseUrl = None, _state_dir: UpFolder = None) -> None:
    """Take a role from a login, and with its last one, where it has no other rights here, the right to connect.

    Sessions that are open stay.

    Example: imi-registry roles revoke writer flume
    """
    from registry.database import migrate, roles

    with database(database_url) as conn:
        migrate.check(conn)
        for statement in roles.revoke(conn, _full(role), login):
            write(f"{statement};")


def _full(role: str) -> str:
    from registry.database.roles import ROLES

    name = role if role in ROLES else f"imi_{role}"
    if name not in ROLES:
        raise typer.BadParameter(f'"{role}" is none of writer, reader, publisher, applier, owner')
    return name


def _document(found: Roles, steps: Iterable[Step]) -> dict[str, object]:
    from registry.database.roles import ROLES

    return {
        "database": found.database._asdict(),
        "roles": [
            role._asdict() | {"task": ROLES[role.name], "missing": found.lacking(role.name)} for role in found.roles
        ],
        "to_do": [step._asdict() for step in steps],
    }


def _print_roles(found: Roles) -> None:
    from publisher.cli.terminal import tables
    from registry.database.roles import ROLES

    write(f"database {found.database.name}: its registry belongs to {found.database.owner}")
    tables.print_table(
        {
            "role": [role.name for role in found.roles],
            "what it does": [ROLES[role.name] for role in found.roles],
            "rights here": [_rights(found, role.name, is_there=role.exists) for role in found.roles],
            "members": [", ".join(role.members) for role in found.roles],
        },
        empty="no roles",
        dispensable=("what it does",),
    )


def _rights(found: Roles, name: str, *, is_there: bool) -> str:
    if not is_there:
        return "not there"
    if name == "imi_owner":
        return "owner" if found.database.owner == name else "none"
    missing = found.lacking(name)
    return f"{len(missing)} missing" if missing else "all"


def _print_steps(title: str, steps: list[Step]) -> None:
    if not steps:
        write("nothing to do")
        return
    write(title)
    for step in steps:
        write(f"  -- {step.why}")
        write(f"  {step.statement};")
