"""What nobody may do in a registry that is a copy of another one."""

from __future__ import annotations

WRITES = {
    "register_project": "SELECT register_project('n', 'git@github.com:o/n.git')",
    "register_worktree": "SELECT register_worktree(id, 'feat', 'w', 'w', '/w') FROM projects",
    "git state": "SELECT update_worktree_git_state(id, p_ahead := 9) FROM worktrees",
    "log_activity": "SELECT log_activity('a', id, 'other', 'd') FROM worktrees",
    "cleanup": "SELECT cleanup_old_activities(0)",
    "host": "SELECT register_host('elsewhere')",
    "type": "SELECT add_worktree_type('spike')",
    "insert": "INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('n', 'git@github.com:o/n.git', '/n')",
    "update": "UPDATE worktrees SET agent_id = 'me'",
    "update of nothing": "UPDATE worktrees SET agent_id = 'me' WHERE false",
    "delete": "DELETE FROM projects",
    "truncate": "TRUNCATE projects CASCADE",
    "with its setting": "SELECT set_config('imi.mirror', 'applies', false); DELETE FROM projects",
    "heartbeat": "SELECT registry_heartbeat('service')",
    "command": (
        "SELECT apply_command(gen_random_uuid(), 'worktree_type.remove', '{\"name\": \"x\"}', '', gen_random_uuid())"
    ),
}
