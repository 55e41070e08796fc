"""The nats-servers of docs/high-availability.md, as they stand there: a cluster, and nobody else is a route of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import nats.errors
import nats.js.errors
import pytest
from nats.aio.subscription import Subscription
from nats.js.api import StreamInfo

from registry.broker.connection import connect_nats
from registry.client import Access
from registry.errors import Unavailable
from tests.support.nats.certificates import CertificateAuthority
from tests.support.nats.of_the_page import PASSWORD, SUBJECT, Nodes, answers_plain, foreign, speaking
from tests.support.threads import in_thread


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


async def test_the_nats_servers_of_the_example_are_a_cluster(nodes: Nodes) -> None:
    made = await whole(nodes)
    assert made.cluster is not None
    assert {made.cluster.leader, *(one.name for one in made.cluster.replicas or [])} == {*nodes.ports}


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_they_take_nobody_without_a_password(nodes: Nodes, scheme: str) -> None:
    url = nodes.url("nats-1").replace("tls://", f"{scheme}://")
    nobody = Access(tls_ca=nodes.authority.certificate)
    guessing = nodes.access(nats_password_file=None, nats_password="guessed")  # noqa: S106  # of a test
    for access in (nobody, guessing):
        with pytest.raises(Unavailable):
            async with connect_nats(url, "test", access, reconnect=False):
                pass


async def test_they_take_no_password_without_tls(nodes: Nodes) -> None:
    assert not await in_thread(answers_plain, nodes.port("nats-1"), PASSWORD)
    with foreign(nodes, None) as server:  # which asks for neither
        assert await in_thread(answers_plain, server.port, PASSWORD)


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
            async with speaking(server), asyncio.timeout(60):
                while nodes.refusals() < before + 2 * len(nodes.ports):
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

    # the new authority alone: a route that stands stays one
    with foreign(nodes, leaked) as server:
        async with speaking(server):
            await heard_of_it(nodes)
            for name in nodes.ports:
                nodes.trust(name, new)
                await in_thread(nodes.reload, name)
                assert nodes.shown(name, *leaked) == (shows_one_of(name), False)
                assert nodes.shown(name, *fresh) == (shows_one_of(name), True)
            await told(b"the new authority")
            await heard_of_it(nodes)

            # a server after the other is started again: routes are made anew, and one of before stands nowhere
            for name in nodes.ports:
                await in_thread(nodes.stop, name)
                await in_thread(nodes.start, name)
                assert (await whole(nodes)).state.messages == 3
            before = nodes.refusals()
            async with listening(nodes) as heard, asyncio.timeout(60):
                while nodes.refusals() < before + 2 * len(nodes.ports):
                    assert [one.pending_msgs for one in heard] == [0, 0, 0], "it is a route"
                    await asyncio.sleep(0.05)


@asynccontextmanager
async def listening(nodes: Nodes) -> AsyncIterator[list[Subscription]]:
    """Somebody hears, on each of them, what is said from now on."""
    async with AsyncExitStack() as stack:
        heard = []
        for name in nodes.ports:
            client = await stack.enter_async_context(nodes.client(name))
            heard.append(await client.subscribe(SUBJECT))
            await client.flush()
        yield heard


async def heard_of_it(nodes: Nodes) -> None:
    """Wait until what is forged is heard on each of them."""
    async with listening(nodes) as heard:
        for one in heard:
            assert (await one.next_msg(60)).data == b"forged"
