"""The event catalogue: what a reader makes of an event, whatever its version."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import orjson
import pytest

from publisher.settings import load
from registry.commands import COMMANDS, Code, Verdict
from registry.errors import Invalid
from registry.events import UPCASTERS, VERSIONS, parse
from registry.events.activity import ActivityLogged, ActivityLoggedV2
from registry.events.command import CommandApplied, CommandRejected, ErrorCode
from registry.events.envelope import Envelope
from registry.events.message import OutboxRow
from registry.profiles.imi import ImiProfile
from registry.profiles.versions import members
from registry.subjects import Names

EVENT = "7d1f3f0c-5a59-4f08-8f5c-0f1f6a1e2b3c"
V1 = ActivityLogged.model_config["json_schema_extra"]["examples"][0]  # type: ignore[index,call-overload]


def event(name: str = "activity.logged", version: int = 1, **attributes: object) -> bytes:
    entity, action = name.split(".")
    envelope = {
        "specversion": "1.0",
        "id": EVENT,
        "source": "urn:imi:registry",
        "type": Names().event_type(entity, action, version),
        "subject": entity,
        "time": "2026-01-21T10:00:00.123456Z",
        "datacontenttype": "application/json",
        "dataschema": Names().data_schema(entity, action, version),
        "correlationid": EVENT,
        "causationid": None,
        "sequence": "0000000000000000042",
        "transactionid": "777",
    }
    return orjson.dumps(envelope | attributes)


def row(name: str, data: str) -> OutboxRow:
    entity, action = name.split(".")
    return OutboxRow(42, 777, EVENT, entity, action, None, None, "2026-01-21T10:00:00Z", None, None, None, None, data)


ALL = [(name, version, model) for name, models in VERSIONS.items() for version, model in enumerate(models, start=1)]


@pytest.mark.parametrize(("name", "version", "model"), ALL)
def test_every_example_reads_as_the_newest_model(name: str, version: int, model: Any) -> None:
    (example,) = model.model_config["json_schema_extra"]["examples"]
    assert example.keys() == model.model_fields.keys() - {"backfill"}  # only rows older than the outbox have it
    found = parse(event(name, version, data=example))
    assert found.name == name
    assert type(found.data) is VERSIONS[name][-1]


@pytest.mark.parametrize("name", VERSIONS)
def test_each_version_has_a_step_to_the_next(name: str) -> None:
    assert len(UPCASTERS.get(name, ())) == len(VERSIONS[name]) - 1


def test_a_history_of_both_versions_reads_as_one() -> None:
    old = parse(event(data=V1))
    new_bytes = ImiProfile("imi", "urn:imi:registry", {"activity.logged": 2}).encode(
        row("activity.logged", str_of(V1)), 1 << 20
    )
    new = parse(new_bytes.payload)
    assert new.envelope.type == "imi.activity.logged.v2"
    assert new.envelope.dataschema == "urn:imi:registry:event:activity.logged:v2"
    assert isinstance(old.data, ActivityLoggedV2)
    assert old.data == new.data
    assert str(old.data.worktree.worktree_id) == V1["worktree_id"]


def str_of(value: object) -> str:
    """As PostgreSQL writes a jsonb."""
    return json.dumps(value, ensure_ascii=False)


def test_a_later_version_than_this_package_knows_is_named() -> None:
    with pytest.raises(Invalid, match=r'type "imi.activity.logged.v3" is not known; a newer version'):
        parse(event(version=3, data={}))


def test_a_version_of_more_digits_than_python_reads_is_told_in_a_short_line() -> None:
    with pytest.raises(Invalid, match="is not known; a newer version") as raised:
        parse(event(data=V1).replace(b".v1", b".v" + b"9" * 5000))
    assert len(str(raised.value)) < 600


def test_an_event_without_its_data_is_read_as_a_reference() -> None:
    found = parse(event(dataref=f"urn:imi:registry:outbox:{EVENT}"))
    assert found.data is None
    assert found.envelope.dataref == f"urn:imi:registry:outbox:{EVENT}"


def test_fields_and_attributes_of_later_versions_are_ignored() -> None:
    found = parse(event(data=V1 | {"mood": "good", "changed": {"mood": "bad"}}, tenant="t"))
    assert found.data == parse(event(data=V1)).data


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\xff", r"event: invalid JSON"),
        (b"[1]", r"event: input should be an object"),
        (event(data=V1, specversion="0.3"), r"""event: specversion: "0\.3": input should be '1\.0'"""),
        (event(data=V1, sequence="42"), r'event: sequence: "42": string should match pattern'),
        (event(data=V1, correlationid="x"), r'event: correlationid: "x": input should be a valid UUID'),
        (event(data=V1, time="2026-01-21T10:00:00"), r"event: time: .* should have timezone info"),
        (event(data=V1, dataref=f"urn:imi:registry:outbox:{EVENT}"), r"exactly one of data and dataref"),
        (event(), r"exactly one of data and dataref"),
        (event(data=V1 | {"activity_type": "slept"}), rf'event {EVENT}: data: activity_type: "slept": input should be'),
        (event(data=V1 | {"changed": 1}), r"data: changed: 1: input should be a valid dictionary"),
        (event(data={key: V1[key] for key in V1 if key != "agent_id"}), r"data: agent_id: field required"),
        (event("worktree_type.added", data={"type_id": 1}), r"data: name: field required"),
    ],
)
def test_what_breaks_the_contract_is_refused_with_field_value_and_rule(payload: bytes, message: str) -> None:
    with pytest.raises(Invalid, match=message) as refused:
        parse(payload)
    assert "\n" not in str(refused.value)


def test_numbers_of_any_size_are_read_and_converted() -> None:
    """PostgreSQL's numeric takes them, so metadata may hold them."""
    text = str_of(V1 | {"metadata": {"a": "N"}}).replace('"N"', "1" + "0" * 5000)
    message = ImiProfile("imi", "s", {"activity.logged": 2}).encode(row("activity.logged", text), 1 << 20)
    assert b"1" + b"0" * 5000 in message.payload
    small = event(data=V1).replace(b'"metadata":{}', b'"metadata":{"a":1e400,"b":12345678901234567890123}')
    data = parse(small).data
    assert isinstance(data, ActivityLoggedV2)
    assert data.metadata["b"] == 12345678901234567890123


