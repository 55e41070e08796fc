-- Generated from a migrated database, for reading; never applied. See docs/adr/0007-migrations.md.

CREATE TRIGGER agent_activities_append_only BEFORE DELETE OR UPDATE ON public.agent_activities FOR EACH STATEMENT EXECUTE FUNCTION guard_activity_log();

CREATE TRIGGER agent_activities_count_delete AFTER DELETE ON public.agent_activities REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION count_activities_deleted();

CREATE TRIGGER agent_activities_count_insert AFTER INSERT ON public.agent_activities REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_activities_inserted();

CREATE TRIGGER agent_activities_count_truncate AFTER TRUNCATE ON public.agent_activities FOR EACH STATEMENT EXECUTE FUNCTION count_truncated();

CREATE TRIGGER agent_activities_metadata BEFORE INSERT OR UPDATE OF metadata ON public.agent_activities FOR EACH ROW WHEN ((new.metadata <> '{}'::jsonb)) EXECUTE FUNCTION guard_metadata();

CREATE TRIGGER agent_activities_outbox_insert AFTER INSERT ON public.agent_activities REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION outbox_activity_inserted();

CREATE TRIGGER agent_activities_outbox_truncate AFTER TRUNCATE ON public.agent_activities FOR EACH STATEMENT EXECUTE FUNCTION outbox_truncated();

CREATE TRIGGER agent_activities_worktree BEFORE INSERT ON public.agent_activities FOR EACH ROW EXECUTE FUNCTION guard_activity_worktree();

CREATE TRIGGER command_ledger_outbox AFTER INSERT ON public.command_ledger FOR EACH ROW EXECUTE FUNCTION outbox_command_recorded();

CREATE TRIGGER hosts_guard BEFORE INSERT OR DELETE OR UPDATE ON public.hosts FOR EACH ROW EXECUTE FUNCTION guard_host();

CREATE TRIGGER hosts_id_immutable BEFORE UPDATE ON public.hosts FOR EACH ROW WHEN ((new.id IS DISTINCT FROM old.id)) EXECUTE FUNCTION guard_primary_key();

CREATE TRIGGER hosts_no_truncate BEFORE TRUNCATE ON public.hosts FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate_of_hosts();

CREATE TRIGGER hosts_outbox AFTER INSERT OR DELETE OR UPDATE ON public.hosts FOR EACH ROW EXECUTE FUNCTION outbox_host_changed();

CREATE TRIGGER hosts_updated_at BEFORE UPDATE ON public.hosts FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

CREATE TRIGGER outbox_append_only BEFORE UPDATE OR TRUNCATE ON public.outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_rewrite();

CREATE TRIGGER outbox_doorbell AFTER INSERT ON public.outbox FOR EACH ROW WHEN ((pg_sequence_last_value('publisher_doorbell'::regclass) = 1)) EXECUTE FUNCTION outbox_ring();

CREATE TRIGGER project_hosts_guard BEFORE INSERT OR UPDATE ON public.project_hosts FOR EACH ROW EXECUTE FUNCTION guard_project_host();

CREATE TRIGGER project_hosts_outbox AFTER INSERT OR DELETE OR UPDATE ON public.project_hosts FOR EACH ROW EXECUTE FUNCTION outbox_project_host_changed();

CREATE TRIGGER project_hosts_updated_at BEFORE UPDATE ON public.project_hosts FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

CREATE TRIGGER projects_count_delete AFTER DELETE ON public.projects REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION count_projects_deleted();

CREATE TRIGGER projects_count_insert AFTER INSERT ON public.projects REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_projects_inserted();

CREATE TRIGGER projects_count_truncate AFTER TRUNCATE ON public.projects FOR EACH STATEMENT EXECUTE FUNCTION count_truncated();

CREATE TRIGGER projects_count_update AFTER UPDATE ON public.projects FOR EACH ROW WHEN ((old.active <> new.active)) EXECUTE FUNCTION count_project_updated();

CREATE TRIGGER projects_deactivate_worktrees AFTER UPDATE ON public.projects FOR EACH ROW WHEN ((old.active AND (NOT new.active))) EXECUTE FUNCTION deactivate_worktrees();

CREATE TRIGGER projects_guard BEFORE INSERT OR UPDATE OF remote_origin, trunk_path ON public.projects FOR EACH ROW EXECUTE FUNCTION guard_project();

CREATE TRIGGER projects_id_immutable BEFORE UPDATE ON public.projects FOR EACH ROW WHEN ((new.id IS DISTINCT FROM old.id)) EXECUTE FUNCTION guard_project_id();

CREATE TRIGGER projects_metadata BEFORE INSERT OR UPDATE OF metadata ON public.projects FOR EACH ROW WHEN ((new.metadata <> '{}'::jsonb)) EXECUTE FUNCTION guard_metadata();

CREATE TRIGGER projects_outbox_delete AFTER DELETE ON public.projects REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION outbox_project_deleted();

CREATE TRIGGER projects_outbox_insert AFTER INSERT ON public.projects REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION outbox_project_inserted();

CREATE TRIGGER projects_outbox_truncate AFTER TRUNCATE ON public.projects FOR EACH STATEMENT EXECUTE FUNCTION outbox_truncated();

CREATE TRIGGER projects_outbox_update AFTER UPDATE ON public.projects FOR EACH ROW EXECUTE FUNCTION outbox_project_updated();

