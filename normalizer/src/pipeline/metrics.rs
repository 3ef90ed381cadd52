//! What the stage counts.

use metrics::{Unit, describe_counter, describe_gauge};

/// Says what each metric means.
pub(super) fn describe() {
    for (name, about) in [
        ("device_manager_normalizer_records_total", "Raw records that came to an outcome"),
        ("device_manager_normalizer_items_total", "Items that the raw records held"),
        ("device_manager_normalizer_readings_total", "Readings that were made of items"),
        ("device_manager_normalizer_commands_total", "Device commands that were made of raw records"),
        ("device_manager_normalizer_rejections_total", "Items that were refused"),
        ("device_manager_normalizer_unknown_total", "Shapes that no mapping knows, by provider and kind"),
        ("device_manager_normalizer_null_records_total", "Raw records without a value, which were passed over"),
        ("device_manager_normalizer_mapping_failures_total", "Payloads on which the mapping failed, a defect of ours"),
    ] {
        describe_counter!(name, Unit::Count, about);
    }
    describe_gauge!(
        "device_manager_normalizer_blocked_partitions",
        Unit::Count,
        "Partitions of raw topics that are not read until an operator does something, by subscription"
    );
}
