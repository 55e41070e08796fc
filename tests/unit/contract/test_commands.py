"""Commands as they are read, and the order they may be carried out in."""

from __future__ import annotations

import asyncio
import weakref
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.applier.keys import keys
from registry.commands import COMMANDS, CommandEnvelope, Outcome, validated
from registry.commands.reading import Command, read
from registry.concurrency.lanes import Job, Lanes
from registry.errors import Invalid
from registry.subjects import Names
from tests.support.commands import envelope

PROJECT = {"name": "p", "remote_origin": "git@github.com:a/p.git"}


def command(name: str, data: dict[str, object], **attributes: object) -> Command:
    return read(envelope(name, data, **attributes), name)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_each_command_is_valid(name: str) -> None:
    (example,) = COMMANDS[name].model_config["json_schema_extra"]["examples"]  # type: ignore[index,call-overload]
    assert command(name, example).problem is None
    assert command(name, example).data == example


def test_the_examples_of_envelope_and_outcome_are_valid() -> None:
    for model in (CommandEnvelope, Outcome):
        (example,) = model.model_config["json_schema_extra"]["examples"]  # type: ignore[index,call-overload]
        model.model_validate(example)


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("project.register", PROJECT | {"name": " "}, 'name: " ": it must not be blank'),
        ("project.register", {"name": "p"}, "remote_origin: field required"),
        ("project.register", PROJECT | {"colour": "red"}, "colour: extra inputs are not permitted"),
        ("project.update", {"name": "p"}, "exactly one of project_id and remote_origin"),
        ("project.update", {"project_id": "x"}, 'project_id: "x": input should be a valid UUID'),
        ("worktree.claim", {"worktree_id": str(UUID(int=1)), "path": "/a", "agent_id": "a"}, "exactly one of"),
        ("worktree.update_git_state", {"path": "/a", "ahead": -1}, "ahead: -1: input should be greater than or equal"),
        ("worktree.update_git_state", {"path": "/a", "ahead": "3"}, 'ahead: "3": input should be a valid integer'),
        ("worktree.update_git_state", {"path": "/a", "behind": 2**31}, "behind: 2147483648: input should be less than"),
        ("project.destroy", {}, 'command "project.destroy" is none of project.register'),
    ],
)
def test_data_that_breaks_a_rule_is_a_problem_that_names_field_value_and_rule(
    name: str, data: dict[str, object], problem: str
) -> None:
    found = command(name, data).problem
    assert found is not None
    assert problem in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"type": "imi.project.update.v1"}, "does not agree with the subject; expected imi.project.register.v1"),
        ({"type": "imi.project.register.v2"}, "does not agree with the subject"),
        ({"specversion": "2.0"}, 'specversion: "2.0"'),
        ({"correlationid": "x"}, 'correlationid: "x"'),
        ({"idempotencykey": "k" * 201}, "idempotencykey:"),
        ({"idempotencykey": "a\0b"}, 'idempotencykey: "a\\0b": it must not be empty or have a NUL'),
        ({"actor": ""}, 'actor: ""'),
        ({"actor": "x" * 201}, 'actor: "xxx'),
        ({"replyto": "imi.evt.v1.project.registered.-"}, "it must be an inbox"),
        ({"replyto": "_INBOX.*"}, "it must be an inbox"),
        ({"data": [1]}, "data: (list)"),
    ],
)
def test_an_envelope_that_breaks_a_rule_but_has_an_id_is_a_command_to_reject(
    attributes: dict[str, object], problem: str
) -> None:
    payload = orjson.dumps(orjson.loads(envelope("project.register", PROJECT)) | attributes)
    found = read(payload, "project.register")
    assert found.problem is not None
    assert problem in found.problem
    assert found.reply_to is None
    assert found.data == {}


def test_a_rejected_envelope_is_answered_at_its_inbox_when_that_is_one() -> None:
    assert command("project.register", PROJECT, source="", replyto="_INBOX.a.b").reply_to == "_INBOX.a.b"


@pytest.mark.parametrize(
    "payload", [b"", b"\xff\xfe", b"[]", b"null", b'"text"', b"{}", b'{"id": "x"}', b'{"id": 7}', b'{"id": null}', b"{"]
)
def test_what_has_no_id_is_no_command(payload: bytes) -> None:
    with pytest.raises(Invalid):
        read(payload, "project.register")


