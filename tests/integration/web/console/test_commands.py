"""Commands in the console: sent by a form of their schema, listed with their outcomes, looked up."""

from __future__ import annotations

import re
from uuid import uuid4

from publisher.web.console.form_fields import fields_of
from registry.commands import COMMANDS
from tests.support.web.console import served
from tests.support.world import World

NEW = {"name": "project.register", "cmd.name": "flume", "cmd.remote_origin": "git@github.com:a/flume.git"}


def form_in(text: str) -> str:
    """What a form has of its own."""
    (found,) = re.findall(r'name="form" value="([^"]*)"', text)
    return str(found)


async def test_a_command_is_sent_by_its_form_and_found_again(world: World) -> None:
    async with served(world) as (visitor, console):
        await visitor.sign_in("ada")
        fields = NEW | {"cmd.metadata": '{"team": "core", "size": 1.10}', "key": "once"}
        answer = await visitor.act("/commands/send", fields)
        assert "<strong>applied</strong>" in answer.text, answer.text
        (command,) = re.findall(r'href="/commands/([0-9a-f-]{36})"', answer.text)
        assert world.rows("SELECT name, metadata::text FROM projects") == [("flume", '{"size": 1.10, "team": "core"}')]
        assert world.rows("SELECT DISTINCT actor FROM outbox") == [("ada",)]
        assert console.log.latest()[0].outcome == "applied"
        await world.drained()
        page = (await visitor.get(f"/commands/{command}")).text
        assert "once" in page
        assert re.search(r'href="/events/\d+">event', page)
        for query in ("", "?verdict=applied", "?name=project.register", "?text=once", f"?text={command}", "?text=ada"):
            assert command in (await visitor.get(f"/commands{query}")).text, query
        for query in ("?verdict=rejected", "?name=worktree.claim", "?text=twice"):
            assert command not in (await visitor.get(f"/commands{query}")).text, query


async def test_a_rejection_is_shown_with_its_reason_and_the_form_is_kept(world: World) -> None:
    async with served(world) as (visitor, console):
        await visitor.sign_in()
        given = {"name": "worktree.claim", "cmd.path": "/nowhere", "cmd.agent_id": "ada"}
        answer = await visitor.act("/commands/send", given)
        assert "<strong>rejected</strong> (NOT_FOUND)" in answer.text
        assert 'value="/nowhere"' in answer.text
        assert not console.log.latest()[0].is_well


async def test_a_form_that_is_sent_twice_is_one_command_and_a_changed_one_another(world: World) -> None:
    async with served(world) as (visitor, _):
        await visitor.sign_in()
        fields = NEW | {"form": form_in((await visitor.get("/commands/send")).text)}
        twice = [(await visitor.act("/commands/send", fields)).text for _ in range(2)]
        first, second = (re.findall(r'href="/commands/([0-9a-f-]{36})"', text) for text in twice)
        assert first == second
        assert world.rows("SELECT command_id::text FROM command_ledger") == [(first[0],)]
        assert len({fields["form"], *map(form_in, twice)}) == 3, "what follows an outcome is another form"
        changed = await visitor.act("/commands/send", fields | {"cmd.name": "other"})
        assert first[0] not in changed.text
        assert world.rows("SELECT count(*) FROM command_ledger") == [(2,)]


async def test_a_form_of_which_no_outcome_is_known_stays_itself_and_a_rejected_one_does_not(world: World) -> None:
    async with served(world) as (visitor, _):
        await visitor.sign_in()
        form = str(uuid4())
        unsent = await visitor.act("/commands/send", NEW | {"form": form, "cmd.metadata": "{"})
        assert form_in(unsent.text) == form
        given = {"name": "worktree.claim", "cmd.path": "/nowhere", "cmd.agent_id": "ada", "form": form}
        rejected = await visitor.act("/commands/send", given)
        assert "<strong>rejected</strong>" in rejected.text
        assert form_in(rejected.text) != form
        assert (await visitor.act("/commands/send", NEW | {"form": "x"})).status == 400


async def test_what_breaks_a_rule_is_not_sent(world: World) -> None:
    async with served(world) as (visitor, _):
        await visitor.sign_in()
        for given, said in (
            ({"name": "project.register", "cmd.name": "x"}, "remote_origin"),
            (NEW | {"cmd.metadata": "{"}, "metadata: &#34;{&#34;: it is no JSON"),
            ({"name": "worktree.update_git_state", "cmd.path": "/a", "cmd.ahead": "many"}, "ahead: &#34;many&#34;"),
            (NEW | {"correlation": "x"}, "correlation: &#34;x&#34;: it must be a UUID"),
            ({"name": "planet.destroy"}, "is none of"),
        ):
            answer = await visitor.act("/commands/send", given)
            assert answer.status == 400, given
            assert said in answer.text, answer.text
        assert world.rows("SELECT count(*) FROM command_ledger") == [(0,)]


async def test_without_a_session_nothing_is_sent(world: World) -> None:
    async with served(world) as (visitor, _):
        assert (await visitor.post("/commands/send", NEW)).status == 403
        text = (await visitor.get("/commands/send?name=worktree.claim")).text
        assert "To send it you need a session" in text
        assert 'action="/commands/send?name=worktree.claim"' in text, "who has to sign in comes back to it"
        assert world.rows("SELECT count(*) FROM projects") == [(0,)]


def test_every_field_of_every_command_has_its_place_in_a_form() -> None:
    for name, model in COMMANDS.items():
        fields = {field.name: field for field in fields_of(name)}
        assert set(fields) == set(model.model_fields)
        for field_name, spec in model.model_fields.items():
            assert fields[field_name].required == spec.is_required()
            assert fields[field_name].description
    kinds = {field.name: field.kind for name in COMMANDS for field in fields_of(name)}
    assert (kinds["metadata"], kinds["ahead"], kinds["has_uncommitted"], kinds["activity_type"], kinds["name"]) == (
        "json",
        "number",
        "yes",
        "choice",
        "text",
    )
