"""The envelope on the wire: CloudEvents 1.0 in structured mode, judged by the CloudEvents SDK."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from registry.events.message import CONTENT_TYPE, HEADER_BYTES, OutboxRow
from registry.profiles.imi import ImiProfile

PROJECT = "0f6ef0f1-6f0b-4b4e-9d60-3a0c4f0b8f11"
REGISTRY = ImiProfile("imi", "urn:imi:registry")
EVENT = "7d1f3f0c-5a59-4f08-8f5c-0f1f6a1e2b3c"


def row(**overrides: object) -> OutboxRow:
    values = {
        "id": 42,
        "transaction_id": 777,
        "event_id": EVENT,
        "entity": "project",
        "action": "registered",
        "project_id": PROJECT,
        "entity_id": PROJECT,
        "occurred_at": "2026-01-21T10:00:00.123456Z",
        "actor": None,
        "correlation_id": None,
        "causation_id": None,
        "traceparent": None,
        "data": '{"name": "x"}',
    }
    return OutboxRow(**(values | overrides))  # type: ignore[arg-type]


def envelope(**overrides: object) -> dict[str, object]:
    return orjson.loads(REGISTRY.encode(row(**overrides), 1 << 20).payload)


def test_the_cloudevents_sdk_accepts_it() -> None:
    payload = REGISTRY.encode(row(actor="ada", causation_id=EVENT), 1 << 20).payload
    event = from_structured_event(HTTPMessage({"content-type": CONTENT_TYPE}, payload), JSONFormat())
    assert event.get_type() == "imi.project.registered.v1"
    assert event.get_id() == EVENT
    assert event.get_source() == "urn:imi:registry"
    assert event.get_time() == datetime(2026, 1, 21, 10, 0, 0, 123456, tzinfo=UTC)
    assert event.get_data() == {"name": "x"}


def test_subject_and_headers_identify_the_event() -> None:
    message = REGISTRY.encode(row(), 1 << 20)
    assert message.subject == f"imi.evt.v1.project.registered.{PROJECT}"
    assert f"\r\nNats-Msg-Id: {EVENT}\r\n" in message.headers
    assert "\r\nImi-Outbox-Id: 42\r\n" in message.headers
    assert len(message.headers) < HEADER_BYTES


def test_without_a_project_the_subject_still_has_six_tokens() -> None:
    message = REGISTRY.encode(row(entity="worktree_type", action="added", project_id=None, entity_id=None), 1 << 20)
    assert message.subject == "imi.evt.v1.worktree_type.added.-"
    assert "partitionkey" not in orjson.loads(message.payload)


def test_an_event_without_correlation_starts_its_own() -> None:
    assert envelope()["correlationid"] == EVENT
    assert envelope(correlation_id=PROJECT)["correlationid"] == PROJECT


def test_sequences_compare_as_text() -> None:
    assert envelope(id=9)["sequence"] < envelope(id=10)["sequence"]  # type: ignore[operator]


@pytest.mark.parametrize("size", [4000, 4090, 4096, 5000, 1_000_000])
def test_an_event_above_the_servers_limit_goes_out_as_a_reference(size: int) -> None:
    limit = 4096 + HEADER_BYTES
    message = REGISTRY.encode(row(data=orjson.dumps({"x": "y" * size}).decode()), limit)
    assert message.size <= limit
    found = orjson.loads(message.payload)
    assert message.is_reference == ("dataref" in found) == ("data" not in found)
    assert message.is_reference == (size > 3500)


def test_a_reference_is_small_whatever_its_writer_says() -> None:
    """The least max_payload that a server of ours can have is far above this."""
    said = {"actor": "\x01" * 200, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "causation_id": EVENT}
    message = ImiProfile("imi", "s" * 200).encode(row(data=f'"{"x" * 5000}"', **said), 5000)
    assert message.is_reference
    assert message.size < 4096


@given(st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53) | st.none()))
def test_data_arrives_as_it_was_written(data: dict[str, object]) -> None:
    assert envelope(data=orjson.dumps(data).decode())["data"] == data


TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))


@given(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS)
def test_no_text_breaks_the_envelope(actor: str, traceparent: str, entity: str, action: str, source: str) -> None:
    hostile = row(actor=actor, traceparent=traceparent, entity=entity, action=action)
    found = orjson.loads(ImiProfile("imi", source).encode(hostile, 1 << 20).payload)
    assert (found["actor"], found["traceparent"], found["source"]) == (actor, traceparent, source)
    assert found["type"] == f"imi.{entity}.{action}.v1"
    assert found["subject"] == f"{entity}/{PROJECT}"
    assert found["data"] == {"name": "x"}
