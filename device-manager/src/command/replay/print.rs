//! The output of `device-manager replay`.

use std::io;

use ::replay::{Diff, Example, Group, ListedChange};
use serde::Serialize;
use serde_json::json;
use store::replay::{Job, JobState};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::output::Output;

/// The report as JSON.
#[derive(Serialize)]
struct Report<'d> {
    #[serde(flatten)]
    diff: &'d Diff,
    changes: &'d [ListedChange],
}

/// Returns the report as JSON: the summary, and each reading, device command and outcome that differs.
pub(super) fn report(diff: &Diff, changes: &[ListedChange]) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&Report { diff, changes })
}

/// The summary as JSON.
#[derive(Serialize)]
struct Summary<'d> {
    #[serde(flatten)]
    diff: &'d Diff,
    #[serde(skip_serializing_if = "<[Example]>::is_empty")]
    examples: &'d [Example],
}

/// Prints the summary.
pub(super) fn diff(diff: &Diff, examples: &[Example], is_json: bool, output: &mut Output) -> io::Result<()> {
    if is_json {
        return output.json(&Summary { diff, examples });
    }
    let Diff { replay, state, scope, mapping_version, catalogue_revision, counts, .. } = diff;
    let records = counts.records;
    output.line(&format!("replay {replay}, {state}: {scope}, {records} raw records"))?;
    if *state == JobState::Aborted.as_str() {
        output.line("what it had published until it was aborted:")?;
    }
    output.line(&format!("mapping version {mapping_version}, catalogue revision {catalogue_revision}"))?;
    output.line(&format!(
        "items: {} unchanged, {} with a later version, {} in flight",
        counts.unchanged, counts.superseded, counts.in_flight
    ))?;
    output.line(&format!("readings: {} added, {} changed, {} withdrawn", diff.added, diff.changed, diff.withdrawn))?;
    output.line(&format!("device commands: {} added or changed", diff.commands))?;
    for group in &diff.groups {
        output.line(&line(group))?;
        for example in examples.iter().filter(|example| is_of(example, group)) {
            let before = example.before.as_deref().unwrap_or("nothing");
            output.line(&format!("    {before} -> {} (receipt {})", example.after, example.receipt))?;
        }
    }
    output.line(&format!("refused items: {} unchanged", counts.refusals.unchanged))?;
    let refusals =
        [("newly refused", &counts.refusals.newly_refused), ("newly accepted", &counts.refusals.newly_accepted)];
    for (what, reasons) in refusals {
        for (reason, items) in reasons {
            output.line(&format!("  {what}: {items} ({reason})"))?;
        }
    }
    output.line(&format!("raw records with another outcome: {}", diff.outcomes))?;
    if counts.unfinished_records > 0 {
        output.line(&format!(
            "{} raw records were not finished by the stages and were not compared; see /ready",
            counts.unfinished_records
        ))?;
    }
    for deleted in &counts.deleted {
        let (topic, partition, first, last) = (&deleted.topic, deleted.partition, deleted.first, deleted.end - 1);
        let time = if deleted.is_time_unknown { "; their time is not known any more" } else { "" };
        output
            .line(&format!("raw records that no longer exist: {topic}:{partition}, offsets {first} to {last}{time}"))?;
    }
    Ok(())
}

fn is_of(example: &Example, group: &Group) -> bool {
    (example.kind, Some(&example.code), &example.device) == (group.kind, group.code.as_ref(), &group.device)
}

fn line(group: &Group) -> String {
    let Group { kind, code, display, device, readings, fields, receipt, .. } = group;
    let fields: Vec<String> = fields.iter().map(|(field, count)| format!("{field} {count}")).collect();
    let [code, display] = [code, display].map(|text| text.as_deref().unwrap_or_default());
    let device = device.as_deref().unwrap_or("no device");
    let fields = if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) };
    format!("  {kind}: {readings} × {code} {display}, {device}{fields}, first receipt {receipt}")
}

/// Prints replays.
pub(super) fn jobs(jobs: &[Job], is_json: bool, output: &mut Output) -> io::Result<()> {
    for job in jobs {
        let [created, changed] = [job.created_at, job.changed_at].map(second);
        let (state, kind) = (job.state.as_str(), job.kind.as_str());
        if is_json {
            output.json(&json!({
                "replay": job.replay_id,
                "kind": kind,
                "state": state,
                "mapping_version": job.mapping_version,
                "catalogue_revision": job.catalogue_revision,
                "operator": job.operator,
                "created_at": created,
                "changed_at": changed,
            }))?;
        } else {
            let (id, operator) = (job.replay_id, &job.operator);
            output.line(&format!("{id}\t{kind}\t{state} since {changed}\tstarted {created} by {operator}"))?;
        }
    }
    Ok(())
}

fn second(time: OffsetDateTime) -> String {
    time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_default()
}
