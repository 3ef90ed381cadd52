//! The metrics of the stage.

use metrics::{Unit, describe_counter, describe_gauge};

/// Registers the description of each metric.
pub(super) fn describe() {
    for (name, about) in [
        ("device_manager_normalizer_records_total", "Raw records whose outcome was acknowledged"),
        ("device_manager_normalizer_items_total", "Items in raw records"),
        ("device_manager_normalizer_readings_total", "Readings made from items"),
        ("device_manager_normalizer_commands_total", "Device commands made from raw records"),
        ("device_manager_normalizer_rejections_total", "Items that were refused"),
        ("device_manager_normalizer_unknown_total", "Shapes in payloads that no mapping knows, by provider and kind"),
        ("device_manager_normalizer_null_records_total", "Raw records without a value, which are not mapped"),
        ("device_manager_normalizer_mapping_failures_total", "Payloads on which the mapping panicked (a defect)"),
    ] {
        describe_counter!(name, Unit::Count, about);
    }
    describe_gauge!(
        "device_manager_normalizer_blocked_partitions",
        Unit::Count,
        "Partitions of raw topics that are not read until an operator acts, by subscription"
    );
}
