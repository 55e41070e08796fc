"""Answers and requests of any size: what fits is whole, and of the rest is told where it is, or that it is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest

from registry.client.queries import QueryClient
from registry.database import Registry
from registry.errors import RegistryError
from registry.events.envelope import parse_envelope
from tests.support.client.queries import ask
from tests.support.world import World

ORIGIN = "git@github.com:ada/engine.git"
SOME_ID = "00000000-0000-4000-8000-000000000001"


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


async def test_a_request_larger_than_any_query_is_refused_unread(service: None, world: World) -> None:
    answer = await ask(world, "worktree_by_path", json.dumps({"path": "x" * 200_000}).encode())
    assert (answer.headers or {})["Nats-Service-Error-Code"] == "400"
    assert "at most 131072 are allowed" in (answer.headers or {})["Nats-Service-Error"]


@pytest.mark.parametrize("query", ["worktree_by_path", "history", "snapshot"])
async def test_a_request_with_more_headers_than_any_has_is_refused_unread(
    service: None, world: World, query: str
) -> None:
    subject = world.names.query_subject(query)
    async with world.history():
        answer = await world.nats.request(subject, b"{}", timeout=10, headers={"a": "x" * 9000})
    assert (answer.headers or {})["Nats-Service-Error-Code"] == "400"
    assert "bytes of headers, at most 8192 are allowed" in (answer.headers or {})["Nats-Service-Error"]
