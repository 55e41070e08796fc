"""`imi-registry probe`: what a supervisor is told of a service, by its exit code."""

from __future__ import annotations

import asyncio
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.commandline import CommandLine, command_line
from tests.support.processes import environment
from tests.support.proxy import nats_proxy
from tests.support.world import World


@pytest.fixture
def imi(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(monkeypatch, capsys)


async def test_a_service_lives_while_its_servers_are_away_and_is_not_ready(world: World, imi: CommandLine) -> None:
    async with nats_proxy(world.nats_url) as (proxy, url):
        with world.at(nats_url=url).process() as process:
            port = urlsplit((await process.ready())["http_url"]).port
            assert imi("probe", "--http-port", port) == (0, "alive\n", "")
            assert imi("probe", "--ready", "--http-port", port) == (0, "ready, leader\n", "")

            proxy.refuse()
            proxy.cut()

            async with asyncio.timeout(60):
                while (told := imi("probe", "--ready", "--http-port", port)).code == 0:
                    await asyncio.sleep(0.1)
            assert (told.code, told.out) == (1, "")
            assert "NATS" in told.err
            assert imi("probe", "--http-port", port) == (0, "alive\n", "")
            assert health_check(port) == (0, "alive\n")
            process.kill()
            await process.exit_code()
            gone = imi("probe", "--http-port", port)
            assert (gone.code, gone.err) == (
                3,
                f"imi-registry: no service answers on 127.0.0.1:{port}: Connection refused\n",
            )
            assert health_check(port)[0] == 1


def health_check(port: int | str | None) -> tuple[int, str]:
    """What a container's health check says."""
    command = [sys.executable, "-m", "publisher.web.probe"]
    variables = environment(IMI_HTTP_HOST="0.0.0.0", IMI_HTTP_PORT=str(port))  # noqa: S104  # as the image has it
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout or done.stderr


@pytest.mark.parametrize("port", ["x", "", "-1"])
def test_a_health_check_names_a_port_that_is_none(port: str) -> None:
    assert health_check(port) == (1, f'setting http_port: value "{port}": it must be a number\n')


@pytest.fixture
def stranger() -> Iterator[int]:
    """The port of a web server that is none of ours."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_something_else_on_the_port_is_no_service(imi: CommandLine, stranger: int) -> None:
    for options in ([], ["--ready"]):
        told = imi("probe", *options, "--http-port", stranger)
        assert told.code == 3
        assert f"what answers on 127.0.0.1:{stranger} is no imi-registry" in told.err


def test_without_a_port_it_says_which_setting_is_missing(imi: CommandLine) -> None:
    told = imi("probe")
    assert (told.code, told.err) == (
        2,
        "imi-registry: setting http_port: missing; set IMI_HTTP_PORT or give --http-port\n",
    )
