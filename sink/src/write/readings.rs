//! Writes readings: new ones with a set-based insert, all others with the set-based steps of [`crate::merge`].

use std::collections::{BTreeMap, BTreeSet};

use schemas::version::{Appended, MappedBy, SourceVersion, Version};
use sqlx::{PgConnection, Row as _, types::time::OffsetDateTime};
use store::{
    reading::{Row, column_names},
    topic_code, topic_of,
};
use uuid::Uuid;

use super::{DictionaryIds, Written, moment};
use crate::{
    encoded_readings::EncodedReadings,
    item::Item,
    merge::{Delivered, DeliveredFrom, Location, Plan, Stored, Withdrawals, plan},
};

/// Sends the rows into the temporary table of the session, where they block no other session.
pub(super) async fn copy_to_stage(
    connection: &mut PgConnection,
    encoded: &mut EncodedReadings,
    ids: &DictionaryIds,
) -> Result<(), sqlx::Error> {
    if encoded.rows() == 0 {
        return Ok(());
    }
    let columns = column_names();
    let mut copy = connection.copy_in_raw(&format!("COPY stage ({columns}) FROM STDIN (FORMAT binary)")).await?;
    copy.send(encoded.fill_ids(&ids.codings, &ids.devices)).await?;
    copy.finish().await?;
    Ok(())
}

/// Moves the staged rows to their tables.
pub(super) async fn write(
    connection: &mut PgConnection,
    items: &[Item],
    encoded: &EncodedReadings,
    stored_at: OffsetDateTime,
) -> Result<Written, sqlx::Error> {
    if encoded.rows() == 0 {
        return Ok(Written::default());
    }
    let columns = column_names();
    let inserted = sqlx::query(&format!(
        "INSERT INTO readings ({columns}, stored_at) SELECT {columns}, $1 FROM stage ON CONFLICT (reading_id) DO NOTHING"
    ))
    .bind(stored_at)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    #[cfg(feature = "planted-bugs")]
    if service::planted_bug::PlantedBug::DuplicatedRow.is_planted() {
        let other = columns.replacen("reading_id", "gen_random_uuid()", 1);
        sqlx::query(&format!("INSERT INTO readings ({columns}) SELECT {other} FROM stage LIMIT 1"))
            .execute(&mut *connection)
            .await?;
    }
    let mut known: BTreeSet<Uuid> = encoded.merged().iter().copied().collect();
    if inserted < encoded.rows() {
        known.extend(differing(connection).await?);
    }
    if !known.is_empty() {
        let deliveries = known.into_iter().map(|id| (id, encoded.deliveries(items, id))).collect();
        merge(connection, &deliveries, stored_at).await?;
    }
    Ok(Written { inserted, readings: encoded.delivered(), ..Written::default() })
}

/// Returns the staged readings that are already stored with other contents or from other items.
async fn differing(connection: &mut PgConnection) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT DISTINCT s.reading_id FROM stage s JOIN readings r USING (reading_id) \
         WHERE (s.content, s.raw_offset, s.raw_partition, s.topic_epoch, s.topic_code, s.item, s.mapping_version, \
                s.catalogue_revision, s.replay, s.withdrawn, s.source_version, s.source_updated_at, s.first_offset) IS DISTINCT FROM \
               (r.content, r.raw_offset, r.raw_partition, r.topic_epoch, r.topic_code, r.item, r.mapping_version, \
                r.catalogue_revision, r.replay, r.withdrawn, r.source_version, r.source_updated_at, r.first_offset)",
    )
    .fetch_all(connection)
    .await
}

