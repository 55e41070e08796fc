-- 007: counts that are kept, so that nobody has to count: get_registry_stats(), get_inflight_work() of all projects and
-- v_projects_summary no longer read whole tables.
--
-- A writer appends what it adds and takes to count_delta, and waits for nobody; now and then one folds what lies there into
-- the counts. Who reads adds both, in one snapshot. Why it is built this way: docs/adr/0014-counts.md.
-- compatible down to: 006

BEGIN;

-- What is committed while the tables are waited for is counted afterwards, behind the COMMIT of this file.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';


-- ---------------------------------------------------------------------------------------------------------------
-- Counts, and what is to be added to them
-- ---------------------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS registry_counts (
    is_only boolean NOT NULL DEFAULT true,
    projects bigint NOT NULL DEFAULT 0,
    active_projects bigint NOT NULL DEFAULT 0,
    worktrees bigint NOT NULL DEFAULT 0,
    active_worktrees bigint NOT NULL DEFAULT 0,
    in_flight_worktrees bigint NOT NULL DEFAULT 0,
    activities bigint NOT NULL DEFAULT 0,
    CONSTRAINT registry_counts_pkey PRIMARY KEY (is_only),
    CONSTRAINT registry_counts_is_only CHECK (is_only)
) WITH (fillfactor = 20);

-- No foreign key: TRUNCATE … CASCADE would reach it, and each insert would lock the project.
CREATE TABLE IF NOT EXISTS project_counts (
    project_id uuid NOT NULL,
    active_worktrees bigint NOT NULL,
    uncommitted_worktrees bigint NOT NULL,
    in_flight_worktrees bigint NOT NULL,
    last_worktree_at timestamptz,
    CONSTRAINT project_counts_pkey PRIMARY KEY (project_id)
) WITH (fillfactor = 70);

CREATE INDEX IF NOT EXISTS idx_project_counts_in_flight ON project_counts (project_id) WHERE in_flight_worktrees > 0;

