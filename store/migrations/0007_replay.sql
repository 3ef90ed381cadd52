-- Replays change what is stored, so what was known before is kept: rows of readings and intervals that were replaced.
LOCK TABLE schema_version, sink_offsets IN ACCESS EXCLUSIVE MODE;

-- At the end of the table, because Postgres adds columns only there. `stored_at` is null in rows of earlier releases.
ALTER TABLE readings
    ADD COLUMN catalogue_revision integer,
    ADD COLUMN replay integer,
    ADD COLUMN withdrawn boolean,
    ADD COLUMN stored_at timestamptz;
ALTER TABLE reading_versions
    ADD COLUMN catalogue_revision integer,
    ADD COLUMN replay integer,
    ADD COLUMN withdrawn boolean,
    ADD COLUMN stored_at timestamptz;
CREATE INDEX reading_versions_position ON reading_versions (raw_offset, raw_partition);
CREATE TABLE reading_history (LIKE readings, replaced_at timestamptz NOT NULL);
CREATE INDEX reading_history_reading ON reading_history (reading_id, replaced_at);
CREATE INDEX reading_history_device ON reading_history (description_id, measured_from) WHERE subject IS NULL;
CREATE INDEX reading_history_subject ON reading_history (subject, measured_from) WHERE subject IS NOT NULL;

ALTER TABLE device_assignments ADD COLUMN stored_at timestamptz;
CREATE TABLE assignment_history (LIKE device_assignments, replaced_at timestamptz NOT NULL);
CREATE INDEX assignment_history_device ON assignment_history (device_key, replaced_at);
CREATE INDEX assignment_history_patient ON assignment_history (patient_id);

-- Null: the item delivers the reading. Otherwise a replay with this mapping found that it does not.
ALTER TABLE reading_duplicates
    ADD COLUMN withdrawn_mapping integer,
    ADD COLUMN withdrawn_catalogue integer,
    ADD COLUMN withdrawn_replay integer;

ALTER TABLE outcomes
    ADD COLUMN catalogue_revision integer NOT NULL DEFAULT 0,
    ADD COLUMN replay integer NOT NULL DEFAULT 0;

-- What a replay compares and applies. Its progress is here, so that it continues after it was killed.
CREATE TABLE replays (
    replay_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('compare', 'redrive')),
    scope jsonb NOT NULL,
    mapping_version integer NOT NULL,
    catalogue_revision integer NOT NULL,
    -- Null without a catalogue file.
    catalogue_sha256 text,
    state text NOT NULL CHECK (state IN ('comparing', 'compared', 'applying', 'applied', 'aborted')),
    operator text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE replay_ranges (
    replay_id integer NOT NULL,
    pass text NOT NULL CHECK (pass IN ('compare', 'find', 'apply')),
    topic text NOT NULL,
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    first_offset bigint NOT NULL,
    end_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    counts jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (replay_id, pass, topic, topic_epoch, raw_partition)
);
CREATE TABLE replay_changes (
    replay_id integer NOT NULL,
    topic text NOT NULL,
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    raw_offset bigint NOT NULL,
    item integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('added', 'changed', 'missing', 'withdrawn', 'moved', 'command', 'record')),
    subject_id uuid NOT NULL,
    fields text[] NOT NULL,
    code_system text,
    code text,
    display text,
    device_id text,
    before uuid,
    PRIMARY KEY (replay_id, topic, topic_epoch, raw_partition, raw_offset, subject_id, item)
);
CREATE INDEX replay_changes_subject ON replay_changes (replay_id, subject_id);

-- A dead letter has a state: an operator redrives it, or discards it with a reason.
ALTER TABLE dead_letters
    ADD COLUMN receipt text,
    ADD COLUMN device_key uuid,
    ADD COLUMN source text,
    ADD COLUMN credential text,
    ADD COLUMN correlation_id text,
    ADD COLUMN format text,
    ADD COLUMN provider text,
    ADD COLUMN attempts integer NOT NULL DEFAULT 1,
    ADD COLUMN first_attempt_at timestamptz,
    ADD COLUMN last_attempt_at timestamptz,
    ADD COLUMN replay integer NOT NULL DEFAULT 0,
    ADD COLUMN state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'redriven', 'resolved', 'discarded')),
    ADD COLUMN state_at timestamptz,
    ADD COLUMN state_by text,
    ADD COLUMN state_reason text;
UPDATE dead_letters SET first_attempt_at = origin_at, last_attempt_at = origin_at;
CREATE INDEX dead_letters_open ON dead_letters (reason) WHERE state IN ('open', 'redriven');
CREATE INDEX dead_letters_device ON dead_letters (device_key) WHERE device_key IS NOT NULL;
-- What a patient was assigned, whatever became of it.
CREATE INDEX device_commands_patient ON device_commands (patient_id) WHERE patient_id IS NOT NULL;

-- Who looked at identified data.
CREATE TABLE audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    operator text NOT NULL,
    command text NOT NULL,
    detail text NOT NULL
);

