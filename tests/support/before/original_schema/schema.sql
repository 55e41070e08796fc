-- The registry schema 2.0.0 as its authors shipped it first: tables, constraints, indexes, triggers and views, written
-- after their description. The bodies of its functions are not those of the authors.

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgcrypto') THEN
        CREATE EXTENSION IF NOT EXISTS pgcrypto;
    END IF;
END;
$$;
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE projects (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    name TEXT NOT NULL CHECK (length(name) > 0),
    remote_origin TEXT NOT NULL CHECK (remote_origin ~ '^git@github\.com:[^/]+/.+\.git$'),
    default_branch TEXT NOT NULL DEFAULT 'main',
    trunk_path TEXT NOT NULL CHECK (length(trunk_path) > 0),
    description TEXT,
    metadata JSONB DEFAULT '{}'::jsonb,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    active BOOLEAN NOT NULL DEFAULT TRUE,
    CONSTRAINT projects_unique_remote_origin UNIQUE (remote_origin),
    CONSTRAINT projects_unique_active_remote EXCLUDE (remote_origin WITH =) WHERE (active)
);

CREATE TABLE worktree_types (
    id SERIAL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE CHECK (length(name) > 0),
    branch_prefix TEXT NOT NULL,
    worktree_prefix TEXT NOT NULL CHECK (length(worktree_prefix) > 0),
    description TEXT,
    is_builtin BOOLEAN NOT NULL DEFAULT FALSE,
    color TEXT DEFAULT '#6B7280',
    icon TEXT,
    metadata JSONB DEFAULT '{}'::jsonb,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
);

INSERT INTO worktree_types (name, branch_prefix, worktree_prefix, description, is_builtin, color, icon) VALUES
    ('feat', 'feat/', 'feat-', 'Feature development', TRUE, '#10B981', '🚀'),
    ('fix', 'fix/', 'fix-', 'Bug fixes', TRUE, '#EF4444', '🐛'),
    ('aiops', 'aiops/', 'aiops-', 'AI operations', TRUE, '#8B5CF6', '🤖'),
    ('devops', 'devops/', 'devops-', 'DevOps tasks', TRUE, '#3B82F6', '⚙️'),
    ('review', 'pr-review/', 'pr-', 'Pull request reviews', TRUE, '#F59E0B', '👀'),
    ('trunk', '', 'trunk-', 'Main branch worktree', TRUE, '#6B7280', '🌳');

CREATE TABLE worktrees (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id UUID NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    type_id INTEGER NOT NULL REFERENCES worktree_types (id) ON DELETE RESTRICT,
    name TEXT NOT NULL CHECK (length(name) > 0),
    branch_name TEXT NOT NULL CHECK (length(branch_name) > 0),
    path TEXT NOT NULL CHECK (length(path) > 0),
    agent_id TEXT,
    has_uncommitted_changes BOOLEAN DEFAULT FALSE,
    uncommitted_files_count INTEGER DEFAULT 0 CHECK (uncommitted_files_count >= 0),
    ahead_of_trunk INTEGER DEFAULT 0 CHECK (ahead_of_trunk >= 0),
    behind_trunk INTEGER DEFAULT 0 CHECK (behind_trunk >= 0),
    last_commit_hash TEXT,
    last_commit_message TEXT,
    last_sync_at TIMESTAMPTZ,
    merged_at TIMESTAMPTZ,
    merged_by TEXT,
    merge_commit_hash TEXT,
    metadata JSONB DEFAULT '{}'::jsonb,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    active BOOLEAN NOT NULL DEFAULT TRUE,
    CONSTRAINT worktrees_unique_project_name UNIQUE (project_id, name),
    CONSTRAINT worktrees_unique_active_path EXCLUDE (path WITH =) WHERE (active)
);