async fn merge(
    connection: &mut PgConnection,
    deliveries: &BTreeMap<Uuid, Vec<&Row>>,
    stored_at: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = deliveries.keys().copied().collect();
    let mut stored: BTreeMap<Uuid, Vec<Stored>> = BTreeMap::new();
    load(connection, "readings", Location::Current, &ids, &mut stored).await?;
    load(connection, "reading_versions", Location::Archived, &ids, &mut stored).await?;
    let mut withdrawals = load_withdrawals(connection, &ids).await?;
    let mut withdrawn_here = Vec::new();
    let mut plans: Vec<(Uuid, Plan)> = Vec::with_capacity(ids.len());
    for (id, rows) in deliveries {
        let known = withdrawals.entry(*id).or_default();
        for version in rows.iter().map(|row| row.version).filter(|version| version.withdrawn) {
            let by = known.entry(DeliveredFrom::of(version.row)).or_insert(version.mapped_by);
            *by = version.mapped_by.max(*by);
        }
        let delivered: Vec<Delivered> =
            rows.iter().map(|row| Delivered { content: row.content(), version: row.version }).collect();
        let there = stored.get(id).map(Vec::as_slice).unwrap_or_default();
        let plan = plan(there, &delivered, known);
        let of_batch =
            delivered.iter().filter(|one| one.version.withdrawn).map(|one| DeliveredFrom::of(one.version.row));
        let counting = of_batch.filter(|from| !plan.rows.contains(from) && !plan.duplicates.contains(from));
        withdrawn_here.extend(counting.filter_map(|from| Some((*id, from, *known.get(&from)?))));
        plans.push((*id, plan));
    }
    carry_out(connection, &plans, stored_at).await?;
    record_duplicates(connection, &plans).await?;
    record_withdrawals(connection, &withdrawn_here).await
}

const MICROS: &str = "(extract(epoch FROM $) * 1000000)::bigint";

async fn load(
    connection: &mut PgConnection,
    table: &str,
    location: Location,
    ids: &[Uuid],
    stored: &mut BTreeMap<Uuid, Vec<Stored>>,
) -> Result<(), sqlx::Error> {
    let micros = |column: &str| MICROS.replace('$', column);
    let statement = format!(
        "SELECT reading_id, content, source_version, {}, mapping_version, {}, topic_epoch, raw_partition, raw_offset, \
         item, topic_code, {}, first_topic_code, first_topic_epoch, first_partition, first_offset, first_item, \
         coalesce(catalogue_revision, 0), coalesce(replay, 0), withdrawn IS TRUE \
         FROM {table} WHERE reading_id = ANY($1) ORDER BY reading_id, content FOR UPDATE",
        micros("source_updated_at"),
        micros("received_at"),
        micros("first_received_at"),
    );
    for row in sqlx::query(&statement).bind(ids).fetch_all(connection).await? {
        let own = Appended {
            at: row.try_get(5)?,
            topic: topic_of(row.try_get(10)?)?,
            topic_epoch: row.try_get(6)?,
            partition: row.try_get(7)?,
            offset: row.try_get(8)?,
            item: row.try_get(9)?,
        };
        let first = match row.try_get::<Option<i64>, _>(11)? {
            None => own,
            Some(at) => Appended {
                at,
                topic: topic_of(row.try_get(12)?)?,
                topic_epoch: row.try_get(13)?,
                partition: row.try_get(14)?,
                offset: row.try_get(15)?,
                item: row.try_get(16)?,
            },
        };
        let source = SourceVersion { number: row.try_get(2)?, updated_at: row.try_get(3)? };
        let mapped_by = MappedBy { mapping: row.try_get(4)?, catalogue: row.try_get(17)?, replay: row.try_get(18)? };
        let version = Version { source, first, mapped_by, row: own, withdrawn: row.try_get(19)? };
        stored.entry(row.try_get(0)?).or_default().push(Stored { content: row.try_get(1)?, version, location });
    }
    Ok(())
}

