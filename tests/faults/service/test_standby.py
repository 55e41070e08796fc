"""A standby as docs/high-availability.md makes it, by the very lines of the page: over TLS, with a login of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from publisher.embedded.account import account
from publisher.embedded.postgres import DATABASE, postgres
from publisher.embedded.process import GUARD
from registry.database import migrate
from tests.support.documents.pages import blocks, services_of, settings_in
from tests.support.nats.certificates import CertificateAuthority
from tests.support.postgres.tls import binaries_with_tls, over_tcp
from tests.support.servers.replicas import SYNCHRONOUS
from tests.support.services import scratch_directory, wait_until

PAGE = "high-availability.md"
LOGIN, PASSWORD, NEW_PASSWORD = "imi_standby", "s3cret pass", "another pass"
SETTINGS, TLS = blocks(PAGE, "ini")
MAKE_LOGIN, PROMOTE, _ = blocks(PAGE, "sql")
IN_RECOVERY = "SELECT pg_is_in_recovery();"
(LET_IN,) = blocks(PAGE, "text")
COMMANDS = blocks(PAGE, "console")[0].replace("$ ", "")
FOLLOWING = """
SELECT replication.usename, replication.state, replication.sync_state, tls.ssl
FROM pg_stat_replication AS replication JOIN pg_stat_ssl AS tls USING (pid)
"""
ENDED = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE usename = %s"


class Machines:
    """Two of them, each with a folder for PostgreSQL; `folder`/etc is what the page calls /etc/imi, of both."""

    def __init__(self, folder: Path) -> None:
        self.binaries = binaries_with_tls()
        self.etc = folder / "etc"
        self.folders = {"db-1": folder / "db-1", "db-2": folder / "db-2"}
        self.ports: dict[str, int] = {}
        self._running: dict[str, ExitStack] = {}
        for place in (self.etc, *self.folders.values(), *(one / "run" for one in self.folders.values())):
            place.mkdir()
        authority = CertificateAuthority(folder / "ca")
        certificate, key = authority.sign("db")
        given = {"ca.pem": authority.certificate, "db.pem": certificate, "db-key.pem": key}
        for name, source in given.items():
            shutil.copy(source, self.etc / name)
        (self.etc / "db-key.pem").chmod(0o600)
        self._runner, _ = account(folder, self.binaries, GUARD)
        self.keep_password(PASSWORD)
        self._runner.own(self.etc)

    def keep_password(self, password: str) -> Path:
        """Put the standby's password into its file, which is replaced as a whole."""
        fresh = self.etc / "fresh"
        fresh.mkdir(exist_ok=True)
        (fresh / "standby.pgpass").write_text(f"*:*:replication:{LOGIN}:{password}\n")
        (fresh / "standby.pgpass").chmod(0o600)
        self._runner.own(fresh)
        return (fresh / "standby.pgpass").replace(self.etc / "standby.pgpass")

    def settings(self) -> dict[str, str]:
        """What the page sets on both, but for the standbys that are waited for."""
        found = settings_in(SETTINGS) | settings_in(TLS.replace("/etc/imi", str(self.etc)))
        assert found.pop(SYNCHRONOUS) == "*"
        return found

    def start(self, name: str) -> None:
        """Start the PostgreSQL of a machine."""
        stack = self._running[name] = ExitStack()
        self.ports[name] = stack.enter_context(over_tcp(self.folders[name], self.binaries, self.settings()))

    def lose(self, name: str) -> None:
        """End it for good: its data is gone."""
        self._running.pop(name).close()
        shutil.rmtree(self.folders[name] / "postgres")

    def close(self) -> None:
        """End both."""
        for stack in self._running.values():
            stack.close()

    def administrator(self, name: str) -> psycopg.Connection[tuple[object, ...]]:
        """A superuser's connection, by the socket."""
        folder, port = self.folders[name] / "run", self.ports[name]
        return psycopg.connect(host=str(folder), port=port, user="imi", dbname=DATABASE, autocommit=True)

    def address(self, name: str) -> str:
        """How others reach a machine; its certificate is for localhost."""
        return f"host=localhost hostaddr=127.0.0.1 port={self.ports[name]}"

    def registry(self, *names: str) -> str:
        """What the page gives to `serve`, with these machines in the place of the page's."""
        url = services_of(PAGE)["DATABASE_URL"].replace("/etc/imi", str(self.etc))
        ports = ",".join(str(self.ports[name]) for name in names)
        hosts = [",".join([host] * len(names)) for host in ("localhost", "127.0.0.1")]
        return re.sub("host=db-1,db-2", f"host={hosts[0]}&hostaddr={hosts[1]}&port={ports}", url)

    def primary(self, name: str) -> str:
        """What the page calls `PRIMARY`, with a machine in the place of the page's."""
        (line,) = [line for line in COMMANDS.splitlines() if line.startswith("PRIMARY=")]
        text = line.removeprefix("PRIMARY=").strip('"').replace("/etc/imi", str(self.etc))
        return text.replace("host=db-1", self.address(name))

    def follow(self, name: str, primary: str) -> None:
        """Make a machine a standby of the other one by the page's commands, and start it."""
        text = COMMANDS.replace("/etc/imi", str(self.etc)).replace("host=db-1", self.address(primary))
        variables = {"PATH": f"{self.binaries}:/usr/bin:/bin", "PGDATA": str(self.folders[name] / "postgres")}
        done = subprocess.run(["sh", "-ec", text], env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self.start(name)
        with self.administrator(primary) as conn:
            wait_until(lambda: conn.execute(FOLLOWING).fetchall() == [(LOGIN, "streaming", "async", True)], 60)
            conn.execute(f"ALTER SYSTEM SET {SYNCHRONOUS} = '*'".encode())
            conn.execute("SELECT pg_reload_conf()")
            wait_until(lambda: conn.execute(FOLLOWING).fetchall() == [(LOGIN, "streaming", "sync", True)], 60)


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """A primary with a registry, and nothing on the other machine."""
    with scratch_directory() as folder:
        found = Machines(folder)
        with postgres(found.folders["db-1"], bin_dir=found.binaries) as server, psycopg.connect(server.url) as conn:
            migrate.apply(conn)
        hba = found.folders["db-1"] / "postgres" / "pg_hba.conf"
        hba.write_text("local all all trust\n" + LET_IN.replace("10.0.0.0/24", "127.0.0.1/32"))
        found.start("db-1")
        try:
            with found.administrator("db-1") as conn:
                conn.execute(MAKE_LOGIN.encode())
                conn.pgconn.change_password(LOGIN.encode(), PASSWORD.encode())
            yield found
        finally:
            found.close()


REFUSED = {
    "without TLS": ({"sslmode": "disable"}, "no pg_hba.conf entry for replication connection .* no encryption"),
    "another server's certificate": ({"sslrootcert": "/etc/imi/db.pem"}, "certificate verify failed"),
    "a certificate of another name": ({"host": "db-9"}, 'does not match host name "db-9"'),
    "to read the registry": ({"replication": "false", "dbname": DATABASE}, "no pg_hba.conf entry for host"),
    "by another login": ({"user": "imi"}, 'no pg_hba.conf entry for replication connection .* user "imi"'),
    "by another password": ({"password": "guessed"}, "password authentication failed"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_login_of_a_standby_is_let_in_for_nothing_else(machines: Machines, what: str) -> None:
    changed, told = REFUSED[what]
    changed = {name: value.replace("/etc/imi", str(machines.etc)) for name, value in changed.items()}
    primary = make_conninfo(machines.primary("db-1"), replication="true", dbname="replication")
    psycopg.connect(primary, autocommit=True).close()

    with pytest.raises(psycopg.OperationalError, match=told):
        psycopg.connect(make_conninfo(primary, **changed), autocommit=True)


def registered(machines: Machines, name: str, project: str) -> None:
    """Commit a change on the primary, which waits until the standby has it."""
    with machines.administrator(name) as conn:
        conn.execute("SELECT register_project(%s, %s)", [project, f"git@github.com:owner/{project}.git"])


def test_a_standby_whose_login_has_another_password_follows_on_with_it(machines: Machines, tmp_path: Path) -> None:
    """docs/security.md, Changing secrets."""
    former = shutil.copy2(machines.etc / "standby.pgpass", tmp_path)
    machines.follow("db-2", primary="db-1")
    with machines.administrator("db-1") as conn:
        # when
        conn.pgconn.change_password(LOGIN.encode(), NEW_PASSWORD.encode())
        machines.keep_password(NEW_PASSWORD)
        assert conn.execute(FOLLOWING).fetchall() == [(LOGIN, "streaming", "sync", True)], "what is connected stays"
        assert conn.execute(ENDED, [LOGIN]).fetchall() == [(True,)]

        # then
        commit = Thread(target=registered, args=(machines, "db-1", "renewed"), daemon=True)
        commit.start()
        commit.join(60)
        assert not commit.is_alive(), "it waits for a standby that stays away"
        wait_until(lambda: conn.execute(FOLLOWING).fetchall() == [(LOGIN, "streaming", "sync", True)], 60)
        theirs = make_conninfo(machines.primary("db-1"), dbname="replication", passfile=str(former))
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(make_conninfo(theirs, replication="true"))
        conn.execute("DELETE FROM projects WHERE name = 'renewed'")
        conn.execute(f"ALTER SYSTEM RESET {SYNCHRONOUS}".encode())
        conn.execute("SELECT pg_reload_conf()")
    machines.lose("db-2")


def test_the_lines_of_the_page_make_a_standby_either_way_and_services_find_the_primary(machines: Machines) -> None:
    def found(primary: str) -> None:
        """The service's URL leads to the one that takes writes, over TLS, and to no server of another authority."""
        with psycopg.connect(url := machines.registry("db-1", "db-2"), password=password) as conn:
            assert (conn.info.port, conn.info.user, conn.pgconn.ssl_in_use) == (machines.ports[primary], "imi", True)
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            psycopg.connect(make_conninfo(url, sslrootcert=str(machines.etc / "db.pem")), password=password)
        with pytest.raises(psycopg.OperationalError, match="no encryption"):
            psycopg.connect(make_conninfo(url, sslmode="disable"), password=password)

    def known(name: str) -> list[str]:
        with machines.administrator(name) as conn:
            return [str(found) for (found,) in conn.execute("SELECT name FROM projects ORDER BY created_at")]

    # a standby, and each commit waits for it
    password = (machines.folders["db-1"] / "postgres.password").read_text().strip()
    machines.follow("db-2", primary="db-1")
    registered(machines, "db-1", "before")
    found("db-1")

    # when: the primary is lost, and the machine becomes a standby of the other
    machines.lose("db-1")
    with machines.administrator("db-2") as conn:
        conn.execute(PROMOTE.encode())
        wait_until(lambda: conn.execute(IN_RECOVERY.encode()).fetchall() == [(False,)], 60)
    machines.follow("db-1", primary="db-2")
    registered(machines, "db-2", "after")

    # then
    wait_until(lambda: known("db-1") == ["before", "after"])
    found("db-2")
