"""A project is registered under the id that all agree on; without a quorum as the setting says."""

from __future__ import annotations

import re

import pytest

from publisher.agreement.bucket import Bucket
from publisher.settings import Settings
from registry.origin import derived_project_id
from tests.support.commandline import CommandLine, command_line
from tests.support.world import World

ORIGIN = "git@github.com:33god/engine.git"
REGISTER = ["project", "register", "--origin", ORIGIN, "--json"]
NOBODY = "nats://127.0.0.1:1"


@pytest.fixture
def cli(
    agreeing: Settings, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    return command_line(
        monkeypatch,
        capsys,
        DATABASE_URL=world.database,
        IMI_AGREEMENT_NATS_URL=world.nats_url,
        IMI_AGREEMENT_BUCKET=agreeing.agreement_bucket,
        IMI_AGREEMENT_REPLICAS="1",
    )


def test_two_registries_register_one_origin_under_one_id(
    cli: CommandLine, second: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = cli(*REGISTER).json
    monkeypatch.setenv("DATABASE_URL", second.database)
    there = cli(*REGISTER, "--derived-id").json

    assert here["id"] == there["id"]
    assert cli("agreement", "settle").out == "1 of 1 projects have the id that was agreed on\n"


def test_without_a_quorum_it_is_refused_and_nothing_is_registered(
    cli: CommandLine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMI_AGREEMENT_NATS_URL", NOBODY)
    refused = cli(*REGISTER)

    assert refused.code == 3
    assert f"cannot register {ORIGIN}: no quorum to agree on its id: cannot connect" in refused.err
    assert "IMI_AGREEMENT_WITHOUT_QUORUM=derive" in refused.err
    assert world.rows("SELECT id FROM projects") == []


def test_without_a_quorum_the_id_is_derived_where_that_is_the_setting(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMI_AGREEMENT_NATS_URL", NOBODY)
    monkeypatch.setenv("IMI_AGREEMENT_WITHOUT_QUORUM", "derive")

    assert cli(*REGISTER).json["id"] == str(derived_project_id(ORIGIN))


def test_a_project_that_is_here_needs_nobody(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    here = cli(*REGISTER).json
    monkeypatch.setenv("IMI_AGREEMENT_NATS_URL", NOBODY)

    assert cli(*REGISTER).json["id"] == here["id"]


def test_settle_says_what_it_did_and_what_a_person_must_do(
    cli: CommandLine, second: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = cli(*REGISTER).json["id"]
    monkeypatch.setenv("DATABASE_URL", second.database)
    ((there,),) = second.rows("SELECT register_project('engine', %s)::text", ORIGIN)

    settled = cli("agreement", "settle")
    assert settled.err == ""
    assert settled.out.splitlines() == [
        f"{ORIGIN} is {here} now; {there} goes on to mean it",
        "1 of 1 projects have the id that was agreed on",
    ]
    second.rows("SELECT change_project_origin(%s::uuid, 'git@github.com:33god/moved.git')::text", here)
    second.rows("SELECT register_project('engine', %s)::text", ORIGIN)
    unsettled = cli("agreement", "settle")
    assert (unsettled.code, unsettled.out) == (1, "1 of 2 projects have the id that was agreed on\n")
    assert "imi-registry project merge OTHER THIS" in unsettled.err
    assert f"{ORIGIN} keeps its id: adopt_project_id: p_id {here} is project" in unsettled.err.replace("\n", " ")
    assert cli("agreement", "forget", ORIGIN, "--yes").out == f"{ORIGIN} is forgotten\n"
    assert cli("agreement", "forget", ORIGIN, "--yes").out == f"nothing was agreed on {ORIGIN}\n"
    assert cli("agreement", "settle").code == 0


def test_former_ids_are_shown_with_the_project(cli: CommandLine, world: World) -> None:
    former = cli(*REGISTER).json["id"]
    adopted = str(derived_project_id(ORIGIN))
    world.rows("SELECT adopt_project_id(%s::uuid, %s::uuid)::text", former, adopted)

    shown = cli("project", "show", former).out

    assert re.search(rf"^id +{adopted}\s*$", shown, re.M)
    assert re.search(rf"^former ids +{former}\s*$", shown, re.M)


async def test_status_tells_of_the_bucket(cli: CommandLine, agreeing: Settings, bucket: Bucket) -> None:
    state = await bucket.state()

    assert (state.name, state.replicas, state.away, state.origins) == (agreeing.agreement_bucket, 1, 0, 0)


def test_status_is_told_and_what_is_not_set_is_named(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    cli(*REGISTER)
    assert cli("agreement", "status", "--json").json["origins"] == 1
    assert "origins" in cli("agreement", "status").out

    monkeypatch.delenv("IMI_AGREEMENT_NATS_URL")
    assert "setting agreement_nats_url: missing" in cli("agreement", "status").err