/// Returns the withdrawals that are stored for these readings.
async fn load_withdrawals(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<BTreeMap<Uuid, Withdrawals>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT reading_id, topic_code, topic_epoch, raw_partition, raw_offset, item, withdrawn_mapping AS \"mapping!\", \
             withdrawn_catalogue AS \"catalogue!\", withdrawn_replay AS \"replay!\" \
         FROM reading_duplicates WHERE reading_id = ANY($1) AND withdrawn_mapping IS NOT NULL",
        ids
    )
    .fetch_all(connection)
    .await?;
    let mut all: BTreeMap<Uuid, Withdrawals> = BTreeMap::new();
    for row in rows {
        let item = Appended {
            at: 0,
            topic: topic_of(row.topic_code)?,
            topic_epoch: row.topic_epoch,
            partition: row.raw_partition,
            offset: row.raw_offset,
            item: row.item,
        };
        let by = MappedBy { mapping: row.mapping, catalogue: row.catalogue, replay: row.replay };
        all.entry(row.reading_id).or_default().insert(DeliveredFrom::of(item), by);
    }
    Ok(all)
}

/// Executes the steps of all plans, each step as one statement for all readings that require it.
async fn carry_out(
    connection: &mut PgConnection,
    plans: &[(Uuid, Plan)],
    stored_at: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let ids = |takes: fn(&Plan) -> bool| -> Vec<Uuid> {
        plans.iter().filter(|(_, plan)| takes(plan)).map(|(id, _)| *id).collect()
    };
    let keys = |of: fn(&Plan) -> Vec<Uuid>| -> (Vec<Uuid>, Vec<Uuid>) {
        plans.iter().flat_map(|(id, plan)| of(plan).into_iter().map(|content| (*id, content))).unzip()
    };
    let columns = column_names();
    let archive =
        format!("INSERT INTO reading_versions ({columns}) SELECT {columns} FROM readings WHERE reading_id = ANY($1)");
    by_ids(connection, &archive, &ids(|plan| plan.archive)).await?;
    // A row that is replaced goes on to say what was known until now.
    let clear = format!(
        "WITH gone AS (DELETE FROM readings WHERE reading_id = ANY($1) RETURNING *) \
         INSERT INTO reading_history ({columns}, stored_at, replaced_at) SELECT {columns}, stored_at, $2 FROM gone"
    );
    let cleared = ids(|plan| plan.clear);
    if !cleared.is_empty() {
        sqlx::query(&clear).bind(&cleared).bind(stored_at).execute(&mut *connection).await?;
    }
    let of_keys = "(reading_id, content) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))";
    let drop = format!("DELETE FROM reading_versions WHERE {of_keys}");
    by_keys(connection, &drop, &keys(|plan| plan.drop_archived.clone())).await?;
    let restored = keys(|plan| plan.restore.into_iter().collect());
    if !restored.0.is_empty() {
        let restore = format!(
            "WITH moved AS (DELETE FROM reading_versions WHERE {of_keys} RETURNING *) \
             INSERT INTO readings ({columns}, stored_at) SELECT {columns}, $3 FROM moved"
        );
        let (ids, contents) = restored;
        sqlx::query(&restore).bind(ids).bind(contents).bind(stored_at).execute(&mut *connection).await?;
    }
    let current = plans.iter().filter_map(|(id, plan)| Some((*id, plan.put_current?)));
    put(connection, "readings", &current.collect::<Vec<_>>(), stored_at).await?;
    let archived = plans.iter().flat_map(|(id, plan)| plan.put_archived.iter().map(|row| (*id, *row)));
    put(connection, "reading_versions", &archived.collect::<Vec<_>>(), stored_at).await?;
    touch(connection, plans).await
}

