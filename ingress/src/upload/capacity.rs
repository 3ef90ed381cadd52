//! How many uploads go on at once, and how large and how slow each may be.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config::IngressConfig;

/// Uploads in hand: each takes some megabytes, so that only so many go on at once.
pub(crate) struct UploadCapacity {
    pub(super) slots: Semaphore,
    pub(super) limits: UploadLimits,
}

/// The limits of one upload.
#[derive(Debug, Clone, Copy)]
pub(super) struct UploadLimits {
    pub(super) bytes_max: u64,
    /// For the whole body.
    pub(super) time_max: Duration,
    /// For each [`super::PIECE_BYTES`] of it, and for its rest.
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
