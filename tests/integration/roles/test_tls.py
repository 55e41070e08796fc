"""PostgreSQL behind TLS: who the server is, who the client is, and where passwords come from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from registry.database import Registry
from registry.database.connection import connect_blocking
from registry.errors import Unavailable
from tests.support.commandline import CommandLine
from tests.support.nats.certificates import CertificateAuthority
from tests.support.postgres.tls import BY_CERTIFICATE, BY_PASSWORD, PASSWORD, TlsServer, tls_server
from tests.support.world import World


@pytest.fixture(scope="module")
def server() -> Iterator[TlsServer]:
    with tls_server() as running:
        yield running


def is_encrypted(url: str) -> bool:
    with connect_blocking(url) as conn:
        return conn.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)


async def test_a_service_works_over_tls_with_a_password_from_a_file(world: World, server: TlsServer) -> None:
    url = server.verified(BY_PASSWORD, passfile=server.passfile(PASSWORD))
    assert is_encrypted(url)
    there = world.at(database=url)
    async with there.relay(), there.applier(), there.queries():
        async with Registry.connect(url) as registry:
            await registry.register_project("a", "git@github.com:o/a.git")
        await there.assert_exactly_once()
        with server.as_administrator() as conn:
            plain = conn.execute(
                "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = %s AND NOT ssl",
                [BY_PASSWORD],
            ).fetchone()
            assert plain == (0,)
            conn.execute("TRUNCATE projects CASCADE")


def test_a_password_from_the_file_that_the_environment_names(
    server: TlsServer, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(server.passfile(PASSWORD)))
    done = cli("stats", "--json", "--database-url", server.verified(BY_PASSWORD))
    assert done.json


def test_a_password_that_is_changed_counts_from_the_next_connection_on(server: TlsServer) -> None:
    url = server.verified(BY_PASSWORD, passfile=server.passfile(PASSWORD))
    with connect_blocking(url) as open_one, server.as_administrator() as conn:
        conn.execute(f"ALTER ROLE {BY_PASSWORD} PASSWORD 'another'".encode())
        with pytest.raises(Unavailable, match="password authentication failed"), connect_blocking(url):
            pass
        server.passfile("another")
        assert is_encrypted(url)
        assert open_one.execute("SELECT 1").fetchone() == (1,), "what is connected stays"
        conn.execute(sql.SQL("ALTER ROLE by_password PASSWORD {}").format(PASSWORD))


def test_a_client_certificate_in_place_of_a_password(server: TlsServer, cli: CommandLine) -> None:
    certificate, key = server.authority.sign(BY_CERTIFICATE)
    url = server.verified(BY_CERTIFICATE, sslcert=certificate, sslkey=key)
    assert is_encrypted(url)
    assert cli("project", "list", "--database-url", url).code == 0


def test_a_certificate_of_another_user_or_of_nobody_we_trust_is_refused(server: TlsServer, tmp_path: Path) -> None:
    other, other_key = server.authority.sign("somebody-else")
    forged, forged_key = CertificateAuthority(tmp_path / "forged").sign(BY_CERTIFICATE)
    for certificate, key in ((other, other_key), (forged, forged_key)):
        url = server.verified(BY_CERTIFICATE, sslcert=certificate, sslkey=key)
        with pytest.raises(Unavailable), connect_blocking(url):
            pass
    with pytest.raises(Unavailable), connect_blocking(server.verified(BY_CERTIFICATE)):
        pass


def test_a_server_of_another_authority_or_name_gets_no_password(
    server: TlsServer, cli: CommandLine, tmp_path: Path
) -> None:
    passfile = server.passfile(PASSWORD)
    stranger = CertificateAuthority(tmp_path / "stranger").certificate
    for url, told in (
        (server.verified(BY_PASSWORD, passfile=passfile, sslrootcert=stranger), "certificate verify failed"),
        (
            server.url(
                BY_PASSWORD,
                "db.example.com",
                passfile=passfile,
                sslmode="verify-full",
                sslrootcert=server.authority.certificate,
            ),
            "does not match host name",
        ),
    ):
        refused = cli("stats", "--database-url", url)
        assert refused.code == 3
        assert told in refused.err
        assert PASSWORD not in refused.err + refused.out


def test_without_tls_the_server_takes_nobody(server: TlsServer, cli: CommandLine) -> None:
    refused = cli(
        "stats", "--database-url", server.url(BY_PASSWORD, sslmode="disable", passfile=server.passfile(PASSWORD))
    )
    assert refused.code == 3
    assert "no encryption" in refused.err


def test_a_file_with_passwords_that_others_may_read_is_not_used(server: TlsServer, cli: CommandLine) -> None:
    passfile = server.passfile(PASSWORD)
    passfile.chmod(0o644)
    refused = cli("stats", "--database-url", server.verified(BY_PASSWORD, passfile=passfile))
    assert refused.code == 3
    assert "no password supplied" in refused.err
    passfile.chmod(0o600)
