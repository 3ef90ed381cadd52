-- Several releases and several sinks side by side. A migration begins with the lock below and ends by setting `schema_version`:
-- sinks read that table in every write transaction, so none is in the middle of one while tables change, and none that is
-- too old writes afterwards.
CREATE TABLE schema_version (
    version integer NOT NULL,            -- the number of the last migration
    compatible_from integer NOT NULL     -- the least version that a sink must know to write here
);
CREATE UNIQUE INDEX schema_version_single ON schema_version ((true));
LOCK TABLE schema_version, sink_offsets IN ACCESS EXCLUSIVE MODE;

DROP VIEW ledger;
DROP VIEW attributed_readings;

-- Numbers of dictionary entries outlive 2^31; positions name their raw topic (schemas::format::RawTopic::code), because two topics
-- may hold payloads of one provider. Both in one rewrite of the table. Renaming `first_epoch` to what it is an epoch of also makes
-- the statements of sinks before this version fail as a whole, so that these wait instead of refusing rows that lack a topic.
ALTER TABLE codings ALTER COLUMN coding_id TYPE bigint;
ALTER TABLE device_descriptions ALTER COLUMN description_id TYPE bigint;
ALTER TABLE readings
    ALTER COLUMN coding_id TYPE bigint,
    ALTER COLUMN description_id TYPE bigint,
    ALTER COLUMN gateway_id TYPE bigint,
    ADD COLUMN topic_code smallint NOT NULL GENERATED ALWAYS AS (CASE provider WHEN 'medisante' THEN 0 ELSE 1 END) STORED,
    ADD COLUMN first_topic_code smallint GENERATED ALWAYS AS
        (CASE WHEN first_received_at IS NULL THEN NULL WHEN provider = 'medisante' THEN 0 ELSE 1 END) STORED;
ALTER TABLE readings ALTER COLUMN topic_code DROP EXPRESSION, ALTER COLUMN first_topic_code DROP EXPRESSION;
ALTER TABLE readings RENAME COLUMN first_epoch TO first_topic_epoch;
ALTER TABLE reading_versions
    ALTER COLUMN coding_id TYPE bigint,
    ALTER COLUMN description_id TYPE bigint,
    ALTER COLUMN gateway_id TYPE bigint,
    ADD COLUMN topic_code smallint NOT NULL GENERATED ALWAYS AS (CASE provider WHEN 'medisante' THEN 0 ELSE 1 END) STORED,
    ADD COLUMN first_topic_code smallint GENERATED ALWAYS AS
        (CASE WHEN first_received_at IS NULL THEN NULL WHEN provider = 'medisante' THEN 0 ELSE 1 END) STORED;
ALTER TABLE reading_versions ALTER COLUMN topic_code DROP EXPRESSION, ALTER COLUMN first_topic_code DROP EXPRESSION;
ALTER TABLE reading_versions RENAME COLUMN first_epoch TO first_topic_epoch;

ALTER TABLE reading_duplicates
    DROP CONSTRAINT reading_duplicates_pkey,
    ADD COLUMN topic_code smallint NOT NULL GENERATED ALWAYS AS (CASE provider WHEN 'medisante' THEN 0 ELSE 1 END) STORED;
ALTER TABLE reading_duplicates ALTER COLUMN topic_code DROP EXPRESSION;
ALTER TABLE reading_duplicates
    DROP COLUMN provider,
    ADD PRIMARY KEY (reading_id, topic_code, topic_epoch, raw_partition, raw_offset, item);

ALTER TABLE drift
    ADD COLUMN topic_code smallint NOT NULL GENERATED ALWAYS AS (CASE provider WHEN 'medisante' THEN 0 ELSE 1 END) STORED;
ALTER TABLE drift ALTER COLUMN topic_code DROP EXPRESSION;

-- A letter may be about a run of items: `item` is the first. A hash without a key is a fingerprint of the payload that outlives it.
ALTER TABLE dead_letters ADD COLUMN item_count integer NOT NULL DEFAULT 1 CHECK (item_count >= 1);
UPDATE dead_letters SET sha256 = NULL WHERE sha256 IS NOT NULL;
ALTER TABLE dead_letters RENAME COLUMN sha256 TO content_hmac;

-- Null: the command says none, and holds from when it was appended (sink::fold).
ALTER TABLE device_commands ALTER COLUMN effective_from DROP NOT NULL;
-- Commands beyond what a source may say of a device on one day, as runs of offsets of the topic of device commands. They take no part
-- in the fold, and their text is in the raw record only.
CREATE TABLE excess_commands (
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL CHECK (last_offset >= first_offset),
    PRIMARY KEY (topic_epoch, raw_partition, first_offset)
);

-- Records that an operator steps over; only the sink that waits for one takes it.
CREATE TABLE skips (
    topic text NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    reason text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz,
    PRIMARY KEY (topic, partition, log_offset)
);
-- Events that were gone before a sink read them, which an operator has accepted.
CREATE TABLE accepted_gaps (
    topic text NOT NULL,
    partition integer NOT NULL,
    from_offset bigint NOT NULL,
    to_offset bigint NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, from_offset)
);

