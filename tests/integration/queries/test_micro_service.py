"""The query service as a program sees it that has nothing but a NATS client: found, asked, refused."""

from __future__ import annotations

import importlib.metadata
import json
from typing import Any

import nats.errors as nats_errors
import pytest
from jsonschema import Draft202012Validator

from registry.database import Registry
from registry.queries import QUERIES
from tests.support.client.queries import ask, control
from tests.support.credentials import ORIGINS, SECRET_VALUES
from tests.support.world import World

ORIGIN = "git@github.com:ada/engine.git"
SOME_ID = "00000000-0000-4000-8000-000000000001"
NOT_HERE = {"slow_queries"}
"""Answered where statements are recorded: test_slow_queries.py."""


@pytest.mark.parametrize(
    ("query", "payload", "code", "message"),
    [
        ("project_by_id", b"{}", "400", "query project_by_id: request: project_id: field required"),
        ("project_by_id", b'{"project_id": "x"}', "400", 'request: project_id: "x": input should be a valid UUID'),
        ("project_by_id", b"\xff\x00", "400", "request: invalid JSON"),
        ("project_by_id", b"[1]", "400", "request: input should be an object"),
        ("project_by_id", b"[" * 100_000, "400", "invalid JSON"),
        ("stats", b'{"nope": 1}', "400", "request: nope: extra inputs are not permitted"),
        ("search_projects", b'{"query": " "}', "400", 'request: query: " ": it must not be blank'),
        ("search_projects", b'{"query": "a\\u0000b"}', "400", "NUL"),
        ("search_projects", b'{"query": "\\ud800"}', "400", "JSON"),
        ("search_registry", b'{"query": "a\\u0000b"}', "400", "NUL"),
        ("search_registry", b'{"query": "\\ud800"}', "400", "JSON"),
        ("search_registry", b'{"query": "a", "kinds": ["branch"]}', "400", "kinds"),
        ("search_registry", b'{"query": "a", "limit": 0}', "400", "limit"),
        ("projects", b'{"limit": 0}', "400", "request: limit: 0: input should be greater than or equal to 1"),
        ("projects", b'{"limit": 1001}', "400", "request: limit: 1001: input should be less than or equal to 1000"),
        ("project_by_id", f'{{"project_id": "{SOME_ID}"}}'.encode(), "404", f"project_id {SOME_ID} is no project"),
        ("project_by_origin", '{"remote_origin": "grün"}'.encode(), "404", 'remote_origin "grün" is no active project'),
        ("worktree_by_path", b'{"path": "/x"}', "404", 'path "/x" is no active worktree'),
        ("working_path", f'{{"project_id": "{SOME_ID}"}}'.encode(), "404", "is no active project"),
        ("inflight_work", f'{{"project_id": "{SOME_ID}"}}'.encode(), "404", "is no project"),
    ],
)
async def test_a_refusal_names_field_value_and_rule(
    service: None, world: World, query: str, payload: bytes, code: str, message: str
) -> None:
    answer = await ask(world, query, payload)

    assert answer.headers is not None
    assert answer.headers["Nats-Service-Error-Code"] == code
    assert message in answer.headers["Nats-Service-Error"]
    assert answer.data == b""

    # then the service is still there
    assert json.loads((await ask(world, "stats")).data)["total_projects"] == 0


async def test_no_refusal_has_the_credential_of_an_origin_that_is_asked_for(service: None, world: World) -> None:
    for value in SECRET_VALUES + ORIGINS:
        answer = await ask(world, "project_by_origin", json.dumps({"remote_origin": value}).encode())
        assert answer.headers is not None
        told = answer.headers["Nats-Service-Error"]
        assert "is no active project" in told
        assert "s3cret" not in told


