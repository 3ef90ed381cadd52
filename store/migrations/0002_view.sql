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
           CASE a.provider WHEN 'medisante' THEN '\x00'::bytea ELSE '\x01'::bytea END
           || substring(int4send(a.topic_epoch) FROM 3) || int4send(a.raw_partition) || int8send(a.raw_offset)
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
    SELECT 0 AS component, a.coding_id, NULL::integer AS panel_id, a.value_num, a.value_text, a.unit,
           a.source_value, a.source_unit, coalesce(a.flags, '{}') AS flags
    WHERE a.components IS NULL OR a.absent IS DISTINCT FROM 'panel'
    UNION ALL
    SELECT e.ordinality::integer, (e.value ->> 'c')::integer, a.coding_id, (e.value ->> 'n')::numeric,
           e.value ->> 't', e.value ->> 'u', e.value ->> 's', e.value ->> 'su',
           coalesce(a.flags, '{}') || coalesce(ARRAY(SELECT jsonb_array_elements_text(e.value -> 'f')), '{}')
    FROM jsonb_array_elements(a.components) WITH ORDINALITY e
) v
LEFT JOIN codings k ON k.coding_id = v.coding_id
LEFT JOIN codings p ON p.coding_id = v.panel_id
LEFT JOIN device_descriptions d ON d.description_id = a.description_id;

COMMENT ON VIEW attributed_readings IS 'One row for each coded value; see docs/adr/0003-reading-table.md.';

-- The ledger: what the outcomes promise, and what is there. All columns are sums over what the sink has taken in. It balances
-- when promised_readings = rows + superseded + duplicates + refused and promised_rejections = dead_letters.
CREATE VIEW ledger WITH (security_invoker = true) AS
SELECT o.provider,
       o.promised_readings,
       (SELECT count(*) FROM readings r WHERE r.provider::text = o.provider) AS rows,
       (SELECT count(*) FROM reading_versions v JOIN readings r USING (reading_id)
        WHERE v.provider::text = o.provider
          AND (v.topic_epoch, v.raw_partition, v.raw_offset, v.item)
              IS DISTINCT FROM (r.topic_epoch, r.raw_partition, r.raw_offset, r.item)) AS superseded,
       (SELECT count(*) FROM reading_duplicates d WHERE d.provider::text = o.provider) AS duplicates,
       (SELECT count(*) FROM dead_letters l WHERE l.raw_topic = o.topic AND l.stage = 'sink') AS refused,
       o.promised_rejections,
       (SELECT count(*) FROM dead_letters l WHERE l.raw_topic = o.topic AND l.stage = 'normalizer') AS dead_letters
FROM (
    SELECT topic, substring(topic FROM 5) AS provider,
           sum((last_offset - first_offset + 1) * readings) AS promised_readings,
           sum((last_offset - first_offset + 1) * rejections) AS promised_rejections
    FROM outcomes WHERE topic <> 'raw.devices' GROUP BY topic
) o;
