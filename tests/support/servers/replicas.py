"""A PostgreSQL and its synchronous standby; either is the primary after a failover."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlencode

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from publisher.embedded.binaries import postgres_binaries
from publisher.embedded.postgres import postgres
from publisher.embedded.process import server_lock
from tests.support.proxy import Proxy
from tests.support.servers.restartable import Restartable
from tests.support.threads import in_thread

KEPT = {"wal_keep_size": "64MB"}
"""A primary that is started again, as after a full disk, may else remove what its standby has still to read."""
SYNCHRONOUS = "synchronous_standby_names"
PROMOTE = "SELECT pg_promote(wait => false)"
"""Who waits for it holds a snapshot, for which what is still to be replayed may wait."""
POLL_SECONDS = 0.05
PROMOTED_SECONDS = 60
SMART_SECONDS = 5.0
"""Who is connected through a line that carries nothing never goes."""
Stop = Literal["killed", "stopped fast", "stopped smart"]
HAS_ALL = "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND flush_lsn >= %s"


class Pair:
    """Two servers in folders of their own, `pair` starts them. What is stopped and started is the primary."""

    def __init__(self, directory: Path, settings: Mapping[str, str], bin_dir: Path | None) -> None:
        self._folders = [directory / "pg0", directory / "pg1"]
        for folder in self._folders:
            folder.mkdir(exist_ok=True)
        self._settings = settings
        self._bin_dir = bin_dir
        self._servers = {0: self._start(0)}
        self._primary = 0
        self.line: Proxy | None = None
        """To `open`: what standbys that are made from now on follow the primary by; None is directly."""

    @property
    def urls(self) -> list[str]:
        """Both servers, each alone."""
        password = (self._folders[0] / "postgres.password").read_text().strip()
        common = {"port": "5432", "user": "imi", "password": password}
        hosts = [str(folder / "run") for folder in self._folders]
        return [f"postgresql:///imi_registry?{urlencode(common | {'host': host}, quote_via=quote)}" for host in hosts]

    @property
    def url(self) -> str:
        """The primary, directly."""
        return self.urls[self._primary]

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to whichever is the primary now."""
        return await asyncio.open_unix_connection(str(self._folders[self._primary] / "run" / ".s.PGSQL.5432"))

    async def stop(self, *, is_crash: bool, by: signal.Signals = signal.SIGKILL) -> None:
        """End the primary, as `Restartable` does."""
        await self._servers[self._primary].stop(is_crash=is_crash, by=by)

    async def start(self) -> None:
        """Start it again."""
        await self._servers[self._primary].start()

    def processes(self) -> list[psutil.Process]:
        """The primary's."""
        return self._servers[self._primary].processes()

    def standby_processes(self) -> list[psutil.Process]:
        """Those of the other one."""
        return self._servers[1 - self._primary].processes()

    async def stop_standby(self, way: Stop = "killed") -> None:
        """End the standby: no synchronous COMMIT ends until it is back."""
        standby = self._servers[1 - self._primary]
        if way == "stopped smart":
            await standby.stop_when_idle(SMART_SECONDS)
        else:
            await standby.stop(is_crash=way == "killed")

    async def start_standby(self) -> None:
        """Start it again."""
        await self._servers[1 - self._primary].start()

    async def fail_over(self, promote: str = PROMOTE) -> None:
        """Lose the primary for good, and make the standby one."""
        await self.stop(is_crash=True)
        await self.promote(promote)

    async def promote(self, promote: str = PROMOTE) -> None:
        """Make the standby the primary; the old one is gone."""
        del self._servers[self._primary]
        self._primary = 1 - self._primary
        await asyncio.wait_for(self._becomes_primary(promote), PROMOTED_SECONDS)

    async def _becomes_primary(self, promote: str) -> None:
        """Ask for it until the server takes writes: what it still recovers may cancel who asks, or who connects."""
        is_standby = True
        while is_standby:
            with suppress(psycopg.OperationalError):
                async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as conn:
                    ((is_standby,),) = await (await conn.execute("SELECT pg_is_in_recovery()")).fetchall()
                    if is_standby:
                        await conn.execute(promote)
            await asyncio.sleep(POLL_SECONDS)

    async def wait_for_nobody(self) -> None:
        """Let commits not wait for the standby from now on."""
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as conn:
            await conn.execute(f"ALTER SYSTEM SET {SYNCHRONOUS} = ''")
            await conn.execute("SELECT pg_reload_conf()")

    async def wait_for_standby(self) -> None:
        """Let them wait for it again, and return once it has all that was committed meanwhile."""
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as conn:
            await conn.execute(f"ALTER SYSTEM SET {SYNCHRONOUS} = '*'")
            await conn.execute("SELECT pg_reload_conf()")
            ((written,),) = await (await conn.execute("SELECT pg_current_wal_lsn()")).fetchall()
            has_all = False
            while not has_all:
                await asyncio.sleep(POLL_SECONDS)
                ((has_all,),) = await (await conn.execute(HAS_ALL, [written])).fetchall()

    @asynccontextmanager
    async def lost_primary(self) -> AsyncIterator[str]:
        """URL of the primary that was lost last, recovered, where nobody else looks for it; behind that it is gone."""
        lost = await in_thread(self._set_apart)
        server = await in_thread(self._start_in, lost)
        try:
            yield server.url
        finally:
            await server.stop(is_crash=False)
            await in_thread(shutil.rmtree, lost)

    def _set_apart(self) -> Path:
        folder = self._folders[1 - self._primary]
        lost = folder / "lost"
        lost.mkdir()
        with server_lock(folder / "postgres.lock", "PostgreSQL"):  # its processes end a while after it was killed
            (folder / "postgres").rename(lost / "postgres")
        shutil.copy(folder / "postgres.password", lost / "postgres.password")
        return lost

    async def start_what_ended(self) -> None:
        """Start again what ended by itself, as on a full disk, and return once both servers answer."""
        for number, server in self._servers.items():
            while not await _answers(self.urls[number]):
                if not server.is_running:
                    await server.stop(is_crash=False)
                    await server.start()
                await asyncio.sleep(POLL_SECONDS)

    async def add_standby(self, *, is_synchronous: bool = True) -> None:
        """Make the folder of the other server a standby of the primary."""
        await in_thread(self._add_standby, is_synchronous)

    def _add_standby(self, is_synchronous: bool) -> None:
        other = 1 - self._primary
        source, folder = self._folders[self._primary], self._folders[other]
        # Its processes end a while after the one that was killed, and the lock is theirs, too.
        with server_lock(folder / "postgres.lock", "PostgreSQL"):
            if (folder / "postgres").exists():
                shutil.rmtree(folder / "postgres")
        shutil.copy(source / "postgres.password", folder / "postgres.password")
        subprocess.run(
            [
                *(str(postgres_binaries() / "pg_basebackup"), "-D", str(folder / "postgres"), "-R", "-X", "stream"),
                *("--checkpoint=fast", "--no-sync", "-d", self._followed_by),
            ],
            check=True,
            capture_output=True,
        )
        names = "*" if is_synchronous else ""
        with (folder / "postgres" / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"{SYNCHRONOUS} = '{names}'\n")
        self._servers[other] = self._start(other)
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(f"ALTER SYSTEM SET {SYNCHRONOUS} = '{names}'")
            conn.execute("SELECT pg_reload_conf()")

    @property
    def _followed_by(self) -> str:
        """The primary, as a standby reaches it."""
        return self.url if self.line is None else make_conninfo(self.url, host="127.0.0.1", port=self.line.port)

    def _start(self, number: int) -> Restartable:
        return self._start_in(self._folders[number])

    def _start_in(self, folder: Path) -> Restartable:
        return Restartable(partial(postgres, folder, settings={**KEPT, **self._settings}, bin_dir=self._bin_dir))

    def close(self) -> None:
        """Stop both."""
        for server in self._servers.values():
            server.__exit__()


@contextmanager
def pair(directory: Path, settings: Mapping[str, str], bin_dir: Path | None = None) -> Iterator[Pair]:
    """A primary alone, with fsync on; `add_standby` makes it a pair. `bin_dir` is of other programs than usual."""
    servers = Pair(directory, settings, bin_dir)
    try:
        yield servers
    finally:
        servers.close()


async def _answers(url: str) -> bool:
    with suppress(psycopg.OperationalError):
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=5):
            return True
    return False


def multi_host(urls: list[str]) -> str:
    """One URL of several servers, for whichever of them takes writes."""
    parts = [conninfo_to_dict(url) for url in urls]
    common = {key: value for key, value in parts[0].items() if key not in {"host", "port", "dbname"}}
    places = {key: ",".join(str(each[key]) for each in parts) for key in ("host", "port")}
    chosen = common | places | {"target_session_attrs": "read-write"}
    return f"postgresql:///{parts[0]['dbname']}?{urlencode(chosen, quote_via=quote)}"
