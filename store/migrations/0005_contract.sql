-- The contract for analysts: complete, and without a value that could be misread. And a narrower table of readings: what follows from
-- other columns is not stored (store::reading::value and store::reading::instant say what that is).
LOCK TABLE schema_version, sink_offsets IN ACCESS EXCLUSIVE MODE;

DROP VIEW ledger;
DROP VIEW attributed_readings;

-- Columns of one width stand together, so that none is padded. The device is that of the description, the provider that of the topic.
CREATE TABLE readings_narrow (
    reading_id uuid NOT NULL,
    content uuid NOT NULL,
    measured_from timestamptz,
    received_at timestamptz NOT NULL,
    raw_offset bigint NOT NULL,
    receipt_mac bigint NOT NULL,
    coding_id bigint NOT NULL,
    description_id bigint,
    gateway_id bigint,
    measured_until timestamptz,
    imprecise_until timestamptz,
    source_version bigint,
    source_updated_at timestamptz,
    first_received_at timestamptz,
    first_offset bigint,
    raw_partition integer NOT NULL,
    topic_epoch integer NOT NULL,
    item integer NOT NULL,
    mapping_version integer NOT NULL,
    first_topic_epoch integer,
    first_partition integer,
    first_item integer,
    format payload_format NOT NULL,
    status reading_status NOT NULL,
    time_precision time_precision NOT NULL,
    topic_code smallint NOT NULL,
    first_topic_code smallint,
    offset_minutes smallint,
    source text NOT NULL,
    subject text,
    patient_claim text,
    value_num numeric,
    unit text,
    source_value text,
    source_unit text,
    comparator text,
    value_text text,
    absent text,
    measured_text text,
    measured_until_text text,
    flags text[],
    components jsonb,
    extra jsonb,
    key_id text
);
CREATE TABLE reading_versions_narrow (LIKE readings_narrow);

