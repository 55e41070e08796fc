-- 019, back: each month is read, and dropped, by itself.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

CREATE OR REPLACE FUNCTION drop_activity_month(p_name text)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
AS $$
DECLARE
    removed bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM public.activity_months() m WHERE m.name = p_name AND m.ends_at IS NOT NULL) THEN
        RAISE EXCEPTION 'drop_activity_month: p_name % is no month of agent_activities', public.quote_for_message(p_name)
            USING ERRCODE = 'P0002';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'drop_activity_month: it takes a transaction that is READ COMMITTED, this one is %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = '25001';
    END IF;
    IF to_regclass('public.agent_activities_next') IS NOT NULL THEN
        RAISE EXCEPTION 'drop_activity_month: activities are being moved' USING ERRCODE = '55000';
    END IF;
    PERFORM FROM public.registry_counts FOR UPDATE;    -- of who folds or counts anew
    EXECUTE format('LOCK TABLE public.%I IN SHARE MODE', p_name);
    EXECUTE format(
        'WITH gone AS (SELECT count(*) AS activities FROM public.%I),'
        ' told AS (INSERT INTO public.count_delta (activities) SELECT -activities FROM gone)'
        ' SELECT activities FROM gone',
        p_name
    ) INTO removed;
    EXECUTE format('DROP TABLE public.%I', p_name);
    RETURN removed;
END;
$$;

COMMENT ON FUNCTION drop_activity_month(text) IS 'Drops a month with all its activities, and says how many; for remove_old_activities(). 55P03 where a lock is not to be had in half a second.';

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
    rest text := format('DELETE FROM public.agent_activities a WHERE a.created_at < %L', p_horizon);
    removed bigint := 0;
    gone bigint;
    attempts integer := 0;
BEGIN
    FOR month IN SELECT * FROM public.activity_months() m WHERE m.ends_at <= p_horizon LOOP
        rest := rest || format(' AND (a.created_at < %L OR a.created_at >= %L)', month.begins_at, month.ends_at);
    END LOOP;
    PERFORM set_config('imi.activity_retention', 'on', true);
    EXECUTE rest;
    GET DIAGNOSTICS removed = ROW_COUNT;
    FOR month IN SELECT * FROM public.activity_months() m WHERE m.ends_at <= p_horizon LOOP
        gone := NULL;
        WHILE gone IS NULL AND attempts < 3 LOOP
            BEGIN
                gone := public.drop_activity_month(month.name);
            EXCEPTION
                WHEN lock_not_available OR deadlock_detected THEN
                    attempts := attempts + 1;
                    PERFORM pg_sleep(0.5);
                WHEN object_in_use OR active_sql_transaction OR no_data_found OR object_not_in_prerequisite_state THEN
                    EXIT;
            END;
        END LOOP;
        IF gone IS NULL THEN
            DELETE FROM public.agent_activities a WHERE a.created_at >= month.begins_at AND a.created_at < month.ends_at;
            GET DIAGNOSTICS gone = ROW_COUNT;
        END IF;
        removed := removed + gone;
    END LOOP;
    PERFORM set_config('imi.activity_retention', 'off', true);
    RETURN removed;
END;
$$;

COMMENT ON FUNCTION remove_old_activities(timestamptz) IS 'Removes all activities older than this, and says how many; for cleanup_old_activities().';

DROP FUNCTION IF EXISTS drop_activity_months(text[]);

UPDATE registry_metadata SET migration = 18, upgraded_at = clock_timestamp() WHERE migration > 18;

COMMIT;
