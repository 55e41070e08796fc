"""The nats-servers of docs/high-availability.md, as they stand there, and one of somebody else who would be a route."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from nats.aio.client import Client

from publisher.settings import load
from registry.broker.connection import connect_nats
from registry.client import Access
from tests.support.documents.pages import blocks, services_of
from tests.support.nats.certificates import CertificateAuthority
from tests.support.nats.process import NatsProcess, free_port
from tests.support.nats.reading import connected
from tests.support.services import wait_until

PAGE = "high-availability.md"
SUBJECT = "imi.evt.v1.project.updated.-"
PASSWORD = "s3cret-of-nats"  # noqa: S105  # of a test
REFUSED = "TLS route handshake error"
RELOADED = "Reloaded server configuration"


class Nodes:
    """The three, on loopback; each has a folder of its own, with what the page calls /etc/imi in it."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.routes = CertificateAuthority(folder / "ca"), CertificateAuthority(folder / "routes-ca")
        self.ports = {f"nats-{number}": free_port() for number in (1, 2, 3)}
        self.folder, self.trusted = folder, folder / "trusted.pem"
        self._nodes: dict[str, NatsProcess] = {}
        for name in self.ports:
            (folder / name / "etc").mkdir(parents=True)
            (folder / name / "nats.conf").write_text(configuration(name, self.ports, folder / name))
            certificate, key = self.authority.sign(name)
            self.install(name, **{"nats.pem": certificate, "nats-key.pem": key, "ca.pem": self.authority.certificate})
            self.certify(name, self.routes)
            self.trust(name, self.routes)
            (folder / name / "etc" / "nats.password").write_text(PASSWORD)
            (folder / name / "etc" / "nats.password").chmod(0o600)
            self._nodes[name] = NatsProcess(folder / name / "nats.conf", folder / name)

    def install(self, machine: str, **files: Path) -> None:
        """Put files in place of those of these names on a machine, as a whole each."""
        for name, source in files.items():
            fresh = Path(shutil.copy(source, self.folder / machine / "etc" / f"{name}.new"))
            fresh.replace(fresh.with_suffix(""))

    def certify(self, machine: str, authority: CertificateAuthority) -> None:
        """Give it a new certificate for its routes."""
        certificate, key = authority.sign(f"route-of-{machine}")
        self.install(machine, **{"route.pem": certificate, "route-key.pem": key})

    def trust(self, machine: str, *authorities: CertificateAuthority) -> None:
        """Let it take routes that these vouch for."""
        self.trusted.write_text("".join(one.certificate.read_text() for one in authorities))
        self.install(machine, **{"routes-ca.pem": self.trusted})

    def start(self, name: str) -> None:
        """Start one."""
        self._nodes[name].start()

    def stop(self, name: str) -> None:
        """Stop one in order."""
        self._nodes[name].stop()

    def end(self) -> None:
        """End all."""
        for node in self._nodes.values():
            node.end()

    def reload(self, name: str) -> None:
        """Let one read its configuration, and the files that it names, again."""
        node = self._nodes[name]
        before = node.log().count(RELOADED)
        node.signal(signal.SIGHUP)
        wait_until(lambda: node.log().count(RELOADED) > before)

    def refusals(self) -> int:
        """How many routes were refused so far, of all."""
        return sum(node.log().count(REFUSED) for node in self._nodes.values())

    def access(self, **changed: object) -> Access:
        """Who `serve` is with the settings of the page, on the first machine."""
        etc = str(self.folder / "nats-1" / "etc")
        given = {name: value.replace("/etc/imi", etc) for name, value in services_of(PAGE).items()}
        named = {name.removeprefix("IMI_").lower(): value for name, value in given.items() if "IMI_NATS" in name}
        return load(**named | changed).nats_access

    def url(self, name: str) -> str:
        """Where one is reached by clients."""
        return self._nodes[name].url(scheme="tls")

    def port(self, name: str) -> int:
        """Where one listens to clients."""
        return self._nodes[name].port

    def client(self, name: str = "nats-1") -> AbstractAsyncContextManager[Client]:
        """Somebody who has what the page gives to `serve`, connected to one of them."""
        return connect_nats(self.url(name), "test", self.access(), reconnect=False)

    def shown(self, name: str, certificate: Path, key: Path) -> tuple[bytes, bool]:
        """What certificate one shows to who would be a route, in DER form; and whether it takes the one it is shown."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(certificate, key)
        with (
            socket.create_connection(("127.0.0.1", self.ports[name]), timeout=20) as plain,
            context.wrap_socket(plain) as secured,
        ):
            theirs = secured.getpeercert(binary_form=True) or b""
            with suppress(ssl.SSLError, ConnectionError):  # an alert, or the end
                return theirs, secured.recv(4) == b"INFO"
        return theirs, False


def answers_plain(port: int, password: str) -> bool:
    """Whether a nats-server answers to a user who says this password without TLS."""
    said = json.dumps({"user": "imi", "pass": password, "verbose": False, "lang": "test", "version": "1"})
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain, suppress(ConnectionError):
        plain.sendall(f"CONNECT {said}\r\nPING\r\n".encode())
        while b"PONG" not in heard and (data := plain.recv(4096)):
            heard += data
    assert heard.startswith(b"INFO"), heard
    return b"PONG" in heard


def configuration(name: str, ports: dict[str, int], folder: Path) -> str:
    """What the page gives to the nats-server `name`; each listens to the others on loopback, at its port."""
    (text,) = blocks(PAGE, "conf")
    names = dict(zip(ports, [name, *(other for other in ports if other != name)], strict=True))
    text = re.sub("nats-[0-9]", lambda found: names[found[0]], text).replace("0.0.0.0:6222", f"{name}:6222")
    text = re.sub("(nats-[0-9]):6222", lambda found: f"127.0.0.1:{ports[found[1]]}", text)
    text = text.replace("/var/lib/nats", f"{folder}/nats").replace("/etc/imi", f"{folder}/etc")
    return f"listen: 127.0.0.1:-1\n{text}"


@contextmanager
def foreign(nodes: Nodes, files: tuple[Path, Path] | None) -> Iterator[NatsProcess]:
    """A nats-server of somebody else, without users, who would be a route to all of them; `files` is what he shows."""
    folder = nodes.folder / "foreign"
    folder.mkdir()
    places = [f"nats-route://127.0.0.1:{port}" for port in nodes.ports.values()]
    cluster: dict[str, object] = {"name": "imi", "listen": "127.0.0.1:-1", "routes": places}
    if files is not None:
        certificate, key = (str(file) for file in files)
        trusted = str(nodes.trusted)  # which is no secret
        cluster["tls"] = {"cert_file": certificate, "key_file": key, "ca_file": trusted}
    (folder / "nats.conf").write_text(json.dumps({"listen": "127.0.0.1:-1", "cluster": cluster}))
    server = NatsProcess(folder / "nats.conf", folder)
    server.start()
    try:
        yield server
    finally:
        server.end()


@asynccontextmanager
async def speaking(server: NatsProcess) -> AsyncIterator[None]:
    """Somebody on this server says something that looks like an event, again and again."""

    async def speak() -> None:
        async with connected(server.url()) as client:
            while True:
                await client.publish(SUBJECT, b"forged")
                await client.flush()
                await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(speak())
        try:
            yield
        finally:
            task.cancel()