-- What a value has beside its number or text, with the texts that had stood in other columns; null where there is nothing.
CREATE FUNCTION extra_of(extra jsonb, cell text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN extra ? 'waveform' THEN jsonb_set(extra, '{waveform,samples}', to_jsonb(coalesce(cell, '')))
        WHEN extra ? 'document' THEN jsonb_set(extra, '{document,sha256}', to_jsonb(coalesce(cell, '')))
        ELSE extra
    END
$$;
CREATE FUNCTION is_rest(extra jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(extra ?| '{coding,waveform,document}', false)
$$;
-- Null: the unit itself; empty: the source wrote none.
CREATE FUNCTION source_unit_of(source_unit text, unit text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN source_unit IS NULL THEN '' WHEN source_unit <> unit THEN source_unit END
$$;
CREATE FUNCTION part_of(part jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_strip_nulls(part || jsonb_build_object(
        't', CASE WHEN NOT is_rest(part -> 'x') THEN part -> 't' END,
        's', CASE WHEN part ? 'n' AND part ->> 's' <> part ->> 'n' THEN part -> 's' END,
        'su', CASE WHEN part ? 'n' THEN source_unit_of(part ->> 'su', part ->> 'u') END,
        'x', extra_of(part -> 'x', part ->> 't')))
$$;
DO $$
DECLARE
    source_table text;
BEGIN
    FOREACH source_table IN ARRAY '{readings,reading_versions}'::text[] LOOP
        EXECUTE format($f$
            INSERT INTO %I
            SELECT reading_id, content, measured_from, received_at, raw_offset, receipt_mac, coding_id, description_id, gateway_id,
                   measured_until, imprecise_until, source_version, source_updated_at, first_received_at, first_offset, raw_partition,
                   topic_epoch, item, mapping_version, first_topic_epoch, first_partition, first_item, format, status,
                   time_precision, topic_code, first_topic_code, offset_minutes::smallint, source, subject, patient_claim, value_num,
                   unit,
                   CASE WHEN value_num IS NOT NULL THEN nullif(source_value, value_num::text) END,
                   CASE WHEN value_num IS NOT NULL THEN source_unit_of(source_unit, unit) END,
                   comparator,
                   CASE WHEN NOT is_rest(extra) THEN value_text END,
                   absent,
                   CASE WHEN measured_from IS NULL THEN measured_text ELSE coalesce(measured_text, '') END,
                   CASE WHEN measured_until IS NULL THEN measured_until_text ELSE coalesce(measured_until_text, '') END,
                   flags,
                   (SELECT jsonb_agg(part_of(p.part) ORDER BY p.place) FROM jsonb_array_elements(components) WITH ORDINALITY p(part, place)),
                   extra_of(extra, value_text),
                   key_id
            FROM %I $f$, source_table || '_narrow', source_table);
    END LOOP;
END
$$;
DROP FUNCTION part_of, source_unit_of, is_rest, extra_of;
DROP TABLE readings, reading_versions;
ALTER TABLE readings_narrow RENAME TO readings;
ALTER TABLE reading_versions_narrow RENAME TO reading_versions;
ALTER TABLE readings ADD PRIMARY KEY (reading_id);
ALTER TABLE reading_versions ADD PRIMARY KEY (reading_id, content);
-- An authenticated subject decides by itself, so the two indexes never hold the same reading.
CREATE INDEX readings_device_time ON readings (description_id, measured_from) WHERE subject IS NULL;
CREATE INDEX readings_subject_time ON readings (subject, measured_from) WHERE subject IS NOT NULL;
-- Rows lie in the order in which they were delivered, so that a block holds few runs of offsets. For `trace`, which may take a moment.
CREATE INDEX readings_position ON readings USING brin (raw_offset int8_minmax_multi_ops, raw_partition int4_minmax_multi_ops)
    WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX device_descriptions_device ON device_descriptions (device_key);
CREATE INDEX documents_hexadecimal ON documents (encode(sha256, 'hex'));

-- What the credential of a command may command; null: devices of any provider.
ALTER TABLE device_commands
    ADD COLUMN bound_to provider[],
    DROP CONSTRAINT device_commands_verdict_check;
UPDATE device_commands SET verdict = 'held-by-another' WHERE verdict = 'lost';
-- A device is known by a command that assigns it.
UPDATE device_commands c SET verdict = 'unknown-device'
    WHERE NOT EXISTS (SELECT FROM device_commands a WHERE a.device_key = c.device_key AND a.command = 'assign');
DELETE FROM devices d
    WHERE NOT EXISTS (SELECT FROM device_commands a WHERE a.device_key = d.device_key AND a.command = 'assign');
ALTER TABLE device_commands ADD CONSTRAINT device_commands_verdict_check
    CHECK (verdict IN ('applied', 'superseded', 'unchanged', 'held-by-another', 'unknown-device', 'forbidden'));

-- Three branches, so that a condition on patient_id reaches an index in each, and the last one is dropped by it.
CREATE VIEW all_readings AS
SELECT a.reading_id,
       v.component,
       a.patient_id,
       a.attribution,
       a.patient_claim,
       a.patient_claim IS NOT NULL AND a.patient_id IS NOT NULL
           AND regexp_replace(a.patient_claim, '^(.*/)?Patient/', '') <> a.patient_id AS claim_conflict,
       CASE a.topic_code WHEN 0 THEN 'medisante' ELSE 'healthkit' END AS provider,
       a.device_id,
       g.device_id AS gateway_id,
       a.source,
       k.system AS code_system,
       k.code,
       k.display,
       p.code AS panel_code,
       CASE WHEN v.comparator IS NULL THEN v.number END AS value_num,
       v.comparator,
       CASE WHEN v.comparator IS NOT NULL THEN v.number END AS bound_num,
       coalesce(v.value_text, v.extra #>> '{coding,display}', v.extra ->> 'text', v.extra #>> '{coding,code}', v.extra ->> 'boolean')
           AS value_text,
       v.extra #>> '{coding,system}' AS value_code_system,
       v.extra #>> '{coding,code}' AS value_code,
       v.absent AS absent_reason,
       v.unit,
       CASE WHEN v.number IS NOT NULL THEN coalesce(v.source_value, v.number::text) ELSE v.extra #>> '{coding,code}' END
           AS source_value,
       CASE WHEN v.number IS NOT NULL THEN nullif(coalesce(v.source_unit, v.unit), '') END AS source_unit,
       (v.extra #>> '{waveform,period_ms}')::numeric AS sample_period_ms,
       (v.extra #>> '{waveform,origin}')::numeric AS sample_origin,
       (v.extra #>> '{waveform,factor}')::numeric AS sample_factor,
       (v.extra #>> '{waveform,dimensions}')::integer AS sample_dimensions,
       v.extra #>> '{waveform,samples}' AS samples,
       v.extra #>> '{document,sha256}' AS document_sha256,
       v.extra #>> '{document,content_type}' AS document_type,
       v.extra #>> '{document,title}' AS document_title,
       a.measured_from,
       a.measured_until,
       a.time_precision::text AS time_precision,
       a.status::text AS status,
       v.flags,
       a.received_at,
       a.mapping_version,
       -- The 27 bytes of schemas::receipt: topic, epoch, partition, offset, item, code.
       translate(encode(
           substring(int2send(a.topic_code) FROM 2) || substring(int4send(a.topic_epoch) FROM 3)
           || int4send(a.raw_partition) || int8send(a.raw_offset)
           || int4send(CASE WHEN a.topic_code = 1 AND a.format = 'standard-json' THEN a.item ELSE 0 END)
           || int8send(a.receipt_mac), 'base64'), '+/', '-_') AS receipt
FROM (
    SELECT r.reading_id, r.measured_from, r.measured_until, r.imprecise_until, r.received_at, r.raw_offset, r.receipt_mac,
           r.raw_partition, r.topic_epoch, r.item, r.mapping_version, r.topic_code, r.format, r.status, r.time_precision,
           r.coding_id, r.gateway_id, r.source, r.patient_claim, r.value_num, r.value_text, r.unit, r.source_value,
           r.source_unit, r.comparator, r.absent, r.flags, r.components, r.extra,
           r.subject AS patient_id, 'subject'::text AS attribution, d.device_id
    FROM readings r
    LEFT JOIN device_descriptions d ON d.description_id = r.description_id
    WHERE r.subject IS NOT NULL
    UNION ALL
    SELECT r.reading_id, r.measured_from, r.measured_until, r.imprecise_until, r.received_at, r.raw_offset, r.receipt_mac,
           r.raw_partition, r.topic_epoch, r.item, r.mapping_version, r.topic_code, r.format, r.status, r.time_precision,
           r.coding_id, r.gateway_id, r.source, r.patient_claim, r.value_num, r.value_text, r.unit, r.source_value,
           r.source_unit, r.comparator, r.absent, r.flags, r.components, r.extra,
           h.patient_id, 'assignment'::text, d.device_id
    FROM device_assignments h
    JOIN device_descriptions d ON d.device_key = h.device_key
    JOIN readings r ON r.description_id = d.description_id AND h.during @> r.measured_from
    WHERE r.subject IS NULL
      AND (r.imprecise_until IS NULL OR NOT EXISTS (
          SELECT FROM device_assignments o
          WHERE o.device_key = h.device_key AND o.patient_id <> h.patient_id
            AND o.during && tstzrange(r.measured_from, r.imprecise_until)))
    UNION ALL
    SELECT r.reading_id, r.measured_from, r.measured_until, r.imprecise_until, r.received_at, r.raw_offset, r.receipt_mac,
           r.raw_partition, r.topic_epoch, r.item, r.mapping_version, r.topic_code, r.format, r.status, r.time_precision,
           r.coding_id, r.gateway_id, r.source, r.patient_claim, r.value_num, r.value_text, r.unit, r.source_value,
           r.source_unit, r.comparator, r.absent, r.flags, r.components, r.extra,
           NULL::text,
           CASE
               WHEN r.description_id IS NULL THEN 'no device'
               WHEN r.measured_from IS NULL THEN 'no time'
               WHEN NOT EXISTS (SELECT FROM device_assignments o WHERE o.device_key = d.device_key) THEN 'never assigned'
               WHEN (SELECT count(DISTINCT o.patient_id) FROM device_assignments o
                     WHERE o.device_key = d.device_key
                       AND o.during && tstzrange(r.measured_from, r.imprecise_until)) > 1
                   AND r.imprecise_until IS NOT NULL THEN 'time spans holders'
               ELSE 'unassigned at that time'
           END,
           d.device_id
    FROM readings r
    LEFT JOIN device_descriptions d ON d.description_id = r.description_id
    WHERE r.subject IS NULL
      AND NOT EXISTS (
          SELECT FROM device_assignments h
          WHERE h.device_key = d.device_key AND h.during @> r.measured_from
            AND (r.imprecise_until IS NULL OR NOT EXISTS (
                SELECT FROM device_assignments o
                WHERE o.device_key = d.device_key AND o.patient_id <> h.patient_id
                  AND o.during && tstzrange(r.measured_from, r.imprecise_until))))
) a
CROSS JOIN LATERAL (
    SELECT 0 AS component, a.coding_id, NULL::bigint AS panel_id, a.value_num AS number, a.value_text, a.unit, a.source_value,
           a.source_unit, a.comparator, a.absent, a.extra, coalesce(a.flags, '{}') AS flags
    WHERE a.components IS NULL OR a.absent IS DISTINCT FROM 'panel'
    UNION ALL
    SELECT e.ordinality::integer, (e.value ->> 'c')::bigint, a.coding_id, (e.value ->> 'n')::numeric, e.value ->> 't', e.value ->> 'u',
           e.value ->> 's', e.value ->> 'su', e.value ->> 'cmp', e.value ->> 'a', e.value -> 'x',
           coalesce(a.flags, '{}') || coalesce(ARRAY(SELECT jsonb_array_elements_text(e.value -> 'f')), '{}')
    FROM jsonb_array_elements(a.components) WITH ORDINALITY e
) v
LEFT JOIN codings k ON k.coding_id = v.coding_id
LEFT JOIN codings p ON p.coding_id = v.panel_id
LEFT JOIN device_descriptions g ON g.description_id = a.gateway_id;

CREATE VIEW attributed_readings AS
SELECT reading_id, component, patient_id, attribution, patient_claim, claim_conflict, provider, device_id, gateway_id, source, code_system,
       code, display, panel_code, value_num, comparator, bound_num, value_text, value_code_system, value_code, absent_reason, unit,
       source_value, source_unit, sample_period_ms, sample_origin, sample_factor, sample_dimensions, samples, document_sha256,
       document_type, document_title, measured_from, measured_until, time_precision, status, flags, received_at, mapping_version, receipt
FROM all_readings
WHERE status NOT IN ('entered-in-error', 'cancelled', 'deleted');

CREATE VIEW document_contents AS
SELECT encode(sha256, 'hex') AS document_sha256, content_type, content, provider::text AS provider, source, received_at FROM documents;

-- All columns are sums over what the sink has taken in. It balances when promised_readings = rows + superseded + duplicates + refused
-- and promised_rejections = dead_letters.
CREATE VIEW ledger AS
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

UPDATE schema_version SET version = 5, compatible_from = 5;
