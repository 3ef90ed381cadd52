//! Any order of arrival leads to the same current version.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schemas::{
    format::RawTopic,
    version::{Appended, MappedBy, SourceVersion, Version},
};

/// The normalizer with a mapping, without a catalogue of the installation.
const fn by(mapping: i32) -> MappedBy {
    MappedBy { mapping, catalogue: 0, replay: 0 }
}

/// A delivery of a content with its version.
#[derive(Debug, Clone, Copy)]
struct Delivery {
    content: u8,
    version: Version,
}

fn delivery() -> impl Strategy<Value = Delivery> {
    (0_u8..3, proptest::option::of(0_i64..2), proptest::option::of(0_i64..2), 0_i64..6, 1_i32..3, any::<bool>())
        .prop_map(|(content, number, updated_at, offset, mapping, withdrawn)| {
            // One append position has one content with one source version, so both are derived from the position.
            let row = Appended {
                at: offset / 2,
                topic: RawTopic::Medisante,
                topic_epoch: 1,
                partition: 0,
                offset,
                item: i32::from(content),
            };
            let source = SourceVersion { number, updated_at };
            Delivery { content, version: Version { source, first: row, mapped_by: by(mapping), row, withdrawn } }
        })
}

/// What the sink stores after these deliveries: the current content, and the version of each content.
fn fold(deliveries: impl IntoIterator<Item = Delivery>) -> (Option<u8>, BTreeMap<u8, Version>) {
    let mut kept: BTreeMap<u8, Version> = BTreeMap::new();
    for delivery in deliveries {
        kept.entry(delivery.content)
            .and_modify(|known| *known = known.join(delivery.version))
            .or_insert(delivery.version);
    }
    let current = kept.iter().max_by_key(|(_, version)| **version).map(|(content, _)| *content);
    (current, kept)
}

proptest! {
    #[test]
    fn any_order_and_repetition_of_arrival_keeps_the_same_version(
        deliveries in proptest::collection::vec(delivery(), 1..8),
        order in any::<proptest::sample::Index>(),
        repeated in any::<proptest::sample::Index>(),
    ) {
        let straight = fold(deliveries.iter().copied());
        let mut shuffled = deliveries.clone();
        shuffled.rotate_left(order.index(deliveries.len()));
        shuffled.push(deliveries[repeated.index(deliveries.len())]);
        prop_assert_eq!(&fold(shuffled), &straight);
        prop_assert_eq!(&fold(deliveries.iter().rev().copied()), &straight);
    }

    #[test]
    fn joining_is_associative_commutative_and_idempotent(a in delivery(), b in delivery(), c in delivery()) {
        let (a, b, c) = (a.version, b.version, c.version);
        prop_assert_eq!(a.join(b), b.join(a));
        prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
        prop_assert_eq!(a.join(a), a);
    }
}

fn at(offset: i64) -> Appended {
    Appended { at: offset, topic: RawTopic::Medisante, topic_epoch: 1, partition: 0, offset, item: 0 }
}

fn plain(offset: i64) -> Version {
    let source = SourceVersion { number: None, updated_at: None };
    Version { source, first: at(offset), mapped_by: by(1), row: at(offset), withdrawn: false }
}

#[test]
fn a_redelivered_old_content_does_not_replace_its_correction() {
    let (original, correction, redelivered) = (plain(1), plain(2), plain(3));
    assert!(correction > original.join(redelivered));
}

#[test]
fn a_newer_mapping_replaces_the_row_with_the_same_content() {
    let old = plain(1);
    let replayed = Version { mapped_by: by(2), ..plain(1) };
    assert!(replayed.keeps_row_over(&old));
    assert!(!old.keeps_row_over(&replayed));
    assert_eq!(old.join(replayed).mapped_by, by(2));
}

#[test]
fn a_replay_with_a_newer_mapping_does_not_change_the_age_of_the_content() {
    let old = plain(1);
    let replayed = Version { mapped_by: by(2), ..plain(3) };
    for joined in [old.join(replayed), replayed.join(old)] {
        assert_eq!((joined.first, joined.row, joined.mapped_by), (at(1), at(3), by(2)));
    }
}

#[test]
fn the_version_of_the_source_has_precedence_over_the_order_of_appends() {
    let newer = Version { source: SourceVersion { number: Some(2), updated_at: None }, ..plain(1) };
    let older = Version { source: SourceVersion { number: Some(1), updated_at: None }, ..plain(2) };
    assert!(newer > older);
}

#[test]
fn the_mapping_then_the_catalogue_then_the_replay_decides_what_is_later() {
    let order = [(1, 0, 0), (1, 0, 3), (1, 1, 0), (2, 0, 0)].map(|(mapping, catalogue, replay)| MappedBy {
        mapping,
        catalogue,
        replay,
    });
    assert!(order.is_sorted());
    assert!(Version { mapped_by: order[1], ..plain(1) }.keeps_row_over(&plain(1)));
}

#[test]
fn a_delivery_keeps_its_row_over_a_withdrawn_one() {
    let withdrawn = Version { withdrawn: true, mapped_by: by(2), ..plain(1) };
    assert!(plain(3).keeps_row_over(&withdrawn));
    assert!(plain(3) > withdrawn);
    let newer_by_source = Version { source: SourceVersion { number: Some(2), updated_at: None }, ..withdrawn };
    assert!(plain(3) > newer_by_source);
}