-- No index: a row is written by every insert of the registry, and all of them are read at once.
CREATE TABLE IF NOT EXISTS count_delta (
    project_id uuid,
    projects integer,
    active_projects integer,
    worktrees integer,
    active_worktrees integer,
    uncommitted_worktrees integer,
    in_flight_worktrees integer,
    activities integer,
    last_worktree_at timestamptz,
    is_stale boolean,
    is_all_stale boolean
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

COMMENT ON TABLE registry_counts IS 'How much there is of everything, but for what lies in count_delta. One row; recount_registry() makes it anew.';
COMMENT ON TABLE project_counts IS 'What is counted of a project, but for what lies in count_delta; no row where there is nothing to tell.';
COMMENT ON COLUMN project_counts.last_worktree_at IS 'The highest updated_at of its worktrees.';
COMMENT ON TABLE count_delta IS 'What transactions added and took (below 0) since the counts were folded. Append-only, and emptied by fold_counts().';
COMMENT ON COLUMN count_delta.is_stale IS 'A worktree of the project is gone, or was updated by a transaction that began earlier: last_worktree_at is to be looked up anew.';
COMMENT ON COLUMN count_delta.is_all_stale IS 'A table was truncated, or never counted: everything is to be counted anew, and until then nothing that is kept holds.';

INSERT INTO registry_counts DEFAULT VALUES ON CONFLICT DO NOTHING;


-- ---------------------------------------------------------------------------------------------------------------
-- Folding
-- ---------------------------------------------------------------------------------------------------------------

-- Each in one statement, hence one snapshot: of tables, counts and deltas it sees the same transactions, whoever writes
-- meanwhile; what it does not see stays in count_delta. Nobody else changes or removes a row of the three tables. One at
-- a time: whoever has the row of registry_counts. An advisory lock would be anybody's who may connect, and he could keep it.
CREATE OR REPLACE PROCEDURE recount_registry()
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM public.registry_counts FOR UPDATE;
    WITH told AS (
        DELETE FROM public.count_delta
    ),
    counted AS (
        SELECT
            w.project_id,
            count(*) FILTER (WHERE w.active) AS active_worktrees,
            count(*) FILTER (WHERE w.active AND w.has_uncommitted_changes) AS uncommitted_worktrees,
            count(*) FILTER (
                WHERE public.is_in_flight(w.active, w.merged_at, w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk)
            ) AS in_flight_worktrees,
            max(w.updated_at) AS last_worktree_at
        FROM public.worktrees w
        GROUP BY w.project_id
    ),
    gone AS (
        DELETE FROM public.project_counts c
        WHERE NOT EXISTS (SELECT FROM counted n WHERE n.project_id = c.project_id)
    ),
    kept AS (
        INSERT INTO public.project_counts AS c (
            project_id, active_worktrees, uncommitted_worktrees, in_flight_worktrees, last_worktree_at
        )
        SELECT n.project_id, n.active_worktrees, n.uncommitted_worktrees, n.in_flight_worktrees, n.last_worktree_at
        FROM counted n
        ON CONFLICT (project_id) DO UPDATE
        SET active_worktrees = excluded.active_worktrees,
            uncommitted_worktrees = excluded.uncommitted_worktrees,
            in_flight_worktrees = excluded.in_flight_worktrees,
            last_worktree_at = excluded.last_worktree_at
    )
    UPDATE public.registry_counts c
    SET projects = n.projects,
        active_projects = n.active_projects,
        worktrees = n.worktrees,
        active_worktrees = n.active_worktrees,
        in_flight_worktrees = n.in_flight_worktrees,
        activities = n.activities
    FROM public.counted_totals() n;
END;
$$;

COMMENT ON PROCEDURE recount_registry() IS 'Counts everything anew, while others write: after rows were written with triggers off, or a restore of data alone.';

-- What is appended is little, so it is all taken. A row that another has locked is not waited for: he folds. Whoever has it
-- waits for nobody here, since only he touches the others.
CREATE OR REPLACE PROCEDURE fold_counts()
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN;
    END IF;
    PERFORM FROM public.registry_counts FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM public.count_delta WHERE is_all_stale) THEN
        CALL public.recount_registry();
        RETURN;
    END IF;
    WITH told AS (
        DELETE FROM public.count_delta
        WHERE is_all_stale IS NULL
        RETURNING *
    ),
    by_project AS (
        SELECT
            t.project_id,
            coalesce(sum(t.active_worktrees), 0) AS active_worktrees,
            coalesce(sum(t.uncommitted_worktrees), 0) AS uncommitted_worktrees,
            coalesce(sum(t.in_flight_worktrees), 0) AS in_flight_worktrees,
            max(t.last_worktree_at) AS last_worktree_at,
            bool_or(t.is_stale) AS is_stale
        FROM told t
        WHERE t.project_id IS NOT NULL
        GROUP BY t.project_id
    ),
    changed AS (
        SELECT
            t.project_id,
            coalesce(c.active_worktrees, 0) + t.active_worktrees AS active_worktrees,
            coalesce(c.uncommitted_worktrees, 0) + t.uncommitted_worktrees AS uncommitted_worktrees,
            coalesce(c.in_flight_worktrees, 0) + t.in_flight_worktrees AS in_flight_worktrees,
            CASE
                WHEN t.is_stale THEN (
                    SELECT max(w.updated_at) FROM public.worktrees w WHERE w.project_id = t.project_id
                )
                ELSE greatest(c.last_worktree_at, t.last_worktree_at)
            END AS last_worktree_at
        FROM by_project t
        LEFT JOIN public.project_counts c ON c.project_id = t.project_id
    ),
    gone AS (
        DELETE FROM public.project_counts c
        USING changed n
        WHERE c.project_id = n.project_id AND n.last_worktree_at IS NULL
    ),
    kept AS (
        INSERT INTO public.project_counts AS c (
            project_id, active_worktrees, uncommitted_worktrees, in_flight_worktrees, last_worktree_at
        )
        SELECT n.project_id, n.active_worktrees, n.uncommitted_worktrees, n.in_flight_worktrees, n.last_worktree_at
        FROM changed n
        WHERE n.last_worktree_at IS NOT NULL
        ON CONFLICT (project_id) DO UPDATE
        SET active_worktrees = excluded.active_worktrees,
            uncommitted_worktrees = excluded.uncommitted_worktrees,
            in_flight_worktrees = excluded.in_flight_worktrees,
            last_worktree_at = excluded.last_worktree_at
    )
    UPDATE public.registry_counts c
    SET projects = c.projects + n.projects,
        active_projects = c.active_projects + n.active_projects,
        worktrees = c.worktrees + n.worktrees,
        active_worktrees = c.active_worktrees + n.active_worktrees,
        in_flight_worktrees = c.in_flight_worktrees + n.in_flight_worktrees,
        activities = c.activities + n.activities
    FROM (
        SELECT
            coalesce(sum(t.projects), 0) AS projects,
            coalesce(sum(t.active_projects), 0) AS active_projects,
            coalesce(sum(t.worktrees), 0) AS worktrees,
            coalesce(sum(t.active_worktrees), 0) AS active_worktrees,
            coalesce(sum(t.in_flight_worktrees), 0) AS in_flight_worktrees,
            coalesce(sum(t.activities), 0) AS activities
        FROM told t
    ) n;
