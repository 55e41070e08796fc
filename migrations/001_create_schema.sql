-- 001: tables, constraints, indexes, built-in worktree types and views of the registry.
--
-- Functions, and the triggers that keep the rules a constraint cannot express, are in 002.
-- What a client may rely on, and where this schema is strict on purpose: docs/schema.md.

BEGIN;

-- First of all: the trigram indexes below need its operator class.
CREATE EXTENSION IF NOT EXISTS pg_trgm;


-- ---------------------------------------------------------------------------------------------------------------
-- Tables
-- ---------------------------------------------------------------------------------------------------------------

-- GitHub ignores case in owner and repository, so the lower-case form is the key: one project per repository,
-- with one unique constraint that INSERT ... ON CONFLICT (remote_origin) can name.
CREATE OR REPLACE FUNCTION is_remote_origin(p_remote_origin text)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN p_remote_origin ~ '^git@github\.com:[a-z0-9][a-z0-9_-]*/[a-z0-9._-]+\.git$'
    AND p_remote_origin !~ '(\.\.|/\.git$|\.git\.git$)'
    AND length(p_remote_origin) <= 160;

COMMENT ON FUNCTION is_remote_origin(text) IS 'Whether this is an origin in the form the registry stores: git@github.com:owner/repo.git, lower case.';

