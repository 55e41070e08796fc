"""Nothing leaves that does not conform: every event, through the real relay, judged by `schemas/` alone."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft202012Validator

from registry.client import RegistryClient
from registry.events import VERSIONS, parse
from registry.events.activity import ActivityLoggedV2
from tests.support.every_event import change_everything
from tests.support.outbox_reader import add_project, add_worktree
from tests.support.relay_process import RelayProcess
from tests.support.workload import writing
from tests.support.world import Published, World

ROOT = Path(__file__).parents[3]
ENVELOPE, *DATA = [
    json.loads(path.read_bytes())
    for path in (ROOT / "schemas/envelope.v1.json", *sorted((ROOT / "schemas/events").iterdir()))
]
VALIDATORS = {
    document["$id"]: Draft202012Validator(document, format_checker=Draft202012Validator.FORMAT_CHECKER)
    for document in (ENVELOPE, *DATA)
}
DATAREF_QUERY = re.findall(r"```sql\n(.*?)\n```", (ROOT / "docs/contract.md").read_text(), re.DOTALL)[0]


@pytest.fixture
def writer(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


OPTIONAL = {"backfill", "host_id"}
"""Fields that are there only where they say something."""


def assert_conforms(message: Published) -> None:
    """Fail unless envelope and data are what their schemas say, with no field that no schema names."""
    envelope = message.envelope
    VALIDATORS["urn:imi:registry:envelope:v1"].validate(envelope)
    assert envelope.keys() <= ENVELOPE["properties"].keys()
    schema = VALIDATORS[envelope["dataschema"]]
    if "data" in envelope:
        schema.validate(envelope["data"])
        fields = schema.schema["properties"].keys()
        assert envelope["data"].keys() | fields & OPTIONAL == fields
    # https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#naming-conventions, #type-system
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in envelope)
    assert all(isinstance(value, str | None) for name, value in envelope.items() if name != "data")


async def test_every_event_conforms_to_its_schema(world: World, writer: psycopg.Connection[Any]) -> None:
    # given and when
    async with world.relay():
        change_everything(writer, world.nats.max_payload)
        await world.drained()
    messages = await world.published()

    # then
    for message in messages:
        assert_conforms(message)
        event = from_structured_event(
            HTTPMessage({"content-type": message.headers["content-type"]}, orjson.dumps(message.envelope)), JSONFormat()
        )
        assert (event.get_id(), event.get_type()) == (message.envelope["id"], message.envelope["type"])
        read = parse(orjson.dumps(message.envelope))
        assert type(read.data) is (VERSIONS[read.name][-1] if "data" in message.envelope else type(None))

    assert {message.envelope["type"] for message in messages} == {f"imi.{name}.v1" for name in VERSIONS}
    assert any("dataref" in message.envelope for message in messages)
    assert any(len(orjson.dumps(message.envelope)) > 900_000 for message in messages)
    data = [message.envelope.get("data", {}) for message in messages]
    assert any("worktree_id" in one and one["project_name"] is None for one in data), "the case of a lost name"
    assert {name for one in data for name, value in one.items() if value is None} >= {
        "description", "project_name", "agent_id", "last_commit_hash", "merged_by", "color", "icon", "file_path", "code"
    }  # fmt: skip


async def test_every_column_that_can_change_is_in_a_schema_of_changed(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    async with world.relay():
        change_everything(writer, world.nats.max_payload)
        await world.drained()
    changed: dict[str, set[str]] = {}
    for message in await world.published():
        entity = message.envelope["type"].split(".")[1]
        changed.setdefault(entity, set()).update(message.envelope.get("data", {}).get("changed", ()))
    named: dict[str, set[str]] = {entity: set() for entity in changed}
    for document in DATA:
        entity = document["$id"].split(":")[4].split(".")[0]
        for definition in document.get("$defs", {}).values():
            if definition.get("additionalProperties") is False:
                named[entity].update(definition["properties"])

    assert changed == named


@pytest.mark.parametrize("commits", [150, pytest.param(5_000, marks=pytest.mark.long)])
async def test_what_concurrent_writers_cause_conforms(world: World, commits: int) -> None:
    async with world.relay():
        async with writing(world.database, writers=4, seed=commits, pause_seconds=0) as load:
            await load.reach(commits)
        await world.drained()
    messages = await world.published()
    assert len(messages) > commits
    for message in messages:
        assert_conforms(message)


async def test_the_data_of_a_reference_is_found_with_the_documented_query(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    async with world.relay() as metrics:
        change_everything(writer, world.nats.max_payload)
        await world.drained()
    references = [message.envelope for message in await world.published() if "dataref" in message.envelope]
    assert len(references) == metrics.registry.get_sample_value("imi_relay_oversized_events_total") > 0
    query = re.sub(r":(\w+)", r"%(\1)s", DATAREF_QUERY)
    for envelope in references:
        values = {"sequence": int(envelope["sequence"]), "event_id": envelope["dataref"].rsplit(":", 1)[1]}
        row = writer.execute(query.encode(), values).fetchone()
        assert row is not None
        VALIDATORS[envelope["dataschema"]].validate(row[0])
        assert row[0]["project_id"] == envelope["subject"].removeprefix("project/")


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ID = "6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a01"


async def test_what_a_writer_says_of_itself_arrives_and_what_is_invalid_does_not(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    def write(name: str, **settings: str) -> None:
        with writer.transaction():
            for key, value in settings.items():
                writer.execute("SELECT set_config(%s, %s, true)", [f"imi.{key}", value])
            add_project(writer, name)

    invalid = ["nonsense", TRACE.upper(), f"{TRACE}-x", TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32)]
    async with world.relay():
        write("told", correlation_id=ID, causation_id=ID.upper(), actor="agent-ß", traceparent=TRACE)
        write("untold")
        for number, trace in enumerate(invalid):
            write(f"invalid-{number}", traceparent=trace)
        await world.drained()
    told, untold, *others = await world.published()
    for message in (told, untold, *others):
        assert_conforms(message)
    said = {name: told.envelope[name] for name in ("correlationid", "causationid", "actor", "traceparent")}
    assert said == {"correlationid": ID, "causationid": ID, "actor": "agent-ß", "traceparent": TRACE}
    for message in (untold, *others):
        assert message.envelope["correlationid"] == message.envelope["id"]
        assert "causationid" not in message.envelope
        assert not {"actor", "traceparent"} & message.envelope.keys()


# --- evolution --------------------------------------------------------------------------------------------------


def log_something(conn: psycopg.Connection[Any], name: str) -> None:
    conn.execute("SELECT log_activity('a', %s, 'other', %s)", [add_worktree(conn, add_project(conn, name), name), name])


async def test_a_replay_of_a_mixed_history_yields_the_newest_model_only(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    # given a stream that version 1 was published to, and then version 2
    async with world.relay():
        log_something(writer, "old")
        await world.drained()
    async with world.relay(event_versions={"activity.logged": 2}):
        log_something(writer, "new")
        await world.drained()

    # when it is replayed
    messages = await world.published()

    # then what was published says its version and conforms to it
    for message in messages:
        assert_conforms(message)
    types = [message.envelope["type"] for message in messages]
    assert [name for name in types if "activity" in name] == ["imi.activity.logged.v1", "imi.activity.logged.v2"]
    assert all(name.endswith(".v1") for name in types if "activity" not in name)

    # and a reader sees one kind of event, found by the same filter
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client, client.replay() as events:
        read = [parse(event.payload) async for event in events]

    assert len(read) == len(messages)
    activities = [event.data for event in read if event.name == "activity.logged"]
    assert [(type(data), data.worktree.worktree_name) for data in activities if isinstance(data, ActivityLoggedV2)] == [
        (ActivityLoggedV2, "old"),
        (ActivityLoggedV2, "new"),
    ]
    for activity in activities:
        assert isinstance(activity, ActivityLoggedV2)
        worktree_id = str(activity.worktree.worktree_id)
        found = [parse(event.payload).name for event in await world.replayed(worktree_id=worktree_id)]
        assert found == ["worktree.created", "activity.logged"]


async def test_both_versions_are_published_at_once_each_exactly_once_in_its_own_stream(
    world: World, writer: psycopg.Connection[Any]
) -> None:
    # given a history, and a window in which a second relay feeds a second stream
    log_something(writer, "before")
    second = world.at(prefix=f"{world.prefix}_next")

    async with (
        world.relay(),
        second.relay(event_versions={"activity.logged": 2}),
    ):
        log_something(writer, "during")
        await world.drained()
        await second.drained()

    # then both streams tell the same events in the same order, the one in version 1 and the other in version 2
    first, both = await world.published(), await second.published()
    assert [message.envelope["id"] for message in first] == [message.envelope["id"] for message in both]
    assert {message.envelope["type"] for message in first if "activity" in message.subject} == {
        "imi.activity.logged.v1"
    }
    assert {message.envelope["type"] for message in both if "activity" in message.subject} == {"imi.activity.logged.v2"}
    for one, other in zip(first, both, strict=True):
        assert_conforms(other)
        assert parse(orjson.dumps(one.envelope)).data == parse(orjson.dumps(other.envelope)).data
    await world.assert_exactly_once()


@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.long)])
async def test_kills_during_the_window_lose_double_and_reorder_nothing_in_either_stream(
    world: World, writer: psycopg.Connection[Any], kills: int
) -> None:
    log_something(writer, "first")
    rng = random.Random(f"window/{kills}")
    second = world.at(prefix=f"{world.prefix}_next")
    prefixes = {world.prefix: {}, second.prefix: {"event_versions": '{"activity.logged": 2}'}}
    with ExitStack() as stack:

        def start(name: str) -> RelayProcess:
            return stack.enter_context(world.at(prefix=name).process(heartbeat_seconds=0.5, **prefixes[name]))

        relays = {name: start(name) for name in prefixes}
        async with writing(world.database, writers=4, seed=kills) as load:
            for _ in range(kills):
                for relay in relays.values():
                    await relay.ready()
                await load.reach(commits=rng.randrange(1, 40))
                name = rng.choice(list(relays))
                relays[name].kill()
                await relays[name].exit_code()
                relays[name] = start(name)
        await world.assert_exactly_once(timeout_seconds=60)
        await second.drained(60)
        found = await second.audit()
    converted = [text for text in found.differing if "activity.logged.v2" in text or "other data" in text]
    assert converted
    assert len([text for text in converted if "type is" in text]) * 2 == len(converted) == len(found.differing)
    found._replace(differing=[], split=[]).assert_clean()
