"""PgBouncer in transaction mode in front of a test database; from Debian's package `pgbouncer`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.support.services import scratch_directory, wait_until

BINARY = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SERVER_CONNECTIONS = 2


@contextmanager
def pgbouncer(database_url: str) -> Iterator[str]:
    """URL of a pooler in front of `database_url` that has `SERVER_CONNECTIONS` connections for all clients together."""
    assert BINARY is not None
    parts = {key: str(value) for key, value in conninfo_to_dict(database_url).items()}
    name = parts["dbname"]
    server = " ".join(f"{key}='{parts[key]}'" for key in ("host", "port", "dbname", "user", "password") if key in parts)
    with scratch_directory() as directory:
        directory.chmod(0o755)
        sockets = directory / "run"
        sockets.mkdir()
        configuration = directory / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\n{name} = {server}\n"
            "[pgbouncer]\npool_mode = transaction\nauth_type = any\nlisten_addr =\nlisten_port = 6432\n"
            f"default_pool_size = {SERVER_CONNECTIONS}\nmax_client_conn = 200\n"
            f"unix_socket_dir = {sockets}\nquery_wait_timeout = 20\n"
        )
        log = directory / "pgbouncer.log"
        with log.open("w") as output:
            process = subprocess.Popen([*_command(sockets), str(configuration)], stdout=output, stderr=output)
        url = f"postgresql:///{name}?{urlencode({'host': sockets, 'port': 6432, 'user': 'anyone'}, quote_via=quote)}"
        try:
            wait_until(lambda: process.poll() is not None or _answers(url))
            assert process.poll() is None, log.read_text()
            yield url
        finally:
            process.terminate()
            process.wait()


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