async def test_the_service_is_found_by_standard_tools(service: None, world: World) -> None:
    # given a second instance
    async with world.queries():
        name = f"{world.prefix}-registry"

        # when
        everybody = await control(world.nats, "$SRV.PING", answers=2)
        pings = await control(world.nats, f"$SRV.PING.{name}", answers=2)
        infos = await control(world.nats, f"$SRV.INFO.{name}", answers=2)
        await ask(world, "stats")
        await ask(world, "project_by_id", b"{}")
        statistics = await control(world.nats, f"$SRV.STATS.{name}", answers=2)
        one = await control(world.nats, f"$SRV.INFO.{name}.{infos[0]['id']}", answers=1)

    # then
    assert name in {ping["name"] for ping in everybody}
    assert {ping["type"] for ping in pings} == {"io.nats.micro.v1.ping_response"}
    assert len({ping["id"] for ping in pings}) == 2
    assert one[0]["id"] == infos[0]["id"]
    endpoints = {endpoint["name"]: endpoint for endpoint in infos[0]["endpoints"]}
    assert set(endpoints) == set(QUERIES)
    for query, endpoint in endpoints.items():
        assert endpoint["subject"] == f"{world.prefix}.qry.v1.{query}"
        for schema in ("request_schema", "response_schema"):
            Draft202012Validator.check_schema(json.loads(endpoint["metadata"][schema]))

    # then both instances together answered each request once
    totals = {
        query: (
            sum(e["num_requests"] for s in statistics for e in s["endpoints"] if e["name"] == query),
            sum(e["num_errors"] for s in statistics for e in s["endpoints"] if e["name"] == query),
        )
        for query in ("stats", "project_by_id")
    }
    assert totals == {"stats": (1, 0), "project_by_id": (1, 1)}


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("1.0.0", "1.0.0"),
        ("1.0.0rc1", "1.0.0-rc1"),
        ("1.2.3.dev0+g0a1b2c3", "1.2.3-dev0+g0a1b2c3"),
        ("1.0.0.post1", "1.0.0-post1"),
    ],
)
async def test_any_version_of_the_package_is_told_as_nats_takes_it(
    world: World, monkeypatch: pytest.MonkeyPatch, version: str, told: str
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    async with world.queries():
        (ping,) = await control(world.nats, f"$SRV.PING.{world.prefix}-registry", answers=1)
    assert ping["version"] == told


async def test_answers_conform_to_the_schemas_of_the_endpoints(service: None, registry: Registry, world: World) -> None:
    # given
    project_id = await registry.register_project("engine", ORIGIN, "main", "/code/engine/trunk-main")
    worktree_id = await registry.register_worktree(project_id, "feat", "feat-x", "feat/x", "/code/engine/feat-x")
    await registry.update_worktree_git_state(worktree_id, uncommitted_count=2)
    activity_id = await registry.log_activity("ada", worktree_id, "modified", "x")
    ((event_id, sequence),) = world.rows("SELECT event_id::text, id::text FROM outbox WHERE entity = 'project'")
    requests: dict[str, dict[str, Any]] = {
        "project_by_origin": {"remote_origin": ORIGIN},
        "project_by_id": {"project_id": str(project_id)},
        "search_projects": {"query": "engine"},
        "search_registry": {"query": "engine"},
        "worktree_by_path": {"path": "/code/engine/feat-x"},
        "worktree_by_id": {"worktree_id": str(worktree_id)},
        "activity_by_id": {"activity_id": str(activity_id)},
        "event_by_id": {"event_id": event_id, "sequence": sequence},
        "working_path": {"project_id": str(project_id)},
    }
    (info,) = await control(world.nats, f"$SRV.INFO.{world.prefix}-registry", answers=1)
    answered = [endpoint for endpoint in info["endpoints"] if endpoint["name"] not in NOT_HERE]
    for endpoint in answered:
        request = requests.get(endpoint["name"], {})
        answer = json.loads((await ask(world, endpoint["name"], json.dumps(request).encode())).data)
        Draft202012Validator(json.loads(endpoint["metadata"]["request_schema"])).validate(request)
        Draft202012Validator(json.loads(endpoint["metadata"]["response_schema"])).validate(answer)


async def test_a_request_without_a_reply_subject_does_no_harm(service: None, world: World) -> None:
    await world.nats.publish(f"{world.prefix}.qry.v1.stats", b"")
    await world.nats.publish(f"{world.prefix}.qry.v1.project_by_id", b"{}")
    for query in ("stats", "worktree_types"):
        assert not (await ask(world, query)).headers

    with pytest.raises(nats_errors.NoRespondersError):
        await ask(world, "nope")
