-- What nobody but a person can put right.

INSERT INTO projects (id, name, remote_origin, trunk_path, created_at) VALUES
    (uuid(5), 'deep', 'git@github.com:owner/group/repo.git', '/code/deep', '2026-02-01'),
    (uuid(6), 'relative', 'git@github.com:owner/relative.git', 'code/relative', '2026-02-02');
INSERT INTO worktree_types (id, name, branch_prefix, worktree_prefix) VALUES (20, 'my type', 'my/', 'my-');
INSERT INTO worktrees (id, project_id, type_id, name, branch_name, path, created_at) VALUES
    (uuid(18), uuid(5), 1, 'w', 'feat/w', '/code/deep/w', '2026-02-03'),
    (uuid(19), uuid(2), 1, 'same', 'feat/same', '/code/plain/flag/', '2026-02-04');
INSERT INTO agent_activities (id, agent_id, worktree_id, activity_type, description, created_at)
VALUES (uuid(104), 'agent-2', uuid(18), 'other', 'cascaded', '2026-02-05'), (uuid(105), 'agent-2', uuid(11), 'other', ' ', '2026-02-06');