-- One text for the view and for the function, which reads what was stored at a time. Replaced, not recreated, so that the granted
-- rights stay. Three branches, so that a condition on patient_id reaches an index in each, and the last one is dropped by it.
DO $do$
DECLARE
    body text := $body$SELECT a.reading_id,
       v.component,
       a.patient_id,
       a.attribution,
       a.patient_claim,
       -- A claim that only the payload could resolve, and one without an id, name no patient.
       a.patient_claim IS NOT NULL AND a.patient_id IS NOT NULL
           AND a.patient_claim !~ '^(#|urn:(uuid|oid):)'
           AND regexp_replace(a.patient_claim, '^([^#]*/)?Patient/([^#]*)(#.*)?$', '\2') NOT IN ('', a.patient_id)
           AND a.patient_claim <> a.patient_id AS claim_conflict,
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
           || int8send(a.receipt_mac), 'base64'), '+/', '-_') AS receipt,
       coalesce(a.catalogue_revision, 0) AS catalogue_revision,
       a.withdrawn IS TRUE AS withdrawn
FROM (
    SELECT r.reading_id, r.measured_from, r.measured_until, r.imprecise_until, r.received_at, r.raw_offset, r.receipt_mac,
           r.raw_partition, r.topic_epoch, r.item, r.mapping_version, r.topic_code, r.format, r.status, r.time_precision,
           r.coding_id, r.gateway_id, r.source, r.patient_claim, r.value_num, r.value_text, r.unit, r.source_value,
           r.source_unit, r.comparator, r.absent, r.flags, r.components, r.extra, r.catalogue_revision, r.withdrawn,
           r.subject AS patient_id, 'subject'::text AS attribution, d.device_id
    FROM $readings r
    LEFT JOIN device_descriptions d ON d.description_id = r.description_id
    WHERE r.subject IS NOT NULL
    UNION ALL
    SELECT r.reading_id, r.measured_from, r.measured_until, r.imprecise_until, r.received_at, r.raw_offset, r.receipt_mac,
           r.raw_partition, r.topic_epoch, r.item, r.mapping_version, r.topic_code, r.format, r.status, r.time_precision,
           r.coding_id, r.gateway_id, r.source, r.patient_claim, r.value_num, r.value_text, r.unit, r.source_value,
           r.source_unit, r.comparator, r.absent, r.flags, r.components, r.extra, r.catalogue_revision, r.withdrawn,
           h.patient_id, 'assignment'::text, d.device_id
    FROM $assignments h
    JOIN device_descriptions d ON d.device_key = h.device_key
    JOIN $readings r ON r.description_id = d.description_id AND h.during @> r.measured_from
    WHERE r.subject IS NULL
      AND (r.imprecise_until IS NULL OR NOT EXISTS (
          SELECT FROM $assignments o
          WHERE o.device_key = h.device_key AND o.patient_id <> h.patient_id
            AND o.during && tstzrange(r.measured_from, r.imprecise_until)))
    UNION ALL
    SELECT r.reading_id, r.measured_from, r.measured_until, r.imprecise_until, r.received_at, r.raw_offset, r.receipt_mac,
           r.raw_partition, r.topic_epoch, r.item, r.mapping_version, r.topic_code, r.format, r.status, r.time_precision,
           r.coding_id, r.gateway_id, r.source, r.patient_claim, r.value_num, r.value_text, r.unit, r.source_value,
           r.source_unit, r.comparator, r.absent, r.flags, r.components, r.extra, r.catalogue_revision, r.withdrawn,
           NULL::text,
           CASE
               WHEN r.description_id IS NULL THEN 'no device'
               WHEN r.measured_from IS NULL THEN 'no time'
               WHEN NOT EXISTS (SELECT FROM $assignments o WHERE o.device_key = d.device_key) THEN 'never assigned'
               WHEN (SELECT count(DISTINCT o.patient_id) FROM $assignments o
                     WHERE o.device_key = d.device_key
                       AND o.during && tstzrange(r.measured_from, r.imprecise_until)) > 1
                   AND r.imprecise_until IS NOT NULL THEN 'time spans holders'
               ELSE 'unassigned at that time'
           END,
           d.device_id
    FROM $readings r
    LEFT JOIN device_descriptions d ON d.description_id = r.description_id
    WHERE r.subject IS NULL
      AND NOT EXISTS (
          SELECT FROM $assignments h
          WHERE h.device_key = d.device_key AND h.during @> r.measured_from
            AND (r.imprecise_until IS NULL OR NOT EXISTS (
                SELECT FROM $assignments o
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
           -- Of the flags of the reading, only those that concern all its parts.
           ARRAY(SELECT flag FROM unnest(a.flags) flag WHERE flag IN ('local-time', 'measured-in-future')
                 UNION SELECT jsonb_array_elements_text(e.value -> 'f') ORDER BY 1)
    FROM jsonb_array_elements(a.components) WITH ORDINALITY e
) v
LEFT JOIN codings k ON k.coding_id = v.coding_id
LEFT JOIN codings p ON p.coding_id = v.panel_id
LEFT JOIN device_descriptions g ON g.description_id = a.gateway_id
$body$;
    columns text := $columns$reading_id, component, patient_id, attribution, patient_claim, claim_conflict, provider, device_id, gateway_id, source, code_system,
       code, display, panel_code, value_num, comparator, bound_num, value_text, value_code_system, value_code, absent_reason, unit,
       source_value, source_unit, sample_period_ms, sample_origin, sample_factor, sample_dimensions, samples, document_sha256,
       document_type, document_title, measured_from, measured_until, time_precision, status, flags, received_at, mapping_version, receipt,
       catalogue_revision$columns$;
    stored text := $stored$reading_id, measured_from, measured_until, imprecise_until, received_at, raw_offset, receipt_mac, raw_partition, topic_epoch,
        item, mapping_version, topic_code, format, status, time_precision, coding_id, description_id, gateway_id, source, subject,
        patient_claim, value_num, value_text, unit, source_value, source_unit, comparator, absent, flags, components, extra,
        catalogue_revision, withdrawn, stored_at$stored$;
BEGIN
    EXECUTE 'CREATE OR REPLACE VIEW all_readings AS '
        || replace(replace(body, '$readings', 'readings'), '$assignments', 'device_assignments');
    EXECUTE format('CREATE OR REPLACE VIEW attributed_readings AS SELECT %s FROM all_readings
        WHERE status NOT IN (''entered-in-error'', ''cancelled'', ''deleted'') AND NOT withdrawn', columns);
    -- The plan depends on whether a patient is given, so it is made for each call.
    EXECUTE format($create$
        CREATE FUNCTION readings_as_of(at timestamptz, patient text DEFAULT NULL) RETURNS SETOF attributed_readings
        LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = %I, pg_temp SET plan_cache_mode = force_custom_plan
        AS $function$
        #variable_conflict use_column
        BEGIN
            RETURN QUERY SELECT %s FROM (%s) stored
            WHERE status NOT IN ('entered-in-error', 'cancelled', 'deleted') AND NOT withdrawn
              AND (readings_as_of.patient IS NULL OR patient_id = readings_as_of.patient);
        END
        $function$ $create$,
        current_schema(),
        columns,
        replace(replace(body,
            '$readings', format($r$(SELECT %1$s FROM readings WHERE coalesce(stored_at, received_at) <= readings_as_of.at
                UNION ALL
                SELECT %1$s FROM reading_history
                WHERE coalesce(stored_at, received_at) <= readings_as_of.at AND replaced_at > readings_as_of.at)$r$, stored)),
            '$assignments', $a$(SELECT device_key, patient_id, during FROM device_assignments
                WHERE coalesce(stored_at, '-infinity') <= readings_as_of.at
                UNION ALL
                SELECT device_key, patient_id, during FROM assignment_history
                WHERE coalesce(stored_at, '-infinity') <= readings_as_of.at AND replaced_at > readings_as_of.at)$a$));
END
$do$;
REVOKE EXECUTE ON FUNCTION readings_as_of FROM PUBLIC;

-- A withdrawn reading and a withdrawn delivery are promised by no outcome.
CREATE OR REPLACE VIEW ledger AS
SELECT o.topic,
       o.promised_readings,
       (SELECT count(*) FROM readings r WHERE r.topic_code = o.topic_code AND r.withdrawn IS NOT TRUE) AS rows,
       (SELECT count(*) FROM reading_versions v JOIN readings r USING (reading_id)
        WHERE v.topic_code = o.topic_code AND v.withdrawn IS NOT TRUE
          AND (v.topic_code, v.topic_epoch, v.raw_partition, v.raw_offset, v.item)
              IS DISTINCT FROM (r.topic_code, r.topic_epoch, r.raw_partition, r.raw_offset, r.item)) AS superseded,
       (SELECT count(*) FROM reading_duplicates d WHERE d.topic_code = o.topic_code AND d.withdrawn_mapping IS NULL) AS duplicates,
       (SELECT coalesce(sum(l.item_count), 0) FROM dead_letters l
        WHERE l.raw_topic = o.topic AND l.stage = 'sink' AND l.state <> 'resolved')::bigint AS refused,
       o.promised_rejections,
       (SELECT coalesce(sum(l.item_count), 0) FROM dead_letters l
        WHERE l.raw_topic = o.topic AND l.stage = 'normalizer' AND l.state <> 'resolved')::bigint AS dead_letters
FROM (
    SELECT topic,
           CASE topic WHEN 'raw.medisante' THEN 0 WHEN 'raw.healthkit' THEN 1 WHEN 'raw.uploads' THEN 3 END AS topic_code,
           sum((last_offset - first_offset + 1) * readings) AS promised_readings,
           sum((last_offset - first_offset + 1) * rejections) AS promised_rejections
    FROM outcomes WHERE topic <> 'raw.devices' GROUP BY topic
) o;

-- Up to where the continuous comparison of outcomes with rows has come, so that one process compares each raw record once.
CREATE TABLE accounted (
    topic text NOT NULL,
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, topic_epoch, raw_partition)
);

-- A sink of the release before does not know that a reading may be withdrawn.
UPDATE schema_version SET version = 7, compatible_from = 7;