END;
$$;

COMMENT ON PROCEDURE fold_counts() IS 'Adds what lies in count_delta to the counts, unless somebody else is about to; writers call it, one in four thousand.';


-- ---------------------------------------------------------------------------------------------------------------
-- What writers append
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION count_projects_inserted()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.count_delta (projects, active_projects)
    SELECT count(*), count(*) FILTER (WHERE n.active)
    FROM new_rows n;
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION count_project_updated()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.count_delta (active_projects)
    VALUES (CASE WHEN NEW.active THEN 1 ELSE -1 END);
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION count_projects_deleted()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.count_delta (projects, active_projects)
    SELECT -count(*), -count(*) FILTER (WHERE o.active)
    FROM old_rows o;
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$$;

-- A statement with many projects leaves a row of each, and so is the more likely to fold.
CREATE OR REPLACE FUNCTION count_worktrees_inserted()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    appended bigint;
BEGIN
    INSERT INTO public.count_delta (
        project_id, worktrees, active_worktrees, uncommitted_worktrees, in_flight_worktrees, last_worktree_at
    )
    SELECT
        n.project_id,
        count(*),
        count(*) FILTER (WHERE n.active),
        count(*) FILTER (WHERE n.active AND n.has_uncommitted_changes),
        count(*) FILTER (
            WHERE public.is_in_flight(n.active, n.merged_at, n.has_uncommitted_changes, n.ahead_of_trunk, n.behind_trunk)
        ),
        max(n.updated_at)
    FROM new_rows n
    GROUP BY n.project_id;
    GET DIAGNOSTICS appended = ROW_COUNT;
    IF random() < 0.00025 * appended THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION count_worktree_updated()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.project_id = OLD.project_id THEN
        INSERT INTO public.count_delta (
            project_id, active_worktrees, uncommitted_worktrees, in_flight_worktrees, last_worktree_at, is_stale
        )
        VALUES (
            NEW.project_id,
            NEW.active::integer - OLD.active::integer,
            (NEW.active AND NEW.has_uncommitted_changes)::integer
                - (OLD.active AND OLD.has_uncommitted_changes)::integer,
            public.is_in_flight(
                NEW.active, NEW.merged_at, NEW.has_uncommitted_changes, NEW.ahead_of_trunk, NEW.behind_trunk
            )::integer - public.is_in_flight(
                OLD.active, OLD.merged_at, OLD.has_uncommitted_changes, OLD.ahead_of_trunk, OLD.behind_trunk
            )::integer,
            NEW.updated_at,
            NEW.updated_at < OLD.updated_at
        );
    ELSE
        INSERT INTO public.count_delta (
            project_id, active_worktrees, uncommitted_worktrees, in_flight_worktrees, last_worktree_at, is_stale
        )
        VALUES
            (
                OLD.project_id,
                - OLD.active::integer,
                - (OLD.active AND OLD.has_uncommitted_changes)::integer,
                - public.is_in_flight(
                    OLD.active, OLD.merged_at, OLD.has_uncommitted_changes, OLD.ahead_of_trunk, OLD.behind_trunk
                )::integer,
                NULL,
                true
            ),
            (
                NEW.project_id,
                NEW.active::integer,
                (NEW.active AND NEW.has_uncommitted_changes)::integer,
                public.is_in_flight(
                    NEW.active, NEW.merged_at, NEW.has_uncommitted_changes, NEW.ahead_of_trunk, NEW.behind_trunk
                )::integer,
                NEW.updated_at,
                false
            );
    END IF;
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION count_worktrees_deleted()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    appended bigint;
BEGIN
    INSERT INTO public.count_delta (
        project_id, worktrees, active_worktrees, uncommitted_worktrees, in_flight_worktrees, is_stale
    )
    SELECT
        o.project_id,
        -count(*),
        -count(*) FILTER (WHERE o.active),
        -count(*) FILTER (WHERE o.active AND o.has_uncommitted_changes),
        -count(*) FILTER (
            WHERE public.is_in_flight(o.active, o.merged_at, o.has_uncommitted_changes, o.ahead_of_trunk, o.behind_trunk)
        ),
        true
    FROM old_rows o
    GROUP BY o.project_id;
    GET DIAGNOSTICS appended = ROW_COUNT;
    IF random() < 0.00025 * appended THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION count_activities_inserted()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.count_delta (activities)
    SELECT count(*)
    FROM new_rows;
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION count_activities_deleted()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.count_delta (activities)
    SELECT -count(*)
    FROM old_rows;
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$$;