@pytest.mark.parametrize("value", ["{}", '{"a": {"b": [1, {"c": "}, "}]}, "d": "\\"", "": null}'])
def test_members_of_a_jsonb_are_its_values_as_they_stand(value: str) -> None:
    assert orjson.loads(orjson.dumps(members(value))) == orjson.loads(value)


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"activity.logged": 3}, 'value "activity.logged": 3: it has versions 1 to 2'),
        ({"activity.logged": 0}, 'value "activity.logged": 0: it has versions 1 to 2'),
        ({"activity.slept": 1}, 'value "activity.slept": 1: there is no such event'),
    ],
)
def test_a_version_that_does_not_exist_cannot_be_published(versions: dict[str, int], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        ImiProfile("imi", "s", versions)


def test_versions_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMI_EVENT_VERSIONS", '{"activity.logged": 2}')
    assert load().event_versions == {"activity.logged": 2}
    monkeypatch.setenv("IMI_EVENT_VERSIONS", "activity.logged=2")
    with pytest.raises(
        Invalid, match=r'setting event_versions: value "activity\.logged=2": it must be JSON: Expecting'
    ):
        load()


def test_outcome_events_say_what_the_answer_to_a_command_says() -> None:
    applied, rejected = get_type_hints(CommandApplied), get_type_hints(CommandRejected)
    assert ErrorCode == Code
    assert {*applied["verdict"].__args__, *rejected["verdict"].__args__} == set(Verdict.__args__)  # type: ignore[attr-defined]
    (example,) = CommandApplied.model_config["json_schema_extra"]["examples"]  # type: ignore[index,call-overload,misc]
    assert example["type"] in COMMANDS


def test_the_envelope_model_has_every_attribute_that_is_written() -> None:
    data = str_of(V1)
    full = row("activity.logged", data)._replace(
        project_id=EVENT,
        actor="ada",
        actor_is_verified=True,
        host_id=EVENT,
        traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
        causation_id=EVENT,
    )
    written = orjson.loads(ImiProfile("imi", "s").encode(full, 1 << 20).payload)
    assert written.keys() == Envelope.model_fields.keys() - {"dataref", "datarefreason"}
