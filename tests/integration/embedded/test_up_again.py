"""`up` that is started again has its pages where they were, and the sessions of before."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

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
