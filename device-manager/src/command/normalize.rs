//! `device-manager normalize`: tries the mapping on files, without Kafka and Postgres.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use normalizer::{json_lines, normalize};
use schemas::{
    event::SourceName,
    format::{Defaults, Format, Provider},
    raw::{Headers, RawRecord, RecordKind},
};
use time::OffsetDateTime;

use super::{catalogue_file::CatalogueArgs, format_name, provider_name};
use crate::{error::CommandError, output::Output};

/// Try the mapping: print what files would become, one JSON object per line.
///
/// A line is {"reading": …} or {"rejection": {"item": …, "reason": …, "detail": …, "device": …}}. Exit code 0 if nothing
/// was refused, 1 otherwise. Nothing is stored.
#[derive(Args)]
#[command(after_help = "Examples:
  device-manager normalize --provider medisante --format fhir-json observation.json
  device-manager normalize --provider healthkit --format json --type HeartRate samples.json | jq .reading.value")]
pub struct NormalizeCommand {
    /// The provider that would have sent the files.
    #[arg(long, value_parser = provider_name())]
    provider: Provider,
    /// The format; json and xml are the provider's own formats.
    #[arg(long, value_parser = format_name())]
    format: Format,
    /// The type of all samples that do not name one, like the query parameter `type`.
    #[arg(long = "type", value_name = "TYPE")]
    sample_type: Option<String>,
    /// The unit of all samples that do not name one.
    #[arg(long)]
    unit: Option<String>,
    /// The device of all samples that do not name one, and of all samples of an export.xml.
    #[arg(long)]
    device_id: Option<String>,
    /// The library whose documented defaults apply where the payload omits something: react-native-health.
    #[arg(long, value_name = "DEFAULTS", value_parser = defaults)]
    defaults: Option<Defaults>,
    #[command(flatten)]
    catalogue: CatalogueArgs,
    /// The files with the payloads; `-` reads standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A file cannot be read, or the provider does not send the format.
pub fn run(args: &NormalizeCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    if !args.provider.formats().contains(&args.format) {
        let known: Vec<&str> = args.provider.formats().iter().map(|format| format.as_str()).collect();
        let (provider, known) = (args.provider.as_str(), known.join(", "));
        return Err(CommandError::usage(format!("{provider} does not send this format; it sends {known}")));
    }
    args.catalogue.install()?;
    let mut refused = false;
    for (file, offset) in args.files.iter().zip(0..) {
        let body = read(file)?;
        let normalized = normalize(&record(args, &body, offset)?);
        refused |= !normalized.rejections.is_empty();
        for line in json_lines(&normalized) {
            output.json(&line)?;
        }
    }
    Ok(if refused { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    if file == Path::new("-") {
        let mut body = Vec::new();
        return std::io::stdin()
            .read_to_end(&mut body)
            .map(|_| body)
            .map_err(|error| CommandError::failed("reading standard input", error));
    }
    std::fs::read(file).map_err(|error| CommandError::usage(format!("{}: {error}", file.display())))
}

/// The record that the ingress would have produced, received now.
fn record<'a>(args: &NormalizeCommand, body: &'a [u8], offset: i64) -> Result<RawRecord<'a>, CommandError> {
    let source = SourceName::parse("normalize").map_err(CommandError::usage)?;
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
    Ok(RawRecord {
        topic: args.provider.raw_topic(args.format),
        topic_epoch: 0,
        partition: 0,
        offset,
        received_at: i64::try_from(now).unwrap_or(i64::MAX),
        headers: Headers {
            kind: RecordKind::Payload(args.format),
            content_type: None,
            credential: "normalize".to_owned(),
            source,
            subject: None,
            correlation_id: String::new(),
            traceparent: None,
            content_hmac: String::new(),
            sample_type: args.sample_type.clone(),
            unit: args.unit.clone(),
            device_id: args.device_id.clone(),
            defaults: args.defaults,
            providers: Vec::new(),
            upload: None,
            key_id: None,
        },
        body,
    })
}

fn defaults(text: &str) -> Result<Defaults, String> {
    let known: Vec<&str> = Defaults::ALL.iter().map(|defaults| defaults.as_str()).collect();
    Defaults::parse(text).ok_or_else(|| known.join(", "))
}
