"""Servers that are reached by an address of IPv6, as one writes it in a URL: in brackets."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from registry.client import Access, RegistryClient
from registry.database import Registry, connection
from registry.errors import Unavailable
from tests.support.everything import everything_works, variables
from tests.support.nats.certificates import CertificateAuthority
from tests.support.nats.process import free_port, nats_process
from tests.support.postgres.tls import BY_PASSWORD, PASSWORD, tls_server
from tests.support.processes import run
from tests.support.servers.ipv6 import needs_ipv6
from tests.support.world import World

pytestmark = [
    needs_ipv6,
    pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning"),  # of nats-py
]
TOKEN = "s3cret"  # noqa: S105  # of a test


@pytest.fixture
def authority(state_dir: Path) -> CertificateAuthority:
    return CertificateAuthority(state_dir / "ca")


@pytest.fixture
def folder(state_dir: Path) -> Path:
    folder = state_dir / "server"
    folder.mkdir()
    return folder


def listening(authority: CertificateAuthority, scheme: str, port: int) -> dict[str, Any]:
    """The configuration of a server on ::1 of this scheme."""
    certificate, key = authority.sign("server")
    tls = {"cert_file": str(certificate), "key_file": str(key)}
    place = f"[::1]:{port}"
    given: dict[str, Any] = {"authorization": {"token": TOKEN}}
    match scheme:
        case "nats":
            return given | {"listen": place}
        case "tls":
            return given | {"listen": place, "tls": tls}
        case "ws":
            return given | {"websocket": {"listen": place, "no_tls": True}}
        case _:
            return given | {"websocket": {"listen": place, "tls": tls}}


@pytest.mark.parametrize("scheme", ["nats", "tls", "ws", "wss"])
async def test_all_that_goes_over_nats_goes_over_ipv6(
    world: World, authority: CertificateAuthority, folder: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if scheme.startswith("ws"):
        pytest.importorskip("aiohttp", reason="websockets need aiohttp")
    port = free_port()
    access = Access(tls_ca=authority.certificate) if scheme in {"tls", "wss"} else Access()
    for name, value in variables(access).items():
        monkeypatch.setenv(name, value)
    with nats_process(folder, **listening(authority, scheme, port)):
        await everything_works(world.at(nats_url=f"{scheme}://{TOKEN}@[::1]:{port}"), access)


async def test_a_server_that_does_not_answer_is_told_as_it_was_given_and_without_its_token() -> None:
    port = free_port()
    with pytest.raises(Unavailable, match=rf"cannot connect to NATS at nats://\[::1\]:{port}: ") as caught:
        async with RegistryClient.connect(f"nats://{TOKEN}@[::1]:{port}"):
            pass
    assert TOKEN not in str(caught.value)


def test_a_database_that_says_nothing_is_told_as_a_url_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.CONNECTION, "connect_timeout", 2)
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as silent:
        place = f"[::1]:{silent.getsockname()[1]}"
        with (
            pytest.raises(Unavailable, match=re.escape(f"cannot connect to PostgreSQL at {place}: no answer in time")),
            connection.connect_blocking(f"postgresql://u:s3cret@{place}/db"),
        ):
            pass


async def test_a_service_its_commands_and_a_component_work_over_ipv6_alone(
    world: World, authority: CertificateAuthority, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = Access(tls_ca=authority.certificate)
    nats_port = free_port()
    with tls_server() as postgres, nats_process(folder, **listening(authority, "tls", nats_port)):
        monkeypatch.setenv("PGPASSFILE", str(postgres.passfile(PASSWORD)))
        secure = {"sslmode": "verify-full", "sslrootcert": postgres.authority.certificate}
        database = postgres.url(BY_PASSWORD, "::1", **secure)
        assert f"@[::1]:{postgres.port}/" in database
        there = world.at(database=database, nats_url=f"tls://{TOKEN}@[::1]:{nats_port}")
        places = {"DATABASE_URL": there.database, "NATS_URL": there.nats_url, "IMI_PREFIX": there.prefix}
        given = places | variables(access)
        with there.process(http_host="::1", nats_tls_ca=authority.certificate) as process:
            await process.ready()
            origin = "https://github.com/o/flume"
            for command in (("project", "register", "--origin", origin), ("project", "list"), ("status",), ("doctor",)):
                done = run(*command, **given)
                assert done.returncode == 0, (command, done.stdout, done.stderr)
            async with (
                Registry.connect(there.database) as registry,
                RegistryClient.connect(there.nats_url, prefix=there.prefix, access=access) as client,
            ):
                assert (await client.queries.project_by_origin(origin)).name == "flume"
                located = await registry.get_project_by_origin(origin)
                assert located is not None
                assert located.name == "flume"
