"""`imi-registry`: the command line. A command is imported when it is called, so that `--help` is quick."""

from __future__ import annotations

import errno
import gc
import io
import os
import re
import signal
import sys
from typing import Annotated, Any, NoReturn, cast

import typer

from publisher import memory
from publisher.cli.arguments.deferred import Deferred, DeferringGroup
from publisher.cli.terminal.text import say, write
from publisher.text import visible
from registry.errors import Invalid, RegistryError, Unavailable, Unprepared, Unusable
from registry.urls import safe_to_tell

REFUSED, USAGE, UNREACHABLE = 1, 2, 3
USAGE_ERROR = cast("type[Exception]", typer.BadParameter.__base__)
"""`UsageError`, which typer has from click, or of its own, and gives no name to."""
SIZE = re.compile(r"[1-9][0-9]{0,4}")
"""Columns or lines that a terminal can have."""
OUTPUT_FAILURES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


class Commands(DeferringGroup):
    """All there are, in the order of `--help`, each with its line there: one imports nothing that another one needs."""

    deferred = (
        Deferred("up", "service:up", "Run everything here: PostgreSQL, NATS, relay, console."),
        Deferred("serve", "service:serve", "Run publisher, applier, queries and console against your servers."),
        Deferred("demo", "service:demo", "See it work: change a real registry and watch the events arrive."),
        Deferred(
            "rebuild-stream",
            "history:rebuild_stream",
            "Publish a stream that was deleted, or restored from an older backup, again from the database.",
        ),
        Deferred("status", "status:status", "Show on one screen what waits, who is behind, and what is not well."),
        Deferred(
            "probe",
            "servers.probe:probe",
            "Ask the service on this machine whether it lives, or with --ready, whether it does its work.",
        ),
        Deferred(
            "doctor",
            "history:doctor",
            "Look whether database, stream and history fit together, and say what to do where they do not.",
        ),
        Deferred(
            "actions",
            "actions:actions",
            "Tell who did what in consoles and, with dead letters, on command lines.",
        ),
        Deferred(
            "phantoms",
            "history:phantoms",
            "List events that consumers saw and the database does not hold, as after a failover to a replica that "
            "lagged.",
        ),
        Deferred(
            "capacity",
            "database.capacity:capacity",
            "Estimate disks, WAL, processors and publishers for a rate of writes.",
        ),
        Deferred(
            "import-sqlite",
            "database.import_sqlite:import_sqlite",
            "Import repositories, worktrees, types and activities of iMi's SQLite database, all in one transaction.",
        ),
        Deferred(
            "migrate",
            "database.migrate:app",
            "Bring the database to this version's schema (that is: migrate up), and back.",
        ),
        Deferred(
            "roles",
            "database.roles:app",
            "Who may do what in the database: roles with least rights, and the logins that have them.",
        ),
        Deferred("mirror", "database.mirror:app", "This registry as a read-only mirror of another one."),
        Deferred(
            "replica", "database.replica:app", "The same by PostgreSQL's logical replication, at source and replica."
        ),
        Deferred("agreement", "database.agreement:app", "Which id each origin has, in all registries that agree."),
        Deferred("events", "events:app", "The change feed, live and past."),
        Deferred("history", "history:app", "What happened to one thing, and whether the events tell all."),
        Deferred("config", "config:app", "The settings of this run."),
        Deferred("schemas", "schemas:app", "The contract: JSON Schemas of events and commands, AsyncAPI."),
        Deferred("project", "project:app", "Projects: one per GitHub repository."),
        Deferred("worktree", "worktree:app", "Worktrees: who works where, and what is not merged yet."),
        Deferred("type", "worktree_type:app", "Worktree types: feat, fix, and your own."),
        Deferred("host", "database.host:app", "Hosts: where projects are checked out."),
        Deferred("activity", "activity:app", "The log of what agents did."),
        Deferred("commands", "commands:app", "Send commands over NATS, and look after dead letters."),
        Deferred(
            "inflight",
            "overview:inflight",
            "List worktrees with uncommitted changes, or commits ahead of their trunk or behind it, latest first.",
        ),
        Deferred(
            "search",
            "questions.search:search",
            "Find projects, worktrees and activities by what they are called and what people wrote: best first.",
        ),
        Deferred("stats", "overview:stats", "Count what is registered."),
        Deferred("path", "overview:path", "Print where a project, or a worktree of it, is or belongs on disk."),
        Deferred(
            "sync",
            "sync:sync",
            "Register the git checkouts in a folder with their linked work trees, and update what changed in them.",
        ),
        Deferred("maintain", "database.maintain:app", "Housekeeping of the database."),
        Deferred("months", "database.months:app", "The log of agents by month, which retention drops whole."),
        Deferred(
            "health",
            "questions.health:health",
            "Look how the registry is, as far as its database knows; the exit code is 1 where something is bad.",
        ),
        Deferred(
            "slow-queries",
            "questions.health:slow_queries",
            "Show the registry's statements by the time that they took in all, where pg_stat_statements records them.",
        ),
    )


