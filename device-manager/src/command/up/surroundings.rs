//! What all stages of `up` share.

use std::path::PathBuf;

use service::cluster::Cluster;

/// The secret that signs receipts, in the data directory.
pub(super) const RECEIPT_KEY: &str = "receipt.key";
/// The API keys' hashes, in the data directory.
pub(super) const KEYS: &str = "keys.json";

/// What the stages find. Holds secrets: no `Debug`.
pub(super) struct Surroundings {
    /// As an absolute path.
    pub(super) data_dir: PathBuf,
    pub(super) cluster: Cluster,
    pub(super) topic_prefix: String,
    pub(super) database_url: String,
    /// Whether the database is ours, so that its user may make roles.
    pub(super) has_own_database: bool,
    pub(super) api_key: String,
    pub(super) http_port: u16,
}
