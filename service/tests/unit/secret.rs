//! Secrets in files: their permissions.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use service::secret::{SecretError, load, load_or_create};

#[test]
fn a_group_may_read_a_secret_and_nobody_else_may_do_anything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, "5a".repeat(32)).unwrap();
    for mode in [0o400, 0o440, 0o600, 0o640] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(load(&path).ok(), Some([0x5a; 32]), "{mode:04o}");
    }
    for mode in [0o604, 0o602, 0o601, 0o620, 0o660, 0o644, 0o664, 0o777] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = load(&path).unwrap_err();
        assert!(matches!(error, SecretError::Open { mode: found, .. } if found == mode), "{mode:04o}");
        let said = error.to_string();
        for part in [format!("{mode:04o}"), path.display().to_string(), "chmod 640".to_owned()] {
            assert!(said.contains(&part), "{part} is missing in: {said}");
        }
        assert!(!said.contains("5a5a"), "{said}");
    }
}

#[test]
fn a_secret_is_created_once_and_only_its_owner_can_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let made = load_or_create(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(load_or_create(&path).unwrap(), made);
    fs::write(&path, "no digits").unwrap();
    assert!(matches!(load_or_create(&path), Err(SecretError::Form { .. })));
}
