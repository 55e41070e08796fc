"""The nats-servers of docs/high-availability.md, as they stand there: a cluster, and nobody else is a route of it."""

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

import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client
from nats.js.api import StreamInfo

from publisher.settings import load
from registry.broker.connection import connect_nats
from registry.client import Access
from registry.errors import Unavailable
from tests.support.documents.pages import blocks, services_of
from tests.support.nats.certificates import CertificateAuthority
from tests.support.nats.process import NatsProcess, free_port
from tests.support.nats.reading import connected
from tests.support.services import wait_until
from tests.support.threads import in_thread

PAGE = "high-availability.md"
PASSWORD = "s3cret-of-nats"  # noqa: S105  # of a test
SUBJECT = "imi.evt.v1.project.updated.-"
REFUSED = "TLS route handshake error"
RELOADED = "Reloaded server configuration"


class Nodes:
    """The three, on loopback; each has a folder of its own, with what the page calls /etc/imi in it."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.routes = CertificateAuthority(folder / "ca"), CertificateAuthority(folder / "routes-ca")
        self.ports = {f"nats-{number}": free_port() for number in (1, 2, 3)}
        self.folder = folder
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
        both = self.folder / "trusted.pem"
        both.write_text("".join(one.certificate.read_text() for one in authorities))
        self.install(machine, **{"routes-ca.pem": both})

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
            with suppress(OSError):  # an alert, or the end
                return theirs, secured.recv(4) == b"INFO"
        return theirs, False


def configuration(name: str, ports: dict[str, int], folder: Path) -> str:
    """What the page gives to the nats-server `name`; each listens to the others on loopback, at its port."""
    (text,) = blocks(PAGE, "conf")
    names = dict(zip(ports, [name, *(other for other in ports if other != name)], strict=True))
    text = re.sub("nats-[0-9]", lambda found: names[found[0]], text).replace("0.0.0.0:6222", f"{name}:6222")
    text = re.sub("(nats-[0-9]):6222", lambda found: f"127.0.0.1:{ports[found[1]]}", text)
    text = text.replace("/var/lib/nats", f"{folder}/nats").replace("/etc/imi", f"{folder}/etc")
    return f"listen: 127.0.0.1:-1\n{text}"


@pytest.fixture
async def nodes(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    """They run, and have a stream on all three."""
    monkeypatch.setenv("NATS_PASSWORD", PASSWORD)
    found = Nodes(state_dir)
    try:
        for name in found.ports:
            await in_thread(found.start, name)
        await whole(found)
        yield found
    finally:
        found.end()


async def whole(nodes: Nodes) -> StreamInfo:
    """The stream S, made where it is not there yet, once all three have all of it."""
    async with nodes.client() as client, asyncio.timeout(60):
        jetstream = client.jetstream(timeout=2)
        while True:
            with suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError):
                found = await jetstream.add_stream(name="S", subjects=["s"], num_replicas=len(nodes.ports))
                others = found.cluster.replicas or [] if found.cluster is not None else []
                if len(others) == len(nodes.ports) - 1 and all(one.current and not one.offline for one in others):
                    return found
            await asyncio.sleep(0.1)


@contextmanager
def foreign(nodes: Nodes, files: tuple[Path, Path] | None) -> Iterator[NatsProcess]:
    """A nats-server of somebody else, without users, who would be a route to all of them; `files` is what he shows."""
    folder = nodes.folder / "foreign"
    folder.mkdir()
    places = [f"nats-route://127.0.0.1:{port}" for port in nodes.ports.values()]
    cluster: dict[str, object] = {"name": "imi", "listen": "127.0.0.1:-1", "routes": places}
    if files is not None:
        certificate, key = (str(file) for file in files)
        trusted = str(nodes.routes.certificate)  # which is no secret
        cluster["tls"] = {"cert_file": certificate, "key_file": key, "ca_file": trusted}
    (folder / "nats.conf").write_text(json.dumps({"listen": "127.0.0.1:-1", "cluster": cluster}))
    server = NatsProcess(folder / "nats.conf", folder)
    server.start()
    try:
        yield server
    finally:
        server.end()


@asynccontextmanager
async def speaking(server: NatsProcess) -> AsyncIterator[asyncio.Task[None]]:
    """Somebody on this server says something that looks like an event, again and again."""

    async def speak() -> None:
        async with connected(server.url()) as client:
            while True:
                await client.publish(SUBJECT, b"forged")
                await client.flush()
                await asyncio.sleep(0.05)

    task = asyncio.create_task(speak())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_the_nats_servers_of_the_example_are_a_cluster(nodes: Nodes) -> None:
    made = await whole(nodes)
    assert made.cluster is not None
    assert {made.cluster.leader, *(one.name for one in made.cluster.replicas or [])} == {*nodes.ports}


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_they_take_nobody_without_a_password_or_tls(nodes: Nodes, scheme: str) -> None:
    url = nodes.url("nats-1").replace("tls://", f"{scheme}://")
    nobody = Access(tls_ca=nodes.authority.certificate)
    guessing = nodes.access(nats_password_file=None, nats_password="guessed")  # noqa: S106  # of a test
    for access in (nobody, guessing):
        with pytest.raises(Unavailable):
            async with connect_nats(url, "test", access, reconnect=False):
                pass
    with pytest.raises(Unavailable):
        async with connect_nats(url.replace("tls://", "nats://"), "test", Access(), reconnect=False):
            pass


@pytest.mark.parametrize("who", ["without TLS", "of the servers' authority", "of an authority of his own"])
async def test_a_node_without_a_certificate_for_routes_is_refused_as_one(nodes: Nodes, who: str) -> None:
    files = None
    if who == "of the servers' authority":
        files = nodes.authority.sign("foreign")
    elif who == "of an authority of his own":
        files = CertificateAuthority(nodes.folder / "theirs").sign("foreign")
    before = nodes.refusals()
    async with nodes.client() as ours:
        heard = await ours.subscribe(SUBJECT)
        await ours.flush()
        with foreign(nodes, files) as server:
            async with speaking(server) as task, asyncio.timeout(60):
                while nodes.refusals() < before + 2 * len(nodes.ports):
                    assert not task.done()
                    assert heard.pending_msgs == 0, "it is a route"
                    await asyncio.sleep(0.05)
        async with nodes.client("nats-2") as other:
            await other.publish(SUBJECT, b"ours")
        assert (await heard.next_msg(20)).data == b"ours"


async def test_a_node_with_one_speaks_past_all_users(nodes: Nodes) -> None:
    """What the certificate is for; and that the test above would hear it."""
    async with nodes.client() as ours:
        heard = await ours.subscribe(SUBJECT)
        await ours.flush()
        with foreign(nodes, nodes.routes.sign("foreign")) as server:
            async with speaking(server):
                assert (await heard.next_msg(60)).data == b"forged"


async def test_certificates_of_routes_are_replaced_and_one_that_leaked_goes_with_its_authority(nodes: Nodes) -> None:
    """docs/security.md, Changing secrets."""
    leaked = nodes.routes.sign("leaked")
    new = CertificateAuthority(nodes.folder / "new-ca")
    fresh = new.sign("fresh")

    async def told(data: bytes) -> None:
        async with nodes.client("nats-3") as client, asyncio.timeout(60):
            await client.jetstream(timeout=20).publish("s", data)

    def shows_one_of(name: str) -> bytes:
        return ssl.PEM_cert_to_DER_cert((nodes.folder / name / "etc" / "route.pem").read_text())

    # both authorities, a server after the other
    for name in nodes.ports:
        nodes.trust(name, nodes.routes, new)
        await in_thread(nodes.reload, name)
        assert nodes.shown(name, *leaked) == (shows_one_of(name), True)
    await told(b"both")

    # new certificates
    for name in nodes.ports:
        nodes.certify(name, new)
        await in_thread(nodes.reload, name)
        assert nodes.shown(name, *fresh) == (shows_one_of(name), True)
    await told(b"new certificates")

    # the new authority alone
    for name in nodes.ports:
        nodes.trust(name, new)
        await in_thread(nodes.reload, name)
        assert nodes.shown(name, *leaked) == (shows_one_of(name), False)
        assert nodes.shown(name, *fresh) == (shows_one_of(name), True)
    await told(b"the new authority")

    # a server after the other is started again: routes are made anew, and one of before stands nowhere
    for name in nodes.ports:
        await in_thread(nodes.stop, name)
        await in_thread(nodes.start, name)
        assert (await whole(nodes)).state.messages == 3
