-- Generated from a migrated database, for reading; never applied. See docs/adr/0007-migrations.md.

CREATE TABLE agent_activities (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    agent_id text NOT NULL,
    worktree_id uuid NOT NULL,
    activity_type text NOT NULL,
    file_path text,
    description text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT agent_activities_activity_type_check CHECK (require_activity_type('agent_activities'::text, 'activity_type'::text, activity_type, 'agent_activities_activity_type_check'::text)),
    CONSTRAINT agent_activities_agent_id_check CHECK ((((agent_id ~ ('[!-~]'::text COLLATE "C")) AND (octet_length(agent_id) <= 512)) OR require_name('agent_activities'::text, 'agent_id'::text, agent_id, 'agent_activities_agent_id_check'::text))),
    CONSTRAINT agent_activities_description_check CHECK (((description ~ ('[!-~]'::text COLLATE "C")) OR require_text('agent_activities'::text, 'description'::text, description, 'agent_activities_description_check'::text))),
    CONSTRAINT agent_activities_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'::text)),
    CONSTRAINT agent_activities_pkey PRIMARY KEY (id),
    CONSTRAINT agent_activities_times_check CHECK ((((created_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (created_at < '10000-01-01 00:00:00+00'::timestamp with time zone)) OR refuse_times('agent_activities'::text, '{created_at}'::text[], ARRAY[created_at])))
);
CREATE INDEX idx_agent_activities_agent_id ON public.agent_activities USING btree (agent_id, created_at DESC, id);
CREATE INDEX idx_agent_activities_created_at ON public.agent_activities USING btree (created_at DESC);
CREATE INDEX idx_agent_activities_metadata ON public.agent_activities USING gin (metadata);
CREATE INDEX idx_agent_activities_type ON public.agent_activities USING btree (activity_type);
CREATE INDEX idx_agent_activities_words ON public.agent_activities USING gin (search_words_of_activity(description, file_path)) WITH (gin_pending_list_limit='512');
CREATE INDEX idx_agent_activities_worktree_id ON public.agent_activities USING btree (worktree_id);
COMMENT ON TABLE agent_activities IS 'Append-only audit log of agent actions; cleanup_old_activities() is the only way out.';
COMMENT ON COLUMN agent_activities.worktree_id IS 'A worktree that existed when the row was written: see worktrees, or deleted_worktrees.';

CREATE TABLE command_ledger (
    command_id uuid NOT NULL,
    applied_at timestamp with time zone NOT NULL DEFAULT now(),
    digest bytea NOT NULL,
    project_id uuid,
    idempotency_key text,
    type text NOT NULL,
    verdict text NOT NULL,
    code text,
    message text NOT NULL,
    result jsonb,
    actor text,
    sender text,
    CONSTRAINT command_ledger_code_check CHECK (((code IS NOT NULL) = (verdict = 'rejected'::text))),
    CONSTRAINT command_ledger_pkey PRIMARY KEY (command_id),
    CONSTRAINT command_ledger_verdict_check CHECK ((verdict = ANY (ARRAY['applied'::text, 'idempotent'::text, 'rejected'::text])))
);
CREATE UNIQUE INDEX command_ledger_unique_idempotency_key ON public.command_ledger USING btree (idempotency_key, COALESCE(sender, ''::text)) WHERE (idempotency_key IS NOT NULL);
CREATE INDEX idx_command_ledger_applied_at ON public.command_ledger USING brin (applied_at);
COMMENT ON TABLE command_ledger IS 'One row per command that was carried out or rejected: a command sent again is answered from here.';
COMMENT ON COLUMN command_ledger.digest IS 'SHA-256 of type and data: the same id or key with another one is a conflict.';
COMMENT ON COLUMN command_ledger.project_id IS 'The project it was about, as far as that is known; no foreign key, the ledger outlives it.';
COMMENT ON COLUMN command_ledger.sender IS 'Whose subject it came on, and so whose key it is; empty on a subject of nobody. NULL is not known: it was written by an applier of before.';

CREATE TABLE count_delta (
    project_id uuid,
    projects integer,
    active_projects integer,
    worktrees integer,
    active_worktrees integer,
    uncommitted_worktrees integer,
    in_flight_worktrees integer,
    activities integer,
    last_worktree_at timestamp with time zone,
    is_stale boolean,
    is_all_stale boolean
) WITH (autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=5000);
ALTER TABLE count_delta REPLICA IDENTITY FULL;
COMMENT ON TABLE count_delta IS 'What transactions added and took (below 0) since the counts were folded. Append-only, and emptied by fold_counts().';
COMMENT ON COLUMN count_delta.is_stale IS 'A worktree of the project is gone, or was updated by a transaction that began earlier: last_worktree_at is to be looked up anew.';
COMMENT ON COLUMN count_delta.is_all_stale IS 'A table was truncated, or never counted: everything is to be counted anew, and until then nothing that is kept holds.';

CREATE TABLE deleted_worktrees (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    project_name text,
    remote_origin text,
    type_name text,
    name text NOT NULL,
    branch_name text NOT NULL,
    path text NOT NULL,
    deleted_at timestamp with time zone NOT NULL DEFAULT now(),
    host_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'::uuid,
    CONSTRAINT deleted_worktrees_pkey PRIMARY KEY (id),
    CONSTRAINT deleted_worktrees_times_check CHECK ((((deleted_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (deleted_at < '10000-01-01 00:00:00+00'::timestamp with time zone)) OR refuse_times('deleted_worktrees'::text, '{deleted_at}'::text[], ARRAY[deleted_at])))
);
COMMENT ON TABLE deleted_worktrees IS 'What deleted worktrees were called, so that their activities stay readable.';
COMMENT ON COLUMN deleted_worktrees.host_id IS 'The host that the path was on; it may be removed since.';

CREATE TABLE hosts (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    former_names text[] NOT NULL DEFAULT '{}'::text[],
    machine text,
    description text,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT hosts_description_check CHECK (((description IS NULL) OR require_text('hosts'::text, 'description'::text, description, 'hosts_description_check'::text))),
    CONSTRAINT hosts_machine_check CHECK (((machine IS NULL) OR require_name('hosts'::text, 'machine'::text, machine, 'hosts_machine_check'::text))),
    CONSTRAINT hosts_name_check CHECK (require_host_name('hosts'::text, 'name'::text, name, 'hosts_name_check'::text)),
    CONSTRAINT hosts_name_key UNIQUE (name),
    CONSTRAINT hosts_pkey PRIMARY KEY (id),
    CONSTRAINT hosts_times_check CHECK ((((LEAST(created_at, updated_at) >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (GREATEST(created_at, updated_at) < '10000-01-01 00:00:00+00'::timestamp with time zone)) OR refuse_times('hosts'::text, '{created_at,updated_at}'::text[], ARRAY[created_at, updated_at])))
);
COMMENT ON TABLE hosts IS 'Machines, or whatever has file systems of its own, on which projects are checked out.';
COMMENT ON COLUMN hosts.id IS 'All zeros for the default host, which is there from the beginning and stays.';
COMMENT ON COLUMN hosts.name IS 'In lower case, since names of hosts are the same in either.';
COMMENT ON COLUMN hosts.former_names IS 'Names it had before; who still uses one means this host, as long as no other has that name.';
COMMENT ON COLUMN hosts.machine IS 'What tells the machine from others of the same name; NULL while none has introduced itself.';

CREATE TABLE mirror_event (
    event_id uuid NOT NULL,
    sequence bigint NOT NULL,
    CONSTRAINT mirror_event_pkey PRIMARY KEY (event_id)
);
COMMENT ON TABLE mirror_event IS 'The last events that a mirror applied: one that the source published again changes nothing.';

CREATE TABLE mirror_row (
    kind text NOT NULL,
    fields jsonb NOT NULL
);
ALTER TABLE mirror_row REPLICA IDENTITY FULL;
COMMENT ON TABLE mirror_row IS 'A snapshot of the source on its way into the tables.';

CREATE TABLE mirror_source (
    only_row boolean NOT NULL DEFAULT true,
    name text NOT NULL,
    stream text NOT NULL,
    began_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    promoted_at timestamp with time zone,
    registry_id uuid,
    life text,
    epoch bigint NOT NULL DEFAULT 0,
    position text NOT NULL DEFAULT ''::text,
    sequence bigint NOT NULL DEFAULT 0,
    event_id uuid,
    outbox_id bigint NOT NULL DEFAULT 0,
    event_at timestamp with time zone,
    known_at timestamp with time zone,
    events bigint NOT NULL DEFAULT 0,
    snapshots bigint NOT NULL DEFAULT 0,
    snapshot_at timestamp with time zone,
    snapshot_reason text,
    CONSTRAINT mirror_source_name_check CHECK ((name <> ''::text)),
    CONSTRAINT mirror_source_only_row_check CHECK (only_row),
    CONSTRAINT mirror_source_pkey PRIMARY KEY (only_row)
) WITH (fillfactor=20);
COMMENT ON TABLE mirror_source IS 'No row: an ordinary registry. Else it is the mirror of another one, or was until promoted_at.';
COMMENT ON COLUMN mirror_source.name IS 'What messages call the source.';
COMMENT ON COLUMN mirror_source.registry_id IS 'Of the source; NULL before the first snapshot.';
COMMENT ON COLUMN mirror_source.life IS 'registry_life() of the source when the last snapshot was taken: another one may have lost what was published.';
COMMENT ON COLUMN mirror_source.epoch IS 'registry_epoch() of the source.';
COMMENT ON COLUMN mirror_source.position IS 'Behind which event of the source the tables are; empty before the first snapshot.';
COMMENT ON COLUMN mirror_source.sequence IS 'Of that event in the stream.';
COMMENT ON COLUMN mirror_source.event_id IS 'Of that event; NULL where the position is that of a snapshot and the stream no longer holds it.';
COMMENT ON COLUMN mirror_source.outbox_id IS 'The highest of the source that was seen.';
COMMENT ON COLUMN mirror_source.known_at IS 'When the tables held all that had been published by then.';

CREATE TABLE outbox (
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    event_id uuid NOT NULL DEFAULT gen_random_uuid(),
    occurred_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    entity text NOT NULL,
    action text NOT NULL,
    project_id uuid,
    entity_id uuid,
    data jsonb NOT NULL,
    actor text DEFAULT NULLIF(current_setting('imi.actor'::text, true), ''::text),
    correlation_id uuid DEFAULT 
CASE
    WHEN (NULLIF(current_setting('imi.correlation_id'::text, true), ''::text) IS NOT NULL) THEN outbox_uuid_setting('imi.correlation_id'::text)
    ELSE NULL::uuid
END,
    causation_id uuid DEFAULT 
CASE
    WHEN (NULLIF(current_setting('imi.causation_id'::text, true), ''::text) IS NOT NULL) THEN outbox_uuid_setting('imi.causation_id'::text)
    ELSE NULL::uuid
END,
    traceparent text DEFAULT "substring"(current_setting('imi.traceparent'::text, true), '^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$'::text),
    actor_is_verified boolean NOT NULL DEFAULT 
CASE
    WHEN (current_setting('imi.actor_is_verified'::text, true) = 'on'::text) THEN outbox_actor_is_verified()
    ELSE false
END,
    host_id uuid DEFAULT NULLIF(caller_host_id(), default_host_id()),
    CONSTRAINT outbox_actor_is_short CHECK ((length(actor) <= 200)),
    CONSTRAINT outbox_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE outbox IS 'One row per event, in the order of id; append-only, and the durable history. Only triggers and registry functions insert.';
COMMENT ON COLUMN outbox.entity_id IS 'Id of the changed row; NULL where the key is no UUID (worktree types) or there is no row (truncate).';
COMMENT ON COLUMN outbox.data IS 'The full row after the change (before it, for a deletion), joined names, and "changed": column -> previous value.';
COMMENT ON COLUMN outbox.actor IS 'Who changed it: set_config(''imi.actor'', …, true) in the writing transaction.';
COMMENT ON COLUMN outbox.traceparent IS 'W3C trace context from set_config(''imi.traceparent'', …, true); an invalid one is ignored, as W3C asks.';
COMMENT ON COLUMN outbox.actor_is_verified IS 'Whether the applier knew the sender of the command, who may act as this actor.';
COMMENT ON COLUMN outbox.host_id IS 'The host of the worktree, or of what is on none, of the writer; NULL for the default host.';
COMMENT ON CONSTRAINT outbox_actor_is_short ON outbox IS 'imi.actor has at most 200 characters.';

CREATE TABLE outbox_backlog (
    position bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    entity text NOT NULL,
    row_id text NOT NULL,
    CONSTRAINT outbox_backlog_pkey PRIMARY KEY ("position")
);
COMMENT ON TABLE outbox_backlog IS 'Rows that are older than the outbox and have no event yet, in the order in which backfill_outbox() tells them.';

CREATE TABLE outbox_fault (
    outbox_id bigint NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    noticed_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT outbox_fault_pkey PRIMARY KEY (outbox_id)
);
COMMENT ON TABLE outbox_fault IS 'Rows of the outbox whose events were published as references, because their data is too large for a message or cannot be told; for doctor and the status page.';
COMMENT ON COLUMN outbox_fault.reason IS 'The attribute datarefreason of the event.';

CREATE TABLE project_aliases (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    CONSTRAINT project_aliases_is_another CHECK ((id <> project_id)),
    CONSTRAINT project_aliases_pkey PRIMARY KEY (id)
);
CREATE INDEX idx_project_aliases_project_id ON public.project_aliases USING btree (project_id);
COMMENT ON TABLE project_aliases IS 'Ids of projects that were merged into others, or go on under another id.';
COMMENT ON COLUMN project_aliases.project_id IS 'What it means now: never an alias itself, merges see to it.';

CREATE TABLE project_counts (
    project_id uuid NOT NULL,
    active_worktrees bigint NOT NULL,
    uncommitted_worktrees bigint NOT NULL,
    in_flight_worktrees bigint NOT NULL,
    last_worktree_at timestamp with time zone,
    CONSTRAINT project_counts_pkey PRIMARY KEY (project_id)
) WITH (fillfactor=70);
CREATE INDEX idx_project_counts_in_flight ON public.project_counts USING btree (project_id) WHERE (in_flight_worktrees > 0);
COMMENT ON TABLE project_counts IS 'What is counted of a project, but for what lies in count_delta; no row where there is nothing to tell.';
COMMENT ON COLUMN project_counts.last_worktree_at IS 'The highest updated_at of its worktrees.';

CREATE TABLE project_hosts (
    project_id uuid NOT NULL,
    host_id uuid NOT NULL,
    trunk_path text,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT project_hosts_host_id_fkey FOREIGN KEY (host_id) REFERENCES hosts(id),
    CONSTRAINT project_hosts_pkey PRIMARY KEY (project_id, host_id),
    CONSTRAINT project_hosts_times_check CHECK ((((LEAST(created_at, updated_at) >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (GREATEST(created_at, updated_at) < '10000-01-01 00:00:00+00'::timestamp with time zone)) OR refuse_times('project_hosts'::text, '{created_at,updated_at}'::text[], ARRAY[created_at, updated_at]))),
    CONSTRAINT project_hosts_trunk_path_check CHECK (((trunk_path IS NULL) OR require_path('project_hosts'::text, 'trunk_path'::text, trunk_path, 'project_hosts_trunk_path_check'::text)))
);
CREATE INDEX idx_project_hosts_host_id ON public.project_hosts USING btree (host_id);
CREATE UNIQUE INDEX project_hosts_unique_home ON public.project_hosts USING btree (project_id) WHERE (trunk_path IS NULL);
COMMENT ON TABLE project_hosts IS 'On which hosts a project is. Without a row that is its home, the default host is that.';
COMMENT ON COLUMN project_hosts.project_id IS 'The project. Triggers hold what a foreign key would, which would refuse TRUNCATE projects without this table.';
COMMENT ON COLUMN project_hosts.trunk_path IS 'Where its trunk is on this host. NULL: this is its home, and projects.trunk_path says it; so no path is there twice.';

CREATE TABLE projects (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    remote_origin text NOT NULL,
    default_branch text NOT NULL DEFAULT 'main'::text,
    trunk_path text NOT NULL,
    description text,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    active boolean NOT NULL DEFAULT true,
    CONSTRAINT projects_default_branch_check CHECK ((((default_branch ~ ('^[!-~]+$'::text COLLATE "C")) AND (octet_length(default_branch) <= 1024)) OR require_word('projects'::text, 'default_branch'::text, default_branch, 'projects_default_branch_check'::text))),
    CONSTRAINT projects_description_check CHECK (((description IS NULL) OR (description ~ ('[!-~]'::text COLLATE "C")) OR require_text('projects'::text, 'description'::text, description, 'projects_description_check'::text))),
    CONSTRAINT projects_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'::text)),
    CONSTRAINT projects_name_check CHECK ((((name ~ ('[!-~]'::text COLLATE "C")) AND (octet_length(name) <= 512)) OR require_name('projects'::text, 'name'::text, name, 'projects_name_check'::text))),
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT projects_remote_origin_check CHECK (is_remote_origin(remote_origin)),
    CONSTRAINT projects_times_check CHECK ((((LEAST(created_at, updated_at) >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (GREATEST(created_at, updated_at) < '10000-01-01 00:00:00+00'::timestamp with time zone)) OR refuse_times('projects'::text, '{created_at,updated_at}'::text[], ARRAY[created_at, updated_at]))),
    CONSTRAINT projects_trunk_path_check CHECK ((((trunk_path ~ ('^[/~]'::text COLLATE "C")) AND (strpos(trunk_path, '..'::text) = 0) AND (octet_length(trunk_path) <= 2048)) OR require_path('projects'::text, 'trunk_path'::text, trunk_path, 'projects_trunk_path_check'::text))),
    CONSTRAINT projects_unique_remote_origin UNIQUE (remote_origin)
);
CREATE INDEX idx_projects_active ON public.projects USING btree (active) WHERE active;
CREATE INDEX idx_projects_metadata ON public.projects USING gin (metadata);
CREATE INDEX idx_projects_name ON public.projects USING btree (name) WHERE active;
CREATE INDEX idx_projects_name_length ON public.projects USING btree (length(name), name, id) WHERE active;
CREATE INDEX idx_projects_name_trgm ON public.projects USING gin (name gin_trgm_ops);
CREATE INDEX idx_projects_remote_origin_trgm ON public.projects USING gin (remote_origin gin_trgm_ops);
CREATE INDEX idx_projects_search_trgm ON public.projects USING gin (project_search_text(name, remote_origin) gin_trgm_ops) WHERE active;
CREATE INDEX idx_projects_words ON public.projects USING gin (search_words_of_project(name, remote_origin, trunk_path, description)) WITH (gin_pending_list_limit='512') WHERE active;
COMMENT ON TABLE projects IS 'Single source of truth for all projects: one row per GitHub remote origin.';
COMMENT ON COLUMN projects.remote_origin IS 'Always git@github.com:owner/repo.git in lower case, since GitHub ignores case; other forms are normalised on write.';
COMMENT ON COLUMN projects.trunk_path IS 'Canonical base path, without trailing slash; worktrees are its siblings.';
COMMENT ON COLUMN projects.active IS 'False after a soft delete. The origin stays reserved: registering it again reactivates the project.';

CREATE TABLE published_batch (
    stream text NOT NULL,
    last_sequence bigint NOT NULL,
    ids int8range[] NOT NULL,
    published_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT published_batch_pkey PRIMARY KEY (stream, last_sequence)
);
COMMENT ON TABLE published_batch IS 'Which outbox rows stand in which order in which stream; retention removes the oldest together with their rows.';
COMMENT ON COLUMN published_batch.last_sequence IS 'Sequence of the last event of the batch; in a stream of our own the others stand directly before it.';
COMMENT ON COLUMN published_batch.ids IS 'Outbox ids in the order of the stream, consecutive ones as a range.';
COMMENT ON COLUMN published_batch.published_at IS 'Not before the time at which the stream stored the batch.';

CREATE TABLE publisher_cursor (
    stream text NOT NULL,
    published int8multirange NOT NULL DEFAULT '{}'::int8multirange,
    stream_sequence bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    heartbeat_at timestamp with time zone NOT NULL DEFAULT now(),
    leader text,
    lock_number bigint NOT NULL DEFAULT 0,
    forgotten_sequence bigint NOT NULL DEFAULT 0,
    complete_sequence bigint NOT NULL DEFAULT 0,
    dead_ids bigint NOT NULL DEFAULT 0,
    hindrance text,
    withheld bigint NOT NULL DEFAULT 0,
    examined_sequence bigint NOT NULL DEFAULT 0,
    CONSTRAINT publisher_cursor_pkey PRIMARY KEY (stream)
) WITH (fillfactor=20);
COMMENT ON TABLE publisher_cursor IS 'One row per stream that is fed from the outbox.';
COMMENT ON COLUMN publisher_cursor.published IS 'Outbox ids that are in the stream, or will never appear, as of complete_sequence; published_ids() tells all.';
COMMENT ON COLUMN publisher_cursor.stream_sequence IS 'Sequence of the last message the publisher knows to be in the stream.';
COMMENT ON COLUMN publisher_cursor.epoch IS 'Fence: raised by each new leader; an older leader can no longer move the cursor.';
COMMENT ON COLUMN publisher_cursor.lock_number IS 'Which advisory lock the leader holds: another one, where somebody who may not publish held the last.';
COMMENT ON COLUMN publisher_cursor.forgotten_sequence IS 'The record of events up to this sequence is gone: retention removed them, or they were published before there was a record.';
COMMENT ON COLUMN publisher_cursor.complete_sequence IS 'What was published up to this sequence is in published, what came since in published_batch.';
COMMENT ON COLUMN publisher_cursor.dead_ids IS 'How many of the ids in published will never appear: they were of transactions that were rolled back.';
COMMENT ON COLUMN publisher_cursor.hindrance IS 'Why the publisher cannot publish, in its own words; NULL when nothing hinders it.';
COMMENT ON COLUMN publisher_cursor.withheld IS 'How many of the ids in published are of events that do not go into this stream.';
COMMENT ON COLUMN publisher_cursor.examined_sequence IS 'Of a shared stream: up to this sequence each event of ours was found in the outbox. Older than the first that was not.';

CREATE SEQUENCE publisher_doorbell MINVALUE 0 START 0;

CREATE TABLE registry_counts (
    is_only boolean NOT NULL DEFAULT true,
    projects bigint NOT NULL DEFAULT 0,
    active_projects bigint NOT NULL DEFAULT 0,
    worktrees bigint NOT NULL DEFAULT 0,
    active_worktrees bigint NOT NULL DEFAULT 0,
    in_flight_worktrees bigint NOT NULL DEFAULT 0,
    activities bigint NOT NULL DEFAULT 0,
    CONSTRAINT registry_counts_is_only CHECK (is_only),
    CONSTRAINT registry_counts_pkey PRIMARY KEY (is_only)
) WITH (fillfactor=20);
COMMENT ON TABLE registry_counts IS 'How much there is of everything, but for what lies in count_delta. One row; recount_registry() makes it anew.';

CREATE TABLE registry_metadata (
    only_row boolean NOT NULL DEFAULT true,
    registry_id uuid NOT NULL DEFAULT gen_random_uuid(),
    schema_version text NOT NULL DEFAULT '2.0.0'::text,
    migration integer NOT NULL,
    installed_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    upgraded_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    derived_ids boolean NOT NULL DEFAULT false,
    CONSTRAINT registry_metadata_only_row_check CHECK (only_row),
    CONSTRAINT registry_metadata_pkey PRIMARY KEY (only_row)
);
COMMENT ON TABLE registry_metadata IS 'One row: which schema this database has.';
COMMENT ON COLUMN registry_metadata.registry_id IS 'Tells this registry from others; a copy of the database has it, too.';
COMMENT ON COLUMN registry_metadata.schema_version IS 'Of the specification whose names, columns and functions a client may rely on.';
COMMENT ON COLUMN registry_metadata.migration IS 'Number of the last migration. Those of schema_migrations are the ones that imi-registry applied, with their checksums.';
COMMENT ON COLUMN registry_metadata.installed_at IS 'When the registry was installed; when this table came, where that is not on record.';
COMMENT ON COLUMN registry_metadata.upgraded_at IS 'When migration was changed last.';
COMMENT ON COLUMN registry_metadata.derived_ids IS 'Whether a new project gets the id that follows from its origin, where the caller does not say.';

CREATE TABLE replica_source (
    only_row boolean NOT NULL DEFAULT true,
    name text NOT NULL,
    slot text NOT NULL,
    registry_id uuid NOT NULL,
    epoch bigint NOT NULL,
    began_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    copied_at timestamp with time zone,
    known_at timestamp with time zone,
    behind_bytes bigint,
    stopped_at timestamp with time zone,
    promoted_at timestamp with time zone,
    CONSTRAINT replica_source_name_check CHECK ((name <> ''::text)),
    CONSTRAINT replica_source_only_row_check CHECK (only_row),
    CONSTRAINT replica_source_pkey PRIMARY KEY (only_row),
    CONSTRAINT replica_source_slot_check CHECK ((slot ~ '^[a-z0-9_]{1,63}$'::text))
) WITH (fillfactor=20);
COMMENT ON TABLE replica_source IS 'No row: an ordinary registry. Else it is the replica of another one, or was until promoted_at.';
COMMENT ON COLUMN replica_source.name IS 'What messages call the source.';
COMMENT ON COLUMN replica_source.slot IS 'Of the replication slot at the source, and of the subscription here.';
COMMENT ON COLUMN replica_source.registry_id IS 'Of the source, and so of this copy of it.';
COMMENT ON COLUMN replica_source.epoch IS 'registry_epoch() of the source.';
COMMENT ON COLUMN replica_source.copied_at IS 'When the initial copy of all tables was complete.';
COMMENT ON COLUMN replica_source.known_at IS 'When the tables held all that had been committed by then.';
COMMENT ON COLUMN replica_source.behind_bytes IS 'WAL of the source that was not applied here when it was looked last.';
COMMENT ON COLUMN replica_source.stopped_at IS 'When it was dropped: it follows no longer, and is still read-only.';

CREATE TABLE worktree_types (
    id integer NOT NULL GENERATED BY DEFAULT AS IDENTITY,
    name text NOT NULL,
    branch_prefix text NOT NULL,
    worktree_prefix text NOT NULL,
    description text,
    is_builtin boolean NOT NULL DEFAULT false,
    color text DEFAULT '#6B7280'::text,
    icon text,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT worktree_types_branch_prefix_check CHECK (((branch_prefix = ''::text) OR require_word('worktree_types'::text, 'branch_prefix'::text, branch_prefix, 'worktree_types_branch_prefix_check'::text))),
    CONSTRAINT worktree_types_color_check CHECK (((color IS NULL) OR require_color('worktree_types'::text, 'color'::text, color, 'worktree_types_color_check'::text))),
    CONSTRAINT worktree_types_description_check CHECK (((description IS NULL) OR (description ~ ('[!-~]'::text COLLATE "C")) OR require_text('worktree_types'::text, 'description'::text, description, 'worktree_types_description_check'::text))),
    CONSTRAINT worktree_types_icon_check CHECK (((icon IS NULL) OR ((icon ~ ('[!-~]'::text COLLATE "C")) AND (octet_length(icon) <= 512)) OR require_name('worktree_types'::text, 'icon'::text, icon, 'worktree_types_icon_check'::text))),
    CONSTRAINT worktree_types_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'::text)),
    CONSTRAINT worktree_types_name_check CHECK ((((name ~ ('^[!-~]+$'::text COLLATE "C")) AND (octet_length(name) <= 1024)) OR require_word('worktree_types'::text, 'name'::text, name, 'worktree_types_name_check'::text))),
    CONSTRAINT worktree_types_name_key UNIQUE (name),
    CONSTRAINT worktree_types_pkey PRIMARY KEY (id),
    CONSTRAINT worktree_types_times_check CHECK ((((created_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (created_at < '10000-01-01 00:00:00+00'::timestamp with time zone)) OR refuse_times('worktree_types'::text, '{created_at}'::text[], ARRAY[created_at]))),
    CONSTRAINT worktree_types_worktree_prefix_check CHECK ((((worktree_prefix ~ ('[!-~]'::text COLLATE "C")) AND (octet_length(worktree_prefix) <= 512)) OR require_name('worktree_types'::text, 'worktree_prefix'::text, worktree_prefix, 'worktree_types_worktree_prefix_check'::text)))
);
CREATE INDEX idx_worktree_types_metadata ON public.worktree_types USING gin (metadata);
COMMENT ON TABLE worktree_types IS 'Classification of worktrees. Built-in types cannot be deleted or renamed.';

CREATE TABLE worktrees (
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
    last_sync_at timestamp with time zone,
    merged_at timestamp with time zone,
    merged_by text,
    merge_commit_hash text,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    active boolean NOT NULL DEFAULT true,
    host_id uuid NOT NULL DEFAULT COALESCE(caller_host_id(), default_host_id()),
    CONSTRAINT worktrees_agent_id_check CHECK (((agent_id IS NULL) OR ((agent_id ~ ('[!-~]'::text COLLATE "C")) AND (octet_length(agent_id) <= 512)) OR require_name('worktrees'::text, 'agent_id'::text, agent_id, 'worktrees_agent_id_check'::text))),
    CONSTRAINT worktrees_ahead_check CHECK ((ahead_of_trunk >= 0)),
    CONSTRAINT worktrees_behind_check CHECK ((behind_trunk >= 0)),
    CONSTRAINT worktrees_branch_name_check CHECK ((((branch_name ~ ('^[!-~]+$'::text COLLATE "C")) AND (octet_length(branch_name) <= 1024)) OR require_word('worktrees'::text, 'branch_name'::text, branch_name, 'worktrees_branch_name_check'::text))),
    CONSTRAINT worktrees_last_commit_hash_check CHECK (((last_commit_hash IS NULL) OR ((last_commit_hash ~ ('^[0-9A-Za-z]+$'::text COLLATE "C")) AND (octet_length(last_commit_hash) <= 128)) OR require_commit('worktrees'::text, 'last_commit_hash'::text, last_commit_hash, 'worktrees_last_commit_hash_check'::text))),
    CONSTRAINT worktrees_merge_commit_hash_check CHECK (((merge_commit_hash IS NULL) OR ((merge_commit_hash ~ ('^[0-9A-Za-z]+$'::text COLLATE "C")) AND (octet_length(merge_commit_hash) <= 128)) OR require_commit('worktrees'::text, 'merge_commit_hash'::text, merge_commit_hash, 'worktrees_merge_commit_hash_check'::text))),
    CONSTRAINT worktrees_merged_by_check CHECK (((merged_by IS NULL) OR ((merged_by ~ ('[!-~]'::text COLLATE "C")) AND (octet_length(merged_by) <= 512)) OR require_name('worktrees'::text, 'merged_by'::text, merged_by, 'worktrees_merged_by_check'::text))),
    CONSTRAINT worktrees_merged_check CHECK (((merged_at IS NULL) OR (NOT active))),
    CONSTRAINT worktrees_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'::text)),
    CONSTRAINT worktrees_name_check CHECK ((((name ~ ('[!-~]'::text COLLATE "C")) AND (octet_length(name) <= 512)) OR require_name('worktrees'::text, 'name'::text, name, 'worktrees_name_check'::text))),
    CONSTRAINT worktrees_path_check CHECK ((((path ~ ('^[/~]'::text COLLATE "C")) AND (strpos(path, '..'::text) = 0) AND (octet_length(path) <= 2048)) OR require_path('worktrees'::text, 'path'::text, path, 'worktrees_path_check'::text))),
    CONSTRAINT worktrees_pkey PRIMARY KEY (id),
    CONSTRAINT worktrees_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects(id) ON DELETE CASCADE,
    CONSTRAINT worktrees_times_check CHECK ((((LEAST(created_at, updated_at, last_sync_at, merged_at) >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (GREATEST(created_at, updated_at, last_sync_at, merged_at) < '10000-01-01 00:00:00+00'::timestamp with time zone)) OR refuse_times('worktrees'::text, '{created_at,updated_at,last_sync_at,merged_at}'::text[], ARRAY[created_at, updated_at, last_sync_at, merged_at]))),
    CONSTRAINT worktrees_type_id_fkey FOREIGN KEY (type_id) REFERENCES worktree_types(id),
    CONSTRAINT worktrees_uncommitted_check CHECK ((has_uncommitted_changes = (uncommitted_files_count > 0))),
    CONSTRAINT worktrees_uncommitted_count_check CHECK ((uncommitted_files_count >= 0)),
    CONSTRAINT worktrees_unique_project_name UNIQUE (project_id, name)
) WITH (fillfactor=90);
CREATE INDEX idx_worktrees_active ON public.worktrees USING btree (active) WHERE active;
CREATE INDEX idx_worktrees_agent_id ON public.worktrees USING btree (agent_id) WHERE ((agent_id IS NOT NULL) AND active);
CREATE INDEX idx_worktrees_host_id ON public.worktrees USING btree (host_id) WHERE (host_id <> '00000000-0000-0000-0000-000000000000'::uuid);
CREATE INDEX idx_worktrees_inactive ON public.worktrees USING btree (active) WHERE (NOT active);
CREATE INDEX idx_worktrees_metadata ON public.worktrees USING gin (metadata);
CREATE INDEX idx_worktrees_project_id ON public.worktrees USING btree (project_id) WHERE active;
CREATE INDEX idx_worktrees_type_id ON public.worktrees USING btree (type_id);
CREATE INDEX idx_worktrees_uncommitted ON public.worktrees USING btree (has_uncommitted_changes) WHERE (has_uncommitted_changes AND active);
CREATE INDEX idx_worktrees_unmerged ON public.worktrees USING btree (project_id, merged_at) WHERE ((merged_at IS NULL) AND active);
CREATE INDEX idx_worktrees_words ON public.worktrees USING gin (search_words_of_worktree(name, branch_name, path, last_commit_message)) WITH (gin_pending_list_limit='512');
CREATE UNIQUE INDEX worktrees_unique_active_path ON public.worktrees USING btree (path, host_id) WHERE active;
COMMENT ON TABLE worktrees IS 'All worktrees across all projects, with the git state last synced.';
COMMENT ON COLUMN worktrees.agent_id IS 'The agent that claimed this worktree; NULL when nobody did.';
COMMENT ON COLUMN worktrees.has_uncommitted_changes IS 'Same as uncommitted_files_count > 0; a trigger derives one from the other.';
COMMENT ON COLUMN worktrees.merged_at IS 'When the worktree was merged; a merged worktree is never active.';
COMMENT ON COLUMN worktrees.host_id IS 'The host that the path is on. A trigger checks that it exists, as a foreign key would, but for the default host: no insert of who names none touches its row.';