CREATE OR REPLACE FUNCTION project_search_text(p_name text, p_remote_origin text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN ' ' || translate(lower(p_name) || ' ' || left(substr(p_remote_origin, 16), -4), '-/.', '   ');

COMMENT ON FUNCTION project_search_text(text, text) IS 'What search_projects looks in: name and owner/repo in lower case, a blank before each word.';

-- One guard on remote_origin, not two: a second unique or exclusion constraint on the same key makes concurrent
-- INSERT ... ON CONFLICT fail, since only one of them can be the arbiter. It holds for inactive projects too.
CREATE TABLE IF NOT EXISTS projects (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    remote_origin text NOT NULL,
    default_branch text NOT NULL DEFAULT 'main',
    trunk_path text NOT NULL,
    description text,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    active boolean NOT NULL DEFAULT true,
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT projects_unique_remote_origin UNIQUE (remote_origin),
    CONSTRAINT projects_name_check CHECK (name ~ '\S'),
    CONSTRAINT projects_remote_origin_check CHECK (is_remote_origin(remote_origin)),
    CONSTRAINT projects_default_branch_check CHECK (default_branch ~ '^\S+$'),
    CONSTRAINT projects_trunk_path_check CHECK (trunk_path ~ '\S' AND trunk_path !~ '(^|/)\.\.(/|$)'),
    CONSTRAINT projects_metadata_check CHECK (jsonb_typeof(metadata) = 'object')
);

CREATE TABLE IF NOT EXISTS worktree_types (
    id serial NOT NULL,
    name text NOT NULL,
    branch_prefix text NOT NULL,
    worktree_prefix text NOT NULL,
    description text,
    is_builtin boolean NOT NULL DEFAULT false,
    color text DEFAULT '#6B7280',
    icon text,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT worktree_types_pkey PRIMARY KEY (id),
    CONSTRAINT worktree_types_name_key UNIQUE (name),
    CONSTRAINT worktree_types_name_check CHECK (name ~ '^\S+$'),
    CONSTRAINT worktree_types_worktree_prefix_check CHECK (worktree_prefix ~ '\S'),
    CONSTRAINT worktree_types_metadata_check CHECK (jsonb_typeof(metadata) = 'object')
);

CREATE TABLE IF NOT EXISTS worktrees (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL,
    type_id integer NOT NULL,
    name text NOT NULL,
    branch_name text NOT NULL,
    path text NOT NULL,
    agent_id text,
    has_uncommitted_changes boolean NOT NULL DEFAULT false,
    uncommitted_files_count integer NOT NULL DEFAULT 0,
    ahead_of_trunk integer NOT NULL DEFAULT 0,
    behind_trunk integer NOT NULL DEFAULT 0,
    last_commit_hash text,
    last_commit_message text,
    last_sync_at timestamptz,
    merged_at timestamptz,
    merged_by text,
    merge_commit_hash text,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    active boolean NOT NULL DEFAULT true,
    CONSTRAINT worktrees_pkey PRIMARY KEY (id),
    CONSTRAINT worktrees_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE,
    CONSTRAINT worktrees_type_id_fkey FOREIGN KEY (type_id) REFERENCES worktree_types (id),
    CONSTRAINT worktrees_unique_project_name UNIQUE (project_id, name),
    CONSTRAINT worktrees_name_check CHECK (name ~ '\S'),
    CONSTRAINT worktrees_branch_name_check CHECK (branch_name ~ '\S'),
    CONSTRAINT worktrees_path_check CHECK (path ~ '\S' AND path !~ '(^|/)\.\.(/|$)'),
    CONSTRAINT worktrees_agent_id_check CHECK (agent_id ~ '\S'),
    CONSTRAINT worktrees_ahead_check CHECK (ahead_of_trunk >= 0),
    CONSTRAINT worktrees_behind_check CHECK (behind_trunk >= 0),
    CONSTRAINT worktrees_uncommitted_count_check CHECK (uncommitted_files_count >= 0),
    CONSTRAINT worktrees_uncommitted_check CHECK (has_uncommitted_changes = (uncommitted_files_count > 0)),
    CONSTRAINT worktrees_merged_check CHECK (merged_at IS NULL OR NOT active),
    CONSTRAINT worktrees_metadata_check CHECK (jsonb_typeof(metadata) = 'object')
);

-- worktree_id names a row of worktrees: a trigger checks that it exists. It is no foreign key because the audit
-- row outlives its worktree, unchanged; deleted_worktrees then tells which one it was.
CREATE TABLE IF NOT EXISTS agent_activities (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    agent_id text NOT NULL,
    worktree_id uuid NOT NULL,
    activity_type text NOT NULL,
    file_path text,
    description text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agent_activities_pkey PRIMARY KEY (id),
    CONSTRAINT agent_activities_agent_id_check CHECK (agent_id ~ '\S'),
    CONSTRAINT agent_activities_activity_type_check CHECK (activity_type IN (
        'created', 'modified', 'deleted', 'committed', 'pushed', 'merged', 'synced', 'claimed', 'released', 'other'
    )),
    CONSTRAINT agent_activities_metadata_check CHECK (jsonb_typeof(metadata) = 'object')
);

CREATE TABLE IF NOT EXISTS deleted_worktrees (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    project_name text,
    remote_origin text,
    type_name text,
    name text NOT NULL,
    branch_name text NOT NULL,
    path text NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT deleted_worktrees_pkey PRIMARY KEY (id)
);

COMMENT ON TABLE projects IS 'Single source of truth for all projects: one row per GitHub remote origin.';
COMMENT ON COLUMN projects.remote_origin IS 'Always git@github.com:owner/repo.git in lower case, since GitHub ignores case; other forms are normalised on write.';
COMMENT ON COLUMN projects.trunk_path IS 'Canonical base path, without trailing slash; worktrees are its siblings.';
COMMENT ON COLUMN projects.active IS 'False after a soft delete. The origin stays reserved: registering it again reactivates the project.';
COMMENT ON TABLE worktrees IS 'All worktrees across all projects, with the git state last synced.';
COMMENT ON COLUMN worktrees.has_uncommitted_changes IS 'Same as uncommitted_files_count > 0; a trigger derives one from the other.';
COMMENT ON COLUMN worktrees.merged_at IS 'When the worktree was merged; a merged worktree is never active.';
COMMENT ON COLUMN worktrees.agent_id IS 'The agent that claimed this worktree; NULL when nobody did.';
COMMENT ON TABLE worktree_types IS 'Classification of worktrees. Built-in types cannot be deleted or renamed.';
COMMENT ON TABLE agent_activities IS 'Append-only audit log of agent actions; cleanup_old_activities() is the only way out.';
COMMENT ON COLUMN agent_activities.worktree_id IS 'A worktree that existed when the row was written: see worktrees, or deleted_worktrees.';
COMMENT ON TABLE deleted_worktrees IS 'What deleted worktrees were called, so that their activities stay readable.';


-- ---------------------------------------------------------------------------------------------------------------
-- Indexes
-- ---------------------------------------------------------------------------------------------------------------

CREATE INDEX IF NOT EXISTS idx_projects_active ON projects (active) WHERE active;
CREATE INDEX IF NOT EXISTS idx_projects_name ON projects (name) WHERE active;
CREATE INDEX IF NOT EXISTS idx_projects_name_trgm ON projects USING gin (name gin_trgm_ops);
CREATE INDEX IF NOT EXISTS idx_projects_remote_origin_trgm ON projects USING gin (remote_origin gin_trgm_ops);
CREATE INDEX IF NOT EXISTS idx_projects_search_trgm
    ON projects USING gin (project_search_text(name, remote_origin) gin_trgm_ops) WHERE active;
CREATE INDEX IF NOT EXISTS idx_projects_name_length ON projects (length(name), name, id) WHERE active;
CREATE INDEX IF NOT EXISTS idx_projects_metadata ON projects USING gin (metadata);

CREATE UNIQUE INDEX IF NOT EXISTS worktrees_unique_active_path ON worktrees (path) WHERE active;
CREATE INDEX IF NOT EXISTS idx_worktrees_project_id ON worktrees (project_id) WHERE active;
CREATE INDEX IF NOT EXISTS idx_worktrees_type_id ON worktrees (type_id);
CREATE INDEX IF NOT EXISTS idx_worktrees_active ON worktrees (active) WHERE active;
CREATE INDEX IF NOT EXISTS idx_worktrees_agent_id ON worktrees (agent_id) WHERE agent_id IS NOT NULL AND active;
CREATE INDEX IF NOT EXISTS idx_worktrees_uncommitted ON worktrees (has_uncommitted_changes)
    WHERE has_uncommitted_changes AND active;
CREATE INDEX IF NOT EXISTS idx_worktrees_unmerged ON worktrees (project_id, merged_at)
    WHERE merged_at IS NULL AND active;
CREATE INDEX IF NOT EXISTS idx_worktrees_last_sync ON worktrees (last_sync_at) WHERE active;
CREATE INDEX IF NOT EXISTS idx_worktrees_metadata ON worktrees USING gin (metadata);

CREATE INDEX IF NOT EXISTS idx_worktree_types_metadata ON worktree_types USING gin (metadata);

CREATE INDEX IF NOT EXISTS idx_agent_activities_worktree_id ON agent_activities (worktree_id);
CREATE INDEX IF NOT EXISTS idx_agent_activities_agent_id ON agent_activities (agent_id, created_at DESC);
CREATE INDEX IF NOT EXISTS idx_agent_activities_created_at ON agent_activities (created_at DESC);
CREATE INDEX IF NOT EXISTS idx_agent_activities_type ON agent_activities (activity_type);
CREATE INDEX IF NOT EXISTS idx_agent_activities_metadata ON agent_activities USING gin (metadata);


-- ---------------------------------------------------------------------------------------------------------------
-- Built-in worktree types
-- ---------------------------------------------------------------------------------------------------------------

-- NOT EXISTS and not ON CONFLICT: a run that adds nothing must not use up ids.
CREATE OR REPLACE FUNCTION seed_worktree_types()
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    INSERT INTO worktree_types (name, branch_prefix, worktree_prefix, description, is_builtin, color, icon)
    SELECT b.name, b.branch_prefix, b.worktree_prefix, b.description, true, b.color, b.icon
    FROM (
        VALUES
            (1, 'feat', 'feat/', 'feat-', 'Feature development', '#10B981', '🚀'),
            (2, 'fix', 'fix/', 'fix-', 'Bug fixes', '#EF4444', '🐛'),
            (3, 'aiops', 'aiops/', 'aiops-', 'AI operations (agents, rules, workflows)', '#8B5CF6', '🤖'),
            (4, 'devops', 'devops/', 'devops-', 'DevOps tasks (CI, deploys)', '#3B82F6', '⚙️'),
            (5, 'review', 'pr-review/', 'pr-', 'Pull request reviews', '#F59E0B', '👀'),
            (6, 'trunk', '', 'trunk-', 'Main branch worktree', '#6B7280', '🌳')
    ) AS b (position, name, branch_prefix, worktree_prefix, description, color, icon)
    WHERE NOT EXISTS (SELECT FROM worktree_types t WHERE t.name = b.name)
    ORDER BY b.position
$$;

COMMENT ON FUNCTION seed_worktree_types() IS 'Adds the built-in worktree types that are missing; changes nothing that is there.';

DO $$ BEGIN PERFORM seed_worktree_types(); END $$;


-- ---------------------------------------------------------------------------------------------------------------
-- Views
-- ---------------------------------------------------------------------------------------------------------------

-- A parsed body: it is inlined into every query, and still does not depend on the caller's search_path.
CREATE OR REPLACE FUNCTION worktree_status(p_has_uncommitted boolean, p_ahead integer, p_behind integer)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN CASE
    WHEN p_has_uncommitted THEN 'uncommitted'
    WHEN p_ahead > 0 AND p_behind > 0 THEN 'diverged'
    WHEN p_ahead > 0 THEN 'ahead'
    WHEN p_behind > 0 THEN 'behind'
    ELSE 'clean'
END;

COMMENT ON FUNCTION worktree_status(boolean, integer, integer) IS 'uncommitted | ahead | behind | diverged | clean; uncommitted wins.';

CREATE OR REPLACE VIEW v_projects_summary AS
SELECT
    p.id,
    p.name,
    p.remote_origin,
    p.trunk_path,
    p.created_at,
    p.updated_at,
    count(w.id) FILTER (WHERE w.active) AS active_worktrees_count,
    count(w.id) FILTER (WHERE w.active AND w.has_uncommitted_changes) AS uncommitted_worktrees_count,
    count(w.id) FILTER (WHERE w.active AND w.merged_at IS NULL) AS unmerged_worktrees_count,
    max(w.updated_at) AS last_worktree_activity
FROM projects p
LEFT JOIN worktrees w ON w.project_id = p.id
WHERE p.active
GROUP BY p.id;

CREATE OR REPLACE VIEW v_worktrees_detail AS
SELECT
    w.id,
    w.project_id,
    p.name AS project_name,
    p.remote_origin,
    w.name AS worktree_name,
    w.branch_name,
    w.path,
    t.name AS type_name,
    t.branch_prefix,
    t.worktree_prefix,
    t.color AS type_color,
    t.icon AS type_icon,
    w.agent_id,
    w.has_uncommitted_changes,
    w.uncommitted_files_count,
    w.ahead_of_trunk,
    w.behind_trunk,
    w.last_sync_at,
    w.merged_at,
    w.created_at,
    w.updated_at,
    w.active
FROM worktrees w
JOIN projects p ON p.id = w.project_id
JOIN worktree_types t ON t.id = w.type_id;

CREATE OR REPLACE VIEW v_inflight_work AS
SELECT
    w.id,
    w.project_id,
    p.name AS project_name,
    w.name AS worktree_name,
    w.branch_name,
    w.agent_id,
    w.has_uncommitted_changes,
    w.uncommitted_files_count,
    w.ahead_of_trunk,
    w.behind_trunk,
    w.last_sync_at,
    worktree_status(w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk) AS status,
    w.created_at,
    w.updated_at
FROM worktrees w
JOIN projects p ON p.id = w.project_id
WHERE w.active
    AND w.merged_at IS NULL
    AND (w.has_uncommitted_changes OR w.ahead_of_trunk > 0 OR w.behind_trunk > 0);

CREATE OR REPLACE VIEW v_recent_agent_activity AS
SELECT
    a.id,
    a.agent_id,
    a.activity_type,
    a.description,
    a.file_path,
    a.created_at,
    coalesce(w.name, d.name) AS worktree_name,
    coalesce(p.name, d.project_name) AS project_name,
    coalesce(t.name, d.type_name) AS worktree_type
FROM agent_activities a
LEFT JOIN worktrees w ON w.id = a.worktree_id
LEFT JOIN projects p ON p.id = w.project_id
LEFT JOIN worktree_types t ON t.id = w.type_id
LEFT JOIN deleted_worktrees d ON d.id = a.worktree_id
ORDER BY a.created_at DESC, a.id;

COMMENT ON VIEW v_projects_summary IS 'Active projects with their worktree counts.';
COMMENT ON VIEW v_worktrees_detail IS 'Worktrees with the names of their project and type.';
COMMENT ON VIEW v_inflight_work IS 'Active worktrees with uncommitted changes, or ahead of or behind their trunk.';
COMMENT ON VIEW v_recent_agent_activity IS 'Activities, newest first, with names; those of deleted worktrees are included.';

COMMIT;
