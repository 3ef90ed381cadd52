//! The user that Postgres runs as if this process runs as root, and where its data can be stored.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{EmbeddedError, io};

/// The directory for Postgres's data if this process runs as root. Postgres then runs as another user, who cannot access a data
/// directory that root owns.
const REACHABLE_DIRECTORY: &str = "/var/lib/device-manager";

/// A user account of this machine.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Creates or checks a `directory` that Postgres can own. Returns its real path, and the user that Postgres runs as; `None` for
/// the user of this process.
pub(super) fn prepare_home(directory: &Path) -> Result<(PathBuf, Option<User>), EmbeddedError> {
    if !rustix::process::geteuid().is_root() {
        create_private_directory(directory)?;
        return Ok((canonical_path(directory)?, None));
    }
    let exists = directory.exists();
    let user =
        if exists { owner_of(directory)? } else { unprivileged_account() }.ok_or(EmbeddedError::NoUnprivilegedUser)?;
    if !exists {
        create_linked_directory(directory, &user)?;
    }
    let home = canonical_path(directory)?;
    if !user.can_enter(&home) {
        return Err(EmbeddedError::OutOfReach { directory: home, user: user.name });
    }
    Ok((home, Some(user)))
}

/// Restricts a data directory to its owner. If it contains a Postgres directory of another user, as earlier releases created it
/// for root, that user must be able to traverse it; then the directories inside it are restricted instead.
pub(super) fn restrict_permissions(data_dir: &Path) -> Result<(), EmbeddedError> {
    let set_mode = |directory: &Path, mode| {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))
            .map_err(io("restrict the permissions of", directory))
    };
    let postgres = std::fs::symlink_metadata(data_dir.join("postgres"));
    let is_anothers = postgres.is_ok_and(|found| found.is_dir() && found.uid() != rustix::process::geteuid().as_raw());
    let kafka = data_dir.join("kafka");
    if is_anothers && kafka.is_dir() {
        set_mode(&kafka, 0o700)?;
    }
    set_mode(data_dir, if is_anothers { 0o711 } else { 0o700 })
}

/// Creates the directory elsewhere and a symbolic link to it, because only its owner may access the data directory.
fn create_linked_directory(directory: &Path, user: &User) -> Result<(), EmbeddedError> {
    let elsewhere = Path::new(REACHABLE_DIRECTORY).join(uuid::Uuid::new_v4().to_string());
    std::fs::create_dir_all(REACHABLE_DIRECTORY).map_err(io("create", Path::new(REACHABLE_DIRECTORY)))?;
    create_private_directory(&elsewhere)?;
    chown(&elsewhere, Some(user.uid), Some(user.gid)).map_err(io("change the owner of", &elsewhere))?;
    if directory.is_symlink() {
        std::fs::remove_file(directory).map_err(io("remove", directory))?;
    }
    symlink(&elsewhere, directory).map_err(io("link", directory))?;
    tracing::info!(user = user.name, directory = %elsewhere.display(), "Postgres's data is stored where its user can access it");
    Ok(())
}

fn create_private_directory(directory: &Path) -> Result<(), EmbeddedError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io("create", directory))
}

fn canonical_path(directory: &Path) -> Result<PathBuf, EmbeddedError> {
    directory.canonicalize().map_err(io("resolve", directory))
}

/// Returns the owner of an existing directory, unless that is root: existing data keeps its owner.
fn owner_of(directory: &Path) -> Result<Option<User>, EmbeddedError> {
    let owner = std::fs::metadata(directory).map_err(io("read the metadata of", directory))?;
    let user = User { name: format!("{}", owner.uid()), uid: owner.uid(), gid: owner.gid() };
    Ok((user.uid != 0).then_some(user))
}

fn unprivileged_account() -> Option<User> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    ["postgres", "nobody"].iter().find_map(|name| accounts.lines().find_map(|line| User::parse(line, name)))
}

impl User {
    fn parse(line: &str, wanted: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| *name == wanted)?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name: name.to_owned(), uid, gid })
    }

    /// Returns whether the user can enter the directory. The function tries it, because access lists and mount options matter
    /// as well as the mode.
    fn can_enter(&self, directory: &Path) -> bool {
        Command::new("/bin/sh")
            .args(["-c", "cd \"$1\"", "sh"])
            .arg(directory)
            .current_dir("/")
            .uid(self.uid)
            .gid(self.gid)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_private_except_for_the_path_to_another_users_postgres() {
        let directory = tempfile::tempdir().unwrap();
        let (data, kafka, postgres) =
            (directory.path(), directory.path().join("kafka"), directory.path().join("postgres"));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        let open = || std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(&kafka).unwrap();
        open();
        restrict_permissions(data).unwrap();
        assert_eq!(mode(data), 0o700);
        // Postgres's data is stored elsewhere, or belongs to the same user.
        std::fs::create_dir(&postgres).unwrap();
        open();
        restrict_permissions(data).unwrap();
        assert_eq!(mode(data), 0o700);
        // As earlier releases created it for root.
        if chown(&postgres, Some(12_345), None).is_err() {
            eprintln!("skipped: only root can change the owner of a directory");
            return;
        }
        open();
        restrict_permissions(data).unwrap();
        assert_eq!(
            (mode(data), mode(&kafka)),
            (0o711, 0o700),
            "other users can traverse the directory but not list it"
        );
    }
}
