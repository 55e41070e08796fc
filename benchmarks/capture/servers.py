"""One PostgreSQL for all sides, which logs what readers of the WAL need and answers over TCP; and one nats-server.

Readers of the WAL know no unix sockets, and `imi-registry up` knows no TCP: hence a server that is set up as there and
started once more by hand.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from benchmarks.harness.servers import POSTGRES_SETTINGS, Servers
from publisher.embedded.account import account
from publisher.embedded.binaries import postgres_binaries
from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import POSTGRES_STOP, postgres
from publisher.embedded.process import GUARD, launch, server_lock, stop, wait_until_ready

LOOPBACK = "127.0.0.1"
LOGICAL = POSTGRES_SETTINGS | {
    "wal_level": "logical",
    "max_replication_slots": "10",
    "max_wal_senders": "10",
    "shared_buffers": "128MB",
    "log_min_error_statement": "panic",
    "listen_addresses": LOOPBACK,
}


@dataclass(frozen=True)
class CaptureServers(Servers):
    """Both servers of this benchmark, and their processes."""

    tcp_port: int
    postgres_pid: int
    nats_pid: int

    def tcp_url(self, database_url: str) -> str:
        """The same database by TCP, for clients that know nothing else."""
        parts = conninfo_to_dict(database_url)
        secret = f"{parts['user']}:{quote(str(parts['password']), safe='')}"
        return f"postgresql://{secret}@{LOOPBACK}:{self.tcp_port}/{parts['dbname']}"


@contextmanager
def capture_servers() -> Iterator[CaptureServers]:
    """Both, for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="imi-capture-") as name:
        folder = Path(name)
        with postgres(folder) as first:
            parts = conninfo_to_dict(first.url)
        with socket.create_server((LOOPBACK, 0)) as free:
            port = free.getsockname()[1]
        with _again(folder, port) as postgres_pid, nats_server(folder) as broker:
            url = f"postgresql:///{parts['dbname']}?host={quote(str(parts['host']))}&port={port}"
            url += f"&user={parts['user']}&password={quote(str(parts['password']))}"
            yield CaptureServers(url, broker.url, port, postgres_pid, broker.pid)


@contextmanager
def _again(folder: Path, port: int) -> Iterator[int]:
    """The server whose data is in `folder`, on the socket and on loopback; yields its process id."""
    settings = LOGICAL | {"port": str(port), "unix_socket_directories": str(folder / "run")}
    runner, binaries = account(folder, postgres_binaries(), GUARD)
    command = [str(binaries / "postgres"), "-D", str(folder / "postgres")]
    command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with server_lock(folder / "postgres.lock", "PostgreSQL") as lock:
        server = launch("PostgreSQL", folder / "postgres.log", command, lock, POSTGRES_STOP, runner)
    try:
        wait_until_ready(server, lambda: _is_ready(folder / "postgres" / "postmaster.pid"))
        yield server.pid
    finally:
        stop(server, folder / "postgres.lock", POSTGRES_STOP)


def _is_ready(pid_file: Path) -> bool:
    lines = pid_file.read_text().split("\n") if pid_file.exists() else []
    return len(lines) > 7 and lines[7].strip() == "ready"
