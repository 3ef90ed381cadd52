//! Claims the revision of the catalogue file, before the first record is mapped with it.
//!
//! The order of the versions of a reading compares catalogue revisions, so that a revision must stand for one file, and a process
//! with an older file must not map beside one with a newer file. The compacted topic `catalogues` has every file that was used: the
//! key is the revision and the hash, the value is the file. A revision belongs to the file that was appended first; compaction keeps
//! that order, and no file ever replaces another one.

use std::time::Duration;

use catalogue::CatalogueFile;
use rdkafka::{
    error::KafkaError,
    producer::{FutureProducer, FutureRecord},
    types::RDKafkaErrorCode,
};
use service::compacted_topic::{self, Contents};

use super::{
    config::NormalizerConfig,
    error::{CatalogueConflict, NormalizerError},
    publish::has_topic,
};

const TIMEOUT: Duration = Duration::from_secs(5);

/// The result of claiming the revision of a catalogue file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claimed {
    /// The process may map with its catalogue.
    Yes,
    /// This topic does not exist.
    NoTopic(String),
}

/// A catalogue file on the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Published {
    revision: i32,
    sha256: String,
}

/// Publishes the catalogue file of this process, unless it was published before, and checks that its revision belongs to it.
///
/// # Errors
/// [`NormalizerError::Conflict`]: the catalogue of this process must not be used. Otherwise Kafka does not answer.
pub(super) async fn claim_catalogue(config: &NormalizerConfig) -> Result<Claimed, NormalizerError> {
    let own = catalogue::file();
    let Some(published) = published(config).await? else {
        return Ok(own.map_or(Claimed::Yes, |_| Claimed::NoTopic(config.topics.catalogues())));
    };
    let Some(file) = own.filter(|file| !published.contains(&Published::of(file))) else {
        return Ok(judge(own, &published).map(|()| Claimed::Yes)?);
    };
    judge(own, &published)?;
    publish(config, file).await?;
    // Another process may have published another file with the same revision a moment before.
    match self::published(config).await? {
        Some(published) => Ok(judge(own, &published).map(|()| Claimed::Yes)?),
        None => Ok(Claimed::NoTopic(config.topics.catalogues())),
    }
}

/// Checks that the catalogue of this process contradicts none that was used before. It publishes nothing, so that an operator can
/// try a file.
///
/// # Errors
/// [`NormalizerError::Conflict`]: the catalogue of this process must not be used. Otherwise Kafka does not answer.
pub async fn check_catalogue(config: &NormalizerConfig) -> Result<(), NormalizerError> {
    let published = published(config).await?.unwrap_or_default();
    Ok(judge(catalogue::file(), &published)?)
}

impl Published {
    fn of(file: &CatalogueFile) -> Self {
        Self { revision: file.revision(), sha256: file.sha256().to_owned() }
    }

    fn key(&self) -> String {
        format!("{}:{}", self.revision, self.sha256)
    }

    fn parse(key: &[u8]) -> Option<Self> {
        let (revision, sha256) = std::str::from_utf8(key).ok()?.split_once(':')?;
        Some(Self { revision: revision.parse().ok()?, sha256: sha256.to_owned() })
    }
}

/// Decides whether a process may map with a file. `published` are the files that were used, in the order in which they were
/// published.
fn judge(own: Option<&CatalogueFile>, published: &[Published]) -> Result<(), CatalogueConflict> {
    let revision = own.map_or(0, CatalogueFile::revision);
    if let Some(highest) = published.iter().map(|file| file.revision).max().filter(|highest| *highest > revision) {
        return Err(CatalogueConflict::Older { own: revision, published: highest });
    }
    let owner = published.iter().find(|file| file.revision == revision);
    match (own, owner) {
        (Some(own), Some(owner)) if own.sha256() != owner.sha256 => Err(CatalogueConflict::OtherFile {
            revision,
            own: own.sha256().to_owned(),
            published: owner.sha256.clone(),
        }),
        _ => Ok(()),
    }
}

/// Returns the files on the topic, in the order in which they were published; `None` if the topic does not exist.
async fn published(config: &NormalizerConfig) -> Result<Option<Vec<Published>>, NormalizerError> {
    let topic = config.topics.catalogues();
    if !has_topic(config, topic.clone()).await? {
        return Ok(None);
    }
    let (kafka, group) = (config.kafka.clone(), format!("{}-catalogues", config.group));
    let read = tokio::task::spawn_blocking(move || compacted_topic::read(&kafka, &topic, &group, TIMEOUT));
    let Contents { records, is_complete } = read.await??;
    if !is_complete {
        return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut).into());
    }
    Ok(Some(records.iter().filter_map(|(key, _)| Published::parse(key)).collect()))
}

async fn publish(config: &NormalizerConfig, file: &CatalogueFile) -> Result<(), NormalizerError> {
    let (topic, key) = (config.topics.catalogues(), Published::of(file).key());
    let producer: FutureProducer = config.kafka.producer().create()?;
    let record = FutureRecord::to(&topic).key(&key).payload(file.text());
    producer.send(record, TIMEOUT).await.map_err(|(error, _)| error)?;
    tracing::info!(revision = file.revision(), sha256 = file.sha256(), "the catalogue file is published");
    Ok(())
}

#[cfg(test)]
mod tests {
    use catalogue::Extension;

    use super::*;

    fn file(text: &str) -> CatalogueFile {
        Extension::parse(text).unwrap().file().clone()
    }

    #[test]
    fn a_revision_belongs_to_the_file_that_was_published_first_and_never_decreases() {
        let [one, other, two] = ["revision = 1", "revision = 1 # other", "revision = 2"].map(file);
        let [published, other_published, two_published] = [&one, &other, &two].map(Published::of);
        let other_file = CatalogueConflict::OtherFile {
            revision: 1,
            own: other.sha256().to_owned(),
            published: one.sha256().to_owned(),
        };
        let both = [published.clone(), other_published];
        for (own, published, expected) in [
            (None, &[][..], Ok(())),
            (Some(&one), &[], Ok(())),
            (Some(&one), &both[..1], Ok(())),
            (Some(&one), &both, Ok(())),
            (Some(&other), &both, Err(other_file)),
            (Some(&two), &both, Ok(())),
            (None, &both, Err(CatalogueConflict::Older { own: 0, published: 1 })),
            (Some(&one), &[two_published, published], Err(CatalogueConflict::Older { own: 1, published: 2 })),
        ] {
            assert_eq!(judge(own, published), expected, "{own:?} {published:?}");
        }
    }

    #[test]
    fn a_key_reads_back_as_what_was_published() {
        let published = Published::of(&file("revision = 2147483646"));
        assert_eq!(Published::parse(published.key().as_bytes()), Some(published));
        for other in [b"".as_slice(), b"1", b"x:00", b"\xff:00"] {
            assert_eq!(Published::parse(other), None);
        }
    }
}
