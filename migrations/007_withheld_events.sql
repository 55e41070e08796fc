-- 007: how many events of the outbox a stream does not get, since who owns it has no name for them.
--
-- The cursor passes them as it passes ids that will never appear: published has both. docs/bloodbank.md
-- compatible down to: 006

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';

ALTER TABLE publisher_cursor ADD COLUMN IF NOT EXISTS withheld bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN publisher_cursor.withheld IS 'How many of the ids in published are of events that do not go into this stream.';

-- As in 005, and also what was withheld.
CREATE OR REPLACE FUNCTION forget_published(p_keep interval, p_most integer, OUT events bigint, OUT batches bigint)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    first_recorded bigint;
    withheld_events bigint;
BEGIN
    WITH oldest AS (
        SELECT
            batch.stream,
            batch.last_sequence,
            batch.ids,
            sum(size.events) OVER (PARTITION BY batch.stream ORDER BY batch.last_sequence) - size.events AS events_before,
            bool_and(is_done.removable) OVER (PARTITION BY batch.stream ORDER BY batch.last_sequence) AS removable
        FROM public.publisher_cursor AS cursor
        CROSS JOIN LATERAL (
            SELECT *
            FROM public.published_batch
            WHERE published_batch.stream = cursor.stream
            ORDER BY last_sequence
            LIMIT p_most
        ) batch
        CROSS JOIN LATERAL (
            SELECT sum(upper(part) - lower(part)) AS events FROM unnest(batch.ids) AS part
        ) size
        CROSS JOIN LATERAL (
            SELECT
                batch.published_at < now() - p_keep
                AND NOT EXISTS (
                    SELECT
                    FROM public.publisher_cursor AS other
                    WHERE NOT other.published @> (SELECT range_agg(part) FROM unnest(batch.ids) AS part)
                ) AS removable
        ) is_done
    ), chosen AS (
        SELECT oldest.stream, oldest.last_sequence, oldest.ids
        FROM oldest
        WHERE oldest.removable AND oldest.events_before < p_most
    ), forgotten AS (
        DELETE FROM public.published_batch AS batch
        USING chosen
        WHERE batch.stream = chosen.stream AND batch.last_sequence = chosen.last_sequence
    ), marked AS (
        UPDATE public.publisher_cursor AS cursor
        SET forgotten_sequence = greatest(cursor.forgotten_sequence, latest.last_sequence)
        FROM (SELECT stream, max(last_sequence) AS last_sequence FROM chosen GROUP BY stream) AS latest
        WHERE cursor.stream = latest.stream
    ), removed AS (
        DELETE FROM public.outbox
        WHERE outbox.id IN (
            SELECT generate_series(lower(part), upper(part) - 1)
            FROM chosen
            CROSS JOIN LATERAL unnest(chosen.ids) AS part
        )
        RETURNING outbox.id
    )
    SELECT (SELECT count(*) FROM removed), (SELECT count(*) FROM chosen)
    INTO events, batches;

    -- What no stream got is in no batch. It is as old as what was published before and behind it, so it goes when its
    -- time is over and every batch that is left tells of later events alone.
    IF EXISTS (SELECT FROM public.publisher_cursor WHERE withheld > 0) THEN
        SELECT min(lower(part)) INTO first_recorded
        FROM public.published_batch AS batch
        CROSS JOIN LATERAL unnest(batch.ids) AS part;

        WITH passed AS (
            SELECT event.id
            FROM public.outbox AS event
            WHERE (first_recorded IS NULL OR event.id < first_recorded)
                AND event.occurred_at < now() - p_keep
                AND NOT EXISTS (
                    SELECT FROM public.publisher_cursor AS other WHERE NOT other.published @> event.id
                )
            ORDER BY event.id
            LIMIT p_most
        ), removed AS (
            DELETE FROM public.outbox
            USING passed
            WHERE outbox.id = passed.id
            RETURNING outbox.id
        )
        SELECT count(*) INTO withheld_events FROM removed;
        events := events + withheld_events;
    END IF;
END;
$$;

COMMENT ON FUNCTION forget_published(interval, integer) IS 'Removes the oldest events that were published longer ago than this, or that no stream got and are older, about so many at once of each, and says how many, and of how many batches.';

COMMIT;
