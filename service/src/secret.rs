//! Secrets that are stored in their own files.

use std::{
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use hex::FromHex as _;

/// Why a secret file cannot be used. The error names the file but never its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or written.
    #[error("the secret file {path} cannot be used")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file does not contain 64 hexadecimal digits.
    #[error("the secret file {path} must contain 64 hexadecimal digits; create it with `openssl rand -hex 32`")]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// The file's permissions are too open: others can access it, or its group can write to it.
    #[error(
        "the secret file {path} has mode {mode:04o}: only its owner may change it, and only its owner and its group may read \
         it; run `chmod 640` on it, or `chmod 600`"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// The permission bits that a secret file must not have: write for its group, and everything for others. The group may read the
/// file, because Kubernetes and systemd pass secrets in this way to a process that does not own them.
const TOO_OPEN: u32 = 0o027;

/// Reads 32 bytes, written as 64 hexadecimal digits. Refuses a file whose permissions are too open.
///
/// # Errors
/// [`SecretError`].
pub fn load(path: &Path) -> Result<[u8; 32], SecretError> {
    let io = |source| SecretError::Io { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(io)?.permissions().mode() & 0o7777;
    if mode & TOO_OPEN != 0 {
        return Err(SecretError::Open { path: path.to_owned(), mode });
    }
    let text = std::fs::read_to_string(path).map_err(io)?;
    <[u8; 32]>::from_hex(text.trim()).map_err(|_| SecretError::Form { path: path.to_owned() })
}

/// Reads the secret as [`load`] does, or creates a new one if the file does not exist.
///
/// # Errors
/// [`SecretError`].
pub fn load_or_create(path: &Path) -> Result<[u8; 32], SecretError> {
    if path.exists() {
        return load(path);
    }
    let secret: [u8; 32] = rand::random();
    let io = |source| SecretError::Io { path: path.to_owned(), source };
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    file.write_all(hex::encode(secret).as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    Ok(secret)
}
