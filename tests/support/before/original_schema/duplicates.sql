-- A second project of the repository of project 1, inactive and older.

INSERT INTO projects (id, name, remote_origin, trunk_path, metadata, active, created_at) VALUES
    (uuid(4), 'lower', 'git@github.com:owner/imi.git', '/code/other/trunk-main', '{"b": 2}', FALSE, '2025-01-01');
INSERT INTO worktrees (id, project_id, type_id, name, branch_name, path, created_at)
VALUES (uuid(17), uuid(4), 1, 'other', 'feat/other', '/code/other/feat', '2025-01-02');
INSERT INTO agent_activities (id, agent_id, worktree_id, activity_type, description, created_at)
VALUES (uuid(103), 'agent-2', uuid(17), 'created', 'text', '2025-01-03');
