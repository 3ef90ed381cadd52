use schemas::{
    format::RawTopic,
    version::{Appended, MappedBy, SourceVersion, Version},
};
use sink::merge::{Delivered, DeliveredFrom, Withdrawals, plan};
use uuid::Uuid;

#[test]
fn only_a_later_mapping_withdraws_a_delivery() {
    let row = Appended { at: 10, topic: RawTopic::Medisante, topic_epoch: 0, partition: 0, offset: 5, item: 0 };
    let mapped_by = MappedBy { mapping: 2, catalogue: 0, replay: 1 };
    let source = SourceVersion { number: None, updated_at: None };
    let version = Version { source, first: row, mapped_by, row, withdrawn: false };
    let content = Uuid::from_u128(1);
    for (mapping, is_withdrawn) in [(1, false), (2, false), (3, true)] {
        let withdrawals = Withdrawals::from([(DeliveredFrom::of(row), MappedBy { mapping, ..mapped_by })]);
        let plan = plan(&[], &[Delivered { content, version }], &withdrawals);
        assert_eq!(plan.put_current, (!is_withdrawn).then_some((content, version)), "mapping {mapping}");
        assert_eq!(plan.rows.contains(&DeliveredFrom::of(row)), !is_withdrawn);
    }
}
