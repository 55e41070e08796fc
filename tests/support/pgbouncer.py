"""PgBouncer in front of a test database, in transaction mode mostly; from Debian's package `pgbouncer`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.support.services import scratch_directory, wait_until

BINARY = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SERVER_CONNECTIONS = 2
CONSOLE = "pgbouncer"
"""Its own database, which no server stands behind."""

# But for what a pooler keeps for each client (https://www.pgbouncer.org/features.html).
LEFT_BEHIND = """
SELECT name FROM pg_settings
WHERE source = 'session'
    AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'standard_conforming_strings', 'TimeZone')
UNION ALL
SELECT name FROM pg_prepared_statements
"""


class PgBouncer:
    """A pooler in front of `database_url` that is ended and started again; `url` is what its clients connect to."""

    def __init__(self, database_url: str, directory: Path, server_connections: int, mode: str) -> None:
        parts = {key: str(value) for key, value in conninfo_to_dict(database_url).items()}
        name = parts["dbname"]
        given = ("host", "port", "dbname", "user", "password")
        server = " ".join(f"{key}='{parts[key]}'" for key in given if key in parts)
        directory.chmod(0o755)
        self._sockets = directory / "run"
        self._sockets.mkdir()
        self._configuration = directory / "pgbouncer.ini"
        self._configuration.write_text(
            f"[databases]\n{name} = {server}\n"
            f"[pgbouncer]\npool_mode = {mode}\nauth_type = any\nlisten_addr =\nlisten_port = 6432\n"
            f"default_pool_size = {server_connections}\nmax_client_conn = 200\n"
            f"unix_socket_dir = {self._sockets}\nquery_wait_timeout = 20\nserver_login_retry = 1\n"
        )
        self._log = directory / "pgbouncer.log"
        client = {"host": self._sockets, "port": 6432, "user": "anyone"}
        self.url, self._console_url = (
            f"postgresql:///{database}?{urlencode(client, quote_via=quote)}" for database in (name, CONSOLE)
        )
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers by itself: PostgreSQL behind it may be away or hang."""
        for left in self._sockets.iterdir():
            left.unlink()
        with self._log.open("a") as output:
            command = [*_command(self._sockets), str(self._configuration)]
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        wait_until(lambda: self.process.poll() is not None or _answers(self._console_url))
        assert self.process.poll() is None, self._log.read_text()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


@contextmanager
def pooler(
    database_url: str, server_connections: int = SERVER_CONNECTIONS, mode: str = "transaction"
) -> Iterator[PgBouncer]:
    """A running pooler that has so many connections to `database_url` for all clients together."""
    assert BINARY is not None
    with scratch_directory() as directory:
        found = PgBouncer(database_url, directory, server_connections, mode)
        try:
            yield found
        finally:
            found.kill()


@contextmanager
def pgbouncer(database_url: str) -> Iterator[str]:
    """The URL of one."""
    with pooler(database_url) as found:
        yield found.url


def left_behind(url: str) -> list[str]:
    """The settings and prepared statements in the server sessions behind a pooler of transactions, all at rest."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(psycopg.connect(url, prepare_threshold=None)) for _ in range(SERVER_CONNECTIONS)
        ]  # each keeps one of them: its transaction is open
        return [name for client in clients for (name,) in client.execute(LEFT_BEHIND).fetchall()]


def _command(sockets: Path) -> list[str]:
    """PgBouncer refuses to run as root: as the embedded PostgreSQL does, it runs in a user namespace, or as nobody."""
    if os.getuid() != 0:
        return [BINARY or ""]
    namespace = ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode == 0:
        return [*namespace, BINARY or ""]
    shutil.chown(sockets, "nobody")
    return [BINARY or "", "-u", "nobody"]


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, prepare_threshold=None).close()
    except psycopg.OperationalError:
        return False
    return True
