"""Calls of the functions of the registry, by who may use them. Ids are those of `populate`.

What is no text has its type: so no function of another's that fits better is called here, while it may be within.
"""

from __future__ import annotations

from uuid import uuid4

COMMAND = '\'project.register\', \'{"name": "n", "remote_origin": "git@github.com:o/n.git"}\'::jsonb'

# One call of each function a component may use, as a role that may change the four tables and nothing else.
CALLS = {
    "activities_are_by_month": "SELECT activities_are_by_month()",
    "activities_kept": "SELECT * FROM activities_kept()",
    "activity_months": "SELECT * FROM activity_months()",
    "register_project": "SELECT register_project('b', 'git@github.com:o/b.git')",
    "get_project_by_origin": "SELECT * FROM get_project_by_origin('git@github.com:o/a.git')",
    "deactivate_project": "SELECT deactivate_project(%(project)s)",
    "update_project": "SELECT update_project(%(project)s, p_name => 'c')",
    "change_project_origin": "SELECT change_project_origin(%(project)s, 'git@github.com:o/renamed.git')",
    "register_worktree": "SELECT register_worktree(%(project)s, 'fix', 'v', 'v', '/v')",
    "update_worktree": "SELECT update_worktree(%(worktree)s, p_path => '/u')",
    "update_worktree_git_state": "SELECT update_worktree_git_state(%(worktree)s, p_ahead => 7)",
    "mark_worktree_merged": "SELECT mark_worktree_merged(%(worktree)s, 'agent', 'abc')",
    "claim_worktree": "SELECT claim_worktree(%(worktree)s, 'agent')",
    "release_worktree": "SELECT release_worktree(%(worktree)s)",
    "remove_worktree": "SELECT remove_worktree(%(worktree)s)",
    "get_worktree_by_path": "SELECT * FROM get_worktree_by_path('/w')",
    "log_activity": "SELECT log_activity('agent', %(worktree)s, 'other', 'words')",
    "get_agent_recent_work": "SELECT * FROM get_agent_recent_work('agent')",
    "get_inflight_work": "SELECT * FROM get_inflight_work()",
    "get_project_working_path": "SELECT get_project_working_path(%(project)s, 'w')",
    "search_projects": "SELECT * FROM search_projects('a')",
    "search_registry": "SELECT * FROM search_registry('a')",
    "search_worktrees": "SELECT search_worktrees('a'::tsquery, 'a'::tsquery, '{a}'::text[], 'a'::tsquery, true)",
    "search_activities": "SELECT search_activities('a'::tsquery, 'a'::tsquery, '{a}'::text[], '{}'::uuid[])",
    "search_newest_activities": "SELECT search_newest_activities('a'::tsquery, '{a}'::text[], 1, 1)",
    "search_newest_worktrees": "SELECT search_newest_worktrees('a'::tsquery, '{a}'::text[], 1)",
    "near_projects": "SELECT near_projects('a')",
    "search_described_projects": "SELECT search_described_projects('a'::tsquery, 'a'::tsquery)",
    "search_similar_words": "SELECT search_similar_words('a')",
    "search_busy_worktrees": "SELECT search_busy_worktrees()",
    "registry_health": "SELECT * FROM registry_health()",
    "cleanup_old_activities": "SELECT cleanup_old_activities(0)",
    "prune_inactive_worktrees": "SELECT prune_inactive_worktrees(0)",
    "get_registry_stats": "SELECT * FROM get_registry_stats()",
    "add_worktree_type": "SELECT add_worktree_type('docs')",
    "update_worktree_type": "SELECT update_worktree_type('spike', 'probe')",
    "remove_worktree_type": "SELECT remove_worktree_type('spike')",
    "seed_worktree_types": "SELECT seed_worktree_types()",
    "resolve_worktree_type": "SELECT resolve_worktree_type('feat')",
    "days_ago": "SELECT days_ago(1)",
    "maintenance_vacuum": "SELECT maintenance_vacuum()",
    "deleted_worktree": "SELECT * FROM deleted_worktree(gen_random_uuid())",
    "forget_deleted_worktrees": "SELECT forget_deleted_worktrees(now())",
    "counted_totals": "SELECT * FROM counted_totals()",
    "may_use_counts": "SELECT may_use_counts()",
    "worktree_counts": "SELECT * FROM worktree_counts(%(project)s)",
    "caller_host_id": "SELECT caller_host_id()",
    "worktree_at": "SELECT worktree_at('/w')",
    "project_trunk": "SELECT project_trunk(gen_random_uuid(), public.default_host_id())",
    "trunk_for_caller": "SELECT trunk_for_caller(gen_random_uuid(), '/t')",
    "worktree_name_on": "SELECT worktree_name_on(gen_random_uuid(), 'w', public.default_host_id())",
    "worktree_called_here": "SELECT worktree_called_here('w@server')",
    "registry_life": "SELECT registry_life()",
    "registry_epoch": "SELECT registry_epoch()",
    "replica_tables": "SELECT replica_tables()",
    "current_project_id": "SELECT current_project_id(%(project)s)",
    "id_for_new_project": "SELECT id_for_new_project('git@github.com:a/b.git')",
}
# They take no right on a table, or the owner's: see what each says of it.
OPEN = {
    "activities_are_by_month",
    "activities_kept",
    "activity_months",
    "days_ago",
    "deleted_worktree",
    "registry_health",
    "may_use_counts",
    "worktree_counts",
    "caller_host_id",
    "project_trunk",
    "trunk_for_caller",
    "worktree_name_on",
    "worktree_called_here",
    "registry_life",
    "registry_epoch",
    "replica_tables",
    "current_project_id",
    "id_for_new_project",
}
# They need rights on hosts and project_hosts, too.
HOSTS = {
    "host_named": "SELECT host_named('default')",
    "register_host": "SELECT register_host('server')",
    "use_host": "SELECT use_host('server', p_is_local => true)",
    "update_host": "SELECT update_host(public.default_host_id(), 'laptop')",
    "remove_host": "SELECT remove_host(public.register_host('server'))",
    "place_project": "SELECT place_project(%(project)s, public.default_host_id(), '/moved', true)",
    "displace_project": "SELECT place_project(%(project)s, h, '/there'), displace_project(%(project)s, h)"
    " FROM public.register_host('server') AS h",
    "move_worktree": "SELECT move_worktree(%(worktree)s, public.register_host('server'))",
}
# They read the counts that are kept, on which a right on the four tables is none.
COUNTS = {
    "kept_totals": "SELECT * FROM kept_totals()",
    "differing_counts": "SELECT * FROM differing_counts()",
}
# The service's, which reads and writes the ledger, and what the extension records.
SERVICE = {
    "registry_slow_queries": "SELECT * FROM registry_slow_queries()",
    "apply_command": f"SELECT apply_command('{uuid4()}', {COMMAND}, '', '{uuid4()}')",
    "run_command": f"SELECT run_command({COMMAND})",
    "command_project": 'SELECT command_project(\'{"remote_origin": "git@github.com:o/a.git"}\'::jsonb)',
    "command_worktree": 'SELECT command_worktree(\'{"path": "/w"}\'::jsonb)',
    "enter_command_host": "SELECT enter_command_host('project.register', 'server')",
    "published_ids": "SELECT published_ids(c) FROM publisher_cursor c",
    "cleanup_command_ledger": "SELECT cleanup_command_ledger(0)",
}
