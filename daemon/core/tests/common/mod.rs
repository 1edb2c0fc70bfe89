//! The shipped files, compiled as the daemon compiles them.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test takes what it needs"
)]

pub mod script;
pub mod stage;

use std::path::Path;
use std::sync::Arc;

use offhook_core::book::{Book, Program, TestLine};
use offhook_core::{Catalogue, Fault, Playbook, Policy, RawActions, RawPlaybook, RawPolicy};

pub fn shipped(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let path = root.join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails with all faults, each with the text it is about.
pub fn sound<T>(text: &str, result: Result<T, Vec<Fault>>) -> T {
    result.unwrap_or_else(|faults| {
        let list: Vec<String> = faults
            .iter()
            .map(|it| format!("{}: {} (`{}`)", it.key, it.reason, &text[it.start..it.end]))
            .collect();
        panic!("{}", list.join("\n"))
    })
}

pub fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    for name in ["actions/booking.toml", "actions/voice.toml"] {
        let text = shipped(name);
        let raw: RawActions = toml::from_str(&text).unwrap();
        let result = catalogue.add(&raw);
        sound(&text, result);
    }
    catalogue
}

pub fn policy() -> Policy {
    policy_named("default")
}

pub fn policy_named(name: &str) -> Policy {
    let text = shipped(&format!("policies/{name}.toml"));
    let raw: RawPolicy = toml::from_str(&text).unwrap();
    sound(&text, Policy::compile(&raw, &catalogue()))
}

pub fn playbook(name: &str) -> Playbook {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/playbooks/{name}.toml"));
    let text = match std::fs::read_to_string(own) {
        Ok(text) => text,
        Err(_) => shipped(&format!("playbooks/{name}.toml")),
    };
    let raw: RawPlaybook = toml::from_str(&text).unwrap();
    sound(&text, Playbook::compile(&raw, &catalogue()))
}

pub fn book(name: &str) -> Arc<Book> {
    let program = match name {
        "echo" => Program::Test(TestLine::Echo),
        "tone" => Program::Test(TestLine::Tone),
        "ring" => Program::Test(TestLine::Ring),
        "busy" => Program::Test(TestLine::Busy),
        name => Program::Playbook(Arc::new(playbook(name))),
    };
    Arc::new(Book {
        program,
        policy: Arc::new(policy()),
        catalogue: Arc::new(catalogue()),
    })
}
