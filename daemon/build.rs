//! Links flite statically: the voice of the appliance is part of the binary.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=FLITE_LIB_DIR");
    match library_directory() {
        Some(directory) => println!("cargo:rustc-link-search=native={directory}"),
        None => println!(
            "cargo:warning=no libflite.a found: install Debian's flite1-dev or set FLITE_LIB_DIR"
        ),
    }
    // In the order in which each needs the next.
    for library in [
        "flite_cmu_us_rms",
        "flite_usenglish",
        "flite_cmulex",
        "flite",
    ] {
        println!("cargo:rustc-link-lib=static:-bundle={library}");
    }
    println!("cargo:rustc-link-lib=dylib=m");
}

/// Debian's `flite1-dev` puts the archives into the multiarch directory.
fn library_directory() -> Option<String> {
    if let Ok(directory) = std::env::var("FLITE_LIB_DIR") {
        return Some(directory);
    }
    let architecture = std::env::var("CARGO_CFG_TARGET_ARCH").ok()?;
    let directory = format!("/usr/lib/{architecture}-linux-gnu");
    Path::new(&directory)
        .join("libflite.a")
        .exists()
        .then_some(directory)
}