-- No subtraction: in a transaction with an older snapshot the counts that would be taken are not all seen.
CREATE OR REPLACE FUNCTION count_truncated()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.count_delta (is_all_stale) VALUES (true);
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER projects_count_insert
    AFTER INSERT ON projects REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_projects_inserted();
CREATE OR REPLACE TRIGGER projects_count_update
    AFTER UPDATE ON projects
    FOR EACH ROW WHEN (OLD.active <> NEW.active) EXECUTE FUNCTION count_project_updated();
CREATE OR REPLACE TRIGGER projects_count_delete
    AFTER DELETE ON projects REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_projects_deleted();
CREATE OR REPLACE TRIGGER projects_count_truncate
    AFTER TRUNCATE ON projects
    FOR EACH STATEMENT EXECUTE FUNCTION count_truncated();

CREATE OR REPLACE TRIGGER worktrees_count_insert
    AFTER INSERT ON worktrees REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_worktrees_inserted();
CREATE OR REPLACE TRIGGER worktrees_count_update
    AFTER UPDATE ON worktrees
    FOR EACH ROW EXECUTE FUNCTION count_worktree_updated();
CREATE OR REPLACE TRIGGER worktrees_count_delete
    AFTER DELETE ON worktrees REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_worktrees_deleted();
CREATE OR REPLACE TRIGGER worktrees_count_truncate
    AFTER TRUNCATE ON worktrees
    FOR EACH STATEMENT EXECUTE FUNCTION count_truncated();

CREATE OR REPLACE TRIGGER agent_activities_count_insert
    AFTER INSERT ON agent_activities REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_activities_inserted();
CREATE OR REPLACE TRIGGER agent_activities_count_delete
    AFTER DELETE ON agent_activities REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_activities_deleted();
CREATE OR REPLACE TRIGGER agent_activities_count_truncate
    AFTER TRUNCATE ON agent_activities
    FOR EACH STATEMENT EXECUTE FUNCTION count_truncated();

-- Nothing is counted yet. From here on each write is appended, since the triggers were waited for.
INSERT INTO count_delta (is_all_stale) VALUES (true);


