"""A state directory that is moved away while `up` runs, with a folder of somebody else in its place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from publisher.embedded.binaries import nats_binary
from publisher.embedded.nats_server import ANY_PORT, _nats_on, nats_server
from publisher.embedded.process import FIRST
from publisher.embedded.state_dir import new_secret, owned
from registry.errors import Invalid, Unavailable
from tests.support.commandline import command_line
from tests.support.servers.embedded import AS_ROOT
from tests.support.servers.up import TIMEOUT_SECONDS, server_of, servers_of, up

SOMEBODY = 12345
LOGS = {"nats-server": "nats.log", "postgres": "postgres.log"}


@pytest.fixture
def below(state_dir: Path) -> Iterator[Path]:
    """A state directory in a folder whose owner may move it."""
    yield state_dir / "st"
    assert servers_of(state_dir / "st") == servers_of(state_dir / "hidden") == []


@pytest.fixture
def victim(state_dir: Path) -> Path:
    """A file that is not for them."""
    file = state_dir / "victim"
    file.write_text("of old\n")
    return file


def swapped(folder: Path, victim: Path) -> None:
    """What the owner of the folder above does."""
    folder.rename(folder.with_name("hidden"))
    folder.mkdir(mode=0o755)
    for log in LOGS.values():
        (folder / log).symlink_to(victim)


@pytest.mark.parametrize("dies", [None, *LOGS])
def test_a_folder_in_its_place_gets_nothing_and_ends_it(below: Path, victim: Path, dies: str | None) -> None:
    with up(below) as (process, _):
        server = server_of(below, dies) if dies else None
        swapped(below, victim)
        if server is not None:
            server.kill()
        assert process.wait(TIMEOUT_SECONDS) == 1
        (reason,) = [line for line in process.communicate()[1].splitlines() if line.startswith("imi-registry: ")]
    assert f'state directory "{below}": was moved away, or another folder was put in its place' in reason
    assert victim.read_text() == "of old\n"
    assert {path.name for path in below.iterdir()} == set(LOGS.values())
    assert not (below.with_name("hidden") / "endpoints.json").exists()


def test_a_server_that_is_already_being_started_works_in_the_folder_that_is_owned(below: Path, victim: Path) -> None:
    real = below.with_name("hidden")
    with owned(below) as directory:
        # when it is swapped a moment after it was looked at
        swapped(below, victim)
        with _nats_on(directory, nats_binary(), {}, FIRST, ANY_PORT):
            pass
    assert victim.read_text() == "of old\n"
    assert {path.name for path in below.iterdir()} == set(LOGS.values())
    assert {"nats.conf", "nats.log", "nats.token", "nats", "nats.port"} <= {path.name for path in real.iterdir()}


def test_endpoints_and_secrets_go_where_the_servers_are(below: Path, victim: Path) -> None:
    with owned(below) as directory:
        swapped(below, victim)
        new_secret(directory / "http.token")
    assert (below.with_name("hidden") / "http.token").exists()
    assert not (below / "http.token").exists()


@pytest.mark.parametrize("name", ["nats.log", "nats.lock", "nats.port"])
def test_no_file_is_opened_through_a_link(state_dir: Path, victim: Path, name: str) -> None:
    (state_dir / name).symlink_to(victim)
    with pytest.raises(Unavailable, match=rf"symbolic links: .*{name}"), nats_server(state_dir):
        pass
    assert victim.read_text() == "of old\n"


def test_links_without_end_are_no_way_to_a_state_directory(state_dir: Path) -> None:
    (state_dir / "link").symlink_to("link")
    with pytest.raises(Invalid, match="more than 40 links are on the way"), owned(state_dir / "link"):
        pass


def to_the_folder(link: Path, folder: Path) -> Path:
    link.symlink_to(folder)
    return link


def to_the_folder_above(link: Path, folder: Path) -> Path:
    link.symlink_to(folder.parent)
    return link / folder.name


def through_a_link_of_ours(link: Path, folder: Path) -> Path:
    link.symlink_to(folder)
    ours = link.with_name("ours")
    ours.symlink_to(f"../{link.parent.name}/{link.name}")
    return ours


LINKS = [to_the_folder, to_the_folder_above, through_a_link_of_ours]


@AS_ROOT
@pytest.mark.parametrize("named", LINKS)
def test_a_link_of_another_user_is_no_way_to_a_state_directory(
    state_dir: Path,
    named: Callable[[Path, Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (state_dir / "own").mkdir(mode=0o700)
    path = named(state_dir / "link", state_dir / "own")
    with owned(path):
        pass
    os.chown(state_dir / "link", SOMEBODY, SOMEBODY, follow_symlinks=False)
    refused = rf'the link "{state_dir}/link" on the way belongs to another user \(uid {SOMEBODY}\)'
    with pytest.raises(Invalid, match=refused), owned(path):
        pass
    with owned(state_dir / "own"):
        cli = command_line(monkeypatch, capsys)
        assert "on the way belongs to another user" in cli("stats", "--state-dir", path).err
