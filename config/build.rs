//! Lists the texts that ship: every `.toml` of `playbooks/`, `policies/` and
//! `actions/`, so that adding a file is all it takes to ship it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut code = String::new();
    for folder in ["playbooks", "policies", "actions"] {
        println!("cargo::rerun-if-changed={folder}");
        let name = folder.to_uppercase();
        writeln!(code, "/// The files of `config/{folder}/`, by name.")
            .expect("a String takes all");
        writeln!(code, "pub const {name}: &[Text] = &[").expect("a String takes all");
        for file in toml_files(&root.join(folder)) {
            let stem = file
                .file_stem()
                .expect("it ends in .toml")
                .to_string_lossy();
            let path = file.display().to_string();
            writeln!(
                code,
                "    Text {{ name: {stem:?}, text: include_str!({path:?}) }},"
            )
            .expect("a String takes all");
        }
        code.push_str("];\n");
    }
    fs::write(out.join("texts.rs"), code).expect("OUT_DIR is ours to write");
}

fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    files
}