-- ---------------------------------------------------------------------------------------------------------------
-- Readers
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION counted_totals()
RETURNS SETOF registry_counts
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
ROWS 1
AS $$
    SELECT true, p.projects, p.active_projects, w.worktrees, w.active_worktrees, w.in_flight_worktrees, a.activities
    FROM (
        SELECT count(*) AS projects, count(*) FILTER (WHERE active) AS active_projects FROM public.projects
    ) p
    CROSS JOIN (
        SELECT
            count(*) AS worktrees,
            count(*) FILTER (WHERE active) AS active_worktrees,
            count(*) FILTER (
                WHERE public.is_in_flight(active, merged_at, has_uncommitted_changes, ahead_of_trunk, behind_trunk)
            ) AS in_flight_worktrees
        FROM public.worktrees
    ) w
    CROSS JOIN (SELECT count(*) AS activities FROM public.agent_activities) a
$$;

COMMENT ON FUNCTION counted_totals() IS 'What registry_counts should be: everything counted, row by row.';

CREATE OR REPLACE FUNCTION kept_totals()
RETURNS SETOF registry_counts
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
ROWS 1
AS $$
    SELECT
        true,
        (c.projects + coalesce(d.projects, 0))::bigint,
        (c.active_projects + coalesce(d.active_projects, 0))::bigint,
        (c.worktrees + coalesce(d.worktrees, 0))::bigint,
        (c.active_worktrees + coalesce(d.active_worktrees, 0))::bigint,
        (c.in_flight_worktrees + coalesce(d.in_flight_worktrees, 0))::bigint,
        (c.activities + coalesce(d.activities, 0))::bigint
    FROM public.registry_counts c
    CROSS JOIN (
        SELECT
            sum(projects) AS projects,
            sum(active_projects) AS active_projects,
            sum(worktrees) AS worktrees,
            sum(active_worktrees) AS active_worktrees,
            sum(in_flight_worktrees) AS in_flight_worktrees,
            sum(activities) AS activities
        FROM public.count_delta
    ) d
$$;

COMMENT ON FUNCTION kept_totals() IS 'The counts that are kept, with what is still to be folded.';

CREATE OR REPLACE FUNCTION may_use_counts()
RETURNS boolean
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT (
        has_table_privilege('public.projects', 'SELECT')
        AND has_table_privilege('public.worktrees', 'SELECT')
        AND has_table_privilege('public.agent_activities', 'SELECT')
        AND has_table_privilege('public.registry_counts', 'SELECT')
        AND has_table_privilege('public.project_counts', 'SELECT')
        AND has_table_privilege('public.count_delta', 'SELECT')
    ) THEN
        RETURN false;
    END IF;
    IF row_security_active('public.projects')
        OR row_security_active('public.worktrees')
        OR row_security_active('public.agent_activities')
    THEN
        RETURN false;
    END IF;
    RETURN NOT EXISTS (SELECT FROM public.count_delta WHERE is_all_stale);
END;
$$;

COMMENT ON FUNCTION may_use_counts() IS 'Whether the caller may see the counts that are kept, and sees all rows that are counted, and everything was counted since a table was truncated. Who does not is answered by counting.';

CREATE OR REPLACE FUNCTION get_registry_stats()
RETURNS TABLE (
    total_projects bigint,
    active_projects bigint,
    total_worktrees bigint,
    active_worktrees bigint,
    in_flight_worktrees bigint,
    total_activities bigint,
    activities_last_24h bigint
)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found public.registry_counts;
BEGIN
    IF public.may_use_counts() THEN
        SELECT * INTO found FROM public.kept_totals();
    ELSE
        SELECT * INTO found FROM public.counted_totals();
    END IF;
    RETURN QUERY
    SELECT
        found.projects, found.active_projects, found.worktrees, found.active_worktrees, found.in_flight_worktrees,
        found.activities, count(*)
    FROM public.agent_activities a
    WHERE a.created_at > now() - interval '24 hours';
END;
$$;

COMMENT ON FUNCTION get_registry_stats() IS 'One row of counts; in flight means the rows of v_inflight_work.';

