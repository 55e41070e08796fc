"""docs/security.md, Changing secrets: of PostgreSQL. What was replaced is refused then, what replaced it is taken."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from registry.database import Registry
from registry.database.connection import connect_blocking
from registry.errors import Unavailable
from tests.support.commandline import CommandLine
from tests.support.nats.certificates import CertificateAuthority
from tests.support.postgres.tls import BY_CERTIFICATE, BY_PASSWORD, PASSWORD, TlsServer, tls_server
from tests.support.roles.cluster import as_login, connect, create_roles, login, migrated
from tests.support.services import wait_until
from tests.support.world import World

ENDED = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND pid <> pg_backend_pid()"


@pytest.fixture(scope="module")
def running() -> Iterator[TlsServer]:
    with tls_server() as server:
        yield server


@pytest.fixture
def server(running: TlsServer, tmp_path: Path) -> Iterator[TlsServer]:
    """It, which has afterwards what it had before."""
    names = ("server.crt", "server.key", "root.crt")
    certificate, key, authority = copied(tmp_path / "kept", *[running.folder / "postgres" / name for name in names])
    yield running
    running.install(server_crt=certificate, server_key=key, root_crt=authority)
    with running.as_administrator() as conn:
        conn.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(BY_PASSWORD), PASSWORD))


def refusal(url: str) -> str:
    """Why nobody gets in there, empty where one does."""
    try:
        with connect_blocking(url) as conn:
            conn.execute("SELECT 1")
    except Unavailable as error:
        return str(error)
    return ""


def copied(folder: Path, *files: Path) -> list[Path]:
    """What somebody has who took a copy of them."""
    folder.mkdir()
    return [Path(shutil.copy2(file, folder)) for file in files]


async def test_of_a_password_that_leaked_sessions_end_and_a_service_goes_on_with_the_new_one(
    world: World, server: TlsServer, tmp_path: Path
) -> None:
    url = server.verified(BY_PASSWORD, passfile=server.passfile(PASSWORD))
    (leaked,) = copied(tmp_path / "leaked", server.passfile(PASSWORD))
    theirs = server.verified(BY_PASSWORD, passfile=leaked)
    there = world.at(database=url)
    async with there.relay(), there.applier():
        there.write(1)
        await there.assert_exactly_once()
        with connect_blocking(theirs) as stolen:
            # when
            with server.as_administrator() as conn:
                conn.execute(sql.SQL("ALTER ROLE {} PASSWORD 'another'").format(sql.Identifier(BY_PASSWORD)))
                server.passfile("another")
                assert stolen.execute("SELECT 1").fetchone() == (1,), "sessions stay"
                conn.execute(ENDED, [BY_PASSWORD])

            # then
            with pytest.raises(psycopg.OperationalError):
                stolen.execute("SELECT 1")
        assert "password authentication failed" in refusal(theirs)
        async with Registry.connect(url) as registry:
            await registry.register_project("later", "git@github.com:o/later.git")
        await there.assert_exactly_once()


def test_a_client_certificate_is_replaced_and_the_former_one_revoked(server: TlsServer, tmp_path: Path) -> None:
    files = server.authority.sign(BY_CERTIFICATE)
    url = server.verified(BY_CERTIFICATE, sslcert=files[0], sslkey=files[1])
    former, former_key = copied(tmp_path / "former", *files)
    theirs = server.verified(BY_CERTIFICATE, sslcert=former, sslkey=former_key)
    assert refusal(theirs) == ""

    server.authority.sign(BY_CERTIFICATE)  # in place of both files
    assert refusal(theirs) == "", "an authority vouches for all that it signed"
    server.install(root_crl=server.authority.revoke(former))

    wait_until(lambda: refusal(theirs) != "", seconds=60)
    assert "certificate" in refusal(theirs)
    assert refusal(url) == ""


def test_a_certificate_of_the_server_is_replaced_and_clients_go_on(server: TlsServer) -> None:
    url = server.verified(BY_PASSWORD, passfile=server.passfile(PASSWORD))
    with connect_blocking(url) as connected:
        certificate, key = server.authority.sign("server")
        server.install(server_crt=certificate, server_key=key)

        wait_until(lambda: server.shown() == ssl.PEM_cert_to_DER_cert(certificate.read_text()), seconds=60)
        assert refusal(url) == ""
        assert connected.execute("SELECT 1").fetchone() == (1,), "who is connected stays"


def test_a_new_authority_is_brought_in_beside_the_former_one_which_goes_last(server: TlsServer, tmp_path: Path) -> None:
    trusted = tmp_path / "registry-ca.pem"
    trusted.write_bytes(server.authority.certificate.read_bytes())
    url = server.verified(BY_PASSWORD, passfile=server.passfile(PASSWORD), sslrootcert=trusted)
    former = copied(tmp_path / "former", server.folder / "postgres/server.crt", server.folder / "postgres/server.key")
    new = CertificateAuthority(tmp_path / "new")
    certificate, key = new.sign("server")

    trusted.write_bytes(server.authority.certificate.read_bytes() + new.certificate.read_bytes())
    assert refusal(url) == ""
    server.install(server_crt=certificate, server_key=key, root_crt=new.certificate)
    wait_until(lambda: server.shown() == ssl.PEM_cert_to_DER_cert(certificate.read_text()), seconds=60)
    assert refusal(url) == ""
    trusted.write_bytes(new.certificate.read_bytes())
    assert refusal(url) == ""

    # who has the former key is not taken for the server, nor a client of the former authority for one
    old_certificate, old_key = server.authority.sign(BY_CERTIFICATE)
    assert refusal(server.verified(BY_CERTIFICATE, sslcert=old_certificate, sslkey=old_key, sslrootcert=trusted)) != ""
    server.install(server_crt=former[0], server_key=former[1])
    wait_until(lambda: "certificate verify failed" in refusal(url), seconds=60)


def test_of_a_login_that_left_nothing_is_left(cluster: str, cli: CommandLine) -> None:
    create_roles(cluster)
    with migrated(cluster) as (as_owner, as_superuser), login(cluster) as stays, login(cluster) as flume:
        assert cli("roles", "setup", "--database-url", as_owner).code == 0
        for member in (stays, flume):
            assert cli("roles", "grant", "writer", member.name, "--database-url", as_superuser).code == 0
        with connect(as_login(as_owner, flume)) as session, connect(as_superuser) as admin:
            session.execute("SELECT register_project('p', 'git@github.com:o/p.git')")

            # when
            assert cli("roles", "revoke", "writer", flume.name, "--database-url", as_superuser).code == 0
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("SELECT FROM projects")
            admin.execute(ENDED, [flume.name])
            with pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 1")
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(flume.name)))

            # then
            with pytest.raises(psycopg.OperationalError):
                connect(as_login(as_owner, flume))
            with connect(as_login(as_owner, stays)) as conn:
                assert conn.execute("SELECT name FROM projects").fetchall() == [("p",)]
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(flume.name)))  # `login` drops both
        assert cli("roles", "revoke", "writer", stays.name, "--database-url", as_superuser).code == 0
