"""By which addresses and names the page is reached, and whose page a request comes from."""

from __future__ import annotations

import socket
from http.client import HTTPConnection

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from publisher.web import server
from publisher.web.guard import known_hosts
from registry.errors import Unusable
from tests.support.commandline import CommandLine, command_line
from tests.support.relay_process import status_of
from tests.support.servers.ipv6 import needs_ipv6
from tests.support.web.caller import Caller, asked, get, served
from tests.support.world import World

OURS = [
    *("localhost", "LOCALHOST:9", "localhost.", "localhost:0", "localhost:65535"),
    *(
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1.",
        "192.168.1.7",
        "[::1]",
        "[::1]:80",
        "[::FFFF:127.0.0.1]:80",
        "[fe80::1]",
    ),
]
ELSEWHERE = [
    *("evil.example.com", "evil.example.com:80", "127.0.0.1.evil.example.com:80", "127.1", "2130706433"),
    *("localhost.evil.example.com", "0x7f.0.0.1", "localhosts", "_"),
]
NONE = [
    *("", " ", ":", ":80", "localhost:abc", "localhost:", "localhost:65536", "localhost:000080", "localhost:80:80"),
    *(
        "evil@localhost",
        "localhost@evil.example.com",
        "user:word@localhost",
        "localhost#evil",
        "localhost/",
        "localhost?",
    ),
    *("localhost\\evil", "localhost,evil", "localhost evil", "localhost..", ".localhost", "-localhost", "loc%61lhost"),
    *("[::1", "::1", "::1]", "[]", "[::1]]", "[[::1]]", "[::1]80", "[::1%25evil]", "[::1%evil]", "[127.0.0.1]"),
    *("[localhost]", "[v1.a]", "[::1]:", "[::1]:abc", "[1::2::3]", "l\u00f6calhost", "*", "a" * 255),
]


@pytest.mark.parametrize("host", OURS)
async def test_addresses_and_the_machines_own_name_are_hosts(host: str) -> None:
    async with served() as port:
        assert (await asked(port, get(Host=host, Origin=f"http://{host}")))[0] == 200


@pytest.mark.parametrize("hosts", ["", "*"])
@pytest.mark.parametrize(("named", "status"), [*((one, 421) for one in ELSEWHERE), *((one, 400) for one in NONE)])
async def test_a_host_is_a_name_of_ours_or_an_address_with_a_port_and_nothing_else(
    named: str, status: int, hosts: str
) -> None:
    async with served(hosts=hosts) as port:
        expected = 200 if hosts and status == 421 else status  # where all names are taken it is a name all the same
        assert (await asked(port, get(Host=named)))[0] == expected
        origin = await asked(port, get(Origin=f"http://{named}"))
        assert origin[0] == (200 if expected == 200 else 403)


async def test_two_hosts_are_none() -> None:
    async with served() as port:
        for one, other in (("localhost", "localhost"), ("localhost", "evil.example.com"), ("evil.example.com", "::1")):
            request = f"GET / HTTP/1.1\r\nHost: {one}\r\nHost: {other}\r\n\r\n"
            assert (await asked(port, request))[0] == 400


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example.com", "null", "", "localhost", "file://localhost", "http:localhost", "http://localhost/x"],
)
async def test_a_page_of_somebody_else_gets_nothing(origin: str) -> None:
    async with served() as port:
        assert (await asked(port, get(Origin=origin)))[0] == 403


@pytest.mark.parametrize(
    ("bound", "hosts", "host", "status"),
    [
        ("127.0.0.1", "status.example.com, other", "status.example.com", 200),
        ("127.0.0.1", "Status.example.com.", "status.EXAMPLE.com:80", 200),
        ("127.0.0.1", "status.example.com", "evil.example.com", 421),
        ("127.0.0.1", "*", "anything", 200),
        ("0.0.0.0", "status.example.com", "status.example.com", 200),  # noqa: S104  # a value
        ("0.0.0.0", "status.example.com", "anything", 421),  # noqa: S104  # a value
        ("0.0.0.0", "*", "anything", 200),  # noqa: S104  # a value
        pytest.param("::1", "", "evil.example.com", 421, marks=needs_ipv6),
        pytest.param("::", "status.example.com", "anything", 421, marks=needs_ipv6),
        pytest.param("::", "*", "anything", 200, marks=needs_ipv6),
    ],
)
async def test_further_names_are_a_setting(bound: str, hosts: str, host: str, status: int) -> None:
    async with served(bound, hosts) as port:
        assert (await asked(port, get(Host=host), "::1" if bound == "::1" else "127.0.0.1"))[0] == status


