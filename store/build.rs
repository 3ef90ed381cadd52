//! Cargo sees a new migration only when it is told to look.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
