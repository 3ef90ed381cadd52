//! Why something becomes no reading.

use std::borrow::Cow;

use schemas::rejection::Reason;
use uuid::Uuid;

/// Why an item becomes no reading.
#[derive(Clone)]
pub(crate) struct Refused {
    /// The reason of the closed list.
    pub(crate) reason: Reason,
    /// What exactly is wrong; never a value of the payload, nor a name that the sender invented.
    pub(crate) detail: Cow<'static, str>,
}

/// Refuses an item.
pub(crate) const fn refused(reason: Reason, detail: &'static str) -> Refused {
    Refused { reason, detail: Cow::Borrowed(detail) }
}

/// Why an item becomes no reading, and whose it is.
pub(crate) struct RefusedItem {
    /// Why.
    pub(crate) why: Refused,
    /// The `_id` of the device that it names: a name costs a hash, so that only a refused item is asked for it.
    pub(crate) device: Option<Uuid>,
}

impl Refused {
    /// The refusal of an item of this device.
    pub(crate) fn of(self, device: Option<Uuid>) -> RefusedItem {
        RefusedItem { why: self, device }
    }
}
