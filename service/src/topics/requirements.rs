//! The settings that a topic must have, depending on its number of replicas, and how it differs from them.

use rdkafka::admin::{ConfigResource, ConfigSource};
use schemas::topic::TopicSpec;

/// The replication factor where the operator sets none, if there are enough brokers.
const REPLICAS_DEFAULT: i32 = 3;
/// `min.insync.replicas` of a topic with three or more replicas. One broker may be unavailable, and the permanent loss of any
/// one broker loses no acknowledged record.
const IN_SYNC: i32 = 2;

pub(super) const MIN_IN_SYNC: &str = "min.insync.replicas";
/// Must be off: a replica that lacks acknowledged records must never become the leader.
pub(super) const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";
/// Settings whose lowering removes records.
const RETENTION: [&str; 2] = ["retention.ms", "retention.bytes"];

/// Returns the number of replicas that each partition must have.
pub(super) fn replicas(requested: i32, brokers: usize) -> i32 {
    if requested > 0 {
        requested
    } else {
        i32::try_from(brokers).map_or(REPLICAS_DEFAULT, |brokers| brokers.clamp(1, REPLICAS_DEFAULT))
    }
}

/// Returns the required `min.insync.replicas`.
pub(super) const fn min_in_sync(replicas: i32) -> i32 {
    if replicas >= REPLICAS_DEFAULT { IN_SYNC } else { 1 }
}

/// Returns all settings of a new topic.
pub(super) fn settings(spec: &TopicSpec, replicas: i32) -> Vec<(&'static str, String)> {
    let own = spec.settings.iter().map(|(setting, value)| (*setting, (*value).to_owned()));
    own.chain([(MIN_IN_SYNC, min_in_sync(replicas).to_string()), (UNCLEAN_ELECTION, "false".to_owned())]).collect()
}

/// A setting that differs from the required value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) setting: &'static str,
    pub(super) is: String,
    pub(super) must_be: String,
}

pub(super) fn differences(found: &ConfigResource, spec: &TopicSpec, replicas: i32) -> Vec<Difference> {
    let compared = settings(spec, replicas).into_iter().map(|(setting, must_be)| {
        let is = found.get(setting).and_then(|entry| entry.value.clone()).unwrap_or_default();
        Difference { setting, is, must_be }
    });
    compared.filter(|difference| difference.matters(replicas)).collect()
}

impl Difference {
    /// Returns whether the difference must be corrected. A larger `min.insync.replicas` than required is the operator's choice,
    /// as long as it does not exceed the number of replicas.
    fn matters(&self, replicas: i32) -> bool {
        if self.setting == MIN_IN_SYNC {
            return !self.is.parse().is_ok_and(|is: i32| (min_in_sync(replicas)..=replicas).contains(&is));
        }
        self.is != self.must_be
    }

    /// Returns whether the correction would remove records that are now kept.
    pub(super) fn lowers_retention(&self) -> bool {
        let kept = |value: &str| value.parse::<i64>().map(|limit| if limit < 0 { i64::MAX } else { limit });
        RETENTION.contains(&self.setting)
            && match (kept(&self.is), kept(&self.must_be)) {
                (Ok(is), Ok(must_be)) => must_be < is,
                (Err(_), _) | (_, Err(_)) => true,
            }
    }
}

/// Returns all settings that the topic has after the corrections. The request replaces all settings, so the operator's own
/// settings must be part of it.
pub(super) fn corrected(found: &ConfigResource, corrections: &[Difference]) -> Vec<(String, String)> {
    let is_corrected = |name: &str| corrections.iter().any(|correction| correction.setting == name);
    let kept = found
        .entries
        .iter()
        .filter(|entry| entry.source == ConfigSource::DynamicTopic && !is_corrected(&entry.name))
        .filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?)));
    let new = corrections.iter().map(|correction| (correction.setting.to_owned(), correction.must_be.clone()));
    kept.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::{ConfigEntry, OwnedResourceSpecifier};
    use schemas::topic::Topics;

    use super::*;

    #[test]
    fn three_replicas_and_two_of_them_in_sync_if_there_are_enough_brokers() {
        for (requested, brokers, replicas, in_sync) in [
            (-1, 1, 1, 1),
            (-1, 2, 2, 1),
            (-1, 3, 3, 2),
            (-1, 9, 3, 2),
            (1, 3, 1, 1),
            (2, 3, 2, 1),
            (5, 9, 5, 2),
            (-1, 0, 1, 1),
        ] {
            assert_eq!(
                (super::replicas(requested, brokers), min_in_sync(super::replicas(requested, brokers))),
                (replicas, in_sync)
            );
        }
    }

    #[test]
    fn too_few_or_impossibly_many_in_sync_replicas_are_corrected() {
        let spec = Topics::new("").specs().remove(0);
        for (replicas, is, must_be) in [
            (3, "1", Some("2")),
            (3, "2", None),
            (3, "3", None),
            (3, "4", Some("2")),
            (2, "2", None),
            (1, "2", Some("1")),
        ] {
            let mut right = settings(&spec, replicas);
            right.retain(|(name, _)| *name != MIN_IN_SYNC);
            right.push((MIN_IN_SYNC, is.to_owned()));
            let found = differences(&resource(&right), &spec, replicas);
            let expected = must_be.map(|must_be| Difference {
                setting: MIN_IN_SYNC,
                is: is.to_owned(),
                must_be: must_be.to_owned(),
            });
            assert_eq!(found, Vec::from_iter(expected), "{is} of {replicas}");
        }
    }

    #[test]
    fn only_a_shorter_retention_is_a_loss() {
        let lowers = |setting, is: &str, must_be: &str| {
            Difference { setting, is: is.to_owned(), must_be: must_be.to_owned() }.lowers_retention()
        };
        for setting in RETENTION {
            assert!(lowers(setting, "-1", "2592000000"));
            assert!(lowers(setting, "2592000001", "2592000000"));
            assert!(lowers(setting, "", "2592000000"), "an unknown value may be larger");
            assert!(!lowers(setting, "1000", "-1"));
            assert!(!lowers(setting, "1000", "2592000000"));
        }
        assert!(!lowers("max.message.bytes", "20", "10"));
    }

    #[test]
    fn a_correction_keeps_all_other_settings() {
        let found = resource(&[("retention.ms", "-1".to_owned()), ("segment.ms", "7200000".to_owned())]);
        let correction = Difference { setting: UNCLEAN_ELECTION, is: "true".to_owned(), must_be: "false".to_owned() };
        let mut set = corrected(&found, &[correction]);
        set.sort_unstable();
        let expected = [("retention.ms", "-1"), ("segment.ms", "7200000"), (UNCLEAN_ELECTION, "false")];
        assert_eq!(set, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    fn resource(settings: &[(&'static str, String)]) -> ConfigResource {
        let entry = |(name, value): &(&str, String)| ConfigEntry {
            name: (*name).to_owned(),
            value: Some(value.clone()),
            source: ConfigSource::DynamicTopic,
            is_read_only: false,
            is_default: false,
            is_sensitive: false,
        };
        ConfigResource {
            specifier: OwnedResourceSpecifier::Topic("topic".to_owned()),
            entries: settings.iter().map(entry).collect(),
        }
    }
}