CREATE TRIGGER projects_place_deleted AFTER DELETE ON public.projects REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION displace_deleted_projects();

CREATE TRIGGER projects_place_home AFTER INSERT ON public.projects REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN ((current_setting('imi.host_id'::text, true) <> ''::text)) EXECUTE FUNCTION place_new_projects();

CREATE TRIGGER projects_place_truncated AFTER TRUNCATE ON public.projects FOR EACH STATEMENT EXECUTE FUNCTION displace_truncated_projects();

CREATE TRIGGER projects_remember_worktrees BEFORE DELETE ON public.projects FOR EACH ROW EXECUTE FUNCTION remember_worktrees_of_project();

CREATE TRIGGER projects_updated_at BEFORE UPDATE ON public.projects FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

CREATE TRIGGER worktree_types_builtin_delete BEFORE DELETE ON public.worktree_types FOR EACH ROW WHEN (old.is_builtin) EXECUTE FUNCTION guard_builtin_worktree_type();

CREATE TRIGGER worktree_types_builtin_update BEFORE UPDATE ON public.worktree_types FOR EACH ROW WHEN ((old.is_builtin AND ((NOT new.is_builtin) OR (new.name <> old.name) OR (new.branch_prefix <> old.branch_prefix) OR (new.worktree_prefix <> old.worktree_prefix)))) EXECUTE FUNCTION guard_builtin_worktree_type();

CREATE TRIGGER worktree_types_id_immutable BEFORE UPDATE ON public.worktree_types FOR EACH ROW WHEN ((new.id IS DISTINCT FROM old.id)) EXECUTE FUNCTION guard_primary_key();

CREATE TRIGGER worktree_types_metadata BEFORE INSERT OR UPDATE OF metadata ON public.worktree_types FOR EACH ROW WHEN ((new.metadata <> '{}'::jsonb)) EXECUTE FUNCTION guard_metadata();

CREATE TRIGGER worktree_types_outbox_delete AFTER DELETE ON public.worktree_types REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION outbox_worktree_type_deleted();

CREATE TRIGGER worktree_types_outbox_insert AFTER INSERT ON public.worktree_types REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION outbox_worktree_type_inserted();

CREATE TRIGGER worktree_types_outbox_truncate AFTER TRUNCATE ON public.worktree_types FOR EACH STATEMENT EXECUTE FUNCTION outbox_truncated();

CREATE TRIGGER worktree_types_outbox_update AFTER UPDATE ON public.worktree_types FOR EACH ROW EXECUTE FUNCTION outbox_worktree_type_updated();

CREATE TRIGGER worktree_types_restore_builtin AFTER TRUNCATE ON public.worktree_types FOR EACH STATEMENT EXECUTE FUNCTION restore_builtin_worktree_types();

CREATE TRIGGER worktrees_count_delete AFTER DELETE ON public.worktrees REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION count_worktrees_deleted();

CREATE TRIGGER worktrees_count_insert AFTER INSERT ON public.worktrees REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_worktrees_inserted();

CREATE TRIGGER worktrees_count_truncate AFTER TRUNCATE ON public.worktrees FOR EACH STATEMENT EXECUTE FUNCTION count_truncated();

CREATE TRIGGER worktrees_count_update AFTER UPDATE ON public.worktrees FOR EACH ROW EXECUTE FUNCTION count_worktree_updated();

CREATE TRIGGER worktrees_guard BEFORE INSERT OR UPDATE ON public.worktrees FOR EACH ROW EXECUTE FUNCTION guard_worktree();

CREATE TRIGGER worktrees_id_immutable BEFORE UPDATE ON public.worktrees FOR EACH ROW WHEN ((new.id IS DISTINCT FROM old.id)) EXECUTE FUNCTION guard_primary_key();

CREATE TRIGGER worktrees_metadata BEFORE INSERT OR UPDATE OF metadata ON public.worktrees FOR EACH ROW WHEN ((new.metadata <> '{}'::jsonb)) EXECUTE FUNCTION guard_metadata();

CREATE TRIGGER worktrees_outbox_delete AFTER DELETE ON public.worktrees REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION outbox_worktree_deleted();

CREATE TRIGGER worktrees_outbox_insert AFTER INSERT ON public.worktrees REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION outbox_worktree_inserted();

CREATE TRIGGER worktrees_outbox_truncate AFTER TRUNCATE ON public.worktrees FOR EACH STATEMENT EXECUTE FUNCTION outbox_truncated();

CREATE TRIGGER worktrees_outbox_update AFTER UPDATE ON public.worktrees FOR EACH ROW EXECUTE FUNCTION outbox_worktree_updated();

CREATE TRIGGER worktrees_remember AFTER DELETE ON public.worktrees REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION remember_worktrees();

CREATE TRIGGER worktrees_sync_uncommitted BEFORE INSERT OR UPDATE ON public.worktrees FOR EACH ROW EXECUTE FUNCTION sync_uncommitted_changes();

CREATE TRIGGER worktrees_truncate_activities AFTER TRUNCATE ON public.worktrees FOR EACH STATEMENT EXECUTE FUNCTION truncate_activities();

CREATE TRIGGER worktrees_updated_at BEFORE UPDATE ON public.worktrees FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
