//! Makes Cargo rebuild the crate when a migration is added, and writes the number of the last migration as the schema version.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=migrations");
    let mut last = 0_i32;
    for file in fs::read_dir("migrations")? {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| name.split_once('_')).map(|(number, _)| number.parse());
        last = last.max(number.ok_or("the name of a migration must have the form 0001_name.sql")??);
    }
    let folder = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(folder.join("schema_version.rs"), last.to_string())?;
    Ok(())
}
