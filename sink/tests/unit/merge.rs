use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use schemas::{
    format::RawTopic,
    version::{Appended, SourceVersion, Version},
};
use sink::merge::{Place, Stored, plan};
use uuid::Uuid;

/// The two tables and the duplicates of one reading, as the steps of plans change them.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
struct Tables {
    current: Option<(Uuid, Version)>,
    archived: BTreeMap<Uuid, Version>,
    duplicates: BTreeSet<Appended>,
}

impl Tables {
    fn write(&mut self, batch: &[(Uuid, Version)]) {
        let mut staged: BTreeMap<Uuid, Version> = BTreeMap::new();
        for (content, version) in batch {
            staged.entry(*content).and_modify(|known| *known = known.join(*version)).or_insert(*version);
        }
        let delivered = batch.iter().map(|(_, version)| version.row).collect();
        if self.current.is_none() {
            // The insert that does nothing on conflict: any one of the contents gets in.
            self.current = staged.iter().next().map(|(content, version)| (*content, *version));
        }
        let mut stored: Vec<Stored> = self
            .archived
            .iter()
            .map(|(content, version)| Stored { content: *content, version: *version, place: Place::Archived })
            .collect();
        stored.extend(self.current.map(|(content, version)| Stored { content, version, place: Place::Current }));
        let plan = plan(&stored, &staged, &delivered);
        if plan.archive {
            self.archived.extend(self.current);
        }
        if plan.clear {
            self.current = None;
        }
        for content in &plan.drop_archived {
            self.archived.remove(content).unwrap();
        }
        if let Some(content) = plan.restore {
            assert!(self.current.replace((content, self.archived.remove(&content).unwrap())).is_none());
        }
        if let Some(content) = plan.put_current {
            assert!(self.current.replace((content, staged[&content])).is_none());
        }
        for content in &plan.put_archived {
            assert!(self.archived.insert(*content, staged[content]).is_none());
        }
        for (content, version) in &plan.touch {
            match &mut self.current {
                Some((current, known)) if current == content => *known = *version,
                _ => *self.archived.get_mut(content).unwrap() = *version,
            }
        }
        self.duplicates.retain(|position| !plan.rows.contains(position));
        self.duplicates.extend(plan.duplicates);
    }
}

fn delivery() -> impl Strategy<Value = (Uuid, Version)> {
    (0_u128..3, prop::option::of(0_i64..3), 0_i64..6, 1_i32..3).prop_map(
        |(content, number, offset, mapping_version)| {
            let row =
                Appended { at: offset / 2, topic: RawTopic::Medisante, topic_epoch: 1, partition: 0, offset, item: 0 };
            // A raw position holds one content under one source version, whatever mapping reads it.
            let content = Uuid::from_u128((content + u128::try_from(offset).unwrap()) % 3);
            let number = number.filter(|_| offset % 2 == 0).map(|_| offset / 2);
            let source = SourceVersion { number, updated_at: None };
            (content, Version { source, first: row, mapping_version, row })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_order_and_any_batches_end_in_the_same_tables(
        deliveries in prop::collection::vec(delivery(), 1..10),
        order in Just(()).prop_perturb(|(), mut dice| dice.next_u64()),
        cut in 1_usize..5,
    ) {
        let mut straight = Tables::default();
        for one in &deliveries {
            straight.write(std::slice::from_ref(one));
        }
        let mut shuffled = deliveries.clone();
        let length = shuffled.len();
        for at in 0..length {
            let other = usize::try_from(order.rotate_left(u32::try_from(at * 11 % 64).unwrap()) % (length as u64)).unwrap();
            shuffled.swap(at, other);
        }
        let mut batched = Tables::default();
        shuffled.chunks(cut).for_each(|chunk| batched.write(chunk));
        prop_assert_eq!(&straight, &batched);
        // Redelivery of everything changes nothing.
        batched.write(&deliveries);
        prop_assert_eq!(&straight, &batched);
    }

    #[test]
    fn the_current_content_is_the_greatest_and_every_item_is_accounted_for(
        deliveries in prop::collection::vec(delivery(), 1..10),
    ) {
        let mut tables = Tables::default();
        deliveries.chunks(3).for_each(|chunk| tables.write(chunk));
        let mut joined: BTreeMap<Uuid, Version> = BTreeMap::new();
        for (content, version) in &deliveries {
            joined.entry(*content).and_modify(|known| *known = known.join(*version)).or_insert(*version);
        }
        let greatest = joined.values().max().unwrap();
        let (content, version) = tables.current.unwrap();
        prop_assert_eq!(&version, greatest);
        prop_assert_eq!(joined.len(), tables.archived.len() + 1);
        prop_assert!(joined.contains_key(&content));
        let mut there: BTreeSet<Appended> = tables.archived.values().map(|version| version.row).collect();
        there.insert(version.row);
        there.extend(&tables.duplicates);
        let delivered: BTreeSet<Appended> = deliveries.iter().map(|(_, version)| version.row).collect();
        prop_assert_eq!(there, delivered);
    }
}
