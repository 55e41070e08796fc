"""Naming profiles: what may be named, and which messages of a stream are events of this registry."""

from __future__ import annotations

import pytest

from registry.errors import Invalid
from registry.events.message import EVENT_ID_HEADER, OUTBOX_ID_HEADER
from registry.profiles.bloodbank import SOURCE_HEADER
from registry.profiles.profile import PROFILES, profile_named

EVENT_ID = "7d1f3f0c-5a59-4f08-8f5c-0f1f6a1e2b3c"
OURS = {OUTBOX_ID_HEADER: "42", EVENT_ID_HEADER: EVENT_ID, SOURCE_HEADER: "urn:33god:service:imi-registry"}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("prefix", "Has Space"),
        ("prefix", "a.b"),
        ("prefix", "a\n"),
        ("prefix", ""),
        ("prefix", "a" * 33),
        ("prefix", None),
        ("source", "ü"),
        ("source", "a b"),
        ("source", "a\r\nNats-Rollup: all"),
        ("source", ""),
        ("source", "x" * 201),
        ("source", 7),
    ],
)
@pytest.mark.parametrize("name", PROFILES)
def test_a_bad_name_is_refused_with_setting_value_and_rule(name: str, setting: str, value: object) -> None:
    with pytest.raises(Invalid, match=f"setting {setting}: value .*: it must be ") as refused:
        profile_named(name, **{setting: value})  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


def test_an_unknown_profile_is_refused_with_those_there_are() -> None:
    with pytest.raises(Invalid, match='setting profile: value "flume": it must be imi or bloodbank'):
        profile_named("flume")


@pytest.mark.parametrize("name", PROFILES)
def test_an_unknown_version_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="setting event_versions: "):
        profile_named(name, event_versions={"activity.logged": 9})


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("missing", [OUTBOX_ID_HEADER, EVENT_ID_HEADER])
def test_a_message_without_the_ids_is_none_of_ours(name: str, missing: str) -> None:
    profile = profile_named(name)
    assert profile.identity(OURS) == (42, EVENT_ID)
    assert profile.identity({key: value for key, value in OURS.items() if key != missing}) == (None, None)
    assert profile.identity(OURS | {missing: "nonsense"}) == (None, None)


def test_in_a_shared_stream_the_source_tells_our_events_from_those_of_another_registry() -> None:
    profile = profile_named("bloodbank")
    assert profile.identity(OURS | {SOURCE_HEADER: "urn:33god:service:other"}) == (None, None)
    assert profile.identity({key: value for key, value in OURS.items() if key != SOURCE_HEADER}) == (None, None)
    assert profile_named("bloodbank", source="urn:33god:service:other").identity(OURS) == (None, None)
