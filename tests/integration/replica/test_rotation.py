"""docs/security.md, Changing secrets: the password with which a replica reads its source."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from tests.support import histories
from tests.support.databases import Role, name_of, url_of
from tests.support.replica.commands import Commands
from tests.support.replica.pairs import PATIENCE_SECONDS, Pair, Sites
from tests.support.services import wait_until

NEW = "another 'word"
ENDED = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"


def test_a_replica_whose_login_has_another_password_follows_on_with_it(
    servers: Sites, registries: Pair, commands: Commands, login: Role
) -> None:
    former = url_of(servers.source.url, name_of(registries.source), login)
    renewed = url_of(servers.source.url, name_of(registries.source), login._replace(password=NEW))
    assert commands.source("publish", "--login", login.name).code == 0
    assert commands.create(source=former).code == 0

    with psycopg.connect(registries.source, autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(login.name), NEW))
        admin.execute(ENDED, [login.name])
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(former)
    histories.write(registries.source)
    wait_until(
        lambda: not registries.at_source(f"SELECT FROM pg_stat_activity WHERE usename = '{login.name}'"),
        PATIENCE_SECONDS,
    )

    (name,) = registries.at_replica("SELECT subname FROM pg_subscription WHERE subconninfo LIKE '%replica_%'")[0]
    with psycopg.connect(registries.replica, autocommit=True) as superuser:
        superuser.execute(
            sql.SQL("ALTER SUBSCRIPTION {} CONNECTION {}").format(sql.Identifier(name), sql.Literal(renewed))
        )

    registries.assert_same()
    assert commands.replica("status", source=renewed).code == 0
    refused = commands.replica("status", "--json", source=former)
    assert "password authentication failed" in refused.out + refused.err, "its own URL is another place to change"
    assert commands.replica("drop", "--yes", source=renewed).code == 0