app = typer.Typer(
    name="imi-registry",
    cls=Commands,
    help="The iMi project registry: PostgreSQL schema, and its change feed on NATS JetStream.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        write(f"imi-registry {version('imi-registry')}")
        raise typer.Exit


@app.callback()
def about(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """The iMi project registry: PostgreSQL schema, and its change feed on NATS JetStream."""


def main() -> None:
    """Entry point: runs the command and turns errors into one line and an exit code.

    1 refused, 2 what was given breaks a rule, wherever that stands, 3 a server cannot be reached; docs/cli.md.
    """
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, _terminate)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would look for them in all that is installed
    memory.collect_rarely()
    _open_streams()
    _forget_impossible_sizes()
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output went away: there is nobody left to tell
        code = REFUSED
        _discard_output()
    except OSError as error:
        if error.filename is None and error.errno not in OUTPUT_FAILURES:
            raise
        code = REFUSED
        if error.filename is not None:
            say(safe_to_tell(f'imi-registry: cannot use "{error.filename}": {error.strerror}'))
        else:
            say(f"imi-registry: cannot write the output: {error.strerror}")
            _discard_output()
    gc.freeze()  # what is left goes with the process: to look for cycles in it is a quarter of a short command's time
    sys.exit(code)


def _forget_impossible_sizes() -> None:
    """A terminal that is told to have no columns, as a container's before it is attached, has those it has."""
    for name in ("COLUMNS", "LINES"):
        if name in os.environ and not SIZE.fullmatch(os.environ[name]):
            del os.environ[name]


def _run() -> int:
    try:
        code = app(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except USAGE_ERROR as error:
        return _say_usage(error)
    except typer.Abort:
        say("Aborted!")
        return REFUSED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except RegistryError as error:
        say(f"imi-registry: {error}")
        return exit_code(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def exit_code(error: RegistryError) -> int:
    """The one table from errors to exit codes."""
    if isinstance(error, Unusable | Unprepared):
        return REFUSED
    if isinstance(error, Invalid):
        return USAGE
    return UNREACHABLE if isinstance(error, Unavailable) else REFUSED


def _say_usage(error: Any) -> int:
    """Say what is wrong with what was typed, and how to type it. A name from outside may be in it, as of `sync *`."""
    is_help = error.message == error.ctx.get_help() if error.ctx is not None else False
    if not is_help:
        error.message = visible(safe_to_tell(error.message))
    error.show(sys.stderr)
    return int(error.exit_code)


def _open_streams() -> None:
    """Let no character be an error where the encoding of the terminal has none for it, nor a stream that is closed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # else a connection would take its place, which libuv ends the program for
            os.open(os.devnull, os.O_RDWR)
    if None in (sys.stdin, sys.stdout, sys.stderr):
        nowhere = open(os.devnull, "r+")  # noqa: SIM115  # until the end
        sys.stdin, sys.stdout, sys.stderr = sys.stdin or nowhere, sys.stdout or nowhere, sys.stderr or nowhere
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Let what is still buffered go nowhere: Python would fail over it once more when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
