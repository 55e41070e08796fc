"""Calls of the functions that only the owner, or a role of the registry, may call at all, and what is there before.

Ids are those of `populate`. They work as they stand, once what is `PREPARED` for them was done by the owner.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

ID = "a5b0c3de-1111-4222-8333-444455556666"
"""Of a row that comes from a mirror's source, or of a project that goes on under it."""
TIMES = {"created_at": "2026-01-21T10:00:00Z", "updated_at": "2026-01-21T10:00:00Z"}


def literal(**row: object) -> str:
    """A row as the data of an event has it."""
    return f"'{json.dumps({'id': ID, 'metadata': {}} | TIMES | row)}'::jsonb"


def with_row(call: str, table: str, row: str) -> str:
    """A call with a row of the table, which it calls `r`."""
    return f"SELECT {call} FROM jsonb_populate_record(NULL::{table}, {row}) AS r"  # noqa: S608  # of constants


PROJECT = literal(
    project_id=ID, name="m", remote_origin="git@github.com:o/m.git", default_branch="main", trunk_path="/m", active=True
)
LOSER = "jsonb_build_object('project_id', %(project)s::uuid)"
COUNTS = {"uncommitted_files_count": 0, "ahead_of_trunk": 0, "behind_trunk": 0, "has_uncommitted_changes": False}
WORKTREE = (
    literal(worktree_id=ID, type_id=1, name="m", branch_name="m", path="/m", active=True, **COUNTS)
    + " || jsonb_build_object('project_id', %(project)s::uuid, 'host_id', '00000000-0000-0000-0000-000000000000')"
)
TYPE = literal(type_id=900, name="m", branch_prefix="m/", worktree_prefix="m-", is_builtin=False)
HOST = literal(host_id=ID, name="m", former_names=[])
PLACE = literal(host_id="00000000-0000-0000-0000-000000000000", is_home=True) + f" || {LOSER}"
EVENT = f"jsonb_build_object('id', gen_random_uuid(), 'type', 'imi.project.registered.v1', 'data', {PROJECT})"
OLD_MONTH = "agent_activities_y2000m01"
BEGINNING = "'2000-01-01'::timestamp"

OWNER = {
    "note_schema_version": "SELECT note_schema_version(1)",
    "derive_project_ids": "SELECT derive_project_ids(true)",
    "lock_projects": "SELECT lock_projects('f', ARRAY[%(project)s])",
    "tell_project_merged": with_row("tell_project_merged(r, r)", "projects", PROJECT),
    "name_of_merged_worktree": with_row("name_of_merged_worktree(r, %(project)s)", "worktrees", WORKTREE),
    "call_project": f"SELECT call_project(%(project)s, '{ID}'::uuid)",
    "change_project_id": f"SELECT change_project_id(%(project)s, '{ID}'::uuid)",
    "mirror_merged": f"SELECT mirror_merged({PROJECT} || jsonb_build_object('loser', {LOSER}))",
    "merge_projects": f"SELECT merge_projects('{ID}'::uuid, %(project)s)",
    "adopt_project_id": f"SELECT adopt_project_id(%(project)s, '{ID}'::uuid)",
    "search_known_words": "SELECT search_known_words('a')",
    "forget_published": "SELECT forget_published('90 days'::interval, 1000)",
    "grant_role_rights": "SELECT grant_role_rights()",
    "remove_old_activities": "SELECT remove_old_activities(now())",
    "attach_activity_part": f"SELECT attach_activity_part('agent_activities'::regclass, '{OLD_MONTH}', {BEGINNING})",
    "storage_of": "SELECT storage_of('count_delta'::regclass)",
    "take_surplus_rights": "SELECT take_surplus_rights('agent_activities'::regclass)",
    "make_activity_months": "SELECT make_activity_months(12)",
    "drop_activity_month": f"SELECT drop_activity_month('{OLD_MONTH}')",
    "drop_activity_months": f"SELECT drop_activity_months('{{{OLD_MONTH}}}'::text[])",
    "check_activity_move": "SELECT check_activity_move()",
    "begin_activity_move": "SELECT begin_activity_move(true)",
    "copy_activities": "SELECT copy_activities('agent_activities'::regclass, 0::bigint, 1)",
    "missed_by_activity_move": "SELECT missed_by_activity_move()",
    "finish_activity_move": "SELECT finish_activity_move()",
    "cancel_activity_move": "SELECT cancel_activity_move()",
    "backfill_outbox": "SELECT backfill_outbox()",
    "registry_heartbeat": "SELECT registry_heartbeat('s')",
    "backfill_outbox_lock": "SELECT backfill_outbox_lock('projects'::regclass, %(project)s::text, false)",
    "recount_registry": "CALL recount_registry()",
    "fold_counts": "CALL fold_counts()",
    "begin_mirror": "SELECT begin_mirror('n', 's', true)",
    "promote_mirror": "SELECT promote_mirror()",
    "apply_mirrored": f"SELECT apply_mirrored('', '1.1.1.0', true, '{{1}}'::bigint[], ARRAY[({EVENT})::text])",
    "replace_mirrored": f"SELECT replace_mirrored('', '1.1.1.0', 1::bigint, NULL::uuid, '{ID}'::uuid,"
    " 'life', 0::bigint, 1::bigint, 'first')",
    "mirror_worktree": with_row("mirror_worktree(r)", "worktrees", WORKTREE),
    "mirror_project": with_row("mirror_project(r)", "projects", PROJECT),
    "mirror_worktree_event": f"SELECT mirror_worktree_event('created', {WORKTREE}, now())",
    "mirror_type_event": f"SELECT mirror_type_event('added', {TYPE})",
    "mirror_host_event": f"SELECT mirror_host_event('registered', {HOST})",
    "mirror_place_event": f"SELECT mirror_place_event('added', {PLACE})",
    "mirror_truncated": "SELECT mirror_truncated('agent_activities')",
    "mirror_event_applied": f"SELECT mirror_event_applied({EVENT})",
    "begin_replica": "SELECT begin_replica('n', 's', gen_random_uuid(), 1::bigint, true)",
    "copied_replica": "SELECT copied_replica()",
    "stop_replica": "SELECT stop_replica()",
    "promote_replica": "SELECT promote_replica()",
    "uncount_replica": "SELECT uncount_replica()",
    "advance_replica_sequences": "SELECT advance_replica_sequences()",
}

MOVED = (OWNER["begin_activity_move"], OWNER["copy_activities"], OWNER["finish_activity_move"])
"""From one table into months."""
PREPARED: Mapping[str, tuple[str, ...]] = {
    "change_project_id": (OWNER["call_project"],),
    "merge_projects": (OWNER["mirror_project"],),
    "attach_activity_part": MOVED,
    "make_activity_months": MOVED,
    "drop_activity_month": (*MOVED, OWNER["attach_activity_part"]),
    "drop_activity_months": (*MOVED, OWNER["attach_activity_part"]),
    "copy_activities": MOVED[:1],
    "missed_by_activity_move": MOVED[:1],
    "finish_activity_move": MOVED[:2],
    "cancel_activity_move": MOVED[:1],
    "apply_mirrored": (OWNER["begin_mirror"],),
    "replace_mirrored": (OWNER["begin_mirror"],),
    "promote_mirror": (OWNER["begin_mirror"], OWNER["replace_mirrored"]),
    "copied_replica": (OWNER["begin_replica"],),
    "stop_replica": (OWNER["begin_replica"],),
    "promote_replica": (OWNER["begin_replica"], "UPDATE replica_source SET copied_at = now()"),
}
"""What the owner has done before each, so that it has something to do."""
