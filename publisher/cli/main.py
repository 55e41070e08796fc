"""`imi-registry`: the command line. Commands import what they need when they run, so that `--help` is quick."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

import typer

from publisher.cli import (
    activity,
    commands,
    events,
    history,
    maintain,
    migrate,
    overview,
    project,
    schemas,
    service,
    sync,
    worktree,
    worktree_type,
)
from registry.errors import RegistryError, Unavailable

REFUSED, UNREACHABLE = 1, 3

app = typer.Typer(
    name="imi-registry",
    help="The iMi project registry: PostgreSQL schema, and its change feed on NATS JetStream.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(service.up)
app.command("serve")(service.serve)
app.command("demo")(service.demo)
app.add_typer(migrate.app, name="migrate")
app.add_typer(events.app, name="events")
app.add_typer(history.app, name="history")
app.command("rebuild-stream")(history.rebuild_stream)
app.command("doctor")(history.doctor)
app.add_typer(schemas.app, name="schemas")
app.add_typer(project.app, name="project")
app.add_typer(worktree.app, name="worktree")
app.add_typer(worktree_type.app, name="type")
app.add_typer(activity.app, name="activity")
app.add_typer(commands.app, name="commands")
app.add_typer(overview.app)
app.add_typer(sync.app)
app.add_typer(maintain.app, name="maintain")


def main() -> None:
    """Entry point: runs the command and turns errors into one line and an exit code (1 refused, 3 unreachable)."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except RegistryError as error:
        print(f"imi-registry: {error}", file=sys.stderr)
        sys.exit(UNREACHABLE if isinstance(error, Unavailable) else REFUSED)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # The reader of our output went away: there is nobody left to tell, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(REFUSED)


def _terminate(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
