"""What queries answer, asked as a component asks them."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from registry.client.queries import QueryClient
from registry.database import Registry
from registry.errors import Invalid, NotFound
from tests.support.world import World

ORIGIN = "git@github.com:ada/engine.git"
SOME_ID = "00000000-0000-4000-8000-000000000001"


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
    assert await queries.search_registry("feat x") == await registry.search_registry("feat x")
    assert [match.id for match in await queries.search_registry("größe", kinds=["worktree"])] == [worktree_id]
    assert [match.id for match in await queries.search_registry("engien", kinds=["project"])] == [project_id]
    assert {check.name: check.state for check in await queries.registry_health()}["schema"] == "ok"
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


async def test_the_client_raises_the_errors_of_the_one_tree(queries: QueryClient) -> None:
    with pytest.raises(NotFound, match="is no project"):
        await queries.project_by_id(uuid4())

    with pytest.raises(Invalid, match="it must not be blank"):
        await queries.search_projects(" ")


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


async def test_a_text_to_search_for_is_no_longer_than_a_name(queries: QueryClient) -> None:
    with pytest.raises(Invalid, match="at most 512 characters"):
        await queries.search_projects("x" * 100_000)
    with pytest.raises(Invalid, match="at most 512 characters"):
        await queries.search_registry("x" * 100_000)
    with pytest.raises(Invalid, match="says only what must not be there"):
        await queries.search_registry("-x")
