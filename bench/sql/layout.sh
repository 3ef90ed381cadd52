#!/bin/sh
# Compares layouts of the reading table: insert rate into 100,000 and 5,000,000 rows, bytes a reading, and the query for one
# patient's last 30 days. Starts a Postgres of its own in a temporary directory, and removes both at the end.
#   bench/sql/layout.sh [rows at the end, default 10000000] [layouts, default "single hash16 ids"]
set -eu
rows=${1:-10000000}
layouts=${2:-single hash16 ids}
here=$(cd "$(dirname "$0")/../.." && pwd)
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
dir=$(mktemp -d)
port=${PORT:-55439}
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; else "$@"; fi; }
[ "$(id -u)" = 0 ] && chown 65534:65534 "$dir"
as "$bin/initdb" -D "$dir/data" -U postgres -A trust >/dev/null
as "$bin/postgres" -D "$dir/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c shared_buffers=512MB -c max_wal_size=4GB -c log_min_messages=panic 2>/dev/null &
server=$!
trap 'kill -INT "$(head -1 "$dir/data/postmaster.pid")" 2>/dev/null || true; wait $server 2>/dev/null || true; rm -rf "$dir"' EXIT INT TERM
sql() { "$bin/psql" -h 127.0.0.1 -p "$port" -U postgres -X -q -At -v ON_ERROR_STOP=1 "$@"; }
until sql -c 'SELECT 1' >/dev/null 2>&1; do kill -0 $server; sleep 0.1; done

for layout in $layouts; do
    sql -c "CREATE DATABASE $layout"
    narrow=$here/store/migrations/0005_contract.sql
    { cat "$here"/store/migrations/000[1-4]*.sql; case $layout in
    single) cat "$narrow" "$here"/store/migrations/000[6-9]*.sql ;;
    hash16) sed '/^CREATE TABLE readings_narrow (/,/^);/s/^);/) PARTITION BY HASH (reading_id);/' "$narrow"
        for part in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
            echo "CREATE TABLE readings_$part PARTITION OF readings FOR VALUES WITH (MODULUS 16, REMAINDER $part);"
        done ;;
    # Rows without a primary key; a narrow table keeps the ids unique.
    ids) sed 's/^ALTER TABLE readings ADD PRIMARY KEY (reading_id);/CREATE TABLE reading_ids (reading_id uuid PRIMARY KEY);/' "$narrow" ;;
    esac; } | sql -1 -d "$layout"
    sql -d "$layout" <<'SQL'
SET client_min_messages = warning;
INSERT INTO codings (hash, system, code, display) VALUES (md5('c')::uuid, 'http://loinc.org', '15074-8', 'Glucose [Moles/volume] in Blood');
INSERT INTO device_descriptions (hash, device_key, device_id, manufacturer, model)
    SELECT md5('h' || d)::uuid, md5('d' || d)::uuid, 'Maker:M1:' || d, 'Maker', 'M1' FROM generate_series(0, 9999) d;
INSERT INTO device_assignments SELECT md5('d' || d)::uuid, 'patient-' || d, tstzrange('2020-01-01', NULL) FROM generate_series(0, 9999) d;
-- Readings in order of time, of each device in turn, each with an id that is a hash.
CREATE UNLOGGED TABLE stage (LIKE readings);
CREATE PROCEDURE fill_stage(a bigint, b bigint) LANGUAGE sql AS $f$
    TRUNCATE stage;
    -- As the sink writes them: a source unit, a source number and a time text that follow from other columns are not stored.
    INSERT INTO stage (reading_id, content, measured_from, received_at, raw_offset, receipt_mac, source_updated_at, topic_code,
        topic_epoch, raw_partition, item, mapping_version, coding_id, description_id, offset_minutes, format, status, time_precision,
        source, value_num, unit)
    SELECT md5('r' || i)::uuid, md5('x' || i)::uuid, t, t + interval '3 s', i, hashint8extended(i, 1), t, 0,
        1, 0, 0, 1, 1, 1 + i % 10000, 120, 'standard-json', 'final', 'microsecond', 'portal', (40 + i % 80)::numeric / 10, 'mmol/L'
    FROM (SELECT i, timestamptz '2024-01-01' + i * interval '3.15 s' AS t FROM generate_series(a, b - 1) i) s
    ORDER BY md5('r' || i)::uuid;
$f$;
SQL
    # The time at which a sink stores the row, in layouts that have the column.
    case $layout in single) sql -d "$layout" -c "ALTER TABLE stage ALTER COLUMN stored_at SET DEFAULT clock_timestamp()" ;; esac
    if [ "$layout" = ids ]; then
        insert="WITH new AS (INSERT INTO reading_ids SELECT reading_id FROM stage ON CONFLICT DO NOTHING RETURNING reading_id)
                INSERT INTO readings SELECT s.* FROM stage s JOIN new USING (reading_id) ORDER BY s.description_id, s.measured_from"
    else
        insert="INSERT INTO readings SELECT * FROM stage ON CONFLICT (reading_id) DO NOTHING"
    fi
    at=0
    fill() { while [ $at -lt "$1" ]; do to=$((at + 100000)); sql -d "$layout" -c "CALL fill_stage($at, $to)" -c "$insert"; at=$to; done; }
    rate() {
        for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            sql -d "$layout" -c "CALL fill_stage($at, $at + 5000)"
            "$bin/psql" -h 127.0.0.1 -p "$port" -U postgres -X -q -d "$layout" -c '\timing on' -c "$insert" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p'
            at=$((at + 5000))
        done | sort -n | awk -v layout="$layout" -v rows="$1" '{ms[NR]=$1} END {printf "%s | into %d rows: median %.0f rows/s, worst %.0f, best %.0f (20 batches of 5,000)\n", layout, rows, 5e6/ms[int(NR/2)], 5e6/ms[NR], 5e6/ms[1]}'
        at=$((at + 100000))
    }
    fill 100000; rate 100000
    at=200000
    if [ "$rows" -ge 5000000 ]; then fill 5000000; sql -d "$layout" -c CHECKPOINT; rate 5000000; fi
    fill "$rows"
    sql -d "$layout" -c 'VACUUM ANALYZE'
    sql -d "$layout" <<SQL
SELECT '$layout | ' || n || ' rows: ' || heap / n || ' bytes a reading in tables, ' || idx / n || ' in indexes'
FROM (SELECT count(*) n FROM readings) r,
     (SELECT sum(pg_table_size(oid))::bigint heap, sum(pg_indexes_size(oid))::bigint idx FROM pg_class
      WHERE relkind = 'r' AND relname LIKE 'reading%' AND relname NOT IN ('reading_versions', 'reading_duplicates')) s;
SQL
    since=$(sql -d "$layout" -c "SELECT max(measured_from) - interval '30 days' FROM readings")
    for round in 1 2 3; do
        sql -d "$layout" -c "EXPLAIN (ANALYZE, BUFFERS) SELECT measured_from, code, value_num, unit FROM attributed_readings
            WHERE patient_id = 'patient-42' AND measured_from >= '$since'" \
            > "$dir/plan"
        sed -n "s/^Execution Time/$layout | last 30 days, round $round/p" "$dir/plan"
    done
    sql -d "$layout" -c "SELECT '$layout | rows of it: ' || count(*) FROM attributed_readings WHERE patient_id = 'patient-42' AND measured_from >= '$since'"
    cp "$dir/plan" "${PLANS:-$dir}/plan-$layout" 2>/dev/null || true
    sql -c "DROP DATABASE $layout"
done
