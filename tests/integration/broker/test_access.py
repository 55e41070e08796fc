"""Each way in which a NATS server can know its clients, through the service and the client; and what goes wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from registry.broker.connection import connect_nats
from registry.client import Access, RegistryClient
from registry.errors import Unavailable
from tests.support.everything import everything_works, variables
from tests.support.nats.certificates import CertificateAuthority
from tests.support.nats.jwt import Authority
from tests.support.nats.kinds import (
    KINDS,
    Prepared,
    of_certificate,
    of_certificate_at_once,
    of_password,
    restart_with,
    server_for,
    write_configuration,
)
from tests.support.nats.process import nats_process
from tests.support.world import World


@pytest.mark.parametrize("prepare", KINDS)
async def test_service_and_client_are_known_and_go_on_with_what_replaces_their_files(
    world: World, state_dir: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Path], Prepared]
) -> None:
    configuration, access = prepare(state_dir)
    for name, value in variables(access).items():
        monkeypatch.setenv(name, value)

    with server_for(state_dir, configuration) as server:
        there = world.at(nats_url=server.url())
        await everything_works(there, access)

        async with (
            RegistryClient.connect(there.nats_url, prefix=there.prefix, access=access) as client,
            there.queries(),
        ):
            # when
            renewed, _ = prepare(state_dir)
            restart_with(server, state_dir, renewed)

            # then
            await until(client.queries.stats)
        await everything_works(there, access, origin="git@github.com:a/q.git")


async def until(ask: Callable[[], Any]) -> None:
    """Wait until `ask` is answered."""
    async with asyncio.timeout(30):
        while True:
            try:
                await ask()
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_client_whose_user_is_changed_on_the_running_server_comes_back(world: World, state_dir: Path) -> None:
    configuration, access = of_password(state_dir)
    with server_for(state_dir, configuration) as server:
        async with RegistryClient.connect(server.url(), prefix=world.prefix, access=access) as client:
            renewed, _ = of_password(state_dir)
            write_configuration(server, state_dir, renewed)

            server.signal(signal.SIGHUP)  # it sends away who has the old password, for good as nats-py takes it

            async with asyncio.timeout(20):
                while client._client.stats["reconnects"] == 0:
                    await asyncio.sleep(0.01)
            with pytest.raises(Unavailable, match="nobody answers"):
                await client.queries.stats()


def of_stranger(folder: Path) -> Prepared:
    _, access = of_certificate(folder)
    other = CertificateAuthority(folder / "other")
    certificate, key = other.sign("server")
    return {"tls": {"cert_file": str(certificate), "key_file": str(key)}}, access


def of_expired_server(folder: Path) -> Prepared:
    authority = CertificateAuthority(folder / "ca")
    certificate, key = authority.sign("server", is_expired=True)
    return {"tls": {"cert_file": str(certificate), "key_file": str(key)}}, Access(tls_ca=authority.certificate)


def of_expired_client(folder: Path) -> Prepared:
    authority = CertificateAuthority(folder / "ca")
    certificate, key = authority.sign("server")
    mine, my_key = authority.sign("client", is_expired=True)
    tls = {"cert_file": str(certificate), "key_file": str(key), "ca_file": str(authority.certificate), "verify": True}
    return {"tls": tls}, Access(tls_ca=authority.certificate, tls_cert=mine, tls_key=my_key)


def of_nobody(folder: Path) -> Prepared:
    configuration, access = of_certificate(folder)
    return configuration, Access(tls_ca=access.tls_ca)


def of_system_authorities(folder: Path) -> Prepared:
    configuration, _ = of_certificate(folder)
    return configuration, Access()


def of_wrong_password(folder: Path) -> Prepared:
    configuration, _ = of_password(folder)
    return configuration, Access(user="ada", password="wrong")  # noqa: S106  # the point


def of_expired_jwt(folder: Path) -> Prepared:
    authority = Authority()
    authority.write_credentials(folder / "a.creds", datetime.now(UTC) - timedelta(hours=1))
    return authority.configuration(), Access(creds=folder / "a.creds")


def of_no_tls_at_once(folder: Path) -> Prepared:
    return {}, Access(tls_handshake_first=True)


def of_no_tls(folder: Path) -> Prepared:
    _, access = of_certificate(folder)
    return {}, access


REFUSED = [
    (of_stranger, "the server's certificate is not trusted: "),
    (of_expired_server, "the server's certificate is not trusted: certificate has expired"),
    (of_system_authorities, "the server's certificate is not trusted: .*see setting nats_tls_ca"),
    (
        of_expired_client,
        "TLS: .*bad certificate|TLS: .*expired|see nats_tls_cert",
    ),
    (of_nobody, "TLS: .*certificate required|TLS: .*bad certificate|see nats_tls_cert"),
    (of_wrong_password, "[Aa]uthorization [Vv]iolation"),
    (of_expired_jwt, r"the JWT in nats_creds \".*/a.creds\" expired at 20"),
    (of_no_tls_at_once, "TLS: .*see nats_tls_handshake_first"),
    (of_no_tls, "a URL or setting asks for TLS and the server has none: nothing was sent to it"),
]


@pytest.mark.parametrize(("prepare", "told"), REFUSED)
async def test_what_a_server_or_client_refuses_is_told_in_one_line(
    state_dir: Path, prepare: Callable[[Path], Prepared], told: str
) -> None:
    configuration, access = prepare(state_dir)
    access.check()
    with server_for(state_dir, configuration) as server:
        for reconnect in (True, False):
            with pytest.raises(Unavailable, match=told) as refused:
                async with connect_nats(server.url(), "test", access, reconnect=reconnect):
                    pass
            assert str(refused.value).startswith(f"cannot connect to NATS at nats://127.0.0.1:{server.port}: ")
            assert "\n" not in str(refused.value)


async def test_a_server_that_waits_for_tls_is_told_of(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.broker.connection.CONNECT_TIMEOUT_SECONDS", 0.5)
    configuration, access = of_certificate_at_once(state_dir)
    with server_for(state_dir, configuration) as server:
        late = dataclasses.replace(access, tls_handshake_first=False)
        with pytest.raises(Unavailable, match=r"no answer in time .*see nats_tls_handshake_first"):
            async with connect_nats(server.url(), "test", late):
                pass


async def test_of_several_servers_one_that_takes_the_client_is_enough(state_dir: Path) -> None:
    configuration, access = of_password(state_dir)
    with ExitStack() as servers:
        ours = servers.enter_context(server_for(state_dir, configuration))
        (state_dir / "foreign").mkdir()
        foreign = servers.enter_context(nats_process(state_dir / "foreign", authorization={"token": "other"}))
        urls = [ours.url(), foreign.url(), "nats://127.0.0.1:1", "nats://name.invalid:4222"]
        for _ in range(4):  # in any order
            for reconnect in (True, False):
                async with connect_nats(",".join(urls), "test", access, reconnect=reconnect) as client:
                    assert client.connected_url.port == ours.port
        ours.stop()
        with pytest.raises(Unavailable) as error:
            async with connect_nats(",".join(urls), "test", access):
                pass
        for url in urls:
            assert f"cannot connect to NATS at {url}: " in str(error.value)
        ours.start()


@pytest.mark.parametrize("word", ["p@ss/w:rd %41", "plain", "ü"])
async def test_a_url_may_have_any_word_encoded(state_dir: Path, word: str) -> None:
    for user in ("", "a:da@x"):
        authorization = {"users": [{"user": user, "password": word}]} if user else {"token": word}
        folder = state_dir / f"of{user[:1]}"
        folder.mkdir()
        with nats_process(folder, authorization=authorization) as server:
            userinfo = f"{quote(user, safe='')}:{quote(word, safe='')}" if user else quote(word, safe="")
            async with connect_nats(server.url(userinfo), "test") as client:
                await client.flush()
            with pytest.raises(Unavailable) as error:
                async with connect_nats(server.url(f"{userinfo}x"), "test"):
                    pass
            assert quote(word, safe="") not in str(error.value)


async def test_servers_that_a_cluster_names_know_the_client_as_the_first_does(state_dir: Path) -> None:
    configuration, _ = of_password(state_dir)
    word = configuration["authorization"]["users"][0]["password"]
    with server_for(state_dir, configuration) as server:
        async with connect_nats(server.url(f"ada:{word}"), "test") as client:
            for _ in range(3):
                await client._process_info({"connect_urls": ["127.0.0.1:1", f"127.0.0.1:{server.port}"]})

            assert sorted(one.uri.netloc for one in client._server_pool) == sorted(
                [f"ada:{word}@127.0.0.1:1", f"ada:{word}@127.0.0.1:{server.port}"]
            )
            await client._process_info({"connect_urls": ["127.0.0.1:2"]})  # another address, as a pod has
            assert sorted(one.uri.netloc for one in client._server_pool) == sorted(
                [f"ada:{word}@127.0.0.1:2", f"ada:{word}@127.0.0.1:{server.port}"]
            )
