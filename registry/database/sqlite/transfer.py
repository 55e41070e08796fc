"""The import: all rows in one transaction, each row's own fault reported, and an event for each new row.

Outbox triggers are off while rows are inserted, and `backfill` writes their events, marked as such, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import Connection, sql

from registry.database.backfill import backfill, no_progress
from registry.database.errors import from_database, translated
from registry.database.sqlite import mapping
from registry.database.sqlite.choices import Choices
from registry.database.sqlite.mapping import Change, Mapped
from registry.database.sqlite.report import Report
from registry.database.sqlite.silence import no_events
from registry.database.sqlite.source import Row, Source
from registry.errors import Invalid, RegistryError

CORRECT = "correct it in the old database, or leave it out with --leave-out"
ENTITIES = {
    "worktree_types": "worktree_type",
    "projects": "project",
    "worktrees": "worktree",
    "agent_activities": "activity",
    "project_hosts": "project_host",
}
PLACE = sql.SQL("SELECT public.place_project(%(project)s, %(host)s, %(path)s)")


def transfer(
    conn: Connection[Any], source: Source, choices: Choices, progress: Callable[[int, int], None] = no_progress
) -> Report:
    """Import `source` in one transaction; nothing is written in a dry run, nor when there are problems to decide.

    Rows that are there already, by their ids or a project by its origin, stay as they are, so it can be run again.
    `progress` is called with the rows that are done and all there are. `conn` is in autocommit, of the schema's owner.
    Raises `Unavailable`, `Invalid` for a damaged file, `Unprepared` for a right that is missing, `Conflict` for a host
    that is another machine, and for a mirror or a replica.
    """
    report = Report()
    with translated(), conn.transaction():
        with no_events(conn):
            _Transfer(conn, source, choices, report, progress).run()
        is_kept = not choices.dry_run and (choices.leave_out or not report.problems)
        if not is_kept:
            raise psycopg.Rollback
        backfill(conn)
        report.is_done = True
    return report


@dataclass(frozen=True)
class _Project:
    id: UUID
    is_active: bool


class _Transfer:
    def __init__(
        self,
        conn: Connection[Any],
        source: Source,
        choices: Choices,
        report: Report,
        progress: Callable[[int, int], None],
    ) -> None:
        self._conn = conn
        self._source = source
        self._choices = choices
        self._report = report
        self._progress = progress
        self._done, self._total = 0, sum(source.sizes.values())
        self._projects: dict[str, _Project] = {}
        """By the repository's old name, which worktrees are of."""
        self._types: dict[str, int] = {}
        self._worktrees: dict[str, UUID] = {}
        """By the old id, which activities are of."""
        self._host_id: UUID | None = None

    def run(self) -> None:
        """Types, projects, worktrees, activities: each needs those before."""
        self._enter_host()
        self._transfer_types()
        self._transfer_projects()
        self._transfer_worktrees()
        self._transfer_activities()

    def _enter_host(self) -> None:
        """Let the rest of the transaction be on the host that is given, which need not be known yet."""
        if self._choices.host is not None:
            values = [self._choices.host, self._choices.machine]
            (self._host_id,) = self._conn.execute("SELECT public.use_host(%s, %s, true)", values).fetchone() or (None,)

    # Types

    def _transfer_types(self) -> None:
        self._types = dict(self._conn.execute("SELECT name, id FROM public.worktree_types").fetchall())
        for row in self._source.rows("worktree_types"):
            self._step()
            try:
                name, fields, changes = mapping.worktree_type(row)
                if name not in self._types:
                    self._add_type(fields)
                    self._note("worktree_types", row, changes)
            except RegistryError as error:
                self._problem("worktree_types", row, error)

    def _type(self, row: Row) -> int:
        """The id of a worktree's type. Raises `Invalid` when there is none."""
        name = mapping.type_name(row)
        if name not in self._types and self._choices.create_types:
            self._add_type({"name": name, "branch_prefix": f"{name}/", "worktree_prefix": f"{name}-"})
        if name not in self._types:
            raise Invalid(f'worktree_type "{name}" is none of {", ".join(sorted(self._types))}')
        return self._types[name]

    def _add_type(self, fields: dict[str, Any]) -> None:
        (id_,) = self._execute(_insert("worktree_types", fields, returning="id"), fields) or (None,)
        self._types[fields["name"]] = id_
        self._add_to_backlog("worktree_types", [id_])

    # Projects

    def _transfer_projects(self) -> None:
        for row in self._source.rows("repositories"):
            self._step()
            try:
                found = mapping.project(row)
                self._projects[str(row["name"])] = self._project(row, found)
            except RegistryError as error:
                self._problem("repositories", row, error)

    def _project(self, row: Row, found: Mapped) -> _Project:
        present = self._conn.execute(
            "SELECT id, active, id = %(id)s FROM public.projects "
            "WHERE id = %(id)s OR remote_origin = public.normalize_remote_origin(%(origin)s) ORDER BY 3 DESC",
            {"id": found.id, "origin": found.fields["remote_origin"]},
        ).fetchone()
        if present is not None:
            id_, is_active, is_same = present
            if not is_same:
                text = f'its repository is registered as project {id_} already; worktrees of "{row["name"]}" go there'
                self._note("repositories", row, [Change("remote_url", text)])
            self._count(self._report.present, "projects", 1)
            self._place(id_, found.fields["trunk_path"])
            return _Project(id_, is_active)
        fields = {"id": found.id} | found.fields
        self._execute(_insert("projects", fields), fields)
        self._added("projects", "repositories", [(row, found)])
        if self._host_id is not None:
            self._tell("project_hosts", [f"{found.id} {self._host_id}"])
        return _Project(found.id, fields["active"])

    def _place(self, project_id: UUID, trunk_path: str) -> None:
        """Let a project that is known be on the host that is given, too. A path that is known there stays."""
        if self._host_id is None:
            return
        there = self._conn.execute("SELECT public.project_trunk(%s, %s)", [project_id, self._host_id]).fetchone()
        if there == (None,):
            self._execute(PLACE, {"project": project_id, "host": self._host_id, "path": trunk_path})
            self._tell("project_hosts", [f"{project_id} {self._host_id}"])

    # Worktrees

    def _transfer_worktrees(self) -> None:
        present = {row[0] for row in self._conn.execute("SELECT id FROM public.worktrees").fetchall()}
        for row in self._source.rows("worktrees"):
            self._step()
            try:
                found = self._worktree(row)
                if found.id in present:
                    self._count(self._report.present, "worktrees", 1)
                else:
                    fields = {"id": found.id} | found.fields
                    self._execute(_insert("worktrees", fields), fields)
                    self._added("worktrees", "worktrees", [(row, found)])
                self._worktrees[str(row["id"])] = found.id
            except RegistryError as error:
                remedy = f"--create-types makes the type; or {CORRECT}" if "worktree_type" in str(error) else CORRECT
                self._problem("worktrees", row, error, remedy)

    def _worktree(self, row: Row) -> Mapped:
        project = self._projects.get(str(row["repo_name"]))
        if project is None:
            raise Invalid(f'repo_name "{row["repo_name"] or ""}" is no repository that is imported')
        return mapping.worktree(row, project.id, self._type(row), is_project_active=project.is_active)

    # Activities

    def _transfer_activities(self) -> None:
        for batch in self._source.batches("agent_activities"):
            found: list[tuple[Row, Mapped]] = []
            for row in batch:
                self._step()
                try:
                    found.append((row, self._activity(row)))
                except RegistryError as error:
                    self._problem("agent_activities", row, error)
            self._add_activities(found)

    def _activity(self, row: Row) -> Mapped:
        worktree_id = self._worktrees.get(str(row["worktree_id"]))
        if worktree_id is None:
            raise Invalid(f'worktree_id "{row["worktree_id"] or ""}" is no worktree that is imported')
        return mapping.activity(row, worktree_id)

    def _add_activities(self, rows: list[tuple[Row, Mapped]]) -> None:
        """Insert rows at once; when one is refused, each alone."""
        known = self._conn.execute(
            "SELECT id FROM public.agent_activities WHERE id = ANY (%s)", [[found.id for _, found in rows]]
        ).fetchall()
        present = {row[0] for row in known}
        self._count(self._report.present, "agent_activities", len(present))
        new = [(row, found) for row, found in rows if found.id not in present]
        if not new:
            return
        statement = _insert("agent_activities", {"id": None} | new[0][1].fields)
        try:
            with self._conn.transaction(), self._conn.cursor() as cursor:
                cursor.executemany(statement, [{"id": found.id} | found.fields for _, found in new])
        except psycopg.Error as error:
            if _is_of_the_server(error):
                raise
        else:
            self._added("agent_activities", "agent_activities", new)
            return
        for row, found in new:
            try:
                self._execute(statement, {"id": found.id} | found.fields)
                self._added("agent_activities", "agent_activities", [(row, found)])
            except RegistryError as error:
                self._problem("agent_activities", row, error)

    # What they share

    def _execute(self, statement: sql.SQL | sql.Composed, fields: dict[str, Any]) -> tuple[Any, ...] | None:
        """Run a statement that may be refused for the row's sake. Raises what it is refused with."""
        try:
            with self._conn.transaction():
                done = self._conn.execute(statement, fields)
                return done.fetchone() if done.description else None
        except psycopg.Error as error:
            if _is_of_the_server(error):
                raise
            raise from_database(error) from error

    def _added(self, table: str, old_table: str, rows: Sequence[tuple[Row, Mapped]]) -> None:
        """Note rows that are inserted, with what there is to say of each."""
        for row, found in rows:
            self._note(old_table, row, found.changes)
        self._add_to_backlog(table, [found.id for _, found in rows])

    def _add_to_backlog(self, table: str, ids: Sequence[object]) -> None:
        """Count rows as imported, and have their events written."""
        self._count(self._report.imported, table, len(ids))
        self._tell(table, ids)

    def _tell(self, table: str, ids: Sequence[object]) -> None:
        """Have events written of rows, after the events of those before."""
        with self._conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO public.outbox_backlog (entity, row_id) VALUES (%s, %s)",
                [(ENTITIES[table], str(id_)) for id_ in ids],
            )

    def _problem(self, table: str, row: Row, error: RegistryError, remedy: str = CORRECT) -> None:
        self._report.add_problem(table, "NULL" if row["id"] is None else str(row["id"]), str(error), remedy)

    def _note(self, table: str, row: Row, changes: Sequence[Change]) -> None:
        for change in changes:
            self._report.add_note(table, str(row["id"]), change.field, change.text)

    def _count(self, counts: dict[str, int], table: str, rows: int) -> None:
        counts[table] = counts.get(table, 0) + rows

    def _step(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)


def _insert(table: LiteralString, fields: dict[str, Any], returning: LiteralString | None = None) -> sql.Composed:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier("public", table),
        sql.SQL(", ").join(map(sql.Identifier, fields)),
        sql.SQL(", ").join(map(sql.Placeholder, fields)),
    )
    return statement if returning is None else statement + sql.SQL(" RETURNING {}").format(sql.Identifier(returning))


def _is_of_the_server(error: psycopg.Error) -> bool:
    """Whether an error says nothing about the row: then the import ends, and nothing is done."""
    translated_error = from_database(error)
    return not isinstance(translated_error, Invalid) and (error.sqlstate or "")[:2] not in {"22", "23", "55", "P0"}
