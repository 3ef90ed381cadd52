-- The tables of the sink. Times are UTC. No foreign keys point at the two dictionaries: their rows are written in the
-- transaction that first uses them and are never deleted, and a check for each reading would cost a fifth of the rate.
CREATE EXTENSION IF NOT EXISTS btree_gist;

CREATE TYPE provider AS ENUM ('medisante', 'healthkit');
CREATE TYPE payload_format AS ENUM ('standard-json', 'standard-xml', 'fhir-json', 'fhir-xml', 'health-auto-export', 'export-xml');
CREATE TYPE reading_status AS ENUM ('final', 'preliminary', 'amended', 'corrected', 'registered', 'cancelled', 'entered-in-error', 'deleted', 'unknown');
CREATE TYPE time_precision AS ENUM ('none', 'year', 'month', 'day', 'minute', 'second', 'millisecond', 'microsecond', 'nanosecond');

-- Dictionaries: what would else stand in every reading. `hash` is over the content, so that long texts can be unique.
CREATE TABLE codings (
    coding_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash uuid NOT NULL UNIQUE,
    system text NOT NULL,
    code text NOT NULL,
    display text
);
CREATE TABLE device_descriptions (
    description_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash uuid NOT NULL UNIQUE,
    device_key uuid NOT NULL,
    device_id text NOT NULL,
    manufacturer text,
    model text,
    serial text
);

CREATE TABLE readings (
    reading_id uuid NOT NULL,
    content uuid NOT NULL,               -- hash of the source's literals
    device_key uuid,
    measured_from timestamptz,
    measured_until timestamptz,
    imprecise_until timestamptz,         -- exclusive end of what an imprecise measured_from denotes
    received_at timestamptz NOT NULL,
    raw_offset bigint NOT NULL,
    receipt_mac bigint NOT NULL,
    source_version bigint,
    source_updated_at timestamptz,
    first_received_at timestamptz,       -- first append of this content, where that is not the row's own
    first_offset bigint,
    first_epoch integer,
    first_partition integer,
    first_item integer,
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    item integer NOT NULL,
    mapping_version integer NOT NULL,
    coding_id integer NOT NULL,
    description_id integer,
    gateway_id integer,                  -- a device_descriptions row
    offset_minutes integer,
    provider provider NOT NULL,
    format payload_format NOT NULL,
    status reading_status NOT NULL,
    time_precision time_precision NOT NULL,
    source text NOT NULL,
    subject text,
    patient_claim text,
    value_num numeric,
    value_text text,
    unit text,
    source_value text,
    source_unit text,
    comparator text,
    absent text,                         -- why there is no value
    measured_text text,
    measured_until_text text,
    flags text[],                        -- null: none
    components jsonb,                    -- [{c coding_id, n, t, u, s, su, cmp, a, f, x}], see sink::row
    extra jsonb,                         -- source codes, and the rest of waveforms, codes and documents
    key_id text,
    PRIMARY KEY (reading_id)
);
-- An authenticated subject decides by itself, so the two indexes never hold the same reading.
CREATE INDEX readings_device_time ON readings (device_key, measured_from) WHERE subject IS NULL;
CREATE INDEX readings_subject_time ON readings (subject, measured_from) WHERE subject IS NOT NULL;

-- The contents of a reading that are not the current one. Holds nothing for a reading that had one content only.
CREATE TABLE reading_versions (LIKE readings, PRIMARY KEY (reading_id, content));

-- Every delivered item whose reading another item carries: with readings and outcomes, the ledger.
CREATE TABLE reading_duplicates (
    provider provider NOT NULL,
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    raw_offset bigint NOT NULL,
    item integer NOT NULL,
    reading_id uuid NOT NULL,
    PRIMARY KEY (reading_id, provider, topic_epoch, raw_partition, raw_offset, item)
);
CREATE INDEX reading_duplicates_position ON reading_duplicates (raw_offset, raw_partition);
CREATE INDEX readings_position ON readings (raw_offset, raw_partition);

CREATE TABLE devices (
    device_key uuid PRIMARY KEY,
    provider provider,
    device_id text,
    device_type text,
    name text,
    serial_number text,
    features text
);
CREATE TABLE device_commands (
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    raw_offset bigint NOT NULL,
    device_key uuid NOT NULL,
    command text NOT NULL CHECK (command IN ('assign', 'unassign')),
    provider provider,
    device_id text,
    device_type text,
    name text,
    serial_number text,
    features text,
    patient_id text,
    effective_from timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    source text NOT NULL,
    subject text,
    mapping_version integer NOT NULL,
    key_id text,
    verdict text CHECK (verdict IN ('applied', 'superseded', 'unchanged', 'lost')),
    PRIMARY KEY (topic_epoch, raw_partition, raw_offset)
);
CREATE INDEX device_commands_device ON device_commands (device_key);

-- Derived wholly by the fold over device_commands; never edited.
CREATE TABLE device_assignments (
    device_key uuid NOT NULL,
    patient_id text NOT NULL,
    during tstzrange NOT NULL CHECK (NOT isempty(during)),
    EXCLUDE USING gist (device_key WITH =, during WITH &&)
);
CREATE INDEX device_assignments_device ON device_assignments (device_key);
CREATE INDEX device_assignments_patient ON device_assignments (patient_id);

CREATE TABLE documents (
    sha256 bytea PRIMARY KEY CHECK (length(sha256) = 32),
    content_type text NOT NULL,
    content bytea NOT NULL,
    provider provider NOT NULL,
    source text NOT NULL,
    received_at timestamptz NOT NULL,
    key_id text
);

-- One row for each run of raw records with the same outcome.
CREATE TABLE outcomes (
    topic text NOT NULL,
    topic_epoch integer NOT NULL,
    raw_partition integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL CHECK (last_offset >= first_offset),
    items integer NOT NULL,              -- of each record
    readings integer NOT NULL,
    commands integer NOT NULL,
    rejections integer NOT NULL,
    mapping_version integer NOT NULL,
    PRIMARY KEY (topic, topic_epoch, raw_partition, first_offset)
);

-- Listed without payload: that lies on the topic `dead-letters` and on the raw topic.
CREATE TABLE dead_letters (
    origin_topic text NOT NULL,
    origin_partition integer NOT NULL,
    origin_offset bigint NOT NULL,
    item integer NOT NULL,               -- -1: the whole message
    stage text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    sha256 text,
    raw_topic text,
    topic_epoch integer NOT NULL,        -- of the raw topic; -1: not known
    raw_partition integer,
    raw_offset bigint,
    origin_at timestamptz,
    letter_partition integer NOT NULL,
    letter_offset bigint NOT NULL,
    PRIMARY KEY (origin_topic, topic_epoch, origin_partition, origin_offset, item, stage)
);
CREATE INDEX dead_letters_raw ON dead_letters (raw_offset, raw_partition, raw_topic);

CREATE TABLE sink_offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);
