//! The file `env`, which scripts and psql need to connect, and the API key in it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ingress::keys::{NewKey, Scope, create};

use super::context::{KEYS, UpContext};
use crate::error::CommandError;

/// The contents of the file `env`. Contains secrets, so it does not implement `Debug`.
pub(super) struct EnvFile<'a> {
    pub(super) ingress_url: &'a str,
    pub(super) context: &'a UpContext,
}

impl EnvFile<'_> {
    /// Removes the file, if it exists.
    pub(super) fn remove(data_dir: &Path) -> io::Result<()> {
        match std::fs::remove_file(data_dir.join("env")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes the file so that it appears complete: a process that waits for it can read it at once.
    pub(super) fn write(&self, data_dir: &Path) -> io::Result<()> {
        write_secret(&data_dir.join("env"), &self.text())
    }

    /// Includes settings with default values, because the shell that reads the file may have been set up for another
    /// installation.
    fn text(&self) -> String {
        let UpContext { cluster, topic_prefix, database_url, api_key, data_dir, receipt_key_file, .. } = self.context;
        let path = |name: &str| data_dir.join(name).display().to_string();
        let variables = [
            ("INGRESS_URL", self.ingress_url.to_owned()),
            ("API_KEY", api_key.clone()),
            ("DATABASE_URL", database_url.clone()),
            ("KAFKA_BOOTSTRAP_SERVERS", cluster.settings.bootstrap.clone()),
            ("TOPIC_PREFIX", topic_prefix.clone()),
            ("RECEIPT_KEY_FILE", receipt_key_file.display().to_string()),
            ("KEYS_FILE", path(KEYS)),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let reached = cluster.settings.properties.iter().map(|(property, value)| {
            (format!("KAFKA_{}", property.to_ascii_uppercase().replace('.', "_")), value.clone())
        });
        let mut text = String::new();
        for (name, value) in variables.into_iter().chain(reached) {
            let _infallible = writeln!(text, "export {name}={}", quoted(&value));
        }
        let _infallible = match &self.context.catalogue_file {
            Some(file) => writeln!(text, "export CATALOGUE_FILE={}", quoted(&file.display().to_string())),
            None => writeln!(text, "unset CATALOGUE_FILE"),
        };
        text
    }
}

/// Suggests what to try next.
pub(super) fn hint(data_dir: &Path, ingress_url: &str) -> String {
    // The shell searches PATH for a file name without a slash.
    let here = if data_dir.is_relative() { "./" } else { "" };
    let (env, binary) = (data_dir.join("env"), std::env::args().next().unwrap_or_else(|| "device-manager".to_owned()));
    format!(
        "In another terminal:\n  . {here}{}\n  {binary} simulate medisante --count 10\n  \
         psql \"$DATABASE_URL\" -c 'SELECT * FROM attributed_readings LIMIT 10'\n\
         The API to read and to try: {ingress_url}/docs",
        env.display()
    )
}

/// Returns the development key of this data directory. It is created once, and kept beside the keys file with its hash.
pub(super) fn api_key(data_dir: &Path) -> Result<String, CommandError> {
    let (path, keys_file) = (data_dir.join("api-key"), data_dir.join(KEYS));
    if keys_file.exists()
        && let Ok(key) = std::fs::read_to_string(&path)
    {
        return Ok(key.trim().to_owned());
    }
    let new = NewKey {
        id: None,
        source: "development".to_owned(),
        scopes: vec![Scope::HealthDataWrite, Scope::DevicesWrite],
        providers: None,
        defaults: None,
        not_before: None,
        expires_at: None,
    };
    let (_, secret) = create(&keys_file, new)?;
    write_secret(&path, secret.reveal())
        .map_err(|error| CommandError::failed("writing the development API key", error))?;
    Ok(secret.reveal().to_owned())
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(part, path)
}

/// Quotes a value for a POSIX shell, where no character within single quotes is special except the single quote.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_value_unchanged() {
        let nasty = "postgres://u:p'a$s`s\"w@h/d?x=1&y=\\ 2";
        let script = format!("printf %s {}", quoted(nasty));
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), nasty);
    }

    #[test]
    fn the_key_is_created_once_and_only_its_owner_can_read_it() {
        use std::os::unix::fs::MetadataExt as _;
        let directory = tempfile::tempdir().unwrap();
        let key = api_key(directory.path()).ok().unwrap();
        assert_eq!(api_key(directory.path()).ok().unwrap(), key);
        assert_eq!(std::fs::metadata(directory.path().join("api-key")).unwrap().mode() & 0o777, 0o600);
    }
}
