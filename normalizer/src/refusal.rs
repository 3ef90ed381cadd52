//! Why an item did not become a reading.

use std::borrow::Cow;

use schemas::rejection::Reason;
use uuid::Uuid;

/// Why an item did not become a reading.
#[derive(Clone)]
pub(crate) struct Refused {
    /// The reason, from the closed list.
    pub(crate) reason: Reason,
    /// What exactly is wrong. It never contains a value of the payload or a name that the sender invented.
    pub(crate) detail: Cow<'static, str>,
}

/// Builds a refusal.
pub(crate) const fn refused(reason: Reason, detail: &'static str) -> Refused {
    Refused { reason, detail: Cow::Borrowed(detail) }
}

/// Why an item did not become a reading, and which device it names.
pub(crate) struct RefusedItem {
    /// The reason and the detail.
    pub(crate) why: Refused,
    /// The `_id` of the device that the item names. It costs a hash, so it is computed for refused items only.
    pub(crate) device: Option<Uuid>,
}

impl Refused {
    /// Adds the device of the item to the refusal.
    pub(crate) fn with_device(self, device: Option<Uuid>) -> RefusedItem {
        RefusedItem { why: self, device }
    }
}
