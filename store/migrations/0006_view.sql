-- A part of a panel shows no flag of another value, and a claim conflicts only where it names another patient.
LOCK TABLE schema_version, sink_offsets IN ACCESS EXCLUSIVE MODE;

-- Replaced, not recreated, so that the granted rights stay.
-- Three branches, so that a condition on patient_id reaches an index in each, and the last one is dropped by it.
CREATE OR REPLACE VIEW all_readings AS
SELECT a.reading_id,
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
           -- Of the flags of the reading, only those that concern all its parts.
           ARRAY(SELECT flag FROM unnest(a.flags) flag WHERE flag IN ('local-time', 'measured-in-future')
                 UNION SELECT jsonb_array_elements_text(e.value -> 'f') ORDER BY 1)
    FROM jsonb_array_elements(a.components) WITH ORDINALITY e
) v
LEFT JOIN codings k ON k.coding_id = v.coding_id
LEFT JOIN codings p ON p.coding_id = v.panel_id
LEFT JOIN device_descriptions g ON g.description_id = a.gateway_id;

-- Sinks exclude each other by locking rows of this table, which the role of the readers cannot do. Any role can take an advisory lock.
CREATE TABLE write_locks (
    kind text NOT NULL,
    topic text NOT NULL,
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    PRIMARY KEY (kind, topic, topic_epoch, raw_partition)
);

-- A sink of the release before takes advisory locks, which do not exclude the sinks of this one.
UPDATE schema_version SET version = 6, compatible_from = 6;
