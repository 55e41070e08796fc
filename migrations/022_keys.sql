-- 022: an idempotency key belongs to the sender who gave it: docs/adr/0005-commands.md.
-- compatible down to: 018

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

ALTER TABLE command_ledger ADD COLUMN IF NOT EXISTS sender text;

COMMENT ON COLUMN command_ledger.sender IS 'Whose subject it came on, and so whose key it is; empty on a subject of nobody. NULL is not known: it was written by an applier of before.';

DROP FUNCTION IF EXISTS apply_command(uuid, text, jsonb, bytea, uuid, text, text, text, text, boolean);

CREATE OR REPLACE FUNCTION apply_command(
    p_command_id uuid,
    p_type text,
    p_data jsonb,
    p_digest bytea,
    p_correlation_id uuid,
    p_idempotency_key text DEFAULT NULL,
    p_actor text DEFAULT NULL,
    p_traceparent text DEFAULT NULL,
    p_problem text DEFAULT NULL,
    p_actor_is_verified boolean DEFAULT false,
    p_sender text DEFAULT NULL
)
RETURNS TABLE (command_id uuid, verdict text, code text, message text, result jsonb)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known public.command_ledger;
    ledger_key text := p_idempotency_key;
    last_outbox_id bigint;
    state text;
    project uuid;
BEGIN
    SELECT * INTO known FROM public.command_ledger l WHERE l.command_id = p_command_id;
    IF NOT FOUND AND p_idempotency_key IS NOT NULL THEN
        SELECT * INTO known
        FROM public.command_ledger l
        WHERE l.idempotency_key = p_idempotency_key
            AND coalesce(l.sender = p_sender, true)    -- where one is not known it may be the same
        ORDER BY l.digest = p_digest DESC
        LIMIT 1;
    END IF;
    IF known.digest = p_digest THEN
        RETURN QUERY SELECT known.command_id, known.verdict, known.code, known.message, known.result;
        RETURN;
    END IF;
    command_id := p_command_id;
    IF known.command_id = p_command_id THEN
        RAISE EXCEPTION 'id: % is the id of another command (%, applied at %)',
            p_command_id, known.type, to_char(known.applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
            USING ERRCODE = '23505', CONSTRAINT = 'command_ledger_pkey';
    END IF;

    PERFORM
        set_config('imi.correlation_id', p_correlation_id::text, true),
        set_config('imi.causation_id', p_command_id::text, true),
        set_config('imi.idempotency_key', coalesce(p_idempotency_key, ''), true),
        set_config('imi.actor', coalesce(p_actor, ''), true),
        set_config('imi.actor_is_verified', CASE WHEN p_actor_is_verified THEN 'on' ELSE '' END, true),
        set_config('imi.traceparent', coalesce(p_traceparent, ''), true);

    verdict := 'rejected';
    IF p_problem IS NOT NULL THEN
        code := 'VALIDATION_ERROR';
        message := p_problem;
    ELSIF known.command_id IS NOT NULL THEN
        ledger_key := NULL;
        code := 'CONFLICT';
        message := format(
            'idempotencykey: %s was used for another command (%s, id %s)',
            public.quote_for_message(p_idempotency_key), known.type, known.command_id
        );
    ELSE
        -- Not from the sequence as a table: that shows ids 32 ahead while another session logs the next 32.
        last_outbox_id := coalesce(pg_sequence_last_value('public.outbox_id_seq'), 0);
        BEGIN
            result := public.run_command(p_type, p_data);
        EXCEPTION
            WHEN OTHERS OR assert_failure THEN    -- OTHERS leaves that one out
                GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
                message := public.without_credentials(message, true);    -- PostgreSQL quotes values as they are
                -- registry/database/errors.py says the same; a test compares both for every SQLSTATE.
                code := CASE
                    WHEN state = 'P0002' THEN 'NOT_FOUND'
                    WHEN state IN ('23505', '23503', '23P01', '23001', '55000', '2BP01') THEN 'CONFLICT'
                    -- 54000: a value longer than an index takes
                    WHEN state IN ('23514', '23502') OR left(state, 2) IN ('22', '54') THEN 'VALIDATION_ERROR'
                    -- What the server, its load or its administrator is to blame for says nothing about the command: a lock not
                    -- had (55P03), a right missing (42501), a function or a column missing (class 42), a schema missing (3F000),
                    -- a plan older than its table (0A000, 26000), a standby or read-only session (25006), no memory, a shutdown,
                    -- a damaged file.
                    WHEN state IN ('0A000', '26000', '55P03') THEN NULL
                    WHEN left(state, 2) IN (
                        '08', '25', '28', '3D', '3F', '40', '42', '53', '57', '58', '72', 'F0', 'HV', 'XX'
                    ) THEN NULL
                    ELSE 'INTERNAL_ERROR'
                END;
                IF code IS NULL THEN
                    RAISE;
                END IF;
        END;
    END IF;

    project := coalesce(result ->> 'project_id', p_data ->> 'project_id');
    IF result IS NOT NULL THEN
        -- Each change of the registry is an event of this transaction: without one there was nothing to change. Both ends
        -- are given so that the planner, who knows neither, takes the index: a cached plan may be older than the rows.
        SELECT 'applied', 'applied', o.project_id
        INTO verdict, message, project
        FROM public.outbox o
        WHERE o.id > last_outbox_id
            AND o.id <= (SELECT pg_sequence_last_value('public.outbox_id_seq'))
            AND o.transaction_id = pg_current_xact_id_if_assigned()
        ORDER BY o.id
        LIMIT 1;
        IF NOT FOUND THEN
            verdict := 'idempotent';
            message := 'nothing to change';
            project := coalesce(
                (result ->> 'project_id')::uuid,
                (SELECT w.project_id FROM public.worktrees w WHERE w.id = (result ->> 'worktree_id')::uuid)
            );
        END IF;
    END IF;

    INSERT INTO public.command_ledger AS l (
        command_id, digest, project_id, idempotency_key, type, verdict, code, message, result, actor, sender
    )
    VALUES (p_command_id, p_digest, project, ledger_key, p_type, verdict, code, message, result, p_actor, p_sender)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'command % is being applied by another session', p_command_id USING ERRCODE = '40001';
    END IF;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION apply_command(uuid, text, jsonb, bytea, uuid, text, text, text, text, boolean, text) IS 'Carries out a command once and returns its outcome, or the recorded one. 23505 (command_ledger_pkey): the id belongs to another command; states that may pass (40001, 53xxx …) are raised.';

DO $$ BEGIN PERFORM note_schema_version(22); END $$;

COMMIT;

-- Until both are done a command with a key that another sender has is tried again, for half a minute.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS command_ledger_unique_key_of_sender
ON public.command_ledger (idempotency_key, coalesce(sender, '')) WHERE idempotency_key IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS public.command_ledger_unique_idempotency_key;
