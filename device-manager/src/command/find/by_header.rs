//! Finds payloads by the headers of their raw records.

use schemas::receipt::{ItemPosition, RawPosition};
use store::trace::Progress;

use super::{
    Finder,
    report::{CommandResult, PayloadReport, ReadingGroup, Refused, Report},
};
use crate::{
    command::raw_log::{FoundRecord, Search, Wanted},
    error::CommandError,
    output::remark,
};

impl Finder<'_> {
    /// Searches the raw records of the time span.
    pub(super) async fn by_header(&mut self) -> Result<Report, CommandError> {
        let search = Search {
            cluster: self.cluster.clone(),
            wanted: Wanted {
                correlation_id: self.args.correlation_id.clone(),
                source: self.args.source.clone(),
                provider: self.args.provider,
            },
            topic_epoch: self.args.installation.topic_epoch,
            since: self.since,
            until: self.args.until.is_some().then_some(self.until),
            deadline: self.deadline,
            payloads_max: usize::try_from(self.args.limit).unwrap_or(usize::MAX),
        };
        let failed = |error| CommandError::failed("searching the raw topics", error);
        let found = tokio::task::spawn_blocking(move || search.run()).await;
        let found = found.map_err(|error| CommandError::failed("searching the raw topics", error))?.map_err(failed)?;
        if found.is_cut {
            remark(&format!("there are more: the first {} are shown (--limit)", found.payloads.len()));
        }
        let mut payloads = Vec::with_capacity(found.payloads.len());
        for record in found.payloads {
            payloads.push(self.payload(record).await?);
        }
        let searched = format!("none of the {} raw records since {} matches", found.records, self.args.since);
        let answer = payloads.is_empty().then_some(searched);
        Ok(Report { payloads, answer, ..Report::of(self.since, self.until) })
    }

    async fn payload(&mut self, record: FoundRecord) -> Result<PayloadReport, CommandError> {
        let FoundRecord { position, received_at, format, source, correlation_id } = record;
        let ItemPosition { topic, topic_epoch, partition, offset, .. } = position;
        let progress = Progress::load(&mut self.connection, &position).await?;
        let raw = RawPosition { topic, topic_epoch: i32::from(topic_epoch), partition, offset };
        let readings = progress.readings.iter().map(|count| ReadingGroup {
            state: count.state.clone(),
            code: Some(count.code.clone()),
            display: count.display.clone(),
            status: Some(count.status.clone()),
            attribution: None,
            readings: count.readings,
        });
        let refused = progress.dead_letters.iter().map(|count| Refused {
            id: None,
            stage: count.stage.clone(),
            reason: count.reason.clone(),
            detail: None,
            state: count.state.clone(),
            items: count.items,
        });
        Ok(PayloadReport {
            receipt: Some(self.key.issue(&position)),
            raw_record: raw,
            received_at,
            format,
            source,
            correlation_id,
            is_in_flight: !progress.is_complete(),
            readings: readings.collect(),
            refused: refused.collect(),
            device_command: progress.verdict.map(|verdict| CommandResult {
                command: None,
                device: None,
                verdict: verdict.as_str().to_owned(),
                meaning: Some(verdict.meaning().to_owned()),
            }),
        })
    }
}
