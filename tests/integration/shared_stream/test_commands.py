"""Commands and replies in the pipeline's queue: each message there is judged, sent by us or answered."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import orjson
import pytest
from nats.aio.msg import Msg
from nats.js.api import RetentionPolicy, StreamConfig

from registry.broker.connection import flushed
from registry.client import RegistryClient, Sending
from registry.errors import Conflict, Invalid
from registry.profiles.bloodbank import COMMAND_STREAM
from tests.support.pipeline_contract import faults
from tests.support.world import World

WORKTREE = {"type_name": "feat", "name": "x", "branch_name": "feat/x", "path": "/code/x"}


async def heard(world: World) -> list[Msg]:
    """What comes on the subjects of the queue from now on."""
    messages: list[Msg] = []

    async def hear(message: Msg) -> None:
        messages.append(message)

    for subjects in ("bloodbank.cmd.>", "bloodbank.rpy.>"):
        await world.nats.subscribe(subjects, cb=hear)
    await flushed(world.nats)
    return messages


def project(world: World) -> Any:
    ((found,),) = world.rows("SELECT register_project('p', 'git@github.com:a/p.git')")
    return found


async def until_empty(world: World) -> None:
    async with asyncio.timeout(30):
        while (await world.nats.jetstream().stream_info(COMMAND_STREAM)).state.messages:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("proposed", [False, True], ids=["today", "proposed"])
async def test_every_command_of_a_client_conforms_and_is_carried_out(
    pipeline: World, grammar: str, proposed: bool
) -> None:
    project_id, messages = project(pipeline), await heard(pipeline)
    async with (
        pipeline.applier(),
        RegistryClient.connect(
            pipeline.nats_url, prefix=pipeline.prefix, profile="bloodbank", proposed=proposed, name="flume 2"
        ) as client,
    ):
        worktree = await client.register_worktree(project_id=project_id, **WORKTREE)
        await client.claim_worktree(worktree_id=worktree, agent_id="ada", sending=Sending(actor="ada"))
        if proposed:
            await client.update_git_state(path="/code/x", ahead=1)
            await client.release_worktree(worktree_id=worktree)
            await client.log_activity(agent_id="ada", activity_type="other", description="d", worktree_id=worktree)
            await client.update_project(project_id=project_id, description="d")
        else:
            with pytest.raises(Invalid, match=r"worktree\.release: the contract of the shared stream has no such"):
                await client.release_worktree(worktree_id=worktree)
        await client.merge_worktree(worktree_id=worktree, merged_by="ada", merge_commit_hash="abc")
        await client.remove_worktree(worktree_id=await client.register_worktree(project_id=project_id, **WORKTREE))
        await until_empty(pipeline)

    commands = [orjson.loads(message.data) for message in messages]
    assert len(commands) == (9 if proposed else 5)
    for message, command in zip(messages, commands, strict=True):
        assert faults(message.subject, command, is_v1=grammar == "v1", is_proposed=proposed) == []
    assert {command["producer"] for command in commands} == {"flume%202"}
    assert commands[1]["actor"] == {"type": "agent", "agent_id": "ada"}


async def test_a_pipeline_that_speaks_its_own_words_is_understood_and_answered(pipeline: World, grammar: str) -> None:
    project_id, messages = project(pipeline), await heard(pipeline)
    version = "v1." if grammar == "v1" else ""
    sent = []
    for action, data in (
        ("create", {"project_id": str(project_id)} | WORKTREE),
        ("checkout", {"path": "/code/x", "agent_id": "ada"}),
        ("claim", {"path": "/code/x", "agent_id": "bob"}),  # in our words, and a conflict
        ("complete", {"path": "/code/x", "merged_by": "ada", "merge_commit_hash": "abc"}),
    ):
        command_id, correlation_id = str(uuid4()), str(uuid4())
        sent.append((command_id, correlation_id))
        command = {
            "specversion": "1.0",
            "id": str(uuid4()),
            "command_id": command_id,
            "idempotency_key": f"k {command_id}",
            "delivery": "single_consumer",
            "source": "urn:33god:service:flume",
            "type": f"bloodbank.{version}workspace.worktree.{action}",
            "time": "2026-01-21T10:00:00Z",
            "correlationid": correlation_id,
            "causationid": correlation_id,
            "actor": {"type": "agent", "agent_id": "ada"},
            "data": data,
        }
        subject = f"bloodbank.cmd.{version}workspace.worktree.{action}"
        await pipeline.nats.jetstream().publish(subject, orjson.dumps(command))
    others = f"bloodbank.cmd.{version}workspace.branch.create"
    await pipeline.nats.jetstream().publish(others, b"{}")

    async with pipeline.applier() as metrics, asyncio.timeout(30):
        while len(messages) < 9:
            await asyncio.sleep(0.01)
        assert metrics.problems() == []

    replies = [(message.subject, orjson.loads(message.data)) for message in messages[5:]]
    assert [faults(subject, reply, is_v1=grammar == "v1") for subject, reply in replies] == [[]] * 4
    assert sorted((reply["causationid"], reply["correlationid"]) for _, reply in replies) == sorted(sent)
    verdicts = {reply["causationid"]: reply["data"]["verdict"] for _, reply in replies}
    assert [verdicts[command_id] for command_id, _ in sent] == ["applied", "applied", "rejected", "applied"]
    queue = await pipeline.nats.jetstream().stream_info(COMMAND_STREAM)
    assert queue.state.messages == 5  # four replies that nobody took, and the command that is not ours


@pytest.mark.parametrize("grammar", ["plain"], indirect=True)
async def test_a_queue_that_does_not_take_our_subjects_is_refused_by_name(pipeline: World) -> None:
    jetstream = pipeline.nats.jetstream()
    await jetstream.delete_stream(COMMAND_STREAM)
    queue = StreamConfig(name=COMMAND_STREAM, subjects=["bloodbank.cmd.agent.>"], retention=RetentionPolicy.WORK_QUEUE)
    await jetstream.add_stream(queue)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with pipeline.applier():
            await asyncio.Event().wait()
    found = caught.value.split(Conflict)[0]
    assert found is not None
    assert f"stream {COMMAND_STREAM} does not take our subjects" in str(found.exceptions[0])
    with pytest.raises(Conflict, match=f"stream {COMMAND_STREAM} does not take our subjects"):
        async with RegistryClient.connect(pipeline.nats_url, prefix=pipeline.prefix, profile="bloodbank"):
            pass
