"""PostgreSQL over TCP with TLS, passwords and client certificates, as an administrator sets it up."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import sql

from publisher.embedded.account import account
from publisher.embedded.postgres import DATABASE, postgres
from publisher.embedded.process import GUARD
from registry.authority import written
from registry.database import migrate
from tests.support.nats.certificates import CertificateAuthority
from tests.support.postgres.by_hand import server
from tests.support.postgres.postgres14 import binaries_of_14
from tests.support.services import OTHER_POSTGRES, scratch_directory

BY_PASSWORD, BY_CERTIFICATE, PASSWORD = "by_password", "by_certificate", "s3cret pass:w\\ord"
"""Logins, who own the database together; the second has no password."""
HBA = f"""
local all all trust
hostssl all {BY_CERTIFICATE} 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256
hostssl all all ::1/128 scram-sha-256
"""


class TlsServer(NamedTuple):
    """A server that takes nobody without TLS, with a registry in its database."""

    port: int
    authority: CertificateAuthority
    folder: Path

    def url(self, user: str, host: str = "localhost", **parameters: str | Path) -> str:
        """A URL of the database; `parameters` are libpq's."""
        address = {"hostaddr": "127.0.0.1"} if host not in {"127.0.0.1", "::1"} else {}
        query = "&".join(f"{name}={value}" for name, value in (address | parameters).items())
        return f"postgresql://{user}@{written(host, self.port)}/{DATABASE}?{query}"

    def verified(self, user: str, **parameters: str | Path) -> str:
        """A URL whose server must show a certificate of the authority for its name."""
        return self.url(user, **({"sslmode": "verify-full", "sslrootcert": self.authority.certificate} | parameters))

    def passfile(self, password: str) -> Path:
        """A file as `PGPASSFILE` names it; replaced as a whole when there is one."""
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        fresh = self.folder / "pgpass.new"
        fresh.write_text(f"*:*:*:{BY_PASSWORD}:{escaped}\n")
        fresh.chmod(0o600)
        return fresh.replace(self.folder / "pgpass")

    def install(self, **files: Path) -> None:
        """Put these in place of `server.crt`, `server.key`, `root.crt`, `root.crl` (`server_crt=…`), and reload it."""
        for name, source in files.items():
            installed = self.folder / "postgres" / name.replace("_", ".")
            owner = (self.folder / "postgres").stat()
            fresh = installed.with_suffix(".new")
            fresh.write_bytes(source.read_bytes())
            fresh.chmod(0o600)
            os.chown(fresh, owner.st_uid, owner.st_gid)
            fresh.replace(installed)
        with self.as_administrator() as conn:
            if "root_crl" in files:
                conn.execute("ALTER SYSTEM SET ssl_crl_file = 'root.crl'")
            conn.execute("SELECT pg_reload_conf()")

    def shown(self) -> bytes:
        """The certificate that it shows to who connects now, in DER form."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as plain:
            plain.sendall(struct.pack("!ii", 8, 80877103))  # SSLRequest
            assert plain.recv(1) == b"S"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(plain) as secured:
                return secured.getpeercert(binary_form=True) or b""

    def as_administrator(self) -> psycopg.Connection[tuple[object, ...]]:
        """A superuser's connection, by the socket."""
        return psycopg.connect(
            host=str(self.folder / "run"), port=self.port, user="imi", dbname=DATABASE, autocommit=True
        )


def binaries_with_tls() -> Path:
    """The folder of programs of a PostgreSQL with TLS; skips the test where none is to be had."""
    return OTHER_POSTGRES[-1].parent if OTHER_POSTGRES else binaries_of_14()


@contextmanager
def tls_server() -> Iterator[TlsServer]:
    """It, on loopback, for the block; skips the test where no PostgreSQL with TLS is to be had."""
    binaries = binaries_with_tls()
    with scratch_directory() as folder:
        with (
            postgres(folder, settings={"fsync": "off"}, bin_dir=binaries) as server,
            psycopg.connect(server.url) as conn,
        ):
            _prepare(conn)
        authority = CertificateAuthority(folder / "ca")
        with _over_tcp(folder, binaries, authority) as port:
            yield TlsServer(port, authority, folder)


def _prepare(conn: psycopg.Connection[tuple[object, ...]]) -> None:
    conn.execute("CREATE ROLE owner NOLOGIN")
    conn.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(BY_PASSWORD), PASSWORD))
    conn.execute(f"CREATE ROLE {BY_CERTIFICATE} LOGIN".encode())
    conn.execute(f"GRANT owner TO {BY_PASSWORD}, {BY_CERTIFICATE}".encode())
    conn.execute(f"ALTER DATABASE {DATABASE} OWNER TO owner; GRANT CREATE ON SCHEMA public TO owner".encode())
    conn.commit()
    conn.execute("SET ROLE owner")
    conn.commit()
    migrate.apply(conn)


@contextmanager
def _over_tcp(folder: Path, binaries: Path, authority: CertificateAuthority) -> Iterator[int]:
    certificate, key = authority.sign("server")
    data = folder / "postgres"
    (data / "pg_hba.conf").write_text(HBA)
    for name, source in {"server.crt": certificate, "server.key": key, "root.crt": authority.certificate}.items():
        (data / name).write_bytes(source.read_bytes())
        (data / name).chmod(0o600)
    with over_tcp(folder, binaries, {"ssl": "on", "ssl_ca_file": "root.crt", "fsync": "off"}) as port:
        yield port


@contextmanager
def over_tcp(folder: Path, binaries: Path, settings: Mapping[str, str]) -> Iterator[int]:
    """The server whose data is `folder`/postgres, on loopback; its administrator's socket is in `folder`/run."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    places = {
        "listen_addresses": "127.0.0.1,::1",
        "port": str(port),
        "unix_socket_directories": str(folder / "run"),
    }
    runner, binaries = account(folder, binaries, GUARD)
    runner.own(folder / "run", folder / "postgres")
    with server(folder, binaries, runner, places | settings, lambda: _takes_connections(folder / "postgres")):
        yield port


def _takes_connections(data: Path) -> bool:
    """Whether the server says so in its own file; it listens a while before it does."""
    file = data / "postmaster.pid"
    lines = file.read_text().split("\n") if file.exists() else []
    return len(lines) > 7 and lines[7].strip() == "ready"
