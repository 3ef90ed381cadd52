-- What payloads held that the mapping does not know, one row for each shape: names and types, never values. `count` is of raw
-- records; each is counted with its outcome, and only when that is new.
CREATE TABLE drift (
    fingerprint text PRIMARY KEY,
    provider provider NOT NULL,
    format payload_format NOT NULL,
    kind text NOT NULL,
    shape text NOT NULL,
    first_seen timestamptz NOT NULL,     -- when the raw record of the first example was received
    last_seen timestamptz NOT NULL,
    count bigint NOT NULL,
    topic_epoch integer NOT NULL,        -- of the first example, as the next two
    raw_partition integer NOT NULL,
    raw_offset bigint NOT NULL
);
