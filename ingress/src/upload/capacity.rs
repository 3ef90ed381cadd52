//! The limits on uploads: how many are received at once, and the size and duration of each.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config::IngressConfig;

/// The slots for uploads. Each upload uses several megabytes of memory, so their number is limited.
pub(crate) struct UploadCapacity {
    pub(super) slots: Semaphore,
    pub(super) limits: UploadLimits,
}

/// The limits of one upload.
#[derive(Debug, Clone, Copy)]
pub(super) struct UploadLimits {
    pub(super) bytes_max: u64,
    /// The time to receive the whole body.
    pub(super) time_max: Duration,
    /// The time to receive each [`super::PIECE_BYTES`] of the body, and the last, shorter piece.
    pub(super) stall_max: Duration,
}

impl From<&IngressConfig> for UploadCapacity {
    fn from(config: &IngressConfig) -> Self {
        let limits = UploadLimits {
            bytes_max: config.upload_bytes_max,
            time_max: config.upload_timeout,
            stall_max: config.body_timeout,
        };
        Self { slots: Semaphore::new(config.uploads_max), limits }
    }
}