@pytest.mark.parametrize(
    "bound",
    ["", "0.0.0.0", pytest.param("::", marks=needs_ipv6)],  # noqa: S104  # for all, which is what is tried
)
@pytest.mark.parametrize("host", ["evil.example.com", "machine-7.evil.example.com", "machine", "anything"])
async def test_a_name_that_somebody_else_lets_point_here_reads_nothing_of_who_listens_for_all(
    monkeypatch: pytest.MonkeyPatch, bound: str, host: str
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Machine-7")
    async with served(bound) as port:
        for ours in ("127.0.0.1", "192.168.1.7", "[::1]", "localhost", "machine-7", "MACHINE-7.:80"):
            assert (await asked(port, get(Host=ours, Origin=f"http://{ours}")))[0] == 200, ours
        answer = await asked(port, get(Host=host))
        assert (answer[0], answer[2]) == (421, b"the host is none of this service's; see setting http_hosts\n")
        assert (await asked(port, get(Host="machine-7", Origin=f"http://{host}")))[0] == 403


def test_the_name_of_the_machine_is_none_of_who_listens_for_itself_and_the_one_listened_on_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "machine-7")
    for bound in ("127.0.0.1", "::1", "localhost"):
        assert known_hosts(bound, "") == []
    assert {"registry.lan", "machine-7", "b.example.com"} == {*known_hosts("registry.lan", "b.example.com")}


async def _who(request: Request) -> Response:
    assert request.client is not None
    return PlainTextResponse(f"{request.url.scheme} {request.client.host}")


WHO = Starlette(routes=[Route("/", _who)])


@pytest.mark.parametrize(
    ("proxies", "caller", "seen"),
    [
        ("", "127.0.0.1", "http 127.0.0.1"),
        ("127.0.0.2", "127.0.0.1", "http 127.0.0.1"),
        ("127.0.0.2", "127.0.0.2", "https 192.0.2.9"),
        ("127.0.1.0/24,::1", "127.0.1.7", "https 192.0.2.9"),
        pytest.param("127.0.0.1", "::1", "http ::1", marks=needs_ipv6),
        pytest.param("127.0.1.0/24,::1", "::1", "https 192.0.2.9", marks=needs_ipv6),
    ],
)
@pytest.mark.parametrize("bound", ["alone", "::"])
async def test_where_a_request_is_from_is_believed_of_a_proxy_that_is_named_alone(
    proxies: str, caller: str, seen: str, bound: str
) -> None:
    """On a socket for both IPv6 wraps the addresses of IPv4: they are told, and believed, as they are."""
    address = bound if bound == "::" else "::1" if ":" in caller else "127.0.0.1"
    async with served(address, pages=WHO, proxies=proxies) as port:
        one = await Caller.at(port, caller)
        headers = [f"Host: localhost:{port}", "X-Forwarded-For: 192.0.2.9", "X-Forwarded-Proto: https"]
        one.say("\r\n".join(["GET / HTTP/1.1", *headers, "", ""]))
        assert (await one.answer())[2].decode() == seen


@needs_ipv6
@pytest.mark.parametrize(("bound", "url"), [("::1", "http://[::1]:"), ("::", "http://[::]:")])
async def test_a_service_listens_on_ipv6_and_is_asked_there(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bound: str, url: str
) -> None:
    imi: CommandLine = command_line(monkeypatch, capsys)
    with world.process(http_host=bound) as process:
        told = (await process.ready())["http_url"]
        assert told.startswith(url)
        assert status_of(f"{told}/readyz")[0] == 200
        port = int(told.rpartition(":")[2])
        monkeypatch.setenv("IMI_HTTP_HOST", bound)
        assert imi("probe", "--ready", "--http-port", port) == (0, "ready, leader\n", "")
        for path in ("/", "/metrics"):
            connection = HTTPConnection("::1", port, timeout=20)
            connection.request("GET", path, headers={"Origin": f"http://[::1]:{port}"})
            assert connection.getresponse().status == 200
        if bound == "::":
            assert status_of(f"http://127.0.0.1:{port}/readyz")[0] == 200
        process.stop()
        await process.exit_code()
        assert f"no service answers on [::1]:{port}: " in imi("probe", "--http-port", port).err


@needs_ipv6
def test_an_address_that_cannot_be_had_is_told_as_a_url_has_it() -> None:
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as taken,
        pytest.raises(Unusable, match=r'cannot listen on "\[::1\]:[0-9]+": Address already in use'),
    ):
        server.bind("::1", taken.getsockname()[1])
