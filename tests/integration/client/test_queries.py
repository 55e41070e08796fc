"""Queries over NATS, asked as a component asks them and as a program with nothing but a NATS client does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import nats.errors as nats_errors
import psycopg
import pytest
from jsonschema import Draft202012Validator
from nats.aio.client import Client
from nats.aio.msg import Msg

from publisher.query_service import OUTAGE_SECONDS
from registry.client.queries import QueryClient
from registry.database import Registry
from registry.errors import Invalid, NotFound, RegistryError, Unavailable
from registry.events.envelope import parse_envelope
from registry.queries import QUERIES
from tests.support.processes import COMMAND, environment
from tests.support.proxy import postgres_proxy
from tests.support.world import World

ORIGIN = "git@github.com:ada/engine.git"
SOME_ID = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
async def service(world: World) -> AsyncIterator[None]:
    async with world.queries():
        yield


@pytest.fixture
async def registry(database: str) -> AsyncIterator[Registry]:
    async with Registry.connect(database) as connected:
        yield connected


@pytest.fixture
def queries(service: None, world: World) -> QueryClient:
    return QueryClient(world.nats, world.names)


async def ask(world: World, query: str, payload: bytes = b"") -> Msg:
    return await world.nats.request(f"{world.prefix}.qry.v1.{query}", payload, timeout=10)


async def control(nats: Client, subject: str, answers: int) -> list[dict[str, Any]]:
    """The `answers` answers to a request of the micro service protocol."""
    inbox = nats.new_inbox()
    subscription = await nats.subscribe(inbox)
    await nats.publish(subject, b"", reply=inbox)
    found = [json.loads((await subscription.next_msg(timeout=10)).data) for _ in range(answers)]
    await subscription.unsubscribe()
    return found


async def test_each_query_answers_what_the_database_has(registry: Registry, queries: QueryClient) -> None:
    # given
    project_id = await registry.register_project("größe", ORIGIN, "main", "/code/größe/trunk-main", {"k": [1, None]})
    worktree_id = await registry.register_worktree(project_id, "feat", "feat-x", "feat/x", "/code/größe/feat-x")
    await registry.update_worktree_git_state(worktree_id, uncommitted_count=2)

    # then
    assert await queries.project_by_origin("https://github.com/Ada/Engine") == await registry.get_project_by_origin(
        ORIGIN
    )
    assert await queries.project_by_id(project_id) == await registry.get_project(project_id)
    assert await queries.worktree_by_path("/code/größe/feat-x/") == await registry.get_worktree_by_path(
        "/code/größe/feat-x"
    )
    assert await queries.working_path(project_id) == "/code/größe/trunk-main"
    assert await queries.working_path(project_id, "feat/y") == "/code/größe/feat-y"
    assert await queries.inflight_work() == await registry.get_inflight_work(project_id)
    (work,) = await queries.inflight_work(project_id)
    assert (work.worktree_id, work.project_id, work.project_name) == (worktree_id, project_id, "größe")
    assert [match.id for match in await queries.search_projects("engin")] == [project_id]
    assert await queries.stats() == await registry.get_registry_stats()
    assert await queries.worktree_types() == await registry.list_worktree_types()
    assert [project.id for project in (await queries.projects()).projects] == [project_id]


async def test_projects_come_in_pages(registry: Registry, queries: QueryClient) -> None:
    # given
    wanted = {await registry.register_project(f"p{n}", f"git@github.com:ada/p{n}.git") for n in range(5)}

    # when
    seen: list[UUID] = []
    after: UUID | None = None
    while True:
        page = await queries.projects(limit=2, after=after)
        seen += [project.id for project in page.projects]
        after = page.next
        if after is None:
            break

    # then
    assert seen == sorted(wanted)


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


async def test_the_client_raises_the_errors_of_the_one_tree(queries: QueryClient) -> None:
    with pytest.raises(NotFound, match="is no project"):
        await queries.project_by_id(uuid4())

    with pytest.raises(Invalid, match="it must not be blank"):
        await queries.search_projects(" ")


async def test_without_a_service_a_query_is_unavailable_at_once(world: World) -> None:
    with pytest.raises(Unavailable, match="is imi-registry serve running"):
        await QueryClient(world.nats, world.names).stats()


async def test_a_page_ends_where_the_answer_is_full(queries: QueryClient, world: World) -> None:
    # given projects of which no two fit into one message, and one that does not fit at all
    parts = [1 / 1000, 2 / 3, 2 / 3, 2, 1 / 1000, 2 / 3]
    with psycopg.connect(world.database) as conn:
        for number, part in enumerate(parts):
            conn.execute(
                "INSERT INTO projects (id, name, remote_origin, trunk_path, metadata)"
                " VALUES (%s, %s, %s, '/x', jsonb_build_object('x', repeat('x', %s::int)))",
                (
                    UUID(int=number + 1),
                    f"p{number}",
                    f"git@github.com:a/p{number}.git",
                    int(world.nats.max_payload * part),
                ),
            )

    # when all of them are asked for
    pages, after = [], None
    while True:
        page = await queries.projects(after=after)
        pages.append([project.name for project in page.projects])
        for project in page.projects:
            part = parts[int(project.name[1:])]
            assert project.is_shortened == (part > 1)
            assert len(project.metadata.get("x", "")) == (0 if part > 1 else int(world.nats.max_payload * part))
        after = page.next
        if after is None:
            break

    # then each came once, in order, and as many as fit
    assert pages == [["p0", "p1"], ["p2"], ["p3", "p4", "p5"]]


async def test_a_row_too_large_for_the_server_says_so(service: None, world: World) -> None:
    size = world.nats.max_payload
    with psycopg.connect(world.database, autocommit=True) as conn:
        query = "SELECT register_project('p', %s, p_metadata => jsonb_build_object('x', repeat('x', %s)))::text"
        (project,) = conn.execute(query, (ORIGIN, size)).fetchone() or ("",)
        query = (
            "SELECT register_worktree(%s, 'feat', 'w', 'b', '/w', NULL, jsonb_build_object('x', repeat('x', %s)))::text"
        )
        (worktree,) = conn.execute(query, (project, size)).fetchone() or ("",)
        query = "SELECT log_activity('ada', %s, 'other', repeat(chr(1), %s))::text"  # six characters each in JSON
        (activity,) = conn.execute(query, (worktree, size // 6)).fetchone() or ("",)

    for kind, row in (("project", project), ("worktree", worktree), ("activity", activity)):
        answer = await ask(world, f"{kind}_by_id", json.dumps({f"{kind}_id": row}).encode())
        assert answer.headers is not None
        assert answer.headers["Nats-Service-Error-Code"] == "413"
        assert "read the event about it in pieces, event_by_id" in answer.headers["Nats-Service-Error"]


async def test_a_row_that_just_fits_is_answered_whole(queries: QueryClient, registry: Registry, world: World) -> None:
    metadata = {"x": "y" * (world.nats.max_payload - 5000), "n": Decimal("1.10")}
    project_id = await registry.register_project("p", ORIGIN, metadata=metadata)

    project = await queries.project_by_id(project_id)

    assert (project.metadata, project.is_shortened) == (metadata, False)
    assert (await queries.projects()).projects == [project]


async def test_types_of_any_size_are_listed(queries: QueryClient, registry: Registry, world: World) -> None:
    for number in range(3):
        await registry.add_worktree_type(f"t{number}", metadata={"x": "y" * (world.nats.max_payload * 2 // 3)})

    types = {kind.name: kind for kind in await queries.worktree_types()}

    assert [(types[f"t{n}"].is_shortened, len(types[f"t{n}"].metadata)) for n in range(3)] == [
        (False, 1),
        (True, 0),
        (True, 0),
    ]


async def test_what_an_event_names_is_found_by_id(registry: Registry, queries: QueryClient, world: World) -> None:
    project_id = await registry.register_project("engine", ORIGIN, metadata={"z": Decimal("1.10")})
    worktree_id = await registry.register_worktree(project_id, "feat", "feat-x", "feat/x", "/code/feat-x")
    activity_id = await registry.log_activity("ada", worktree_id, "modified", "größer")

    worktree = await queries.worktree_by_id(worktree_id)
    activity = await queries.activity_by_id(activity_id)

    assert (worktree.name, worktree.project_name, worktree.active) == ("feat-x", "engine", True)
    assert (activity.description, activity.worktree_name) == ("größer", "feat-x")
    for ask_for in (queries.worktree_by_id, queries.activity_by_id):
        with pytest.raises(NotFound, match=f"{SOME_ID} is no"):
            await ask_for(UUID(SOME_ID))  # type: ignore[operator]


async def test_the_data_that_an_event_only_names_is_read_in_pieces(
    registry: Registry, queries: QueryClient, world: World
) -> None:
    # given an event whose data is many times what a message may be, of characters that take most room in JSON
    text = 'ü"\\\n😀' * (world.nats.max_payload // 4)
    await registry.register_project("small", "git@github.com:ada/small.git")
    await registry.register_project("engine", ORIGIN, metadata={"z": Decimal("1.10"), "text": text})
    async with world.relay():
        await world.drained()
    small, large = [parse_envelope(event.payload) for event in await world.replayed()]
    assert large.data is None

    # then
    data = await queries.event_data(large)
    assert data["metadata"] == {"z": Decimal("1.10"), "text": text}
    assert (await queries.event_data(small)) == small.data
    for nothing in (large.model_copy(update={"id": UUID(SOME_ID)}), large.model_copy(update={"sequence": "9" * 19})):
        with pytest.raises(RegistryError, match=r"is no event that is kept at sequence|out of range"):
            await queries.event_data(nothing)


async def test_a_query_that_takes_too_long_does_not_put_others_out(queries: QueryClient, world: World) -> None:
    with psycopg.connect(world.database) as conn:
        conn.execute("LOCK TABLE projects")

        with pytest.raises(Unavailable, match="did not answer within"):
            await queries.projects()

        assert len(await queries.worktree_types()) > 0


async def test_many_slow_queries_do_not_put_others_out(queries: QueryClient, world: World) -> None:
    with psycopg.connect(world.database) as conn:
        conn.execute("LOCK TABLE projects")
        slow = [
            asyncio.ensure_future(query)
            for query in (queries.projects(), queries.search_projects("x"), queries.inflight_work(), queries.stats())
        ]
        await asyncio.sleep(0)

        while not any(query.done() for query in slow):
            assert len(await queries.worktree_types()) > 0
            await asyncio.sleep(0.05)

    refused = await asyncio.gather(*slow, return_exceptions=True)
    assert any(isinstance(error, Unavailable) for error in refused)


async def test_a_request_larger_than_any_query_is_refused_unread(service: None, world: World) -> None:
    answer = await ask(world, "worktree_by_path", json.dumps({"path": "x" * 200_000}).encode())
    assert (answer.headers or {})["Nats-Service-Error-Code"] == "400"
    assert "at most 131072 are allowed" in (answer.headers or {})["Nats-Service-Error"]


async def test_a_text_to_search_for_is_no_longer_than_a_name(queries: QueryClient) -> None:
    with pytest.raises(Invalid, match="at most 512 characters"):
        await queries.search_projects("x" * 100_000)


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
        "worktree_by_path": {"path": "/code/engine/feat-x"},
        "worktree_by_id": {"worktree_id": str(worktree_id)},
        "activity_by_id": {"activity_id": str(activity_id)},
        "event_by_id": {"event_id": event_id, "sequence": sequence},
        "working_path": {"project_id": str(project_id)},
    }
    (info,) = await control(world.nats, f"$SRV.INFO.{world.prefix}-registry", answers=1)
    for endpoint in info["endpoints"]:
        request = requests.get(endpoint["name"], {})
        answer = json.loads((await ask(world, endpoint["name"], json.dumps(request).encode())).data)
        Draft202012Validator(json.loads(endpoint["metadata"]["request_schema"])).validate(request)
        Draft202012Validator(json.loads(endpoint["metadata"]["response_schema"])).validate(answer)


async def test_a_database_outage_is_503_for_everybody_and_then_over(world: World) -> None:
    async with postgres_proxy(world.database) as (proxy, url), world.at(database=url).queries():
        await ask(world, "stats")

        # when
        proxy.refuse()
        answers = await asyncio.gather(*[ask(world, "stats") for _ in range(20)])

        # then nobody waited for the end of the outage, and nobody hung behind the others
        assert {(answer.headers or {}).get("Nats-Service-Error-Code") for answer in answers} == {"503"}

        # when
        proxy.go_on()

        # then
        async with asyncio.timeout(20 * OUTAGE_SECONDS):
            while (await ask(world, "stats")).headers:
                pass


async def test_a_database_that_falls_silent_is_503_not_a_hang(world: World) -> None:
    async with postgres_proxy(world.database) as (proxy, url), world.at(database=url).queries():
        await ask(world, "stats")

        # when
        proxy.black_hole()
        answers = await asyncio.gather(*[ask(world, "stats") for _ in range(5)])

        # then
        assert {(answer.headers or {}).get("Nats-Service-Error-Code") for answer in answers} == {"503"}

        # when
        proxy.go_on()

        # then
        async with asyncio.timeout(20 * OUTAGE_SECONDS):
            while (await ask(world, "stats")).headers:
                pass


async def test_serve_answers_queries(world: World) -> None:
    # when
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        env=environment(DATABASE_URL=world.database, NATS_URL=world.nats_url, IMI_PREFIX=world.prefix),
    )
    try:
        # then
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await QueryClient(world.nats, world.names).stats() is not None
                    break
                except Unavailable:
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
    finally:
        process.terminate()
        await process.wait()


async def test_a_request_without_a_reply_subject_does_no_harm(service: None, world: World) -> None:
    await world.nats.publish(f"{world.prefix}.qry.v1.stats", b"")
    await world.nats.publish(f"{world.prefix}.qry.v1.project_by_id", b"{}")
    for query in ("stats", "worktree_types"):
        assert not (await ask(world, query)).headers

    with pytest.raises(nats_errors.NoRespondersError):
        await ask(world, "nope")
