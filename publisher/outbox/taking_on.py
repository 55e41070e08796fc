"""What a login may do by whatever role it may take on: one that Vault makes inherits nothing, and acts by SET ROLE."""

from __future__ import annotations

from typing import LiteralString


def by_any_role(login: LiteralString, right: LiteralString) -> LiteralString:
    """SQL of whether the condition `right`, about `own.oid`, holds of the role `login`, or of one that it may become.

    A membership with neither INHERIT nor SET, which PostgreSQL has from 16 on, gives nothing.
    """
    return f"""EXISTS (
    SELECT
    FROM pg_catalog.pg_roles AS own
    WHERE
        pg_has_role(
            {login},
            own.oid,
            CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'USAGE, SET' END
        )
        AND ({right})
)"""  # noqa: S608  # of constants
