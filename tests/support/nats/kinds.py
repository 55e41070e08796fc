"""Each way in which a NATS server can know its clients: a configuration of it, and what a client shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from registry.client import Access
from tests.support.nats.certificates import CertificateAuthority
from tests.support.nats.jwt import Authority, Key, private
from tests.support.nats.process import NatsProcess, configure, nats_process

INBOX = "_INBOX_ours.of.mine"
ALLOWED = {"publish": {"allow": [">"]}, "subscribe": {"allow": [f"{INBOX}.>", "*.qry.>", "$SRV.>"]}}
"""Permissions under which an inbox of any other name is refused."""
Configuration = dict[str, Any]
Prepared = tuple[Configuration, Access]
"""Both; files of the client are in the folder that is given, and replaced when it is prepared once more."""


@cache
def authority_of(folder: Path) -> Authority:
    """The same for all that is prepared in a folder: another account would have other streams."""
    return Authority()


def of_credentials(folder: Path) -> Prepared:
    """A credentials file."""
    authority = authority_of(folder)
    authority.write_credentials(folder / "a.creds", pub={}, sub={"allow": ALLOWED["subscribe"]["allow"]})
    return authority.configuration(), Access(creds=folder / "a.creds", inbox_prefix=INBOX)


def of_nkey(folder: Path) -> Prepared:
    """A key."""
    key = Key("user")
    private(folder / "a.nk", f"{key.seed}\n")
    users = [{"nkey": key.public, "permissions": ALLOWED}]
    return {"authorization": {"users": users}}, Access(nkey=folder / "a.nk", inbox_prefix=INBOX)


def of_password(folder: Path) -> Prepared:
    """A user with a password."""
    word = Key("user").seed
    private(folder / "password", f"{word}\n")
    users = [{"user": "ada", "password": word, "permissions": ALLOWED}]
    access = Access(user="ada", password_file=folder / "password", inbox_prefix=INBOX)
    return {"authorization": {"users": users}}, access


def of_token(folder: Path) -> Prepared:
    """A token."""
    word = Key("user").seed
    private(folder / "token", word)
    return {"authorization": {"token": word}}, Access(token_file=folder / "token")


def of_certificate(folder: Path, **tls: Any) -> Prepared:
    """A certificate, of an authority of its own."""
    authority = CertificateAuthority(folder / f"ca{len(list(folder.iterdir()))}")
    server, client = authority.sign("server"), authority.sign("client")
    for name, file in {"ca": authority.certificate, "cert": client[0], "key": client[1]}.items():
        file.replace(folder / f"{name}.pem")
    files = {"cert_file": str(server[0]), "key_file": str(server[1]), "ca_file": str(folder / "ca.pem")}
    access = Access(
        tls_ca=folder / "ca.pem",
        tls_cert=folder / "cert.pem",
        tls_key=folder / "key.pem",
        tls_handshake_first=bool(tls),
    )
    return {"tls": files | {"verify": True} | tls}, access


def of_certificate_at_once(folder: Path) -> Prepared:
    """The same where TLS is before the server's first word."""
    return of_certificate(folder, handshake_first=True)


KINDS = [of_credentials, of_nkey, of_password, of_token, of_certificate, of_certificate_at_once]


@contextmanager
def server_for(state_dir: Path, configuration: Configuration) -> Iterator[NatsProcess]:
    """A server with this configuration, in a folder of its own."""
    (state_dir / "server").mkdir()
    with nats_process(state_dir / "server", **configuration) as server:
        yield server


def write_configuration(server: NatsProcess, state_dir: Path, configuration: Configuration) -> None:
    """Give a server of `server_for` another configuration, which it reads when it is told to, or starts again."""
    folder = state_dir / "server"
    configure(folder / "nats.conf", port=server.port, store=folder / "nats", **configuration)


def restart_with(server: NatsProcess, state_dir: Path, configuration: Configuration) -> None:
    """Start a server of `server_for` again, with another configuration."""
    server.stop()
    write_configuration(server, state_dir, configuration)
    server.start()