CREATE OR REPLACE FUNCTION get_inflight_work(p_project_id uuid DEFAULT NULL)
RETURNS TABLE (
    worktree_id uuid,
    worktree_name text,
    branch_name text,
    status text,
    uncommitted_count integer,
    ahead integer,
    behind integer,
    agent_id text,
    last_activity timestamptz
)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    projects uuid[];
BEGIN
    IF p_project_id IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM public.projects p WHERE p.id = p_project_id) THEN
            RAISE EXCEPTION 'get_inflight_work: p_project_id % is no project', p_project_id USING ERRCODE = 'P0002';
        END IF;
        projects := ARRAY[p_project_id];
    ELSIF public.may_use_counts() THEN
        projects := ARRAY(
            SELECT c.project_id FROM public.project_counts c WHERE c.in_flight_worktrees > 0
            UNION
            SELECT d.project_id FROM public.count_delta d WHERE d.in_flight_worktrees > 0
        );
    END IF;
    RETURN QUERY
    SELECT
        w.id, w.name, w.branch_name,
        public.worktree_status(w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk),
        w.uncommitted_files_count, w.ahead_of_trunk, w.behind_trunk, w.agent_id, w.updated_at
    FROM public.worktrees w
    WHERE public.is_in_flight(w.active, w.merged_at, w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk)
        AND (projects IS NULL OR w.project_id = ANY (projects))
    ORDER BY w.updated_at DESC, w.id;
END;
$$;

COMMENT ON FUNCTION get_inflight_work(uuid) IS 'Worktrees with uncommitted or unmerged work, latest first; of all projects when no id is given.';

-- With the owner's rights, as the view that calls it. Ids are random: who knows one has read it in a row. Its cost is not
-- what a call takes, but what a row of the view does: nearly none is stale, and a plan that looks expensive is compiled.
CREATE OR REPLACE FUNCTION worktree_counts(p_project_id uuid)
RETURNS TABLE (active_worktrees bigint, uncommitted_worktrees bigint, last_worktree_at timestamptz)
LANGUAGE sql
STABLE
STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
COST 1
ROWS 1
AS $$
    SELECT
        count(*) FILTER (WHERE w.active),
        count(*) FILTER (WHERE w.active AND w.has_uncommitted_changes),
        max(w.updated_at)
    FROM public.worktrees w
    WHERE w.project_id = p_project_id
$$;

COMMENT ON FUNCTION worktree_counts(uuid) IS 'What project_counts should have of a project: counted.';

-- What is active is not merged (worktrees_merged_check). What is stale is counted, and nothing else is.
CREATE OR REPLACE VIEW v_projects_summary AS
SELECT
    p.id,
    p.name,
    p.remote_origin,
    p.trunk_path,
    p.created_at,
    p.updated_at,
    CASE
        WHEN s.is_all_stale THEN n.active_worktrees
        ELSE coalesce(c.active_worktrees, 0) + coalesce(d.active_worktrees, 0)
    END AS active_worktrees_count,
    CASE
        WHEN s.is_all_stale THEN n.uncommitted_worktrees
        ELSE coalesce(c.uncommitted_worktrees, 0) + coalesce(d.uncommitted_worktrees, 0)
    END AS uncommitted_worktrees_count,
    CASE
        WHEN s.is_all_stale THEN n.active_worktrees
        ELSE coalesce(c.active_worktrees, 0) + coalesce(d.active_worktrees, 0)
    END AS unmerged_worktrees_count,
    CASE
        WHEN s.is_all_stale OR d.is_stale THEN n.last_worktree_at
        ELSE greatest(c.last_worktree_at, d.last_worktree_at)
    END AS last_worktree_activity
FROM projects p
CROSS JOIN (SELECT coalesce(bool_or(t.is_all_stale), false) AS is_all_stale FROM count_delta t) s
LEFT JOIN project_counts c ON c.project_id = p.id
LEFT JOIN (
    SELECT
        t.project_id,
        sum(t.active_worktrees) AS active_worktrees,
        sum(t.uncommitted_worktrees) AS uncommitted_worktrees,
        max(t.last_worktree_at) AS last_worktree_at,
        bool_or(t.is_stale) AS is_stale
    FROM count_delta t
    GROUP BY t.project_id
) d ON d.project_id = p.id
LEFT JOIN LATERAL worktree_counts(CASE WHEN s.is_all_stale OR d.is_stale THEN p.id END) n ON true
WHERE p.active;

