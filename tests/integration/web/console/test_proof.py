"""The proof on demand: in the background, with the figures, by whoever may act."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime

import psycopg
import pytest

from publisher.web.console.sources.proof import KEPT, Run
from tests.support.web.console import served
from tests.support.world import World


def figures(text: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", text))


async def test_verify_and_audit_run_in_the_background_and_tell_their_figures(world: World) -> None:
    world.write(projects=2, worktrees=2, renames=3)
    async with served(world) as (visitor, console):
        await world.drained()
        await visitor.sign_in("ada")
        for kind in ("audit", "verify"):
            assert (await visitor.act(f"/proof/{kind}", {})).status == 303
        assert len([run for run in console.proofs.runs if run.is_running]) == 2
        await visitor.until("/proof", '<span class="badge well">clean</span>', seconds=60)
        while any(run.is_running for run in console.proofs.runs):
            await visitor.until("/proof", "differences", seconds=60)
        text = (await visitor.get("/proof")).text
        assert text.count('<span class="badge well">clean</span>') == 2, text
        assert figures(text) | {"lost": "0", "doubled": "0", "reordered": "0", "differences": "0"} == figures(text)
        assert {action.about for action in console.log.latest() if action.what == "proof started"} == {
            "audit",
            "verify",
        }


async def test_what_is_lost_and_what_differs_is_named(world: World) -> None:
    world.write(projects=1, worktrees=1, renames=1)
    async with served(world) as (visitor, _):
        await world.drained()
        await world.nats.jetstream().delete_msg(world.stream, 2)
        with psycopg.connect(world.database, autocommit=True) as conn:
            conn.execute("ALTER TABLE projects DISABLE TRIGGER USER")
            conn.execute("UPDATE projects SET description = 'nobody was told'")
        await visitor.sign_in()
        await visitor.act("/proof/audit", {})
        text = await visitor.until("/proof", '<span class="badge bad">differs</span>', seconds=60)
        assert figures(text)["lost"] == "1"
        assert '<a href="/events/2">event 2</a>' in text
        await visitor.act("/proof/verify", {})
        assert "nobody was told" in await visitor.until("/proof", "description is", seconds=60)


async def test_one_of_a_kind_at_a_time_and_only_for_who_may_act(world: World) -> None:
    async with served(world) as (visitor, console):
        assert (await visitor.post("/proof/audit", {})).status == 403
        assert console.proofs.runs == []
        await visitor.sign_in()
        for _ in range(3):
            await visitor.act("/proof/audit", {})
        assert len(console.proofs.runs) == 1
        assert (await visitor.act("/proof/planets", {})).status == 404


async def test_one_that_runs_is_shown_and_alone_however_many_others_are_made_meanwhile(world: World) -> None:
    now = datetime.now(UTC)
    running = Run("audit", "ada", now)
    async with served(world, works=False) as (visitor, console):
        await visitor.sign_in()
        console.proofs.runs = [*(Run("verify", "ada", now, now) for _ in range(KEPT - 1)), running]
        await visitor.act("/proof/verify", {})
        await visitor.act("/proof/audit", {})
        assert [run for run in console.proofs.runs if run.kind == "audit"] == [running]
        assert len(console.proofs.runs) == KEPT + 1


async def test_a_proof_that_cannot_be_made_says_why(world: World) -> None:
    async with served(world, works=False) as (visitor, _):
        await visitor.sign_in()
        await visitor.act("/proof/audit", {})
        await visitor.until("/proof", "has published nothing to stream", seconds=60)


async def test_a_proof_that_cannot_be_started_says_why_and_the_next_one_runs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(world, works=False) as (visitor, _):
        await visitor.sign_in()
        with monkeypatch.context() as away:
            away.setattr(sys, "executable", "/nowhere/python")
            await visitor.act("/proof/audit", {})
            await visitor.until("/proof", "it could not be started: ")
        await visitor.act("/proof/audit", {})
        await visitor.until("/proof", "has published nothing to stream", seconds=60)