CREATE TABLE agent_activities (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    agent_id TEXT NOT NULL,
    worktree_id UUID NOT NULL REFERENCES worktrees (id) ON DELETE CASCADE,
    activity_type TEXT NOT NULL CHECK (
        activity_type IN ('created', 'modified', 'deleted', 'committed', 'pushed', 'merged', 'synced', 'other')
    ),
    file_path TEXT,
    description TEXT NOT NULL,
    metadata JSONB DEFAULT '{}'::jsonb,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
);

COMMENT ON TABLE projects IS 'Single source of truth';
COMMENT ON COLUMN projects.name IS 'What it is called';

CREATE INDEX idx_projects_active ON projects (active) WHERE active;
CREATE INDEX idx_projects_remote_origin_trgm ON projects USING gin (remote_origin gin_trgm_ops);
CREATE INDEX idx_projects_metadata ON projects USING gin (metadata);
CREATE INDEX idx_worktrees_project_id ON worktrees (project_id) WHERE active;
CREATE INDEX idx_worktrees_uncommitted ON worktrees (has_uncommitted_changes) WHERE has_uncommitted_changes AND active;
CREATE INDEX idx_worktrees_unmerged ON worktrees (merged_at) WHERE merged_at IS NULL AND active;
CREATE INDEX idx_agent_activities_agent_id ON agent_activities (agent_id);
CREATE INDEX idx_agent_activities_worktree_id ON agent_activities (worktree_id);

CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = NOW();
    RETURN NEW;
END;
$$;
COMMENT ON FUNCTION update_updated_at_column() IS 'Sets updated_at';

CREATE FUNCTION sync_uncommitted_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.uncommitted_files_count > 0 THEN
        NEW.has_uncommitted_changes = TRUE;
    END IF;
    RETURN NEW;
END;
$$;

CREATE TRIGGER projects_updated_at BEFORE UPDATE ON projects
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER worktrees_updated_at BEFORE UPDATE ON worktrees
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER worktrees_sync_uncommitted BEFORE INSERT OR UPDATE ON worktrees
    FOR EACH ROW EXECUTE FUNCTION sync_uncommitted_changes();

CREATE VIEW v_projects_summary AS
SELECT p.id, p.name, p.remote_origin, count(w.id) AS active_worktrees_count
FROM projects p LEFT JOIN worktrees w ON w.project_id = p.id AND w.active
GROUP BY p.id;
CREATE VIEW v_worktrees_detail AS
SELECT w.*, p.name AS project_name FROM worktrees w JOIN projects p ON p.id = w.project_id;
CREATE VIEW v_inflight_work AS SELECT * FROM worktrees WHERE has_uncommitted_changes OR ahead_of_trunk > 0;
CREATE VIEW v_recent_agent_activity AS SELECT * FROM agent_activities ORDER BY created_at DESC;

CREATE FUNCTION register_project(
    p_name TEXT, p_remote_origin TEXT, p_default_branch TEXT DEFAULT 'main', p_trunk_path TEXT DEFAULT NULL,
    p_metadata JSONB DEFAULT '{}'
) RETURNS UUID LANGUAGE sql AS $$
    INSERT INTO projects (name, remote_origin, default_branch, trunk_path, metadata)
    VALUES (p_name, p_remote_origin, p_default_branch, coalesce(p_trunk_path, '/code/' || p_name), p_metadata)
    RETURNING id
$$;
CREATE FUNCTION deactivate_project(p_project_id UUID) RETURNS VOID LANGUAGE sql AS $$
    UPDATE projects SET active = FALSE WHERE id = p_project_id
$$;
-- The type of its relevance is another one than ours.
CREATE FUNCTION search_projects(p_query TEXT) RETURNS TABLE (id UUID, name TEXT, relevance DOUBLE PRECISION)
LANGUAGE sql AS $$ SELECT id, name, 1.0::double precision FROM projects WHERE name ILIKE p_query $$;
CREATE FUNCTION get_registry_stats() RETURNS TABLE (total_projects BIGINT) LANGUAGE sql AS $$
    SELECT count(*) FROM projects
$$;