COMMENT ON VIEW v_projects_summary IS 'Active projects with their worktree counts.';

CREATE OR REPLACE FUNCTION differing_counts()
RETURNS TABLE (what text, kept bigint, counted bigint)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT f.what, f.kept, f.counted
    FROM public.kept_totals() k
    CROSS JOIN public.counted_totals() n
    CROSS JOIN LATERAL (
        VALUES
            ('projects', k.projects, n.projects),
            ('active projects', k.active_projects, n.active_projects),
            ('worktrees', k.worktrees, n.worktrees),
            ('active worktrees', k.active_worktrees, n.active_worktrees),
            ('worktrees in flight', k.in_flight_worktrees, n.in_flight_worktrees),
            ('activities', k.activities, n.activities)
    ) AS f (what, kept, counted)
    WHERE f.kept <> f.counted
        AND NOT EXISTS (SELECT FROM public.count_delta WHERE is_all_stale)
$$;

COMMENT ON FUNCTION differing_counts() IS 'Which counts that are kept are wrong; none while everything is to be counted anew. It counts everything.';

-- ---------------------------------------------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------------------------------------------

REVOKE EXECUTE ON FUNCTION
    count_projects_inserted(), count_project_updated(), count_projects_deleted(),
    count_worktrees_inserted(), count_worktree_updated(), count_worktrees_deleted(),
    count_activities_inserted(), count_activities_deleted(), count_truncated()
FROM PUBLIC;
REVOKE EXECUTE ON PROCEDURE recount_registry(), fold_counts() FROM PUBLIC;

CREATE OR REPLACE FUNCTION role_rights()
RETURNS TABLE (role_name text, kind text, object_name text, rights text)
LANGUAGE sql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.role_name, r.kind, o.object_name, r.rights
    FROM (
        VALUES
            ('imi_reader', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_reader', 'TABLE', 'SELECT', '{projects, worktrees, worktree_types, agent_activities, deleted_worktrees}'),
            ('imi_reader', 'TABLE', 'SELECT',
                '{v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_reader', 'TABLE', 'SELECT', '{outbox, outbox_fault, outbox_backlog, publisher_cursor, published_batch}'),
            ('imi_reader', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_reader', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_reader', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),

            ('imi_writer', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE', '{projects, worktrees, worktree_types}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT', '{agent_activities}'),
            ('imi_writer', 'TABLE', 'SELECT',
                '{v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_writer', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_writer', 'FUNCTION', 'EXECUTE', '{remove_old_activities(timestamptz)}'),

            ('imi_publisher', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{projects, worktrees, worktree_types, agent_activities, deleted_worktrees}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{outbox, outbox_backlog}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE', '{publisher_cursor}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE', '{published_batch}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, DELETE', '{outbox_fault}'),
            ('imi_publisher', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_publisher', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),
            ('imi_publisher', 'SEQUENCE', 'UPDATE', '{publisher_doorbell}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE',
                '{"forget_published(interval, integer)", registry_heartbeat(text)}'),

            ('imi_applier', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT, UPDATE', '{projects, worktrees}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT, DELETE', '{worktree_types}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT', '{agent_activities, command_ledger}'),
            ('imi_applier', 'TABLE', 'SELECT (id, transaction_id, project_id)', '{outbox}'),
            ('imi_applier', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_applier', 'SEQUENCE', 'SELECT', '{outbox_id_seq}')
    ) AS r (role_name, kind, rights, object_names)
    CROSS JOIN LATERAL unnest(r.object_names::text[]) AS o (object_name)
$$;

DO $$ BEGIN PERFORM grant_role_rights(); END $$;

COMMIT;

CALL public.recount_registry();
