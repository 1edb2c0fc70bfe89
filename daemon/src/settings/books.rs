//! What conversations go by: catalogue, policy and playbooks, from the texts
//! that ship and the operator's own files, all checked against each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use offhook_config::builtin::{self, Text};
use offhook_config::{Located, Source, load, one_of};
use offhook_core::action::{Catalogue, RawActions};
use offhook_core::fault::Fault;
use offhook_core::playbook::{Playbook, RawPlaybook};
use offhook_core::policy::{Policy, RawPolicy};
use offhook_core::{Book, Program, TestLine};
use serde::de::DeserializeOwned;

use super::{Destination, Test};

/// The policy that holds where the config names none.
pub const POLICY_DEFAULT: &str = "default";

/// What conversations go by; immutable, replaced whole.
#[derive(Clone, Debug)]
pub struct Books {
    /// What can be proposed.
    pub catalogue: Arc<Catalogue>,
    /// What the gate goes by.
    pub policy: Arc<Policy>,
    /// Dialogues by name.
    pub playbooks: BTreeMap<String, Arc<Playbook>>,
}

impl Books {
    /// What a conversation that goes there goes by; `None`: no such playbook,
    /// which a route of checked settings cannot name.
    pub fn book(&self, to: &Destination) -> Option<Book> {
        let program = match to {
            Destination::Playbook(name) => Program::Playbook(self.playbooks.get(name)?.clone()),
            Destination::Test(test) => Program::Test(test_line(*test)),
        };
        Some(Book {
            program,
            policy: self.policy.clone(),
            catalogue: self.catalogue.clone(),
        })
    }
}

const fn test_line(test: Test) -> TestLine {
    match test {
        Test::Echo => TestLine::Echo,
        Test::Tone => TestLine::Tone,
        Test::Ring => TestLine::Ring,
        Test::Busy => TestLine::Busy,
    }
}

/// A text and what to call it in faults.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// File name without `.toml`.
    name: String,
    /// As a person would name it.
    file: String,
    text: String,
}

impl Page {
    fn shipped(folder: &str, text: &Text) -> Self {
        Self {
            name: text.name.to_owned(),
            file: format!("builtin:{folder}/{}.toml", text.name),
            text: text.text.to_owned(),
        }
    }

    fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
        let name = path.file_stem().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            file: path.display().to_string(),
            text,
        })
    }
}

/// The pages that the config file chose, not yet understood.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub(super) actions: Vec<Page>,
    pub(super) policy: Option<Page>,
    pub(super) playbooks: Vec<Page>,
}

impl Shelf {
    /// What ships.
    pub(super) fn shipped() -> Self {
        let pages = |folder, texts: &[Text]| {
            texts
                .iter()
                .map(|text| Page::shipped(folder, text))
                .collect()
        };
        Self {
            actions: pages("actions", builtin::ACTIONS),
            policy: shipped_policy(POLICY_DEFAULT).ok(),
            playbooks: pages("playbooks", builtin::PLAYBOOKS),
        }
    }

    /// All faults, or the books; `names` are the playbooks that can be named
    /// in routes, whatever is wrong with them.
    pub(super) fn compile(&self) -> (Vec<String>, Result<Books, Vec<Located>>) {
        let mut faults = Vec::new();
        let catalogue = self.catalogue(&mut faults);
        let policy = self.policy(&catalogue, &mut faults);
        let mut names = Vec::new();
        let mut playbooks = BTreeMap::new();
        for page in &self.playbooks {
            let Some((name, playbook)) = page.playbook(&catalogue, &mut faults) else {
                names.push(page.name.clone());
                continue;
            };
            names.push(name.clone());
            if let Some(playbook) = playbook
                && playbooks.insert(name.clone(), Arc::new(playbook)).is_some()
            {
                let source = Source::new(&page.file, &page.text);
                faults.push(source.whole(format!("there are two playbooks `{name}`")));
            }
        }
        let books = match policy {
            Some(policy) if faults.is_empty() => Ok(Books {
                catalogue: Arc::new(catalogue),
                policy: Arc::new(policy),
                playbooks,
            }),
            _ => Err(faults),
        };
        (names, books)
    }

    fn catalogue(&self, faults: &mut Vec<Located>) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for page in &self.actions {
            if let Some(raw) = page.raw::<RawActions>(faults) {
                page.keep(catalogue.add(&raw), faults);
            }
        }
        catalogue
    }

    fn policy(&self, catalogue: &Catalogue, faults: &mut Vec<Located>) -> Option<Policy> {
        let page = self.policy.as_ref()?;
        let raw = page.raw::<RawPolicy>(faults)?;
        page.keep(Policy::compile(&raw, catalogue), faults)
    }
}

impl Page {
    fn raw<T: DeserializeOwned>(&self, faults: &mut Vec<Located>) -> Option<T> {
        load(&self.file, &self.text)
            .map_err(|found| faults.extend(found))
            .ok()
    }

    /// The value, or its faults with their places in this page.
    fn keep<T>(&self, made: Result<T, Vec<Fault>>, faults: &mut Vec<Located>) -> Option<T> {
        let source = Source::new(&self.file, &self.text);
        let locate = |fault: Fault| {
            let mut located = source.fault(fault.start..fault.end, fault.reason);
            if !fault.key.is_empty() {
                located.key = fault.key;
            }
            located
        };
        made.map_err(|found| faults.extend(found.into_iter().map(locate)))
            .ok()
    }

    fn playbook(
        &self,
        catalogue: &Catalogue,
        faults: &mut Vec<Located>,
    ) -> Option<(String, Option<Playbook>)> {
        let raw = self.raw::<RawPlaybook>(faults)?;
        let name = raw.name.value.clone();
        Some((name, self.keep(Playbook::compile(&raw, catalogue), faults)))
    }
}

/// The pages of a directory, which win over those of the same name.
///
/// # Errors
/// The directory, or a file of it, cannot be read.
pub(super) fn add_directory(pages: &mut Vec<Page>, directory: &Path) -> Result<(), String> {
    let unreadable = |error| format!("`{}` cannot be read: {error}", directory.display());
    let entries = std::fs::read_dir(directory).map_err(unreadable)?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    files.retain(|file| file.extension().is_some_and(|end| end == "toml"));
    files.sort();
    for file in files {
        let page = Page::read(&file)?;
        pages.retain(|shipped| shipped.name != page.name);
        pages.push(page);
    }
    Ok(())
}

/// The policy of that name, or at that path when it looks like one.
///
/// # Errors
/// There is none, or it cannot be read.
pub(super) fn policy_page(name: &str, base: &Path) -> Result<Page, String> {
    if name.contains('/') || name.ends_with(".toml") {
        Page::read(&base.join(name))
    } else {
        shipped_policy(name)
    }
}

fn shipped_policy(name: &str) -> Result<Page, String> {
    let text = builtin::POLICIES.iter().find(|text| text.name == name);
    text.map(|text| Page::shipped("policies", text))
        .ok_or_else(|| {
            let names = builtin::POLICIES.iter().map(|text| text.name);
            let hint = one_of(name, names);
            format!("no policy `{name}` ships, {hint}; a file is written as \"./{name}.toml\"")
        })
}
