"""The nats-server that deploy/nats describes, running; and what the settings of each of its users are."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from registry.client import Access, RegistryClient
from tests.support.nats.certificates import CertificateAuthority
from tests.support.nats.jwt import private
from tests.support.nats.process import NatsProcess
from tests.support.services import scratch_directory

DEPLOY = Path(__file__).parents[3] / "deploy" / "nats"


class Deployed(NamedTuple):
    """A running server with the configuration of this project."""

    url: str
    folder: Path
    authority: CertificateAuthority

    def access(self, user: str) -> dict[str, Any]:
        """What a user's settings say, each without `nats_`."""
        return {
            "user": user,
            "password_file": private(self.folder / f"{user}.password", f"word-of-{user}\n"),
            "tls_ca": self.authority.certificate,
            "inbox_prefix": "_INBOX" if user == "operator" else f"_INBOX.{user}",
        }

    def settings(self, user: str) -> dict[str, Any]:
        """The same as settings."""
        return {f"nats_{name}": value for name, value in self.access(user).items()}

    def client(self, user: str) -> Any:
        """A client of the registry as this user."""
        return RegistryClient.connect(self.url, access=Access(**self.access(user)))


@contextmanager
def deployed_server() -> Iterator[Deployed]:
    """It, with a certificate and passwords of its own, for the block."""
    with scratch_directory() as folder:
        authority = CertificateAuthority(folder / "ca")
        certificate, key = authority.sign("server")
        shutil.copy(DEPLOY / "nats.conf", folder)
        given = {
            "NATS_LISTEN": "127.0.0.1:-1",
            "NATS_STORE_DIR": folder / "nats",
            "NATS_TLS_CERT": certificate,
            "NATS_TLS_KEY": key,
        }
        example = (DEPLOY / "local.conf.example").read_text()

        def filled(match: re.Match[str]) -> str:
            name = match[1]
            word = f"word-of-{name.removesuffix('_PASSWORD').lower()}"
            return f'{name} = "{given.get(name, word if name.endswith("_PASSWORD") else match[2])}"'

        private(folder / "local.conf", re.sub(r'^(\w+) = "(.*)"$', filled, example, flags=re.MULTILINE))
        server = NatsProcess(folder / "nats.conf", folder)
        server.start()
        try:
            yield Deployed(server.url(scheme="tls"), folder, authority)
        finally:
            server.stop()
