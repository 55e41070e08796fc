"""The console as somebody reads it, without a script and without a token."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import orjson
import psycopg
import pytest

from publisher.outbox import known
from publisher.web.console.sources import outbox
from publisher.web.console.sources.outbox import page_of
from publisher.web.console.sources.wanted import Wanted
from tests.support.web.console import served
from tests.support.world import World


def registered(world: World) -> tuple[str, str]:
    """Ids of a project and of a worktree in it, with some history."""
    with psycopg.connect(world.database, autocommit=True) as conn:

        def call(query: str, *values: object) -> str:
            return str((conn.execute(query, values).fetchone() or ("",))[0])

        project = call(
            "SELECT register_project('flume', 'git@github.com:a/flume.git', 'main', '/srv/flume/trunk-main')"
        )
        worktree = call("SELECT register_worktree(%s, 'feat', 'feat-x', 'feat/x', '/srv/flume/feat-x', 'ada')", project)
        conn.execute("SELECT update_worktree_git_state(%s, true, 3, 1, 0, 'abc', 'Half of it')", [worktree])
        conn.execute("SELECT log_activity('ada', %s, 'committed', 'Half of it', 'src/a.py')", [worktree])
    return project, worktree


async def test_a_page_of_a_former_id_leads_to_the_project(world: World) -> None:
    project, _ = registered(world)
    adopted = "0ed48ae6-1955-5bf8-b770-8339e3f8a016"
    world.rows("SELECT adopt_project_id(%s::uuid, %s::uuid)::text", project, adopted)
    async with served(world) as (visitor, _):
        answer = await visitor.get(f"/projects/{project}")
        assert (answer.status, answer.headers["location"]) == (308, f"/projects/{adopted}")
        assert "feat-x" in await visitor.until(f"/projects/{adopted}", "flume")


async def test_what_is_in_flight_is_on_the_overview(world: World) -> None:
    _, worktree = registered(world)
    async with served(world) as (visitor, _):
        text = await visitor.until("/", f'<a href="/worktrees/{worktree}">feat-x</a>')
        assert '<span class="badge uncommitted">uncommitted</span>' in text
        assert '<a href="/events?agent=ada">ada</a>' in text


async def test_that_more_events_wait_than_are_counted_is_on_the_overview(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MOST_WAITING", 2)
    registered(world)
    async with served(world, works=False) as (visitor, _):
        await visitor.until("/", '<span class="value">2 or more <small>committed, not yet published')


async def test_health_is_named_checks_that_are_well(world: World) -> None:
    async with served(world) as (visitor, _):
        text = await visitor.until("/", "publishes; 0 events wait")
        for name in ("PostgreSQL", "NATS", "Relay", "Applier", "Publisher", "Event stream", "Triggers"):
            assert re.search(rf'<li class="well">\s*<span[^>]*>✓</span>\s*<div>\s*<span class="name">{name}<', text), (
                name
            )
        assert "All is well" in text


async def test_events_are_listed_newest_first_and_filtered_by_the_url(world: World) -> None:
    project, worktree = registered(world)
    async with served(world) as (visitor, _):
        await world.drained()

        async def kinds(**wanted: str) -> list[str]:
            text = (await visitor.get(f"/events?{urlencode(wanted)}")).text
            return re.findall(r"data-select>([a-z_.]+)</a>", text)

        everything = ["activity.logged", "worktree.git_state_updated", "worktree.created", "project.registered"]
        assert await kinds() == everything
        assert await kinds(entity="worktree") == everything[1:3]
        assert await kinds(action="created") == ["worktree.created"]
        assert await kinds(project=project) == everything
        assert await kinds(worktree=worktree) == everything[:3]
        assert await kinds(agent="ada") == everything[:3]
        assert await kinds(agent="grace") == []
        assert await kinds(since="1h") == everything
        assert await kinds(until="1h") == []
        for first, last in (("0001-01-01", "9999-12-31"), ("0001-01-01T00:00+14:00", "9999-12-31T23:59:59-12:00")):
            assert await kinds(since=first, until=last) == everything
            assert await kinds(since=last) == await kinds(until=first) == []
        assert await kinds(before="3") == everything[2:]


async def test_the_list_and_what_comes_live_agree_on_each_filter(world: World) -> None:
    project, worktree = registered(world)
    with psycopg.connect(world.database) as conn:
        conn.execute("SELECT set_config('imi.correlation_id', %s, true)", [project])
        conn.execute("SELECT use_host('laptop', NULL, true)")
        conn.execute("UPDATE worktrees SET agent_id = 'grace'")
    async with served(world) as (visitor, console):
        await visitor.until("/events", "worktree.claimed")
        everything = (await page_of(console.database, world.stream, Wanted(), None)).lines
        for given in (
            {"entity": "worktree"},
            {"action": "created"},
            {"project": project},
            {"worktree": worktree},
            {"agent": "ada"},
            {"agent": "grace"},
            {"correlation": project},
            {"host": "laptop"},
            {"host": "default"},
            {"until": "1h"},
            {"since": "1h", "entity": "activity"},
        ):
            wanted = Wanted.of(given)
            listed = (await page_of(console.database, world.stream, wanted, None)).lines
            assert listed == [line for line in everything if wanted.matches(line)], given
            assert ("until" in given) == (not listed), given


async def test_a_filter_that_cannot_be_is_refused_with_field_value_and_rule(world: World) -> None:
    async with served(world) as (visitor, _):
        for wanted, said in {
            "project=x": "project: &#34;x&#34;: it must be a UUID",
            "since=soon": "since: &#34;soon&#34;: it must be a time",
            "entity=planet": "planet",
            "before=-1": "before: &#34;-1&#34;: it must be a number",
            "agent=" + "a" * 600: "agent: it has 600 characters",
            "agent=%00": "agent",
        }.items():
            answer = await visitor.get(f"/events?{wanted}")
            assert answer.status == 400, wanted
            assert said in answer.text, answer.text


async def test_an_event_is_shown_with_its_envelope_its_headers_and_its_place(world: World) -> None:
    registered(world)
    async with served(world) as (visitor, _):
        await world.drained()
        (published,) = [event for event in await world.published() if ".git_state_updated." in event.subject]
        number = int(published.envelope["sequence"])

        page = (await visitor.get(f"/events/{number}")).text
        envelope = await visitor.get(f"/events/{number}/envelope")

        raw = await world.nats.jetstream().get_msg(world.stream, published.sequence)
        assert envelope.body == raw.data
        assert orjson.loads(envelope.body)["id"] == published.envelope["id"]
        assert f"sequence {published.sequence}" in page
        assert "in the stream" in page
        for name, value in (raw.headers or {}).items():
            assert f"<dt>{name}</dt><dd>{value}</dd>" in page
        assert '<del class="before">0</del></td><td><ins class="after">3</ins>' in page


async def test_an_event_that_is_not_kept_is_no_page(world: World) -> None:
    async with served(world) as (visitor, _):
        answer = await visitor.get("/events/77")
        assert answer.status == 404
        assert "event 77 is not kept" in answer.text


async def test_a_worktree_is_shown_as_it_is_and_as_it_was(world: World) -> None:
    project, worktree = registered(world)
    async with served(world) as (visitor, _):
        page = (await visitor.get(f"/worktrees/{worktree}")).text
        assert "3 files not committed, 1 ahead, 0 behind" in page
        assert "cd /srv/flume/feat-x" in page
        assert "Half of it" in page
        history = (await visitor.get(f"/worktrees/{worktree}/history")).text
        (created, updated) = sorted(re.findall(r'id="t(\d+)"', history))
        before = (await visitor.piece(f"/state?event={created}")).text
        after = (await visitor.piece(f"/state?event={updated}")).text
        assert re.search(r"uncommitted_files_count</th><td>0<", before)
        assert '<del class="before">0</del> <ins class="after">3</ins>' in after
        # as of a time, by the link of the timeline
        (link, *_) = re.findall(r'href="(/worktrees/[^"]*as_of=[^"]*)" data-stop="' + created, history)
        assert re.search(r"uncommitted_files_count</th><td>0<", (await visitor.get(link.replace("&amp;", "&"))).text)
        early = (await visitor.get(f"/worktrees/{worktree}/history?as_of=2000-01-01")).text
        assert "was not there before" in early
        assert (await visitor.get(f"/projects/{project}")).text.count("feat-x") == 1


async def test_projects_are_listed_a_page_at_a_time(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        for number in range(53):
            conn.execute("SELECT register_project(%s, %s)", [f"p{number:02}", f"git@github.com:a/p{number}.git"])
    async with served(world) as (visitor, _):
        first = (await visitor.get("/projects")).text
        (further,) = re.findall(r'href="(/projects\?[^"]*)">Further', first)
        second = (await visitor.get(further.replace("&amp;", "&"))).text
        names = re.findall(r'href="/projects/[^"]{36}">(p\d\d)<', first + second)
        assert names == [f"p{number:02}" for number in range(53)]


def work_on(database: str, name: str | None, branch: str) -> None:
    """A worktree with work in it, on the host of this name or on none."""
    with psycopg.connect(database) as conn:
        if name is not None:
            conn.execute("SELECT use_host(%s)", [name])
        conn.execute(
            "SELECT update_worktree_git_state(register_worktree("
            "register_project('engine', 'git@github.com:a/e.git', 'main', '/code/engine/trunk'),"
            " 'feat', %s, %s, %s), true, 1)",
            [branch, branch, f"/code/engine/{branch}"],
        )


async def test_while_there_is_one_host_nothing_is_said_of_it(world: World) -> None:
    work_on(world.database, None, "a")
    async with served(world) as (visitor, _):
        overview = await visitor.until("/", '<th scope="col">Worktree</th>')
        assert "rowgroup" not in overview
        assert "f-host" not in (await visitor.get("/events")).text


async def test_what_is_in_flight_is_grouped_by_host(world: World) -> None:
    for name in (None, "laptop", "server"):
        work_on(world.database, name, f"on-{name}")
    async with served(world) as (visitor, _):
        overview = await visitor.until("/", "on-server")
        groups = re.findall(r'<th scope="rowgroup" colspan="5">([^<]+)</th>(.*?)</tbody>', overview, re.S)
        assert [(host, re.findall(r">on-(\w+)</a>", rows)) for host, rows in groups] == [
            ("default", ["None"]),
            ("laptop", ["laptop"]),
            ("server", ["server"]),
        ]


async def test_events_of_one_host_are_listed_and_come_live(world: World) -> None:
    for name in (None, "laptop", "server"):
        work_on(world.database, name, f"on-{name}")
    async with served(world) as (visitor, _):
        await world.drained()

        async def listed(host: str) -> list[str]:
            return re.findall(r"data-select>([a-z_.]+)</a>", (await visitor.get(f"/events?host={host}")).text)

        mine = ["worktree.git_state_updated", "worktree.created"]
        assert await listed("Laptop") == [*mine, "project_host.added", "host.registered"]
        assert await listed("default") == [*mine, "project.registered"]
        form = (await visitor.get("/events?host=laptop")).text
        assert "<option selected>laptop</option>" in form
        assert re.findall(r'href="/events\?host=(\w+)">', form) == ["laptop"] * 4

        refused = await visitor.get("/events?host=nowhere")
        assert refused.status == 400
        assert "host: &#34;nowhere&#34;: it must be one of default, laptop, server" in refused.text

        async with visitor.live("/live/events?host=server&after=0") as events:
            _, rows = await anext(events)
        assert set(re.findall(r'href="/events\?host=(\w+)">', rows)) == {"server"}
        assert "project.registered" not in rows


async def test_events_of_a_host_behind_those_to_choose_from_are_listed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_HOSTS", 2)
    for name in (None, "laptop", "server"):
        work_on(world.database, name, f"on-{name}")
    async with served(world, works=False) as (visitor, _):
        assert "server" not in re.findall(r"<option>(\w+)</option>", await visitor.until("/events", "laptop</option>"))
        page = (await visitor.get("/events?host=server")).text
        assert "<option selected>server</option>" in page
        assert page.count('href="/events?host=server">') == 4
        refused = await visitor.get("/events?host=nowhere")
        assert (refused.status, "it must be the name of a host" in refused.text) == (400, True)


async def test_lists_that_end_before_all_is_told_say_so(world: World) -> None:
    project, _ = registered(world)
    with psycopg.connect(world.database, autocommit=True) as conn:
        for number in range(12):
            conn.execute(
                "SELECT register_worktree(%s, 'feat', %s, %s, %s, %s)",
                [project, f"w{number}", f"b{number}", f"/srv/flume/w{number}", f"agent-{number}"],
            )
        conn.execute(
            "INSERT INTO project_aliases (id, project_id) SELECT gen_random_uuid(), %s FROM generate_series(1, 51)",
            [project],
        )
    async with served(world, works=False) as (visitor, _):
        await visitor.until("/", '<span class="small muted">the latest 12</span>')
        assert "<dt>Former ids, the first 50</dt>" in (await visitor.get(f"/projects/{project}")).text
