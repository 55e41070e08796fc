-- 019: retention reads all the months that it drops before it asks for the lock that keeps everybody waiting. Before, the second
-- one was read under the lock that the first one had needed, and where one could not be had, it was deleted row by row under that.
-- What is held now is as long as the drops, whatever months have: docs/adr/0021-months.md.
-- compatible down to: 014

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

-- Nobody of the present waits while they are counted: each lock is on a month alone. Whoever counts everything anew does so
-- before or afterwards: else what is gone would be subtracted from what was counted without it.
CREATE OR REPLACE FUNCTION drop_activity_months(p_names text[])
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
AS $$
DECLARE
    month text;
    part text;
    gone bigint;
    removed bigint := 0;
BEGIN
    FOREACH month IN ARRAY p_names LOOP
        IF NOT EXISTS (SELECT FROM public.activity_months() m WHERE m.name = month AND m.ends_at IS NOT NULL) THEN
            RAISE EXCEPTION 'drop_activity_month: p_name % is no month of agent_activities', public.quote_for_message(month)
                USING ERRCODE = 'P0002';
        END IF;
    END LOOP;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'drop_activity_month: it takes a transaction that is READ COMMITTED, this one is %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = '25001';
    END IF;
    IF to_regclass('public.agent_activities_next') IS NOT NULL THEN
        RAISE EXCEPTION 'drop_activity_month: activities are being moved' USING ERRCODE = '55000';
    END IF;
    PERFORM FROM public.registry_counts FOR UPDATE;    -- of who folds or counts anew
    FOREACH month IN ARRAY p_names LOOP
        EXECUTE format('LOCK TABLE public.%I IN SHARE MODE', month);
        EXECUTE format('SELECT count(*) FROM public.%I', month) INTO gone;
        INSERT INTO public.count_delta (activities) VALUES (-gone);
        removed := removed + gone;
    END LOOP;
    -- From here on everybody waits. Who has the first lock keeps all others out of the rest, but for a vacuum: it is not waited for.
    LOCK TABLE ONLY public.agent_activities IN ACCESS EXCLUSIVE MODE;
    FOR part IN SELECT m.name FROM public.activity_months() m WHERE m.name = ANY (p_names) OR m.ends_at IS NULL LOOP
        EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE NOWAIT', part);
    END LOOP;
    FOREACH month IN ARRAY p_names LOOP
        EXECUTE format('DROP TABLE public.%I', month);
    END LOOP;
    RETURN removed;
END;
$$;

COMMENT ON FUNCTION drop_activity_months(text[]) IS 'Drops months with all their activities, all of them or none, and says how many activities; for remove_old_activities(). 55P03 where a lock is not to be had in half a second.';

CREATE OR REPLACE FUNCTION drop_activity_month(p_name text)
RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT public.drop_activity_months(ARRAY[p_name])
$$;

COMMENT ON FUNCTION drop_activity_month(text) IS 'Drops a month with all its activities, and says how many. 55P03 where a lock is not to be had in half a second.';

-- Whole months last, and at once: the lock that it takes is held until the end of the transaction. Where somebody reads all the
-- while, and in another kind of transaction, they are deleted row by row: a call removes what it always did.
CREATE OR REPLACE FUNCTION remove_old_activities(p_horizon timestamptz)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    month record;
    months CONSTANT text[] := ARRAY(SELECT m.name FROM public.activity_months() m WHERE m.ends_at <= p_horizon);
    rest text := format('DELETE FROM public.agent_activities a WHERE a.created_at < %L', p_horizon);
    removed bigint := 0;
    gone bigint;
BEGIN
    FOR month IN SELECT * FROM public.activity_months() m WHERE m.name = ANY (months) LOOP
        rest := rest || format(' AND (a.created_at < %L OR a.created_at >= %L)', month.begins_at, month.ends_at);
    END LOOP;
    PERFORM set_config('imi.activity_retention', 'on', true);
    EXECUTE rest;
    GET DIAGNOSTICS removed = ROW_COUNT;
    IF months <> '{}' THEN
        FOR attempt IN 1..3 LOOP
            BEGIN
                gone := public.drop_activity_months(months);
                EXIT;
            EXCEPTION
                WHEN lock_not_available OR deadlock_detected THEN
                    PERFORM pg_sleep(0.5);
                WHEN object_in_use OR active_sql_transaction OR no_data_found OR object_not_in_prerequisite_state THEN
                    EXIT;
            END;
        END LOOP;
        IF gone IS NULL THEN
            DELETE FROM public.agent_activities a WHERE a.created_at < p_horizon;
            GET DIAGNOSTICS gone = ROW_COUNT;
        END IF;
        removed := removed + gone;
    END IF;
    PERFORM set_config('imi.activity_retention', 'off', true);
    RETURN removed;
END;
$$;

COMMENT ON FUNCTION remove_old_activities(timestamptz) IS 'Removes all activities older than this, and says how many; for cleanup_old_activities().';

REVOKE EXECUTE ON FUNCTION drop_activity_months(text[]) FROM PUBLIC;

DO $$ BEGIN PERFORM note_schema_version(19); END $$;

COMMIT;
