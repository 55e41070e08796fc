"""PostgreSQL out of its wheel: data and socket in the state directory, no TCP.

In the state directory: `postgres/` data, `run/` socket, `postgres.log`, `postgres.password` (0600), `postgres.lock`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlencode

from psycopg import sql
from psycopg.conninfo import make_conninfo

from publisher.embedded.account import Account, account
from publisher.embedded.binaries import postgres_binaries
from publisher.embedded.place import in_place, read_small
from publisher.embedded.process import (
    FIRST,
    GUARD,
    START_SECONDS,
    EmbeddedServer,
    Start,
    launch,
    server_lock,
    stop,
    wait_until_ready,
)
from publisher.embedded.state_dir import SOCKET, check_socket_path, secret, starting, write_private
from registry.database.connection import connect_blocking
from registry.errors import Conflict, Unavailable, Unusable

DATABASE = "imi_registry"
USER = "imi"
PORT = "5432"  # names the socket file, nothing else

HAS_HOME = """
SELECT 1
FROM pg_db_role_setting AS setting
JOIN pg_database AS database ON database.oid = setting.setdatabase
CROSS JOIN unnest(setting.setconfig) AS entry
WHERE database.datname = %s AND entry LIKE 'imi.home_dir=%%'
"""

POSTGRES_STOP = [(signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0)]  # fast shutdown, then immediate

POSTGRES_SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "jit": "off",  # costs more than it saves on queries of a registry's size
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "cluster_name": "imi-registry",
    # A statement that fails may have a password in it, and so may the row that its detail tells of.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


@contextmanager
def postgres(
    state_dir: Path,
    *,
    settings: Mapping[str, str] | None = None,
    bin_dir: Path | None = None,
    start: Start = FIRST,
) -> Iterator[EmbeddedServer]:
    """PostgreSQL with its data and socket in `state_dir`, no TCP, and the database `imi_registry` in it.

    `settings` override `POSTGRES_SETTINGS`; `bin_dir` is the folder of another PostgreSQL's binaries (14 or later).
    Raises `Unavailable` with the server's own last log line when it does not start, `Conflict` when its files are in
    use by another one, `Invalid` when `state_dir` cannot hold them.
    """
    directory = in_place(state_dir)
    check_socket_path(directory)
    with starting("PostgreSQL"):
        password = secret(directory / "postgres.password", needed_by=directory / "postgres")
        server = _start_postgres(directory, bin_dir or postgres_binaries(), settings or {}, password, start)
    try:
        wait_until_ready(server, lambda: _postmaster_ready(directory / "postgres", server.pid), start)
        if not start.is_again:
            _create_database(directory / "run", password)
        yield server
    finally:
        stop(server, directory / "postgres.lock", POSTGRES_STOP)


def _start_postgres(
    directory: Path, binaries: Path, settings: Mapping[str, str], password: str, start: Start
) -> EmbeddedServer:
    if not (binaries / "postgres").is_file():
        raise Unavailable(f'PostgreSQL: no program "postgres" in "{binaries}"')
    data, run = directory / "postgres", directory / "run"
    with server_lock(directory / "postgres.lock", "PostgreSQL", start=start) as lock:
        run.mkdir(mode=0o700, exist_ok=True)
        runner, binaries = account(directory, binaries, GUARD)
        runner.own(run)
        if not data.exists():
            if start.is_again:  # an empty database at the same place would be taken for the one that is gone
                raise Unusable(f'state directory "{directory}": the data of its PostgreSQL is gone: "{data}"')
            _initdb(directory, binaries, runner, lock, password, durable=settings.get("fsync") != "off")
        runner.own(data)
        _check_version(data, binaries)
        _clear_stale(data, run)
        chosen = {
            **POSTGRES_SETTINGS,
            **settings,
            "port": PORT,
            "listen_addresses": "",
            "unix_socket_directories": '"' + str(run).replace('"', '""') + '"',
            "unix_socket_permissions": "0700",
        }
        command = [str(binaries / "postgres"), "-D", str(data)]
        command += [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
        server = launch("PostgreSQL", directory / "postgres.log", command, lock, POSTGRES_STOP, runner)
    # No user before an empty host, as in //user@/database: sqlx and other WHATWG URL parsers refuse that.
    parts = {"host": str(run), "port": PORT, "user": USER, "password": password}
    server.url = f"postgresql:///{DATABASE}?{urlencode(parts, quote_via=quote)}"
    return server


def _initdb(directory: Path, binaries: Path, runner: Account, lock: int, password: str, *, durable: bool) -> None:
    """Make a cluster beside its place and rename it: an interrupted initdb leaves nothing that looks complete."""
    fresh, password_file = directory / "postgres.new", directory / "run" / "initdb.password"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    write_private(password_file, password)
    runner.own(fresh, password_file)
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    command = [
        *(str(binaries / "initdb"), "-D", str(fresh), "-U", USER, "--encoding=UTF8", "--no-instructions"),
        *(builtin if _major(binaries) >= 17 else ["--locale=C.UTF-8"]),
        *("--auth=scram-sha-256", f"--pwfile={password_file}"),
        *([] if durable else ["--no-sync"]),
    ]
    initdb = launch("initdb", directory / "postgres.log", command, lock, [(signal.SIGTERM, 5.0)], runner)
    try:
        if not initdb.wait(START_SECONDS):
            raise Unavailable(f"initdb did not end within {START_SECONDS:g} s; last: {initdb.exit_reason()}")
        if initdb.status != 0:
            raise Unavailable(f"initdb failed with status {initdb.status}: {initdb.exit_reason()}")
    finally:
        initdb.ask_to_stop()
        initdb.wait()  # interrupted, it must not write into a folder that is being removed
        password_file.unlink()
    fresh.rename(directory / "postgres")
    if durable:
        folder = os.open(directory, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def _check_version(data: Path, binaries: Path) -> None:
    found, wanted = read_small(data / "PG_VERSION").strip(), _major(binaries)
    if found != str(wanted):
        raise Unusable(
            f'state directory "{data.parent}": its data is of PostgreSQL {found}, the server is PostgreSQL {wanted}; '
            f"move the data with pg_dump and psql, or use another state directory"
        )


def _major(binaries: Path) -> int:
    version = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=False, cwd="/")
    number = re.search(r"(\d+)", version.stdout)
    if number is None:
        raise Unavailable(f'"{binaries}/postgres" cannot be run: {version.stderr.strip() or version.returncode}')
    return int(number[1])


def _clear_stale(data: Path, run: Path) -> None:
    """Remove what a killed server left, under the lock that its last process held.

    PostgreSQL would refuse to start when the old pid is by now another process, as happens in containers.
    """
    pid_file = data / "postmaster.pid"
    if sys.platform == "linux" and pid_file.exists():
        pid = read_small(pid_file).split("\n", 1)[0].strip()
        with suppress(OSError):
            if os.readlink(f"/proc/{pid}/cwd") == str(data):
                raise Conflict(
                    f'state directory "{data.parent}": PostgreSQL process {pid} was started by hand; stop it'
                )
        pid_file.unlink()
        (run / SOCKET).unlink(missing_ok=True)
        (run / f"{SOCKET}.lock").unlink(missing_ok=True)


def _postmaster_ready(data: Path, pid: int) -> bool:
    try:
        lines = read_small(data / "postmaster.pid").split("\n")
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _create_database(run: Path, password: str) -> None:
    parts = make_conninfo(host=str(run), port=PORT, user=USER, password=password, dbname="postgres")
    with connect_blocking(parts) as conn:
        if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        if conn.execute(HAS_HOME, [DATABASE]).fetchone() is None:
            # Where projects without a trunk path belong: the home of the role, /home/imi, is a folder nobody has.
            home = sql.Literal(str(Path("~").expanduser()))
            conn.execute(sql.SQL("ALTER DATABASE {} SET imi.home_dir = {}").format(sql.Identifier(DATABASE), home))
