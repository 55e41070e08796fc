"""`up` that is started again has its pages where they were, and the sessions of before."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from registry.broker.connection import connect_nats
from registry.client import RegistryClient
from registry.errors import Unavailable
from tests.support.servers.up import stop, up


def test_the_pages_are_on_the_port_they_were_on_and_the_token_holds(state_dir: Path) -> None:
    with up(state_dir) as (process, first):
        token = (state_dir / "http.token").read_text()
        assert stat.S_IMODE((state_dir / "http.token").stat().st_mode) == 0o600
        assert stop(process) == 0
    with up(state_dir) as (process, second):
        assert second["http_url"] == first["http_url"]
        assert (state_dir / "http.token").read_text() == token
        process.terminate()
        assert f"console: {first['http_url']}/sign-in?token={token.strip()}\n" in "".join(process.communicate())

    # somebody else has it now, and gets the sessions of open pages: another one is as good, and so is another token
    with socket.create_server(("127.0.0.1", urlsplit(first["http_url"]).port or 0)), up(state_dir) as (process, third):
        assert third["http_url"] != first["http_url"]
        assert (state_dir / "http.token").read_text() != token
        assert stop(process) == 0


async def test_a_token_of_nats_that_is_removed_opens_nothing_any_more(state_dir: Path) -> None:
    """docs/security.md, Changing secrets."""
    with up(state_dir) as (process, first):
        async with RegistryClient.connect(first["nats_url"]) as client:
            project = await client.register_project(name="p", remote_origin="git@github.com:o/p.git")
        assert stop(process) == 0
    (state_dir / "nats.token").unlink()
    with up(state_dir) as (process, second):
        former, new = (urlsplit(endpoints["nats_url"]) for endpoints in (first, second))
        assert former.username != new.username
        assert stat.S_IMODE((state_dir / "nats.token").stat().st_mode) == 0o600
        assert (state_dir / "nats.token").read_text().strip() == new.username
        with pytest.raises(Unavailable, match=r"[Aa]uthorization [Vv]iolation"):
            async with connect_nats(f"nats://{former.username}@127.0.0.1:{new.port}", "test"):
                pass
        async with RegistryClient.connect(second["nats_url"]) as client:
            assert (await client.queries.project_by_id(project)).name == "p"
        assert stop(process) == 0
