"""`imi-registry up`: everything embedded, found through endpoints.json, gone without a trace when it ends."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import nats
import psutil
import psycopg
import pytest

from tests.support.processes import run
from tests.support.servers.up import TIMEOUT_SECONDS, events_while, servers_of, stop, up
from tests.support.services import wait_until


async def test_the_specifications_examples_through_psql_reach_any_nats_client(state_dir: Path) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("no psql on this machine")

    with up(state_dir) as (process, endpoints):

        def sql(statement: str) -> str:
            done = subprocess.run(
                [psql, endpoints["database_url"], "-v", "ON_ERROR_STOP=1", "-Atc", statement],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        def examples() -> None:
            project = sql(
                "SELECT register_project('my-project', 'git@github.com:delorenj/my-project.git', 'main', "
                "'/home/jarad/code/my-project/trunk-main')"
            )
            worktree = sql(
                f"SELECT register_worktree('{project}', 'feat', 'feat-user-auth', 'feat/user-auth', "
                "'/home/jarad/code/my-project/feat-user-auth', 'agent-1')"
            )
            sql(
                f"SELECT update_worktree_git_state('{worktree}', p_has_uncommitted := TRUE, "
                "p_uncommitted_count := 3, p_ahead := 2, p_behind := 0)"
            )
            assert sql("SELECT count(*) FROM get_inflight_work()") == "1"
            sql(
                f"SELECT log_activity('agent-1', '{worktree}', 'modified', "
                "'Updated authentication logic', 'src/auth.rs')"
            )

        events = await events_while(endpoints["nats_url"], examples, 4)
        assert [event["type"] for event in events] == [
            "imi.project.registered.v1",
            "imi.worktree.created.v1",
            "imi.worktree.git_state_updated.v1",
            "imi.activity.logged.v1",
        ]
        assert events[2]["data"]["uncommitted_files_count"] == 3
        assert stop(process) == 0


async def test_a_second_up_continues_where_the_first_stopped(state_dir: Path) -> None:
    def register(database_url: str, name: str) -> None:
        with psycopg.connect(database_url) as conn:
            conn.execute("SELECT register_project(%s, %s)", [name, f"git@github.com:a/{name}.git"])

    with up(state_dir) as (process, first):
        await events_while(first["nats_url"], lambda: register(first["database_url"], "one"), 1)
        assert stop(process) == 0
        assert not (state_dir / "endpoints.json").exists()
        assert servers_of(state_dir) == []
    with up(state_dir) as (process, second):
        assert second["nats_url"].partition("@")[2] == first["nats_url"].partition("@")[2]
        assert second["database_url"] == first["database_url"]
        (event,) = await events_while(second["nats_url"], lambda: register(second["database_url"], "two"), 1)
        assert event["data"]["name"] == "two"
        client = await nats.connect(second["nats_url"])
        state = (await client.jetstream().stream_info("IMI_EVENTS")).state
        await client.close()
        assert (state.messages, state.last_seq) == (2, 2)
        assert stop(process) == 0


def test_endpoints_are_for_the_owners_eyes_only(state_dir: Path) -> None:
    with up(state_dir) as (process, endpoints):
        assert stat.S_IMODE((state_dir / "endpoints.json").stat().st_mode) == 0o600
        assert set(endpoints) == {"database_url", "nats_url", "http_url"}
        assert "127.0.0.1" in endpoints["nats_url"]
        assert "@" in endpoints["nats_url"]
        assert stop(process) == 0


def test_no_secret_is_in_an_argument_or_a_log(state_dir: Path) -> None:
    with up(state_dir, IMI_LOG_LEVEL="debug") as (process, endpoints):
        # given statements that fail with a credential in them
        with psycopg.connect(endpoints["database_url"], autocommit=True) as conn:
            for statement in (
                b"SELECT register_project('x', 'https://u:s3cret@gitlab.com/o/r')",
                b"SELECT register_project('x', 'git@github.com:o/r.git', p_trunk_path := 'https://u:s3cret@h')",
                b"INSERT INTO projects (name, remote_origin, trunk_path, default_branch) VALUES"
                b" ('s3cret', 'git@github.com:o/r.git', '/x', NULL)",
                b"SELECT nothing('s3cret')",
            ):
                with pytest.raises(psycopg.Error):
                    conn.execute(statement)
        # when
        processes = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        arguments = []
        for one in processes:
            with suppress(psutil.NoSuchProcess):  # a backend that has ended meanwhile
                arguments.append(" ".join(one.cmdline()))
        process.terminate()
        _, told = process.communicate()
    # then
    told += " ".join(log.read_text() for log in state_dir.glob("*.log"))
    assert any("nats-server" in one for one in arguments)
    assert any("postgres" in one for one in arguments)
    assert "ERROR" in told
    for name in ("postgres.password", "nats.token"):
        secret = (state_dir / name).read_text().strip()
        assert secret not in str(arguments)
        assert secret not in told
    assert "s3cret" not in told
    assert (state_dir / "http.token").read_text().strip() not in str(arguments)  # told to who started it


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_it_cleanly(state_dir: Path, number: signal.Signals) -> None:
    with up(state_dir) as (process, _):
        assert servers_of(state_dir)
        assert stop(process, number) == 0
        assert servers_of(state_dir) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_that_are_repeated_while_it_stops_change_nothing(state_dir: Path, number: signal.Signals) -> None:
    with up(state_dir) as (process, _):
        while process.poll() is None:
            process.send_signal(number)
            time.sleep(0.002)  # as fast as an impatient hand, and faster
        assert process.returncode in (0, 128 + number)
        assert "Traceback" not in process.communicate()[1]
        assert servers_of(state_dir) == []
    assert "database system is shut down" in (state_dir / "postgres.log").read_text()


def test_no_server_outlives_its_parents_sudden_death(state_dir: Path) -> None:
    with up(state_dir) as (process, _):
        process.kill()
        process.wait()
        wait_until(lambda: not servers_of(state_dir), TIMEOUT_SECONDS)
    with up(state_dir) as (process, _):
        assert stop(process) == 0


def test_a_second_owner_is_refused(state_dir: Path) -> None:
    with up(state_dir) as (process, _):
        done = run("up", "--state-dir", str(state_dir))
        assert done.returncode == 1
        assert f'state directory "{state_dir}" is in use by process {process.pid}' in done.stderr
        assert (state_dir / "endpoints.json").exists()
        assert stop(process) == 0


@pytest.mark.parametrize("what", ["a file", "a folder that cannot be made"])
def test_a_state_directory_that_cannot_be_is_refused(state_dir: Path, what: str) -> None:
    blocked = state_dir / "file"
    blocked.touch()
    path = blocked if what == "a file" else blocked / "below"
    done = run("up", "--state-dir", str(path))
    assert done.returncode == 1
    assert done.stderr.startswith(f'imi-registry: state directory "{path}": ')
    assert len(done.stderr.splitlines()) == 1


def test_a_state_directory_that_is_not_writable_is_refused(state_dir: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    state_dir.chmod(0o500)
    done = run("up", "--state-dir", str(state_dir))
    state_dir.chmod(0o700)
    assert done.returncode == 1
    assert "is not writable" in done.stderr


def test_the_status_page_tells_health_and_metrics(state_dir: Path) -> None:
    with up(state_dir) as (process, endpoints):

        def get(path: str) -> tuple[int, str]:
            try:
                with urlopen(endpoints["http_url"] + path, timeout=10) as answer:  # noqa: S310  # our own page
                    return answer.status, answer.read().decode()
            except HTTPError as error:
                return error.code, error.read().decode()

        assert get("/healthz") == (200, "ok\n")
        assert json.loads(get("/readyz")[1]) == {"role": "leader", "ready": True, "problems": []}
        assert "imi_relay_leader 1.0" in get("/metrics")[1]
        assert "iMi Project Registry" in get("/")[1]
        assert get("/nothing")[0] == 404
        assert stop(process) == 0


def test_the_script_of_a_checkout_is_stopped_as_the_program_is(tmp_path: Path) -> None:
    root, state_dir, installed = Path(__file__).parents[3], tmp_path / "state", tmp_path / "venv"
    pins = hashlib.sha256((root / "constraints.txt").read_bytes() + (root / "pyproject.toml").read_bytes())
    installed.mkdir()
    (installed / "bin").symlink_to(Path(sys.executable).parent)
    (installed / "installed-constraints.txt").write_text(pins.hexdigest())
    with up(state_dir, command=[sys.executable, str(root / "run")], IMI_VENV=str(installed)) as (process, _):
        assert servers_of(state_dir)
        assert stop(process) == 0
    assert servers_of(state_dir) == []
