-- Nothing here needs a person. Ids are numbers, to be found again: projects 1.., worktrees 11.., activities 101...

INSERT INTO projects (id, name, remote_origin, trunk_path, description, metadata, active, created_at) VALUES
    (uuid(1), 'mixed', 'git@github.com:Owner/iMi.git', '/code/imi/trunk-main/', '', '[1, "two"]', TRUE, '2026-01-01'),
    (uuid(2), 'plain', 'git@github.com:owner/plain.git', '/code//plain', 'text', '{"a": 1}', TRUE, '2026-01-02'),
    (uuid(3), 'inactive', 'git@github.com:owner/gone.git', '/code/gone', NULL, NULL, FALSE, '2026-01-03');
INSERT INTO worktree_types (name, branch_prefix, worktree_prefix, color, metadata)
VALUES ('spike', 'spike/', 'spike-', '', NULL);
UPDATE worktree_types SET color = '#ABCDEF' WHERE name = 'fix';
ALTER TABLE worktrees DISABLE TRIGGER worktrees_sync_uncommitted;
INSERT INTO worktrees (
    id, project_id, type_id, name, branch_name, path, agent_id, has_uncommitted_changes, uncommitted_files_count,
    ahead_of_trunk, behind_trunk, merged_at, merged_by, merge_commit_hash, metadata, active, created_at
) VALUES
    (uuid(11), uuid(1), 1, 'again', 'feat/again', '/code/imi/again/', 'agent-1', FALSE, 0, 0, 0, '2026-01-05', 'ann', 'abc', '{}', TRUE, '2026-01-04'),
    (uuid(12), uuid(1), 7, 'nulls', 'spike/nulls', '/code/imi/nulls', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, TRUE, '2026-01-05'),
    (uuid(13), uuid(2), 2, 'flag', 'fix/flag', '/code/plain/flag', NULL, TRUE, 0, 1, 2, NULL, NULL, NULL, '"text"', TRUE, '2026-01-06'),
    (uuid(14), uuid(2), 2, 'count', 'fix/count', '/code/plain/count', NULL, FALSE, 3, 0, 0, NULL, NULL, NULL, '{}', TRUE, '2026-01-07'),
    (uuid(15), uuid(3), 1, 'under', 'feat/under', '/code/gone/under', NULL, FALSE, 0, 0, 0, NULL, NULL, NULL, '{}', TRUE, '2026-01-08'),
    (uuid(16), uuid(2), 1, 'done', 'feat/done', '/code/plain/done', NULL, FALSE, 0, 0, 0, '2026-01-09', 'ann', '', '{}', FALSE, '2026-01-09');
ALTER TABLE worktrees ENABLE TRIGGER worktrees_sync_uncommitted;
INSERT INTO agent_activities (id, agent_id, worktree_id, activity_type, file_path, description, metadata, created_at) VALUES
    (uuid(101), 'agent-1', uuid(11), 'created', 'a.rs', 'text', NULL, '2026-01-10'),
    (uuid(102), 'agent-1', uuid(15), 'merged', NULL, 'text', '{"big": 12345678901234567890.10}', '2026-01-11');