/// Inserts staged rows into a table. A content may be staged several times, so the item and what mapped it select the row.
async fn put(
    connection: &mut PgConnection,
    table: &str,
    rows: &[(Uuid, (Uuid, Version))],
    stored_at: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = column_names();
    let statement = format!(
        "INSERT INTO {table} ({columns}, stored_at) SELECT {columns}, $12 FROM stage \
         WHERE (reading_id, content, topic_code, topic_epoch, raw_partition, raw_offset, item, mapping_version, \
                coalesce(catalogue_revision, 0), coalesce(replay, 0), withdrawn IS TRUE) IN \
               (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::integer[], $5::integer[], $6::bigint[], \
                                     $7::integer[], $8::integer[], $9::integer[], $10::integer[], $11::boolean[]))"
    );
    let ints = |pick: fn(&Version) -> i32| -> Vec<i32> { rows.iter().map(|(_, (_, version))| pick(version)).collect() };
    sqlx::query(&statement)
        .bind(rows.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, (content, _))| *content).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, (_, version))| topic_code(version.row.topic)).collect::<Vec<_>>())
        .bind(ints(|version| version.row.topic_epoch))
        .bind(ints(|version| version.row.partition))
        .bind(rows.iter().map(|(_, (_, version))| version.row.offset).collect::<Vec<_>>())
        .bind(ints(|version| version.row.item))
        .bind(ints(|version| version.mapped_by.mapping))
        .bind(ints(|version| version.mapped_by.catalogue))
        .bind(ints(|version| version.mapped_by.replay))
        .bind(rows.iter().map(|(_, (_, version))| version.withdrawn).collect::<Vec<_>>())
        .bind(stored_at)
        .execute(connection)
        .await?;
    Ok(())
}

async fn by_ids(connection: &mut PgConnection, statement: &str, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    if !ids.is_empty() {
        sqlx::query(statement).bind(ids).execute(connection).await?;
    }
    Ok(())
}

async fn by_keys(
    connection: &mut PgConnection,
    statement: &str,
    (ids, contents): &(Vec<Uuid>, Vec<Uuid>),
) -> Result<(), sqlx::Error> {
    if !ids.is_empty() {
        sqlx::query(statement).bind(ids).bind(contents).execute(connection).await?;
    }
    Ok(())
}

