-- Generated from a migrated database, for reading; never applied. See docs/adr/0007-migrations.md.

CREATE VIEW v_inflight_work AS
 SELECT w.id,
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
   FROM (worktrees w
     JOIN projects p ON ((p.id = w.project_id)))
  WHERE is_in_flight(w.active, w.merged_at, w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk);
COMMENT ON VIEW v_inflight_work IS 'Active worktrees with uncommitted changes, or ahead of or behind their trunk.';

CREATE VIEW v_project_hosts AS
 SELECT p.id AS project_id,
    p.name AS project_name,
    p.remote_origin,
    h.id AS host_id,
    h.name AS host_name,
    COALESCE(here.trunk_path, p.trunk_path) AS trunk_path,
    (here.trunk_path IS NULL) AS is_home
   FROM ((projects p
     JOIN project_hosts here ON ((here.project_id = p.id)))
     JOIN hosts h ON ((h.id = here.host_id)))
UNION ALL
 SELECT p.id AS project_id,
    p.name AS project_name,
    p.remote_origin,
    h.id AS host_id,
    h.name AS host_name,
    p.trunk_path,
    true AS is_home
   FROM (projects p
     JOIN hosts h ON ((h.id = default_host_id())))
  WHERE (NOT (EXISTS ( SELECT
           FROM project_hosts home
          WHERE ((home.project_id = p.id) AND (home.trunk_path IS NULL)))));
COMMENT ON VIEW v_project_hosts IS 'On which hosts each project is, active or not, and where; one of them is its home.';

CREATE VIEW v_projects_summary AS
 SELECT p.id,
    p.name,
    p.remote_origin,
    p.trunk_path,
    p.created_at,
    p.updated_at,
        CASE
            WHEN s.is_all_stale THEN n.active_worktrees
            ELSE (COALESCE(c.active_worktrees, (0)::bigint) + COALESCE(d.active_worktrees, (0)::bigint))
        END AS active_worktrees_count,
        CASE
            WHEN s.is_all_stale THEN n.uncommitted_worktrees
            ELSE (COALESCE(c.uncommitted_worktrees, (0)::bigint) + COALESCE(d.uncommitted_worktrees, (0)::bigint))
        END AS uncommitted_worktrees_count,
        CASE
            WHEN s.is_all_stale THEN n.active_worktrees
            ELSE (COALESCE(c.active_worktrees, (0)::bigint) + COALESCE(d.active_worktrees, (0)::bigint))
        END AS unmerged_worktrees_count,
        CASE
            WHEN (s.is_all_stale OR d.is_stale) THEN n.last_worktree_at
            ELSE GREATEST(c.last_worktree_at, d.last_worktree_at)
        END AS last_worktree_activity
   FROM ((((projects p
     CROSS JOIN ( SELECT COALESCE(bool_or(t.is_all_stale), false) AS is_all_stale
           FROM count_delta t) s)
     LEFT JOIN project_counts c ON ((c.project_id = p.id)))
     LEFT JOIN ( SELECT t.project_id,
            sum(t.active_worktrees) AS active_worktrees,
            sum(t.uncommitted_worktrees) AS uncommitted_worktrees,
            max(t.last_worktree_at) AS last_worktree_at,
            bool_or(t.is_stale) AS is_stale
           FROM count_delta t
          GROUP BY t.project_id) d ON ((d.project_id = p.id)))
     LEFT JOIN LATERAL worktree_counts(
        CASE
            WHEN (s.is_all_stale OR d.is_stale) THEN p.id
            ELSE NULL::uuid
        END) n(active_worktrees, uncommitted_worktrees, last_worktree_at) ON (true))
  WHERE p.active;
COMMENT ON VIEW v_projects_summary IS 'Active projects with their worktree counts.';

CREATE VIEW v_recent_agent_activity AS
 SELECT a.id,
    a.agent_id,
    a.activity_type,
    a.description,
    a.file_path,
    a.created_at,
    COALESCE(w.name, d.name) AS worktree_name,
    COALESCE(p.name, d.project_name) AS project_name,
    COALESCE(t.name, d.type_name) AS worktree_type
   FROM ((((agent_activities a
     LEFT JOIN worktrees w ON ((w.id = a.worktree_id)))
     LEFT JOIN projects p ON ((p.id = w.project_id)))
     LEFT JOIN worktree_types t ON ((t.id = w.type_id)))
     LEFT JOIN deleted_worktrees d ON ((d.id = a.worktree_id)))
  ORDER BY a.created_at DESC, a.id;
COMMENT ON VIEW v_recent_agent_activity IS 'Activities, newest first, with names; those of deleted worktrees are included.';

CREATE VIEW v_worktrees_detail AS
 SELECT w.id,
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
   FROM ((worktrees w
     JOIN projects p ON ((p.id = w.project_id)))
     JOIN worktree_types t ON ((t.id = w.type_id)));
COMMENT ON VIEW v_worktrees_detail IS 'Worktrees with the names of their project and type.';