-- The contract for analysts: one row for each coded value.
-- Three branches, so that a condition on patient_id reaches an index in each, and the last one is dropped by it.
CREATE VIEW attributed_readings WITH (security_invoker = true) AS
SELECT a.reading_id,
       v.component,
       a.patient_id,
       a.attribution,
       a.provider::text AS provider,
       d.device_id,
       k.system AS code_system,
       k.code,
       k.display,
       p.code AS panel_code,
       v.value_num,
       v.value_text,
       v.unit,
       v.source_value,
       v.source_unit,
       a.measured_from,
       a.measured_until,
       a.time_precision::text AS time_precision,
       a.status::text AS status,
       v.flags,
       a.received_at,
       -- The 27 bytes of schemas::receipt: topic, epoch, partition, offset, item, code.
       translate(encode(
           substring(int2send(a.topic_code) FROM 2) || substring(int4send(a.topic_epoch) FROM 3)
           || int4send(a.raw_partition) || int8send(a.raw_offset)
           || int4send(CASE WHEN a.provider = 'healthkit' AND a.format = 'standard-json' THEN a.item ELSE 0 END)
           || int8send(a.receipt_mac), 'base64'), '+/', '-_') AS receipt
FROM (
    SELECT r.*, r.subject AS patient_id, 'subject'::text AS attribution
    FROM readings r
    WHERE r.subject IS NOT NULL
    UNION ALL
    SELECT r.*, h.patient_id, 'assignment'::text
    FROM device_assignments h
    JOIN readings r ON r.device_key = h.device_key AND h.during @> r.measured_from
    WHERE r.subject IS NULL
      AND (r.imprecise_until IS NULL OR NOT EXISTS (
          SELECT FROM device_assignments o
          WHERE o.device_key = r.device_key AND o.patient_id <> h.patient_id
            AND o.during && tstzrange(r.measured_from, r.imprecise_until)))
    UNION ALL
    SELECT r.*, NULL::text,
           CASE
               WHEN r.device_key IS NULL THEN 'no device'
               WHEN r.measured_from IS NULL THEN 'no time'
               WHEN NOT EXISTS (SELECT FROM device_assignments o WHERE o.device_key = r.device_key) THEN 'never assigned'
               WHEN (SELECT count(DISTINCT o.patient_id) FROM device_assignments o
                     WHERE o.device_key = r.device_key
                       AND o.during && tstzrange(r.measured_from, r.imprecise_until)) > 1
                   AND r.imprecise_until IS NOT NULL THEN 'time spans holders'
               ELSE 'unassigned at that time'
           END
    FROM readings r
    WHERE r.subject IS NULL
      AND NOT EXISTS (
          SELECT FROM device_assignments h
          WHERE r.device_key = h.device_key AND h.during @> r.measured_from
            AND (r.imprecise_until IS NULL OR NOT EXISTS (
                SELECT FROM device_assignments o
                WHERE o.device_key = r.device_key AND o.patient_id <> h.patient_id
                  AND o.during && tstzrange(r.measured_from, r.imprecise_until))))
) a
CROSS JOIN LATERAL (
    SELECT 0 AS component, a.coding_id, NULL::bigint AS panel_id, a.value_num, a.value_text, a.unit,
           a.source_value, a.source_unit, coalesce(a.flags, '{}') AS flags
    WHERE a.components IS NULL OR a.absent IS DISTINCT FROM 'panel'
    UNION ALL
    SELECT e.ordinality::integer, (e.value ->> 'c')::bigint, a.coding_id, (e.value ->> 'n')::numeric,
           e.value ->> 't', e.value ->> 'u', e.value ->> 's', e.value ->> 'su',
           coalesce(a.flags, '{}') || coalesce(ARRAY(SELECT jsonb_array_elements_text(e.value -> 'f')), '{}')
    FROM jsonb_array_elements(a.components) WITH ORDINALITY e
) v
LEFT JOIN codings k ON k.coding_id = v.coding_id
LEFT JOIN codings p ON p.coding_id = v.panel_id
LEFT JOIN device_descriptions d ON d.description_id = a.description_id;

COMMENT ON VIEW attributed_readings IS 'One row for each coded value; see docs/adr/0003-reading-table.md.';

-- The ledger: what the outcomes of a raw topic promise, and what is there. All columns are sums over what the sink has taken in. It
-- balances when promised_readings = rows + superseded + duplicates + refused and promised_rejections = dead_letters.
CREATE VIEW ledger WITH (security_invoker = true) AS
SELECT o.topic,
       o.promised_readings,
       (SELECT count(*) FROM readings r WHERE r.topic_code = o.topic_code) AS rows,
       (SELECT count(*) FROM reading_versions v JOIN readings r USING (reading_id)
        WHERE v.topic_code = o.topic_code
          AND (v.topic_code, v.topic_epoch, v.raw_partition, v.raw_offset, v.item)
              IS DISTINCT FROM (r.topic_code, r.topic_epoch, r.raw_partition, r.raw_offset, r.item)) AS superseded,
       (SELECT count(*) FROM reading_duplicates d WHERE d.topic_code = o.topic_code) AS duplicates,
       (SELECT coalesce(sum(l.item_count), 0) FROM dead_letters l
        WHERE l.raw_topic = o.topic AND l.stage = 'sink')::bigint AS refused,
       o.promised_rejections,
       (SELECT coalesce(sum(l.item_count), 0) FROM dead_letters l
        WHERE l.raw_topic = o.topic AND l.stage = 'normalizer')::bigint AS dead_letters
FROM (
    SELECT topic,
           CASE topic WHEN 'raw.medisante' THEN 0 WHEN 'raw.healthkit' THEN 1 WHEN 'raw.uploads' THEN 3 END AS topic_code,
           sum((last_offset - first_offset + 1) * readings) AS promised_readings,
           sum((last_offset - first_offset + 1) * rejections) AS promised_rejections
    FROM outcomes WHERE topic <> 'raw.devices' GROUP BY topic
) o;
COMMENT ON VIEW ledger IS 'What was promised for each raw topic, and what is there.';

INSERT INTO schema_version (version, compatible_from) VALUES (4, 4);
