"""`up` that is started again: nothing that was told to its port, or read there, while it was down opens it."""

from __future__ import annotations

import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from registry.broker.connection import connect_nats
from registry.client import RegistryClient
from registry.errors import Unavailable
from tests.support.servers.up import stop, up
from tests.support.web.console import TOKEN, Visitor


def token_of_pages(state_dir: Path) -> str:
    file = state_dir / "http.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return file.read_text().strip()


async def may_act(visitor: Visitor) -> bool:
    """Whether the visitor's session holds: the log of actions is for those who may act."""
    return (await visitor.log()).status == 200


async def test_a_session_and_a_token_of_before_are_none_also_at_the_same_address(state_dir: Path) -> None:
    with up(state_dir) as (process, first):
        before = token_of_pages(state_dir)
        visitor = Visitor(urlsplit(first["http_url"]).port or 0)
        assert (await visitor.sign_in(token=before)).status == 200
        assert await may_act(visitor)
        assert stop(process) == 0
    with up(state_dir, "--http-port", str(visitor.port)) as (process, second):
        assert second["http_url"] == first["http_url"]
        token = token_of_pages(state_dir)
        assert token != before
        assert not await may_act(visitor)
        assert (await visitor.sign_in(token=before)).status == 403
        assert (await visitor.sign_in(token=token)).status == 200
        assert await may_act(visitor)
        process.terminate()
        assert f"console: {first['http_url']}/sign-in?token={token}\n" in "".join(process.communicate())


async def test_a_token_that_somebody_chose_is_kept_and_so_are_its_sessions(state_dir: Path) -> None:
    with up(state_dir, IMI_HTTP_TOKEN=TOKEN) as (process, first):
        visitor = Visitor(urlsplit(first["http_url"]).port or 0)
        assert (await visitor.sign_in()).status == 200
        assert stop(process) == 0
    with up(state_dir, "--http-port", str(visitor.port), IMI_HTTP_TOKEN=TOKEN) as (process, _):
        assert await may_act(visitor)
        assert stop(process) == 0


def test_its_pages_are_elsewhere_each_time(state_dir: Path) -> None:
    """What listened there meanwhile may have left scripts in a browser, which keeps them for the address."""
    addresses = set()
    for _ in range(3):  # that the system chooses the same one twice in a row is one in thousands
        with up(state_dir) as (process, endpoints):
            addresses.add(endpoints["http_url"])
            assert stop(process) == 0
    assert len(addresses) > 1


async def test_a_token_of_nats_of_before_opens_nothing_any_more(state_dir: Path) -> None:
    with up(state_dir) as (process, first):
        async with RegistryClient.connect(first["nats_url"]) as client:
            project = await client.register_project(name="p", remote_origin="git@github.com:o/p.git")
        assert stop(process) == 0
    with up(state_dir) as (process, second):
        former, new = (urlsplit(endpoints["nats_url"]) for endpoints in (first, second))
        assert former.username != new.username
        assert stat.S_IMODE((state_dir / "nats.token").stat().st_mode) == 0o600
        assert (state_dir / "nats.token").read_text().strip() == new.username
        with pytest.raises(Unavailable, match=r"[Aa]uthorization [Vv]iolation.* read its endpoints.json again"):
            async with connect_nats(f"nats://{former.username}@127.0.0.1:{new.port}", "test"):
                pass
        async with RegistryClient.connect(second["nats_url"]) as client:
            assert (await client.queries.project_by_id(project)).name == "p"
        assert stop(process) == 0
