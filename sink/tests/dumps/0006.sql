SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public;
CREATE TYPE public.payload_format AS ENUM (
    'standard-json',
    'standard-xml',
    'fhir-json',
    'fhir-xml',
    'health-auto-export',
    'export-xml'
);
CREATE TYPE public.provider AS ENUM (
    'medisante',
    'healthkit'
);
CREATE TYPE public.reading_status AS ENUM (
    'final',
    'preliminary',
    'amended',
    'corrected',
    'registered',
    'cancelled',
    'entered-in-error',
    'deleted',
    'unknown'
);
CREATE TYPE public.time_precision AS ENUM (
    'none',
    'year',
    'month',
    'day',
    'minute',
    'second',
    'millisecond',
    'microsecond',
    'nanosecond'
);
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public._sqlx_migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);
CREATE TABLE public.accepted_gaps (
    topic text NOT NULL,
    partition integer NOT NULL,
    from_offset bigint NOT NULL,
    to_offset bigint NOT NULL,
    accepted_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.codings (
    coding_id bigint NOT NULL,
    hash uuid NOT NULL,
    system text NOT NULL,
    code text NOT NULL,
    display text
);
CREATE TABLE public.device_assignments (
    device_key uuid NOT NULL,
    patient_id text NOT NULL,
    during tstzrange NOT NULL,
    CONSTRAINT device_assignments_during_check CHECK ((NOT isempty(during)))
);
CREATE TABLE public.device_descriptions (
    description_id bigint NOT NULL,
    hash uuid NOT NULL,
    device_key uuid NOT NULL,
    device_id text NOT NULL,
    manufacturer text,
    model text,
    serial text
);
CREATE TABLE public.readings (
    reading_id uuid NOT NULL,
    content uuid NOT NULL,
    measured_from timestamp with time zone,
    received_at timestamp with time zone NOT NULL,
    raw_offset bigint NOT NULL,
    receipt_mac bigint NOT NULL,
    coding_id bigint NOT NULL,
    description_id bigint,
    gateway_id bigint,
    measured_until timestamp with time zone,
    imprecise_until timestamp with time zone,
    source_version bigint,
    source_updated_at timestamp with time zone,
    first_received_at timestamp with time zone,
    first_offset bigint,
    raw_partition integer NOT NULL,
    topic_epoch integer NOT NULL,
    item integer NOT NULL,
    mapping_version integer NOT NULL,
    first_topic_epoch integer,
    first_partition integer,
    first_item integer,
    format public.payload_format NOT NULL,
    status public.reading_status NOT NULL,
    time_precision public.time_precision NOT NULL,
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
CREATE VIEW public.all_readings AS
 SELECT a.reading_id,
    v.component,
    a.patient_id,
    a.attribution,
    a.patient_claim,
    ((a.patient_claim IS NOT NULL) AND (a.patient_id IS NOT NULL) AND (a.patient_claim !~ '^(#|urn:(uuid|oid):)'::text) AND ((regexp_replace(a.patient_claim, '^([^#]*/)?Patient/([^#]*)(#.*)?$'::text, '\2'::text) <> ''::text) AND (regexp_replace(a.patient_claim, '^([^#]*/)?Patient/([^#]*)(#.*)?$'::text, '\2'::text) <> a.patient_id)) AND (a.patient_claim <> a.patient_id)) AS claim_conflict,
        CASE a.topic_code
            WHEN 0 THEN 'medisante'::text
            ELSE 'healthkit'::text
        END AS provider,
    a.device_id,
    g.device_id AS gateway_id,
    a.source,
    k.system AS code_system,
    k.code,
    k.display,
    p.code AS panel_code,
        CASE
            WHEN (v.comparator IS NULL) THEN v.number
            ELSE NULL::numeric
        END AS value_num,
    v.comparator,
        CASE
            WHEN (v.comparator IS NOT NULL) THEN v.number
            ELSE NULL::numeric
        END AS bound_num,
    COALESCE(v.value_text, (v.extra #>> '{coding,display}'::text[]), (v.extra ->> 'text'::text), (v.extra #>> '{coding,code}'::text[]), (v.extra ->> 'boolean'::text)) AS value_text,
    (v.extra #>> '{coding,system}'::text[]) AS value_code_system,
    (v.extra #>> '{coding,code}'::text[]) AS value_code,
    v.absent AS absent_reason,
    v.unit,
        CASE
            WHEN (v.number IS NOT NULL) THEN COALESCE(v.source_value, (v.number)::text)
            ELSE (v.extra #>> '{coding,code}'::text[])
        END AS source_value,
        CASE
            WHEN (v.number IS NOT NULL) THEN NULLIF(COALESCE(v.source_unit, v.unit), ''::text)
            ELSE NULL::text
        END AS source_unit,
    ((v.extra #>> '{waveform,period_ms}'::text[]))::numeric AS sample_period_ms,
    ((v.extra #>> '{waveform,origin}'::text[]))::numeric AS sample_origin,
    ((v.extra #>> '{waveform,factor}'::text[]))::numeric AS sample_factor,
    ((v.extra #>> '{waveform,dimensions}'::text[]))::integer AS sample_dimensions,
    (v.extra #>> '{waveform,samples}'::text[]) AS samples,
    (v.extra #>> '{document,sha256}'::text[]) AS document_sha256,
    (v.extra #>> '{document,content_type}'::text[]) AS document_type,
    (v.extra #>> '{document,title}'::text[]) AS document_title,
    a.measured_from,
    a.measured_until,
    (a.time_precision)::text AS time_precision,
    (a.status)::text AS status,
    v.flags,
    a.received_at,
    a.mapping_version,
    translate(encode((((((SUBSTRING(int2send(a.topic_code) FROM 2) || SUBSTRING(int4send(a.topic_epoch) FROM 3)) || int4send(a.raw_partition)) || int8send(a.raw_offset)) || int4send(
        CASE
            WHEN ((a.topic_code = 1) AND (a.format = 'standard-json'::public.payload_format)) THEN a.item
            ELSE 0
        END)) || int8send(a.receipt_mac)), 'base64'::text), '+/'::text, '-_'::text) AS receipt
   FROM ((((( SELECT r.reading_id,
            r.measured_from,
            r.measured_until,
            r.imprecise_until,
            r.received_at,
            r.raw_offset,
            r.receipt_mac,
            r.raw_partition,
            r.topic_epoch,
            r.item,
            r.mapping_version,
            r.topic_code,
            r.format,
            r.status,
            r.time_precision,
            r.coding_id,
            r.gateway_id,
            r.source,
            r.patient_claim,
            r.value_num,
            r.value_text,
            r.unit,
            r.source_value,
            r.source_unit,
            r.comparator,
            r.absent,
            r.flags,
            r.components,
            r.extra,
            r.subject AS patient_id,
            'subject'::text AS attribution,
            d.device_id
           FROM (public.readings r
             LEFT JOIN public.device_descriptions d ON ((d.description_id = r.description_id)))
          WHERE (r.subject IS NOT NULL)
        UNION ALL
         SELECT r.reading_id,
            r.measured_from,
            r.measured_until,
            r.imprecise_until,
            r.received_at,
            r.raw_offset,
            r.receipt_mac,
            r.raw_partition,
            r.topic_epoch,
            r.item,
            r.mapping_version,
            r.topic_code,
            r.format,
            r.status,
            r.time_precision,
            r.coding_id,
            r.gateway_id,
            r.source,
            r.patient_claim,
            r.value_num,
            r.value_text,
            r.unit,
            r.source_value,
            r.source_unit,
            r.comparator,
            r.absent,
            r.flags,
            r.components,
            r.extra,
            h.patient_id,
            'assignment'::text AS text,
            d.device_id
           FROM ((public.device_assignments h
             JOIN public.device_descriptions d ON ((d.device_key = h.device_key)))
             JOIN public.readings r ON (((r.description_id = d.description_id) AND (h.during @> r.measured_from))))
          WHERE ((r.subject IS NULL) AND ((r.imprecise_until IS NULL) OR (NOT (EXISTS ( SELECT
                   FROM public.device_assignments o
                  WHERE ((o.device_key = h.device_key) AND (o.patient_id <> h.patient_id) AND (o.during && tstzrange(r.measured_from, r.imprecise_until))))))))
        UNION ALL
         SELECT r.reading_id,
            r.measured_from,
            r.measured_until,
            r.imprecise_until,
            r.received_at,
            r.raw_offset,
            r.receipt_mac,
            r.raw_partition,
            r.topic_epoch,
            r.item,
            r.mapping_version,
            r.topic_code,
            r.format,
            r.status,
            r.time_precision,
            r.coding_id,
            r.gateway_id,
            r.source,
            r.patient_claim,
            r.value_num,
            r.value_text,
            r.unit,
            r.source_value,
            r.source_unit,
            r.comparator,
            r.absent,
            r.flags,
            r.components,
            r.extra,
            NULL::text AS text,
                CASE
                    WHEN (r.description_id IS NULL) THEN 'no device'::text
                    WHEN (r.measured_from IS NULL) THEN 'no time'::text
                    WHEN (NOT (EXISTS ( SELECT
                       FROM public.device_assignments o
                      WHERE (o.device_key = d.device_key)))) THEN 'never assigned'::text
                    WHEN ((( SELECT count(DISTINCT o.patient_id) AS count
                       FROM public.device_assignments o
                      WHERE ((o.device_key = d.device_key) AND (o.during && tstzrange(r.measured_from, r.imprecise_until)))) > 1) AND (r.imprecise_until IS NOT NULL)) THEN 'time spans holders'::text
                    ELSE 'unassigned at that time'::text
                END AS "case",
            d.device_id
           FROM (public.readings r
             LEFT JOIN public.device_descriptions d ON ((d.description_id = r.description_id)))
          WHERE ((r.subject IS NULL) AND (NOT (EXISTS ( SELECT
                   FROM public.device_assignments h
                  WHERE ((h.device_key = d.device_key) AND (h.during @> r.measured_from) AND ((r.imprecise_until IS NULL) OR (NOT (EXISTS ( SELECT
                           FROM public.device_assignments o
                          WHERE ((o.device_key = d.device_key) AND (o.patient_id <> h.patient_id) AND (o.during && tstzrange(r.measured_from, r.imprecise_until))))))))))))) a
     CROSS JOIN LATERAL ( SELECT 0 AS component,
            a.coding_id,
            NULL::bigint AS panel_id,
            a.value_num AS number,
            a.value_text,
            a.unit,
            a.source_value,
            a.source_unit,
            a.comparator,
            a.absent,
            a.extra,
            COALESCE(a.flags, '{}'::text[]) AS flags
          WHERE ((a.components IS NULL) OR (a.absent IS DISTINCT FROM 'panel'::text))
        UNION ALL
         SELECT (e.ordinality)::integer AS ordinality,
            ((e.value ->> 'c'::text))::bigint AS int8,
            a.coding_id,
            ((e.value ->> 'n'::text))::numeric AS "numeric",
            (e.value ->> 't'::text),
            (e.value ->> 'u'::text),
            (e.value ->> 's'::text),
            (e.value ->> 'su'::text),
            (e.value ->> 'cmp'::text),
            (e.value ->> 'a'::text),
            (e.value -> 'x'::text),
            ARRAY( SELECT flag.flag
                   FROM unnest(a.flags) flag(flag)
                  WHERE (flag.flag = ANY (ARRAY['local-time'::text, 'measured-in-future'::text]))
                UNION
                 SELECT jsonb_array_elements_text((e.value -> 'f'::text)) AS jsonb_array_elements_text
          ORDER BY 1) AS "array"
           FROM jsonb_array_elements(a.components) WITH ORDINALITY e(value, ordinality)) v)
     LEFT JOIN public.codings k ON ((k.coding_id = v.coding_id)))
     LEFT JOIN public.codings p ON ((p.coding_id = v.panel_id)))
     LEFT JOIN public.device_descriptions g ON ((g.description_id = a.gateway_id)));
CREATE VIEW public.attributed_readings AS
 SELECT all_readings.reading_id,
    all_readings.component,
    all_readings.patient_id,
    all_readings.attribution,
    all_readings.patient_claim,
    all_readings.claim_conflict,
    all_readings.provider,
    all_readings.device_id,
    all_readings.gateway_id,
    all_readings.source,
    all_readings.code_system,
    all_readings.code,
    all_readings.display,
    all_readings.panel_code,
    all_readings.value_num,
    all_readings.comparator,
    all_readings.bound_num,
    all_readings.value_text,
    all_readings.value_code_system,
    all_readings.value_code,
    all_readings.absent_reason,
    all_readings.unit,
    all_readings.source_value,
    all_readings.source_unit,
    all_readings.sample_period_ms,
    all_readings.sample_origin,
    all_readings.sample_factor,
    all_readings.sample_dimensions,
    all_readings.samples,
    all_readings.document_sha256,
    all_readings.document_type,
    all_readings.document_title,
    all_readings.measured_from,
    all_readings.measured_until,
    all_readings.time_precision,
    all_readings.status,
    all_readings.flags,
    all_readings.received_at,
    all_readings.mapping_version,
    all_readings.receipt
   FROM public.all_readings
  WHERE (all_readings.status <> ALL (ARRAY['entered-in-error'::text, 'cancelled'::text, 'deleted'::text]));
ALTER TABLE public.codings ALTER COLUMN coding_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.codings_coding_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.dead_letters (
    origin_topic text NOT NULL,
    origin_partition integer NOT NULL,
    origin_offset bigint NOT NULL,
    item integer NOT NULL,
    stage text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    content_hmac text,
    raw_topic text,
    topic_epoch integer NOT NULL,
    raw_partition integer,
    raw_offset bigint,
    origin_at timestamp with time zone,
    letter_partition integer NOT NULL,
    letter_offset bigint NOT NULL,
    item_count integer DEFAULT 1 NOT NULL,
    CONSTRAINT dead_letters_item_count_check CHECK ((item_count >= 1))
);
CREATE TABLE public.device_commands (
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    raw_offset bigint NOT NULL,
    device_key uuid NOT NULL,
    command text NOT NULL,
    provider public.provider,
    device_id text,
    device_type text,
    name text,
    serial_number text,
    features text,
    patient_id text,
    effective_from timestamp with time zone,
    received_at timestamp with time zone NOT NULL,
    source text NOT NULL,
    subject text,
    mapping_version integer NOT NULL,
    key_id text,
    verdict text,
    bound_to public.provider[],
    CONSTRAINT device_commands_command_check CHECK ((command = ANY (ARRAY['assign'::text, 'unassign'::text]))),
    CONSTRAINT device_commands_verdict_check CHECK ((verdict = ANY (ARRAY['applied'::text, 'superseded'::text, 'unchanged'::text, 'held-by-another'::text, 'unknown-device'::text, 'forbidden'::text])))
);
ALTER TABLE public.device_descriptions ALTER COLUMN description_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.device_descriptions_description_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.devices (
    device_key uuid NOT NULL,
    provider public.provider,
    device_id text,
    device_type text,
    name text,
    serial_number text,
    features text
);
CREATE TABLE public.documents (
    sha256 bytea NOT NULL,
    content_type text NOT NULL,
    content bytea NOT NULL,
    provider public.provider NOT NULL,
    source text NOT NULL,
    received_at timestamp with time zone NOT NULL,
    key_id text,
    CONSTRAINT documents_sha256_check CHECK ((length(sha256) = 32))
);
CREATE VIEW public.document_contents AS
 SELECT encode(documents.sha256, 'hex'::text) AS document_sha256,
    documents.content_type,
    documents.content,
    (documents.provider)::text AS provider,
    documents.source,
    documents.received_at
   FROM public.documents;
CREATE TABLE public.drift (
    fingerprint text NOT NULL,
    provider public.provider NOT NULL,
    format public.payload_format NOT NULL,
    kind text NOT NULL,
    shape text NOT NULL,
    first_seen timestamp with time zone NOT NULL,
    last_seen timestamp with time zone NOT NULL,
    count bigint NOT NULL,
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    raw_offset bigint NOT NULL,
    topic_code smallint NOT NULL
);
CREATE TABLE public.excess_commands (
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    CONSTRAINT excess_commands_check CHECK ((last_offset >= first_offset))
);
CREATE TABLE public.outcomes (
    topic text NOT NULL,
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    items integer NOT NULL,
    readings integer NOT NULL,
    commands integer NOT NULL,
    rejections integer NOT NULL,
    mapping_version integer NOT NULL,
    CONSTRAINT outcomes_check CHECK ((last_offset >= first_offset))
);
CREATE TABLE public.reading_duplicates (
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    raw_offset bigint NOT NULL,
    item integer NOT NULL,
    reading_id uuid NOT NULL,
    topic_code smallint NOT NULL
);
CREATE TABLE public.reading_versions (
    reading_id uuid NOT NULL,
    content uuid NOT NULL,
    measured_from timestamp with time zone,
    received_at timestamp with time zone NOT NULL,
    raw_offset bigint NOT NULL,
    receipt_mac bigint NOT NULL,
    coding_id bigint NOT NULL,
    description_id bigint,
    gateway_id bigint,
    measured_until timestamp with time zone,
    imprecise_until timestamp with time zone,
    source_version bigint,
    source_updated_at timestamp with time zone,
    first_received_at timestamp with time zone,
    first_offset bigint,
    raw_partition integer NOT NULL,
    topic_epoch integer NOT NULL,
    item integer NOT NULL,
    mapping_version integer NOT NULL,
    first_topic_epoch integer,
    first_partition integer,
    first_item integer,
    format public.payload_format NOT NULL,
    status public.reading_status NOT NULL,
    time_precision public.time_precision NOT NULL,
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
CREATE VIEW public.ledger AS
 SELECT o.topic,
    o.promised_readings,
    ( SELECT count(*) AS count
           FROM public.readings r
          WHERE (r.topic_code = o.topic_code)) AS rows,
    ( SELECT count(*) AS count
           FROM (public.reading_versions v
             JOIN public.readings r USING (reading_id))
          WHERE ((v.topic_code = o.topic_code) AND (((((v.topic_code IS DISTINCT FROM r.topic_code) OR (v.topic_epoch IS DISTINCT FROM r.topic_epoch)) OR (v.raw_partition IS DISTINCT FROM r.raw_partition)) OR (v.raw_offset IS DISTINCT FROM r.raw_offset)) OR (v.item IS DISTINCT FROM r.item)))) AS superseded,
    ( SELECT count(*) AS count
           FROM public.reading_duplicates d
          WHERE (d.topic_code = o.topic_code)) AS duplicates,
    ( SELECT COALESCE(sum(l.item_count), (0)::bigint) AS "coalesce"
           FROM public.dead_letters l
          WHERE ((l.raw_topic = o.topic) AND (l.stage = 'sink'::text))) AS refused,
    o.promised_rejections,
    ( SELECT COALESCE(sum(l.item_count), (0)::bigint) AS "coalesce"
           FROM public.dead_letters l
          WHERE ((l.raw_topic = o.topic) AND (l.stage = 'normalizer'::text))) AS dead_letters
   FROM ( SELECT outcomes.topic,
                CASE outcomes.topic
                    WHEN 'raw.medisante'::text THEN 0
                    WHEN 'raw.healthkit'::text THEN 1
                    WHEN 'raw.uploads'::text THEN 3
                    ELSE NULL::integer
                END AS topic_code,
            sum((((outcomes.last_offset - outcomes.first_offset) + 1) * outcomes.readings)) AS promised_readings,
            sum((((outcomes.last_offset - outcomes.first_offset) + 1) * outcomes.rejections)) AS promised_rejections
           FROM public.outcomes
          WHERE (outcomes.topic <> 'raw.devices'::text)
          GROUP BY outcomes.topic) o;
CREATE TABLE public.schema_version (
    version integer NOT NULL,
    compatible_from integer NOT NULL
);
CREATE TABLE public.sink_offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL
);
CREATE TABLE public.skips (
    topic text NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    reason text NOT NULL,
    requested_at timestamp with time zone DEFAULT now() NOT NULL,
    done_at timestamp with time zone
);
CREATE TABLE public.write_locks (
    kind text NOT NULL,
    topic text NOT NULL,
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL
);
INSERT INTO public._sqlx_migrations VALUES (1, 'tables', '2026-12-01 08:42:54.450961+00', true, '\x1be7e32349aa15e5acdd62402f0f53fe65409c2d7688716ea6b48d6939e2c514595993ef756c5c1363a2fffc6acd7e4f', 611886803);
INSERT INTO public._sqlx_migrations VALUES (2, 'view', '2026-12-01 08:42:55.06803+00', true, '\x544cee4f3b3ebe402b542ce4dce0864dcdfee240edc2c327480efe463b99930e56afab0da2c604f89305e29dafa461a8', 31636775);
INSERT INTO public._sqlx_migrations VALUES (3, 'drift', '2026-12-01 08:42:55.10132+00', true, '\x4046e105aa3a600a0a58bec73c467e2c13eaa81a8568b1e28c349b312d9d295c4d17d70d6b7efe9c23b2c7518e36f230', 26345111);
INSERT INTO public._sqlx_migrations VALUES (4, 'scale out', '2026-12-01 08:42:55.136908+00', true, '\x189ec64d1f2dc55ccf06fb7b8a66432b13771367ea422feacb5e0f8de4891bfec7a1a3a8b1a5f2db7cf73e784de4a203', 410904127);
INSERT INTO public._sqlx_migrations VALUES (5, 'contract', '2026-12-01 08:42:55.542343+00', true, '\xa2e3151ab97296684100fa2f27f4277d8ab4404c3d15795bbd8d199641061422987f1b324cb46589aca23c958e284542', 121172332);
INSERT INTO public._sqlx_migrations VALUES (6, 'view', '2026-12-01 08:42:55.693076+00', true, '\xa536f56db0cbaa0373cfe49e38d244a2dd7d4a2a82c4d1085bd6bdb3accb162f5c7fda20e7781f33b8de63d27ee954ad', 38317423);
INSERT INTO public.accepted_gaps VALUES ('readings', 0, 4, 6, '2026-12-01 08:42:52.846798+00');
INSERT INTO public.codings OVERRIDING SYSTEM VALUE VALUES (1, '48a8b543-2719-ff54-f24b-67a2d5a7d15a', 'http://loinc.org', '15074-8', 'what 15074-8 is');
INSERT INTO public.codings OVERRIDING SYSTEM VALUE VALUES (2, '4ba327c6-abf9-79f3-0b29-e4ed78a0f2a8', 'http://loinc.org', '8480-6', 'what 8480-6 is');
INSERT INTO public.codings OVERRIDING SYSTEM VALUE VALUES (3, '6054f2eb-f946-5720-1445-8980b4d09c6f', 'http://loinc.org', '85354-9', 'what 85354-9 is');
INSERT INTO public.codings OVERRIDING SYSTEM VALUE VALUES (4, 'cabe1f40-64d7-dc5f-a603-b847d765050b', 'http://loinc.org', '8462-4', 'what 8462-4 is');
INSERT INTO public.dead_letters VALUES ('raw.medisante', 0, 15, 0, 'normalizer', 'unit-invalid', 'the unit is unknown', NULL, 'raw.medisante', 1, 0, 15, '2024-05-01 00:00:00+00', 0, 0, 2);
INSERT INTO public.dead_letters VALUES ('readings', 0, 100, 0, 'sink', 'row-refused', 'the unit is unknown', NULL, 'raw.medisante', 1, 0, 14, '2024-05-01 00:00:00+00', 0, 1, 1);
INSERT INTO public.device_assignments VALUES ('f24d033a-6398-50a4-8e11-ad6bdc769f25', 'patient-1', '["2024-04-30 00:00:00+00","2024-05-01 00:00:20+00")');
INSERT INTO public.device_assignments VALUES ('f24d033a-6398-50a4-8e11-ad6bdc769f25', 'patient-2', '["2024-05-01 00:00:20+00","2024-05-03 00:00:00+00")');
INSERT INTO public.device_commands VALUES (1, 0, 0, 'f24d033a-6398-50a4-8e11-ad6bdc769f25', 'assign', 'medisante', 'meter-1', NULL, 'Meter', NULL, NULL, 'patient-1', '2024-04-30 00:00:00+00', '2024-08-09 00:00:00+00', 'operator', NULL, 1, NULL, 'applied', NULL);
INSERT INTO public.device_commands VALUES (1, 0, 1, 'f24d033a-6398-50a4-8e11-ad6bdc769f25', 'assign', 'medisante', 'meter-1', NULL, 'Meter', NULL, NULL, 'patient-2', '2024-05-01 00:00:20+00', '2024-08-09 00:00:01+00', 'operator', NULL, 1, NULL, 'applied', NULL);
INSERT INTO public.device_commands VALUES (1, 0, 2, 'f24d033a-6398-50a4-8e11-ad6bdc769f25', 'unassign', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2024-05-03 00:00:00+00', '2024-08-09 00:00:02+00', 'operator', NULL, 1, NULL, 'applied', NULL);
INSERT INTO public.device_descriptions OVERRIDING SYSTEM VALUE VALUES (1, '175dea88-8115-2e07-4f7f-9eb94dc17da1', 'f24d033a-6398-50a4-8e11-ad6bdc769f25', 'meter-1', 'Maker', 'M1', NULL);
INSERT INTO public.device_descriptions OVERRIDING SYSTEM VALUE VALUES (2, '2969d342-abb4-052d-d1c3-6a673b780c8e', '84a34f73-e8e6-5efe-8fc4-4948266e8c1b', 'hub-1', 'Maker', 'M1', NULL);
INSERT INTO public.devices VALUES ('f24d033a-6398-50a4-8e11-ad6bdc769f25', 'medisante', 'meter-1', NULL, 'Meter', NULL, NULL);
INSERT INTO public.documents VALUES ('\x0303030303030303030303030303030303030303030303030303030303030303', 'application/pdf', '\x616263', 'healthkit', 'app', '2024-05-01 00:00:00+00', NULL);
INSERT INTO public.drift VALUES ('78168b5800e35324', 'medisante', 'standard-json', 'field', 'a.b', '2024-05-01 00:00:00+00', '2024-05-01 00:00:00+00', 1, 1, 0, 15, 0);
INSERT INTO public.excess_commands VALUES (1, 0, 10, 12);
INSERT INTO public.outcomes VALUES ('raw.uploads', 1, 0, 0, 0, 1, 1, 0, 0, 1);
INSERT INTO public.outcomes VALUES ('raw.medisante', 1, 0, 0, 14, 1, 1, 0, 0, 1);
INSERT INTO public.outcomes VALUES ('raw.medisante', 1, 0, 15, 15, 2, 0, 0, 2, 1);
INSERT INTO public.reading_duplicates VALUES (1, 0, 13, 0, '50000000-0000-0000-0000-00000000000b', 0);
INSERT INTO public.reading_versions VALUES ('50000000-0000-0000-0000-00000000000a', '01010101-0101-0101-0101-010101010101', '2024-05-01 00:00:00+00', '2024-05-01 00:00:00+00', 0, 2248892908731697350, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'final', 'second', 0, NULL, 120, 'portal', NULL, NULL, 5.5, 'mmol/L', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{default-unit}', NULL, NULL, NULL);
INSERT INTO public.readings VALUES ('50000000-0000-0000-0000-00000000000b', '01010101-0101-0101-0101-010101010101', '2024-05-01 00:00:00+00', '2024-05-01 00:00:01+00', 1, -1870596341310580373, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'final', 'second', 0, NULL, 120, 'portal', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{default-unit}', NULL, '{"text": "said", "coding": {"code": "coded", "system": "http://loinc.org", "display": "what coded is"}}', NULL);
INSERT INTO public.readings VALUES ('50000000-0000-0000-0000-00000000000c', '01010101-0101-0101-0101-010101010101', '2024-05-01 00:00:00+00', '2024-05-01 00:00:02+00', 2, -544325758370109179, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'final', 'second', 0, NULL, 120, 'portal', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'some text', NULL, NULL, NULL, '{default-unit}', NULL, NULL, NULL);
INSERT INTO public.readings VALUES ('50000000-0000-0000-0000-00000000000d', '01010101-0101-0101-0101-010101010101', '2024-05-01 00:00:00+00', '2024-05-01 00:00:03+00', 3, 6156252343159977926, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'final', 'second', 0, NULL, 120, 'portal', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{default-unit}', NULL, '{"boolean": true}', NULL);
INSERT INTO public.readings VALUES ('50000000-0000-0000-0000-00000000000e', '01010101-0101-0101-0101-010101010101', '2024-05-01 00:00:00+00', '2024-05-01 00:00:04+00', 4, 5843626428258003756, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'final', 'second', 0, NULL, 120, 'portal', NULL, NULL, NULL, 'mV', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{default-unit}', NULL, '{"waveform": {"factor": "0.5", "origin": "0", "samples": "1 2 E", "period_ms": "4", "dimensions": 1}}', NULL);
INSERT INTO public.readings VALUES ('50000000-0000-0000-0000-00000000000f', '01010101-0101-0101-0101-010101010101', '2024-05-01 00:00:00+00', '2024-05-01 00:00:05+00', 5, 6973079714688472925, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'final', 'second', 0, NULL, 120, 'portal', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{default-unit}', NULL, '{"document": {"bytes": 3, "title": "ECG", "sha256": "0303030303030303030303030303030303030303030303030303030303030303", "content_type": "application/pdf"}}', NULL);
INSERT INTO public.readings VALUES ('50000000-0000-0000-0000-000000000010', '01010101-0101-0101-0101-010101010101', '2024-05-01 00:00:00+00', '2024-05-01 00:00:06+00', 6, 3605835705374180898, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'final', 'second', 0, NULL, 120, 'portal', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'unknown', NULL, NULL, '{default-unit}', NULL, NULL, NULL);
INSERT INTO public.readings VALUES ('50000000-0000-0000-0000-000000000014', '01010101-0101-0101-0101-010101010101', '2024-05-01 00:00:00+00', '2024-05-01 00:00:07+00', 7, 4270823577303635718, 3, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'final', 'second', 0, NULL, 120, 'portal', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'panel', NULL, NULL, '{default-unit}', '[{"c": 2, "f": ["out-of-range"], "n": "120", "u": "mmol/L"}, {"c": 4, "f": ["out-of-range"], "n": "80.0", "u": "mmol/L"}]', NULL, NULL);
INSERT INTO public.readings VALUES ('50000000-0000-0000-0000-000000000015', '01010101-0101-0101-0101-010101010101', '2024-05-01 00:00:00+00', '2024-05-01 00:00:08+00', 8, -4354708265168843216, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'final', 'second', 0, NULL, 120, 'portal', 'patient-2', NULL, 5.5, 'mmol/L', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{default-unit}', NULL, NULL, NULL);
INSERT INTO public.readings VALUES ('50000000-0000-0000-0000-000000000016', '01010101-0101-0101-0101-010101010101', NULL, '2024-05-01 00:00:09+00', 9, -7196136343820994945, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'final', 'second', 0, NULL, 120, 'portal', NULL, 'patient-3', 5.5, 'mmol/L', NULL, NULL, NULL, NULL, NULL, '2024-05-01T02:00:00+02:00', NULL, '{default-unit}', NULL, NULL, NULL);
INSERT INTO public.readings VALUES ('50000000-0000-0000-0000-000000000017', '01010101-0101-0101-0101-010101010101', '2024-05-01 00:00:00+00', '2024-05-01 00:00:10+00', 10, 548309976719221194, 1, 1, 2, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'entered-in-error', 'second', 0, NULL, 120, 'portal', NULL, NULL, 5.5, 'mmol/L', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{default-unit}', NULL, NULL, NULL);
INSERT INTO public.readings VALUES ('50000000-0000-0000-0000-000000000018', '01010101-0101-0101-0101-010101010101', '2024-05-02 00:00:00+00', '2024-05-01 00:00:11+00', 11, -717689693985023788, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'final', 'second', 0, NULL, 120, 'portal', NULL, NULL, 5.5, 'mmol/L', NULL, NULL, NULL, NULL, NULL, '2024-05-01T02:00:00+02:00', NULL, '{default-unit}', NULL, NULL, NULL);
INSERT INTO public.readings VALUES ('50000000-0000-0000-0000-00000000001e', '01010101-0101-0101-0101-010101010101', '2024-05-01 00:00:00+00', '2024-05-01 00:00:00+00', 0, -7159530096909343683, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'final', 'second', 3, NULL, 120, 'portal', NULL, NULL, 5.5, 'mmol/L', NULL, NULL, NULL, NULL, NULL, '2024-05-01T02:00:00+02:00', NULL, '{default-unit}', NULL, NULL, NULL);
INSERT INTO public.readings VALUES ('50000000-0000-0000-0000-00000000000a', '02020202-0202-0202-0202-020202020202', '2024-05-01 00:00:00+00', '2024-05-01 00:00:12+00', 12, -8022978158617782746, 1, 1, NULL, NULL, NULL, 2, NULL, NULL, NULL, 0, 1, 0, 1, NULL, NULL, NULL, 'standard-json', 'final', 'second', 0, NULL, 120, 'portal', NULL, NULL, 5.7, 'mmol/L', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{default-unit}', NULL, NULL, NULL);
INSERT INTO public.schema_version VALUES (6, 6);
INSERT INTO public.sink_offsets VALUES ('readings', 0, 14);
INSERT INTO public.skips VALUES ('readings', 0, 3, 'broken', '2026-12-01 08:42:52.846798+00', '2026-12-01 08:42:52.846798+00');
INSERT INTO public.write_locks VALUES ('outcomes', 'raw.medisante', 1, 0);
INSERT INTO public.write_locks VALUES ('outcomes', 'raw.uploads', 1, 0);
INSERT INTO public.write_locks VALUES ('dead-letters', 'raw.medisante', 1, 0);
SELECT pg_catalog.setval('public.codings_coding_id_seq', 4, true);
SELECT pg_catalog.setval('public.device_descriptions_description_id_seq', 2, true);
ALTER TABLE ONLY public._sqlx_migrations
    ADD CONSTRAINT _sqlx_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.accepted_gaps
    ADD CONSTRAINT accepted_gaps_pkey PRIMARY KEY (topic, partition, from_offset);
ALTER TABLE ONLY public.codings
    ADD CONSTRAINT codings_hash_key UNIQUE (hash);
ALTER TABLE ONLY public.codings
    ADD CONSTRAINT codings_pkey PRIMARY KEY (coding_id);
ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (origin_topic, topic_epoch, origin_partition, origin_offset, item, stage);
ALTER TABLE ONLY public.device_assignments
    ADD CONSTRAINT device_assignments_device_key_during_excl EXCLUDE USING gist (device_key WITH =, during WITH &&);
ALTER TABLE ONLY public.device_commands
    ADD CONSTRAINT device_commands_pkey PRIMARY KEY (topic_epoch, raw_partition, raw_offset);
ALTER TABLE ONLY public.device_descriptions
    ADD CONSTRAINT device_descriptions_hash_key UNIQUE (hash);
ALTER TABLE ONLY public.device_descriptions
    ADD CONSTRAINT device_descriptions_pkey PRIMARY KEY (description_id);
ALTER TABLE ONLY public.devices
    ADD CONSTRAINT devices_pkey PRIMARY KEY (device_key);
ALTER TABLE ONLY public.documents
    ADD CONSTRAINT documents_pkey PRIMARY KEY (sha256);
ALTER TABLE ONLY public.drift
    ADD CONSTRAINT drift_pkey PRIMARY KEY (fingerprint);
ALTER TABLE ONLY public.excess_commands
    ADD CONSTRAINT excess_commands_pkey PRIMARY KEY (topic_epoch, raw_partition, first_offset);
ALTER TABLE ONLY public.outcomes
    ADD CONSTRAINT outcomes_pkey PRIMARY KEY (topic, topic_epoch, raw_partition, first_offset);
ALTER TABLE ONLY public.reading_duplicates
    ADD CONSTRAINT reading_duplicates_pkey PRIMARY KEY (reading_id, topic_code, topic_epoch, raw_partition, raw_offset, item);
ALTER TABLE ONLY public.reading_versions
    ADD CONSTRAINT reading_versions_pkey PRIMARY KEY (reading_id, content);
ALTER TABLE ONLY public.readings
    ADD CONSTRAINT readings_pkey PRIMARY KEY (reading_id);
ALTER TABLE ONLY public.sink_offsets
    ADD CONSTRAINT sink_offsets_pkey PRIMARY KEY (topic, partition);
ALTER TABLE ONLY public.skips
    ADD CONSTRAINT skips_pkey PRIMARY KEY (topic, partition, log_offset);
ALTER TABLE ONLY public.write_locks
    ADD CONSTRAINT write_locks_pkey PRIMARY KEY (kind, topic, topic_epoch, raw_partition);
CREATE INDEX dead_letters_raw ON public.dead_letters USING btree (raw_offset, raw_partition, raw_topic);
CREATE INDEX device_assignments_device ON public.device_assignments USING btree (device_key);
CREATE INDEX device_assignments_patient ON public.device_assignments USING btree (patient_id);
CREATE INDEX device_commands_device ON public.device_commands USING btree (device_key);
CREATE INDEX device_descriptions_device ON public.device_descriptions USING btree (device_key);
CREATE INDEX documents_hexadecimal ON public.documents USING btree (encode(sha256, 'hex'::text));
CREATE INDEX reading_duplicates_position ON public.reading_duplicates USING btree (raw_offset, raw_partition);
CREATE INDEX readings_device_time ON public.readings USING btree (description_id, measured_from) WHERE (subject IS NULL);
CREATE INDEX readings_position ON public.readings USING brin (raw_offset int8_minmax_multi_ops, raw_partition int4_minmax_multi_ops) WITH (pages_per_range='32', autosummarize='on');
CREATE INDEX readings_subject_time ON public.readings USING btree (subject, measured_from) WHERE (subject IS NOT NULL);
CREATE UNIQUE INDEX schema_version_single ON public.schema_version USING btree ((true));
