//! Finds the readings of a batch that Postgres refuses, by one insert for each row within one statement.

use std::collections::HashMap;

use sqlx::Connection as _;
use store::reading::column_names;
use uuid::Uuid;

use super::{Session, readings};
use crate::encoded_readings::EncodedReadings;

/// Reading id and content hash, which identify a row of a batch.
pub(crate) type RowKey = (Uuid, Uuid);

impl Session {
    /// Returns the rows that Postgres refuses, each with the SQLSTATE. The attempt is rolled back.
    pub(crate) async fn refused_rows(
        &mut self,
        encoded: &mut EncodedReadings,
    ) -> Result<HashMap<RowKey, String>, sqlx::Error> {
        let ids = self.dictionary_ids(encoded).await?;
        let mut transaction = self.connection.begin().await?;
        readings::copy_to_stage(&mut transaction, encoded, &ids).await?;
        // The conditions are the error classes that `store::error_class` maps to `BadRow`.
        let columns = column_names();
        let attempts = format!(
            "CREATE FUNCTION pg_temp.refused() RETURNS TABLE (id uuid, hash uuid, code text) LANGUAGE plpgsql AS $$
             DECLARE
                 row_tid tid;
             BEGIN
                 FOR row_tid, id, hash IN SELECT s.ctid, s.reading_id, s.content FROM stage s LOOP
                     BEGIN
                         INSERT INTO readings ({columns}) SELECT {columns} FROM stage s WHERE s.ctid = row_tid
                         ON CONFLICT (reading_id) DO NOTHING;
                     EXCEPTION
                         WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded
                             OR with_check_option_violation THEN
                             GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE;
                             RETURN NEXT;
                     END;
                 END LOOP;
             END $$"
        );
        sqlx::raw_sql(&attempts).execute(&mut *transaction).await?;
        let refused: Vec<(Uuid, Uuid, String)> =
            sqlx::query_as("SELECT id, hash, code FROM pg_temp.refused()").fetch_all(&mut *transaction).await?;
        transaction.rollback().await?;
        Ok(refused.into_iter().map(|(id, hash, code)| ((id, hash), code)).collect())
    }
}
