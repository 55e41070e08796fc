"""A database's locale changes nothing: upper and lower case, what is a blank, what is equal, what is found."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from publisher.embedded.postgres import postgres
from registry.database import Registry, migrate
from registry.database.drift import differing
from tests.support.databases import url_of
from tests.support.services import OTHER_POSTGRES

# Turkish has an I without a dot, Lithuanian keeps one above others, Swedish takes V and W, Danish AA and Å together.
LOCALES = ["tr-TR", "az-AZ", "lt-LT", "sv-SE", "da-DK", "de-DE-u-co-phonebk", "und-u-ks-level1", "en-US-u-ka-shifted"]


@pytest.fixture(scope="module")
def server_with_icu(admin_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server, where databases can be created, that knows the locales of ICU, from version 15 on."""
    if knows_locales(admin_url):
        yield admin_url
        return
    if not OTHER_POSTGRES:
        pytest.skip("no PostgreSQL with ICU is installed")
    directory: Path = tmp_path_factory.mktemp("icu")
    with postgres(directory, settings={"fsync": "off"}, bin_dir=OTHER_POSTGRES[-1].parent) as server:
        if not knows_locales(server.url):
            pytest.skip("this PostgreSQL has no ICU, or is older than version 15")
        yield server.url


def knows_locales(url: str) -> bool:
    with psycopg.connect(url) as conn:
        has_icu = conn.execute("SELECT FROM pg_collation WHERE collname = 'tr-x-icu'").fetchall()
        return bool(has_icu) and conn.info.server_version >= 150000


@pytest.fixture(params=LOCALES)
def localized(request: pytest.FixtureRequest, server_with_icu: str) -> Iterator[str]:
    name = f"imi_locale_{secrets.token_hex(6)}"
    with psycopg.connect(server_with_icu, autocommit=True) as admin:
        admin.execute(
            f"CREATE DATABASE {name} LOCALE_PROVIDER icu ICU_LOCALE '{request.param}' ENCODING UTF8"
            " TEMPLATE template0".encode()
        )
        yield url_of(server_with_icu, name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def test_a_registry_works_in_every_locale(localized: str) -> None:
    with psycopg.connect(localized) as conn:
        migrate.apply(conn)
        assert differing(conn) == []  # mostly on another version of PostgreSQL, which writes the definitions alike
    async with Registry.connect(localized, max_connections=1) as registry:
        infra = await registry.register_project("Infra INIT", "https://github.com/IBM/Infra")
        again = await registry.register_project("x", "git@GITHUB.com:ibm/INFRA.git")
        aa = await registry.register_project("å", "git@github.com:v/aa.git")
        w = await registry.register_project("aa", "git@github.com:w/aa.git")
        assert again == infra
        assert len({infra, aa, w}) == 3
        project = await registry.get_project(infra)
        assert project is not None
        assert project.remote_origin == "git@github.com:ibm/infra.git"
        for query in ("INFRA", "infra", "Infra INIT", "ibm/INFRA", "infar"):
            assert (await registry.search_projects(query))[0].id == infra, query
        for number, name in enumerate(("I", "\u0131", "i", "\u0130", "v", "w", "V", "W", "straße", "strasse")):
            await registry.register_worktree(infra, "feat", name, f"feat/{number}", f"/code/{name}")
        assert len(await registry.list_worktrees(project_id=infra)) == 10
        assert await registry.project_names("aa", 10) == ["aa"]


def test_no_function_takes_the_case_of_the_databases_locale(database: str) -> None:
    with psycopg.connect(database) as conn:
        definitions = conn.execute(
            "SELECT p.proname::text, pg_get_functiondef(p.oid) FROM pg_proc p"
            " WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f'"
            " AND NOT EXISTS (SELECT FROM pg_depend d"
            " WHERE (d.classid, d.objid) = ('pg_proc'::regclass, p.oid) AND d.deptype = 'e')"
        ).fetchall()
    # `part` is a range of ids, which has a lower and an upper end.
    cases = re.compile(r"\b(?:lower|upper|initcap)\((?!TG_OP|(?:gap\.)?part\))[^()]*\)|\bILIKE\b|~\*")
    found = {(name, call) for name, text in definitions for call in cases.findall(text) if 'COLLATE "C"' not in call}
    assert found == set()
    assert len(definitions) > 80
