"""However the owner of embedded servers ends, no process stays behind and the next start finds all data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from publisher.embedded import account as unprivileged
from publisher.embedded import process as guarded
from publisher.embedded.account import account
from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import postgres
from publisher.embedded.process import GUARD
from publisher.embedded.state_dir import owned
from registry.errors import Conflict, Unavailable
from tests.support.services import wait_until

OWNER = """
import json, signal, sys
from pathlib import Path
import psycopg
from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import postgres
from publisher.embedded.state_dir import owned

signal.signal(signal.SIGINT, signal.default_int_handler)
with owned(Path(sys.argv[1])) as state_dir, postgres(state_dir) as database, nats_server(state_dir) as broker:
    with psycopg.connect(database.url, autocommit=True) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS kept (answer int)")
        conn.execute("INSERT INTO kept VALUES (42)")
        try:
            print(json.dumps({"database": database.pid, "broker": broker.pid, "url": database.url}), flush=True)
            sys.stdin.read()
        except KeyboardInterrupt:
            conn.execute("INSERT INTO kept VALUES (43)")
            print(database.is_running() and broker.is_running(), flush=True)
"""


@contextmanager
def process(program: str, state_dir: Path) -> Iterator[subprocess.Popen[str]]:
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(state_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with owner:
        yield owner
        owner.kill()


@contextmanager
def running_owner(state_dir: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any], list[psutil.Process]]]:
    """An owner with both servers up, what it says about them, and all the processes below it."""
    with process(OWNER, state_dir) as owner:
        told = json.loads(owner.stdout.readline())
        below = psutil.Process(owner.pid).children(recursive=True)
        assert {told["database"], told["broker"]} < {child.pid for child in below}
        yield owner, told, below


def is_gone(each: psutil.Process) -> bool:
    try:
        return not each.is_running() or each.status() == psutil.STATUS_ZOMBIE  # init has not looked yet
    except psutil.NoSuchProcess:
        return True


def assert_all_gone(processes: list[psutil.Process]) -> None:
    wait_until(lambda: all(is_gone(each) for each in processes))


def assert_next_start_works(state_dir: Path, answers: list[int]) -> None:
    with owned(state_dir), postgres(state_dir) as database, nats_server(state_dir) as broker:
        with psycopg.connect(database.url) as conn:
            assert [answer for (answer,) in conn.execute("SELECT answer FROM kept ORDER BY answer")] == answers
        assert broker.is_running()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_no_server_outlives_its_owner(state_dir, number):
    with running_owner(state_dir) as (owner, _, below):
        os.kill(owner.pid, number)
        assert owner.wait(20) == -number
        assert_all_gone(below)
    assert "database system is shut down" in (state_dir / "postgres.log").read_text()
    assert_next_start_works(state_dir, [42])


def test_next_owner_waits_for_servers_that_are_just_stopping(state_dir):
    with running_owner(state_dir) as (owner, _, _):
        owner.kill()
        owner.wait()
        assert_next_start_works(state_dir, [42])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a child when its parent dies")
def test_next_server_waits_even_when_only_the_last_one_itself_is_left(state_dir, monkeypatch):
    monkeypatch.setattr(guarded, "PREDECESSOR_SECONDS", 0.0)
    with running_owner(state_dir) as (owner, told, below):
        left = [psutil.Process(told[server]) for server in ("database", "broker")]
        for server in left:
            server.suspend()
            server.parent().kill()
        owner.kill()
        owner.wait()
        try:
            for start in (postgres, nats_server):
                with pytest.raises(Conflict, match="is still running"), start(state_dir):
                    pass
        finally:
            for server in left:
                server.resume()
        assert_all_gone(below)
    assert_next_start_works(state_dir, [42])


def test_ctrl_c_reaches_the_owner_but_not_its_servers(state_dir):
    with running_owner(state_dir) as (owner, _, below):
        assert owner.pid not in {os.getpgid(each.pid) for each in below}
        os.killpg(owner.pid, signal.SIGINT)
        assert owner.stdout.readline() == "True\n"
        assert_all_gone(below)
        assert owner.wait(20) == 0
    assert_next_start_works(state_dir, [42, 43])


def guard_of(pid: int) -> psutil.Process:
    return psutil.Process(pid).parent()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a child when its parent dies")
@pytest.mark.parametrize("server", ["database", "broker"])
def test_no_server_outlives_its_guard(state_dir, server):
    with running_owner(state_dir) as (owner, told, below):
        gone = [psutil.Process(told[server]), *psutil.Process(told[server]).children()]
        guard_of(told[server]).kill()
        assert_all_gone(gone)
        owner.stdin.close()
        assert owner.wait(20) == 0, owner.stderr.read()
        assert_all_gone(below)
    assert_next_start_works(state_dir, [42])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a child when its parent dies")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_server_that_runs_as_nobody_does_not_outlive_its_guard_either(state_dir, monkeypatch):
    monkeypatch.setattr(unprivileged, "_UNSHARE", ("a-program-that-is-not-there",))
    with postgres(state_dir) as database:
        server = psutil.Process(database.pid)
        assert server.uids().real != 0
        guard_of(database.pid).kill()
        assert_all_gone([server])
        assert not database.is_running()


def kill_everything(owner: subprocess.Popen[str], below: list[psutil.Process]) -> None:
    everyone = [psutil.Process(owner.pid), *below]
    for each in everyone:
        each.suspend()  # nobody gets to tidy up
    for each in everyone:
        each.kill()
    owner.wait()
    assert_all_gone(below)


def test_next_start_recovers_what_was_committed_when_everything_was_killed(state_dir):
    with running_owner(state_dir) as (owner, _, below):
        kill_everything(owner, below)
    assert (state_dir / "postgres" / "postmaster.pid").exists()
    assert list(state_dir.glob("*.ports"))
    assert_next_start_works(state_dir, [42])


def test_pid_of_a_killed_server_may_be_another_process_by_now(state_dir):
    with running_owner(state_dir) as (owner, told, below):
        kill_everything(owner, below)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        for stale in (state_dir / "postgres" / "postmaster.pid", state_dir / "run" / ".s.PGSQL.5432.lock"):
            stale.write_text(stale.read_text().replace(str(told["database"]), str(other.pid), 1))
        assert_next_start_works(state_dir, [42])
        other.communicate()


def test_postgres_that_somebody_started_by_hand_is_left_alone(state_dir):
    with postgres(state_dir) as database:
        command = psutil.Process(database.pid).cmdline()
        prefix = account(state_dir, Path(command[0]).parent, GUARD)[0].prefix
    with subprocess.Popen([*prefix, *command], stderr=subprocess.DEVNULL) as by_hand:
        pid_file = state_dir / "postgres" / "postmaster.pid"
        wait_until(lambda: pid_file.exists() and pid_file.read_text().rstrip().endswith("ready"))
        with pytest.raises(Conflict, match=f"process {by_hand.pid} was started by hand"), postgres(state_dir):
            pass
        assert by_hand.poll() is None
        by_hand.send_signal(signal.SIGINT)


def test_interrupted_initdb_leaves_no_process_and_no_broken_data(state_dir):
    with process(OWNER, state_dir) as owner:
        wait_until((state_dir / "postgres.new" / "PG_VERSION").exists)
        below = psutil.Process(owner.pid).children(recursive=True)
        owner.kill()
        assert_all_gone(below)
    assert not (state_dir / "postgres").exists()
    with running_owner(state_dir):
        pass
    assert_next_start_works(state_dir, [42])


def test_error_while_the_second_server_starts_stops_the_first(state_dir):
    below = []
    others = set(psutil.Process().children(recursive=True))  # the servers of the test run

    def start() -> None:
        with postgres(state_dir) as database:
            below.extend(set(psutil.Process().children(recursive=True)) - others)
            assert database.pid in {each.pid for each in below}
            with nats_server(state_dir, settings={"max_payload": "many"}):
                pass

    with pytest.raises(Unavailable):
        start()
    assert all(is_gone(each) for each in below)


def test_second_owner_is_refused_while_the_first_lives_and_welcome_after_it_was_killed(state_dir):
    with running_owner(state_dir) as (owner, _, below):
        with pytest.raises(Conflict, match=f"in use by process {owner.pid}$"), owned(state_dir):
            pass
        owner.kill()
        owner.wait()
        with owned(state_dir):
            assert_all_gone(below)


@pytest.mark.parametrize("sign", ["postgres.password", "postgres.lock", "postgres.new", "postgres.new/base/4", "nats"])
def test_a_first_start_that_is_interrupted_leaves_nothing(state_dir: Path, sign: str) -> None:
    command = [sys.executable, "-m", "publisher", "demo"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(state_dir)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as demo:
        wait_until(lambda: list(state_dir.glob(f"imi-demo-*/{sign}")))
        demo.send_signal(signal.SIGINT)
        told, _ = demo.communicate(timeout=30)
    assert demo.returncode == 130, told
    assert "Traceback" not in told
    assert list(state_dir.iterdir()) == []