async fn touch(connection: &mut PgConnection, plans: &[(Uuid, Plan)]) -> Result<(), sqlx::Error> {
    let touched: Vec<(Uuid, Uuid, Version)> = plans
        .iter()
        .flat_map(|(id, plan)| plan.touch.iter().map(|(content, version)| (*id, *content, *version)))
        .collect();
    if touched.is_empty() {
        return Ok(());
    }
    let first = |pick: fn(Appended) -> i64| -> Vec<Option<i64>> {
        touched.iter().map(|(_, _, version)| (version.first != version.row).then(|| pick(version.first))).collect()
    };
    for table in ["readings", "reading_versions"] {
        let statement = format!(
            "UPDATE {table} r SET source_version = t.number, \
             source_updated_at = t.updated_at, first_received_at = t.at, \
             first_offset = t.log_offset, first_topic_code = t.topic, first_topic_epoch = t.epoch, \
             first_partition = t.partition, first_item = t.item \
             FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::bigint[], \
                         $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[]) \
                  t(id, content, number, updated_at, at, log_offset, topic, epoch, partition, item) \
             WHERE r.reading_id = t.id AND r.content = t.content"
        );
        sqlx::query(&statement)
            .bind(touched.iter().map(|(id, _, _)| *id).collect::<Vec<_>>())
            .bind(touched.iter().map(|(_, content, _)| *content).collect::<Vec<_>>())
            .bind(touched.iter().map(|(_, _, version)| version.source.number).collect::<Vec<_>>())
            .bind(touched.iter().map(|(_, _, version)| version.source.updated_at.map(moment)).collect::<Vec<_>>())
            .bind(first(|first| first.at).into_iter().map(|at| at.map(moment)).collect::<Vec<_>>())
            .bind(first(|first| first.offset))
            .bind(first(|first| topic_code(first.topic).into()))
            .bind(first(|first| first.topic_epoch.into()))
            .bind(first(|first| first.partition.into()))
            .bind(first(|first| first.item.into()))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn record_duplicates(connection: &mut PgConnection, plans: &[(Uuid, Plan)]) -> Result<(), sqlx::Error> {
    let given = "unnest($1::uuid[], $2::smallint[], $3::integer[], $4::integer[], $5::bigint[], $6::integer[]) \
        n(id, topic, epoch, partition, log_offset, item)";
    let deletes = format!(
        "DELETE FROM reading_duplicates d USING {given} WHERE d.reading_id = n.id AND d.topic_code = n.topic \
         AND d.topic_epoch = n.epoch AND d.raw_partition = n.partition AND d.raw_offset = n.log_offset AND d.item = n.item"
    );
    let inserts = format!(
        "INSERT INTO reading_duplicates (reading_id, topic_code, topic_epoch, raw_partition, raw_offset, item) \
         SELECT * FROM {given} ON CONFLICT (reading_id, topic_code, topic_epoch, raw_partition, raw_offset, item) DO UPDATE \
         SET withdrawn_mapping = NULL, withdrawn_catalogue = NULL, withdrawn_replay = NULL"
    );
    for (statement, pick) in
        [(deletes, (|plan| &plan.rows) as fn(&Plan) -> &BTreeSet<DeliveredFrom>), (inserts, |plan| &plan.duplicates)]
    {
        let all: Vec<(Uuid, Appended)> =
            plans.iter().flat_map(|(id, plan)| pick(plan).iter().map(|from| (*id, *from.item()))).collect();
        if all.is_empty() {
            continue;
        }
        sqlx::query(&statement)
            .bind(all.iter().map(|(id, _)| *id).collect::<Vec<_>>())
            .bind(all.iter().map(|(_, position)| topic_code(position.topic)).collect::<Vec<_>>())
            .bind(all.iter().map(|(_, position)| position.topic_epoch).collect::<Vec<_>>())
            .bind(all.iter().map(|(_, position)| position.partition).collect::<Vec<_>>())
            .bind(all.iter().map(|(_, position)| position.offset).collect::<Vec<_>>())
            .bind(all.iter().map(|(_, position)| position.item).collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Records which deliveries are withdrawn, so that a delivery by an earlier mapping, which may arrive later, does not count.
async fn record_withdrawals(
    connection: &mut PgConnection,
    withdrawals: &[(Uuid, DeliveredFrom, MappedBy)],
) -> Result<(), sqlx::Error> {
    if withdrawals.is_empty() {
        return Ok(());
    }
    let items = || withdrawals.iter().map(|(_, from, _)| from.item());
    sqlx::query!(
        "INSERT INTO reading_duplicates AS d (reading_id, topic_code, topic_epoch, raw_partition, raw_offset, item, \
             withdrawn_mapping, withdrawn_catalogue, withdrawn_replay) \
         SELECT DISTINCT ON (1, 2, 3, 4, 5, 6) * FROM unnest($1::uuid[], $2::smallint[], $3::integer[], $4::integer[], $5::bigint[], \
             $6::integer[], $7::integer[], $8::integer[], $9::integer[]) \
             n(id, topic, epoch, partition, log_offset, item, mapping, catalogue, replay) \
         ORDER BY 1, 2, 3, 4, 5, 6, 7 DESC, 8 DESC, 9 DESC \
         ON CONFLICT (reading_id, topic_code, topic_epoch, raw_partition, raw_offset, item) DO UPDATE \
         SET withdrawn_mapping = excluded.withdrawn_mapping, withdrawn_catalogue = excluded.withdrawn_catalogue, \
             withdrawn_replay = excluded.withdrawn_replay",
        withdrawals.iter().map(|(id, ..)| *id).collect::<Vec<_>>() as _,
        items().map(|item| topic_code(item.topic)).collect::<Vec<_>>() as _,
        items().map(|item| item.topic_epoch).collect::<Vec<_>>() as _,
        items().map(|item| item.partition).collect::<Vec<_>>() as _,
        items().map(|item| item.offset).collect::<Vec<_>>() as _,
        items().map(|item| item.item).collect::<Vec<_>>() as _,
        withdrawals.iter().map(|(.., by)| by.mapping).collect::<Vec<_>>() as _,
        withdrawals.iter().map(|(.., by)| by.catalogue).collect::<Vec<_>>() as _,
        withdrawals.iter().map(|(.., by)| by.replay).collect::<Vec<_>>() as _
    )
    .execute(connection)
    .await?;
    Ok(())
}
