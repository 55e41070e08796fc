-- 005: the order in which events were published, so that history older than the stream is told as the stream told it.
--
-- Written with the publisher's cursor. Why: docs/adr/0006-history.md.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';

CREATE TABLE IF NOT EXISTS published_batch (
    stream text NOT NULL,
    last_sequence bigint NOT NULL,
    ids int8range[] NOT NULL,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT published_batch_pkey PRIMARY KEY (stream, last_sequence)
);

COMMENT ON TABLE published_batch IS 'Which outbox rows stand in which order in which stream; retention removes the oldest together with their rows.';
COMMENT ON COLUMN published_batch.last_sequence IS 'Sequence of the last event of the batch; in a stream of our own the others stand directly before it.';
COMMENT ON COLUMN published_batch.ids IS 'Outbox ids in the order of the stream, consecutive ones as a range.';
COMMENT ON COLUMN published_batch.published_at IS 'Not before the time at which the stream stored the batch.';

ALTER TABLE publisher_cursor ADD COLUMN IF NOT EXISTS forgotten_sequence bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN publisher_cursor.forgotten_sequence IS 'The record of events up to this sequence is gone: retention removed them, or they were published before there was a record.';

ALTER TABLE publisher_cursor ADD COLUMN IF NOT EXISTS complete_sequence bigint NOT NULL DEFAULT 0;

ALTER TABLE publisher_cursor ADD COLUMN IF NOT EXISTS dead_ids bigint NOT NULL DEFAULT 0;

ALTER TABLE publisher_cursor ADD COLUMN IF NOT EXISTS hindrance text;

-- Where a stream is of somebody who has no name for some events: docs/bloodbank.md.
ALTER TABLE publisher_cursor ADD COLUMN IF NOT EXISTS withheld bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN publisher_cursor.dead_ids IS 'How many of the ids in published will never appear: they were of transactions that were rolled back.';
COMMENT ON COLUMN publisher_cursor.withheld IS 'How many of the ids in published are of events that do not go into this stream.';
COMMENT ON COLUMN publisher_cursor.hindrance IS 'Why the publisher cannot publish, in its own words; NULL when nothing hinders it.';
COMMENT ON COLUMN publisher_cursor.published IS 'Outbox ids that are in the stream, or will never appear, as of complete_sequence; published_ids() tells all.';
COMMENT ON COLUMN publisher_cursor.complete_sequence IS 'What was published up to this sequence is in published, what came since in published_batch.';

-- While many ids are in flight, published is large and not written with each batch: docs/adr/0001-outbox-and-relay.md.
CREATE OR REPLACE FUNCTION published_ids(p_cursor publisher_cursor)
RETURNS int8multirange
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p_cursor.published + coalesce(range_agg(part), '{}')
    FROM public.published_batch AS batch
    CROSS JOIN LATERAL unnest(batch.ids) AS part
    WHERE batch.stream = p_cursor.stream
        AND batch.last_sequence > p_cursor.complete_sequence
        AND batch.last_sequence <= p_cursor.stream_sequence
$$;

COMMENT ON FUNCTION published_ids(publisher_cursor) IS 'Outbox ids that are in the stream of this cursor, or are known never to appear.';

-- The oldest batches of each stream, as long as all their events are old enough and published to every stream. They and
-- their events go together, so that the record begins with a whole batch, and `forgotten_sequence` tells where.
--
-- With the owner's rights, so that a publisher needs none to remove an event that is not published.
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

REVOKE EXECUTE ON FUNCTION forget_published(interval, integer) FROM PUBLIC;

-- What was published before this migration has no record.
UPDATE publisher_cursor AS cursor
SET forgotten_sequence = cursor.stream_sequence
WHERE NOT EXISTS (SELECT FROM published_batch AS batch WHERE batch.stream = cursor.stream)
    AND cursor.forgotten_sequence < cursor.stream_sequence;

COMMIT;
