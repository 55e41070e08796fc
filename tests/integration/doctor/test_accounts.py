"""What doctor says of the rights in the database that others have, and one's own roles have not."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from publisher.doctor.accounts import account_findings
from publisher.embedded.postgres import postgres
from registry.database import migrate
from registry.database.connection import connect_blocking
from registry.database.roles.setup import set_up
from tests.support.databases import name_of, new_database, plain_role, url_of
from tests.support.postgres.postgres14 import binaries_of_14
from tests.support.services import POSTGRES_SETTINGS, scratch_directory

TOLD = [
    "everybody who may connect may create in schema public, and so make calls of our functions fail: imi-registry "
    "roles setup closes it (REVOKE CREATE ON SCHEMA public FROM PUBLIC), and leaves it open to who migrates"
]
CREATE = "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'"


@pytest.mark.parametrize("version", ["18", "14"])
def test_a_schema_public_in_which_everybody_may_create_is_told_until_roles_setup_closes_it(version: str) -> None:
    binaries: Path | None = binaries_of_14() if version == "14" else None
    with (
        scratch_directory() as directory,
        postgres(directory, settings=POSTGRES_SETTINGS, bin_dir=binaries) as server,
        plain_role(server.url) as owner,
        plain_role(server.url) as stranger,
        new_database(server.url, owner) as url,
    ):
        admin = url_of(server.url, name_of(url))
        with connect_blocking(admin) as conn:
            if version == "18":
                conn.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        with connect_blocking(url) as conn:
            migrate.apply(conn)
        assert told(url) == told(admin) == TOLD
        with psycopg.connect(url_of(url, name_of(url), stranger)) as conn:
            conn.execute(CREATE.encode())
            conn.rollback()

        with connect_blocking(admin) as conn:
            set_up(conn)
            names = map(sql.Identifier, (conn.info.dbname, stranger.name))
            conn.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(*names))

        assert told(url) == told(admin) == []
        with (
            psycopg.connect(url_of(url, name_of(url), stranger)) as conn,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            conn.execute(CREATE.encode())
        with psycopg.connect(url) as conn:
            conn.execute(CREATE.encode())
            conn.rollback()


def told(url: str) -> list[str]:
    return [finding.text for finding in account_findings(url)]
