"""The embedded PostgreSQL: where it listens, what it keeps, and how it refuses."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from publisher.embedded import postgres as embedded
from publisher.embedded.binaries import postgres_binaries
from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import postgres
from registry.errors import Invalid, Unavailable
from tests.support.servers.embedded import QUICK, mode, one
from tests.support.services import OTHER_POSTGRES


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
