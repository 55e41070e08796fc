"""Where senders are users of NATS, as in all of deploy/, none can fill the stream of commands, which has its room."""

from __future__ import annotations

import re

import pytest

from publisher.applier.share import KINDS, StreamLimits
from publisher.settings import Settings
from registry.commands.catalogue import COMMANDS
from tests.support.nats.command_limits import DEPLOY, LIMITS, WAYS, command_limits, of_compose

GB = 1024**3
"""As nats-server reads it."""
MEBIBYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
COPIES = 3


def limits(settings: Settings) -> StreamLimits:
    most = (settings.commands_max_messages, settings.commands_max_bytes)
    return StreamLimits(*most, settings.commands_max_per_sender, settings.command_max_bytes)


def sizes(text: str, name: str) -> list[int]:
    return [int(size) * GB for size in re.findall(rf"{name}(?: =|:) (\d+)GB", text)]


def test_there_are_as_many_kinds_as_are_reckoned_with() -> None:
    assert len(COMMANDS) == KINDS


@pytest.mark.parametrize("way", WAYS)
def test_one_sender_leaves_half_of_the_stream_to_others(way: str) -> None:
    settings = Settings(**command_limits(way))
    found = limits(settings)
    own = len(COMMANDS) * settings.commands_max_per_sender * settings.command_max_bytes
    assert own <= settings.commands_max_bytes / 2
    assert found.leave_bytes
    assert found.leave_messages


def test_all_have_the_same_ones_and_the_page_tells_them() -> None:
    given = [command_limits(way) for way in WAYS]
    assert given[1:] == given[:-1]
    assert given[0].keys() == set(LIMITS) - {"commands_max_messages"}
    section = (DEPLOY / "README.md").read_text().partition("\n## Limits of commands\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `IMI_(\w+)`.*? \| ([\d,]+)(?: (\w+))? \| ([\d,]+)(?: (\w+))? \|$", section, re.MULTILINE)
    told = {name.lower(): number(here, unit) for name, here, unit, _, _ in rows}
    defaults = {name.lower(): number(default, unit) for name, _, _, default, unit in rows}
    assert told == given[0]
    assert defaults == {name: getattr(Settings(), name) for name in told}
    assert f"{KINDS} kinds of {told['commands_max_per_sender']} commands" in section
    (mebibytes,) = re.findall(r"are (\d+) MiB", section)
    assert int(mebibytes) == (limits(Settings(**given[0])).bytes_of_a_sender or 0) // 2**20


def number(text: str, unit: str) -> int:
    return int(text.replace(",", "")) * MEBIBYTES.get(unit, 1)


def test_the_account_has_room_for_them_and_for_events_above_all() -> None:
    example = (DEPLOY / "nats" / "local.conf.example").read_text()
    compose = (DEPLOY / "compose" / "compose.yaml").read_text()
    assert "applier" in of_compose()["IMI_PARTS"]
    for text, copies in ((example, 1), (compose, COPIES)):
        settings = Settings(**command_limits("compose"))
        reserved = copies * (settings.commands_max_bytes + settings.dead_letters_max_bytes)
        (account,), (server,) = sizes(text, "NATS_IMI_MAX_FILE"), sizes(text, "NATS_MAX_FILE_STORE")
        assert reserved < account / 10
        assert reserved / copies < server / 10
    assert f"stream_replicas = {COPIES}" in (DEPLOY / "compose" / "prepare.sh").read_text()


@pytest.mark.parametrize(
    ("given", "leaves"),
    [
        (StreamLimits(100, 26 * 1024, 1, 1024), (True, True)),
        (StreamLimits(100, 26 * 1024 - 1, 1, 1024), (True, False)),
        (StreamLimits(None, 10**9, 1, 1024), (True, True)),
        (StreamLimits(13, 10**9, 1, 1024), (False, True)),
        (StreamLimits(14, 10**9, 1, 1024), (True, True)),
        (StreamLimits(100, None, 1, 1024), (True, False)),
        (StreamLimits(100, 10**9, None, 1024), (False, False)),
    ],
)
def test_what_leaves_room_to_others(given: StreamLimits, leaves: tuple[bool, bool]) -> None:
    assert (given.leave_messages, given.leave_bytes) == leaves


def test_the_defaults_are_for_one_person_and_keep_no_such_rule() -> None:
    assert limits(Settings()).leave_messages
    assert not limits(Settings()).leave_bytes