def test_nesting_too_deep_to_be_read_is_a_problem() -> None:
    deep = b'{"a":' * 400 + b"1" + b"}" * 400
    payload = envelope("project.register", PROJECT | {"metadata": {"deep": 1}}).replace(b'{"deep":1}', deep)
    problem = "project.register: metadata: (dict): it must not be nested deeper than 100 levels"
    assert read(payload, "project.register").problem == problem


def test_the_digest_is_of_type_and_data_and_not_of_their_order() -> None:
    one = command("project.register", PROJECT)
    assert one.digest == command("project.register", dict(reversed(PROJECT.items())), actor="ada").digest
    assert one.digest != command("project.register", PROJECT | {"name": "q"}).digest
    assert one.digest != command("project.update", PROJECT).digest


def test_only_the_fields_that_were_given_go_to_the_database() -> None:
    assert validated("project.register", PROJECT) == PROJECT


@pytest.mark.parametrize(
    ("subject", "name", "sender"),
    [
        ("imi.cmd.v1.project.register", "project.register", None),
        ("imi.cmd.v1.project.register.flume", "project.register", "flume"),
        ("imi.cmd.v2.project.register", None, None),
        ("imi.cmd.v1.project", None, None),
        ("imi.cmd.v1.project.register.flume.now", None, None),
        ("imi.cmd.x", None, None),
    ],
)
def test_the_subject_names_the_command_and_the_sender(subject: str, name: str | None, sender: str | None) -> None:
    names = Names().commands
    assert (names.name_of(subject), names.sender_of(subject)) == (name, sender)
    if name is not None:
        assert names.command_subject(name, sender) == subject


@pytest.mark.parametrize(
    "origin",
    ["git@github.com:A/p.git", "https://github.com/a/P", "ssh://git@github.com/a/p.git/", "https://github.com/a/p/"],
)
def test_every_form_of_an_origin_is_one_key(origin: str) -> None:
    assert "origin:a/p" in keys(command("project.register", PROJECT | {"remote_origin": origin}))


def test_registering_a_worktree_shares_keys_with_its_project_and_its_path() -> None:
    registered = command(
        "worktree.register",
        {"remote_origin": "a/p", "type_name": "feat", "name": "x", "branch_name": "x", "path": "/srv//x/"},
    )
    claim = command("worktree.claim", {"path": "/srv/x", "agent_id": "ada"})
    assert keys(registered) & keys(command("project.register", PROJECT)) == {"origin:a/p"}
    assert keys(registered) & keys(claim) == {"path:/srv/x"}


@given(st.lists(st.sets(st.sampled_from("abcd"), min_size=1), max_size=12), st.randoms(use_true_random=False))
def test_jobs_that_share_a_key_leave_in_order_and_all_leave(key_sets: list[set[str]], rng) -> None:  # type: ignore[no-untyped-def]
    async def play() -> list[int]:
        lanes: Lanes[int] = Lanes()
        for number, key_set in enumerate(key_sets):
            lanes.add(Job(number, key_set))
        in_hand: list[Job[int]] = []
        left: list[int] = []
        while len(left) < len(key_sets):
            # Take whatever is ready, then finish any of it.
            while not lanes._ready.empty():
                in_hand.append(await lanes.next())
            job = in_hand.pop(rng.randrange(len(in_hand)))
            assert all(not (job.keys & other.keys) for other in in_hand)
            left.append(job.item)
            lanes.done(job)
        assert lanes._last == {}
        return left

    left = asyncio.run(play())
    for key in "abcd":
        assert [number for number in left if key in key_sets[number]] == [
            number for number, key_set in enumerate(key_sets) if key in key_set
        ]


async def test_a_job_that_is_done_keeps_none_of_those_behind_it() -> None:
    # given one that its worker still has in a variable
    lanes: Lanes[int] = Lanes()
    first, second = Job(1, {"a"}), Job(2, {"a"})
    lanes.add(first)
    lanes.add(second)
    # when
    lanes.done(await lanes.next())
    lanes.done(await lanes.next())
    # then
    gone = weakref.ref(second)
    del second
    assert gone() is None
    assert first.item == 1
