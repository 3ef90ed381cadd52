//! What all stages of `up` share.

use std::path::PathBuf;

use service::cluster::Cluster;

/// The file of the secret that signs receipts, in the data directory.
pub(super) const RECEIPT_KEY: &str = "receipt.key";
/// The file of the API keys' hashes, in the data directory.
pub(super) const KEYS: &str = "keys.json";

/// What all stages of `up` share. Contains secrets, so it does not implement `Debug`.
pub(super) struct UpContext {
    /// The absolute path of the data directory.
    pub(super) data_dir: PathBuf,
    /// The absolute path of the file with the secret that signs receipts.
    pub(super) receipt_key_file: PathBuf,
    /// The absolute path of the catalogue file.
    pub(super) catalogue_file: Option<PathBuf>,
    pub(super) cluster: Cluster,
    pub(super) topic_prefix: String,
    pub(super) database_url: String,
    /// Whether `up` has started the database itself, so that its user may create roles.
    pub(super) has_own_database: bool,
    pub(super) api_key: String,
    pub(super) http_port: u16,
}
