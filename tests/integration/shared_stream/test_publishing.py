"""Events in the pipeline's shared stream: what its contract has is there, the rest stays in the outbox and is told."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from nats.js.api import StreamConfig

from publisher.doctor import examine
from publisher.history.rebuild import rebuild
from publisher.history.verification import verify
from publisher.outbox import retention
from publisher.outbox.connection import LEADER, connect
from publisher.relay.metrics import RelayMetrics
from registry.errors import Conflict
from registry.profiles.bloodbank import STREAM
from tests.support.every_event import change_everything
from tests.support.pipeline_contract import faults
from tests.support.world import World

LARGE = """
SELECT register_worktree(
    register_project('large', 'git@github.com:a/large.git'),
    'feat', 'large', 'large', '/large', NULL, jsonb_build_object('x', repeat('x', %s))
)
"""
WITHHELD = "imi_relay_withheld_events_total"


def withheld(metrics: RelayMetrics) -> int:
    return int(metrics.registry.get_sample_value(WITHHELD) or 0)


def counts(world: World) -> tuple[int, int]:
    """Events of worktrees in the outbox, and others."""
    ((ours, others),) = world.rows("SELECT count(*) FILTER (WHERE entity = 'worktree'), count(*) FROM outbox")
    return ours, others - ours


async def told(world: World) -> list[str]:
    return [finding.text for finding in await examine(world.settings())]


async def test_by_default_what_the_contract_has_is_published_and_the_rest_is_passed_and_counted(
    pipeline: World, grammar: str
) -> None:
    with psycopg.connect(pipeline.database, autocommit=True) as conn:
        change_everything(conn, pipeline.nats.max_payload)
        conn.execute(LARGE, [pipeline.nats.max_payload])
    async with pipeline.relay() as metrics:
        await pipeline.drained()
        assert metrics.problems() == []
        findings = await examine(pipeline.settings())

    ours, others = counts(pipeline)
    messages = await pipeline.published()
    assert [faults(message.subject, message.envelope, is_v1=grammar == "v1") for message in messages] == [[]] * ours
    expected = pipeline.rows("SELECT event_id::text FROM outbox WHERE entity = 'worktree' ORDER BY id")
    assert sorted(message.envelope["id"] for message in messages) == sorted(row[0] for row in expected)
    assert any("dataref" in message.envelope for message in messages)
    assert withheld(metrics) == others > 0
    assert pipeline.rows("SELECT withheld FROM publisher_cursor") == [(others,)]
    stay = f"{others:,} events stay in the outbox: the contract of stream {STREAM} has no name"
    assert any(finding.text.startswith(stay) for finding in findings)
    assert any(f"stream {STREAM} takes our subjects, bloodbank.evt." in finding.text for finding in findings)
    assert [finding.text for finding in findings if not finding.is_well] == []


async def test_what_is_proposed_is_published_when_it_is_agreed_and_nothing_of_before(
    pipeline: World, grammar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(pipeline.database, autocommit=True) as conn:
        conn.execute("SELECT register_project('before', 'git@github.com:a/before.git')")
        async with pipeline.relay():
            await pipeline.drained()
        monkeypatch.setenv("IMI_BLOODBANK_PROPOSED", "true")
        change_everything(conn, pipeline.nats.max_payload)
        async with pipeline.relay() as metrics:
            await pipeline.drained()

    messages = await pipeline.published()
    ((total, beats),) = pipeline.rows("SELECT count(*), count(*) FILTER (WHERE action = 'heartbeat') FROM outbox")
    assert len(messages) == total - beats - 1  # that of before
    assert withheld(metrics) == beats > 0
    for message in messages:
        assert faults(message.subject, message.envelope, is_v1=grammar == "v1", is_proposed=True) == []


async def test_a_change_of_leader_counts_nothing_twice_and_retention_takes_what_was_withheld(pipeline: World) -> None:
    for _ in range(3):
        pipeline.write(projects=1, worktrees=1, renames=2)
        async with pipeline.relay():
            await pipeline.drained()
    _, others = counts(pipeline)
    assert pipeline.rows("SELECT withheld, dead_ids FROM publisher_cursor") == [(others, 0)]
    texts = await told(pipeline)
    assert any(f"{others} events stay in the outbox" in text for text in texts)
    assert not any("waits" in text for text in texts)

    pipeline.write(projects=1, worktrees=1, renames=2)  # not passed yet
    waiting = counts(pipeline)[1] - others
    async with connect(pipeline.database, "test", LEADER) as conn:
        removed = await retention.remove_old(conn, retention.timedelta(days=1))
        assert removed.events == 0
        removed = await retention.remove_old(conn, retention.timedelta())
    assert removed.events == others + 3
    assert counts(pipeline) == (1, waiting)
    assert (await verify(pipeline.settings())).differences == []


async def test_only_withheld_events_move_the_cursor_too(pipeline: World) -> None:
    async with pipeline.relay() as metrics:
        for number in range(5):
            with psycopg.connect(pipeline.database) as conn:
                conn.execute("SELECT register_project(%s, %s)", [f"p{number}", f"git@github.com:a/p{number}.git"])
            await pipeline.drained()
        assert withheld(metrics) == 5
    assert (await pipeline.nats.jetstream().stream_info(STREAM)).state.last_seq == 0


async def test_the_events_of_the_outbox_still_tell_all(pipeline: World) -> None:
    async with pipeline.relay():
        pipeline.write()
        await pipeline.drained()
    assert (await verify(pipeline.settings())).differences == []


@pytest.mark.parametrize("grammar", ["plain"], indirect=True)
async def test_a_stream_that_is_made_anew_gets_what_is_published_now(
    pipeline: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMI_BLOODBANK_PROPOSED", "true")
    async with pipeline.relay():
        pipeline.write(projects=1)
        await pipeline.drained()
    monkeypatch.delenv("IMI_BLOODBANK_PROPOSED")
    jetstream = pipeline.nats.jetstream()
    await jetstream.delete_stream(STREAM)
    await jetstream.add_stream(StreamConfig(name=STREAM, subjects=["bloodbank.evt.v1.>"]))  # in the other grammar, too

    done = await rebuild(pipeline.settings())

    ours, others = counts(pipeline)
    messages = await pipeline.published()
    assert done.events == len(messages) == ours > 0
    assert others > 0
    assert all(faults(message.subject, message.envelope, is_v1=True) == [] for message in messages)


@pytest.mark.parametrize("grammar", ["plain"], indirect=True)
@pytest.mark.parametrize(("bound", "setting"), [(["bloodbank.evt.agent.>"], "auto"), (["bloodbank.evt.v1.>"], "plain")])
async def test_a_stream_that_does_not_take_our_subjects_is_refused_by_name_at_start_and_by_doctor(
    pipeline: World, bound: list[str], setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMI_BLOODBANK_GRAMMAR", setting)
    jetstream = pipeline.nats.jetstream()
    await jetstream.delete_stream(STREAM)
    await jetstream.add_stream(StreamConfig(name=STREAM, subjects=bound))
    text = f"stream {STREAM} does not take our subjects: bound to it is {bound[0]}, and not bloodbank.evt.workspace."

    with pytest.raises(BaseExceptionGroup) as caught:
        async with pipeline.relay():
            await asyncio.Event().wait()
    found = caught.value.split(Conflict)[0]
    assert found is not None
    assert str(found.exceptions[0]).startswith(text)
    findings = await examine(pipeline.settings())
    assert any(finding.text.startswith(text) and not finding.is_well for finding in findings)
