"""A row of each table, as somebody inserts it who may. Ids are those of `populate`, `at` is a time in its month."""

from __future__ import annotations

ROWS = {
    "agent_activities": "(agent_id, worktree_id, activity_type, description, created_at)"
    " VALUES ('ada', %(worktree)s, 'other', 'words', %(at)s)",
    "command_ledger": "(command_id, digest, type, verdict, message)"
    " VALUES (gen_random_uuid(), '', 'project.register', 'applied', 'done')",
    "count_delta": "(projects) VALUES (1)",
    "deleted_worktrees": "(id, project_id, name, branch_name, path)"
    " VALUES (gen_random_uuid(), %(project)s, 'x', 'x', '/x')",
    "hosts": "(name) VALUES ('laptop')",
    "mirror_event": "(event_id, sequence) VALUES (gen_random_uuid(), 1)",
    "mirror_row": "(kind, fields) VALUES ('projects', '{}')",
    "mirror_source": "(name, stream) VALUES ('source', 'IMI_EVENTS')",
    "outbox": "(entity, action, data) VALUES ('project', 'registered', '{}')",
    "outbox_backlog": "(entity, row_id) VALUES ('project', %(project)s::text)",
    "outbox_fault": "(outbox_id, reason, detail) VALUES (1, 'too_large', 'by one byte')",
    "project_aliases": "(id, project_id) VALUES (gen_random_uuid(), %(project)s)",
    "project_counts": "(project_id, active_worktrees, uncommitted_worktrees, in_flight_worktrees)"
    " VALUES (%(project)s, 1, 0, 0)",
    "project_hosts": "(project_id, host_id) VALUES (%(project)s, public.default_host_id())",
    "projects": "(name, remote_origin, trunk_path) VALUES ('b', 'git@github.com:o/b.git', '/b')",
    "published_batch": "(stream, last_sequence, ids) VALUES ('S', 1, ARRAY[int8range(1, 2)])",
    "publisher_cursor": "(stream) VALUES ('S')",
    "registry_counts": "DEFAULT VALUES",
    "registry_metadata": "(migration) VALUES (1)",
    "replica_source": "(name, slot, registry_id, epoch) VALUES ('source', 'slot', gen_random_uuid(), 1)",
    "schema_migrations": "(version, name, checksum) VALUES (1000, 'later', '')",
    "worktree_types": "(name, branch_prefix, worktree_prefix) VALUES ('docs', 'docs/', 'docs-')",
    "worktrees": "(project_id, type_id, name, branch_name, path) VALUES (%(project)s, 1, 'x', 'x', '/x')",
}
"""What stands behind INSERT INTO the table. A partition takes what its table does."""
