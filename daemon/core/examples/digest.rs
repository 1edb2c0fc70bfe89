//! Every scenario through the core, and one number for all that it said and decided:
//! the same in debug and release builds and on every machine. `tests/bits` compares.

#[path = "../tests/common/mod.rs"]
mod common;

fn main() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files = std::fs::read_dir(&root).expect("the scenarios are in the tree");
    let mut files: Vec<_> = files.flatten().map(|file| file.path()).collect();
    files.sort();
    let mut all = 0u64;
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a scenario is text");
        let (_, digest) = common::script::play(&text);
        all = all.rotate_left(7) ^ digest;
    }
    println!("{} conversations, digest {all:016x}", files.len());
}
