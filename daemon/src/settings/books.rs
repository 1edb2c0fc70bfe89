//! What conversations go by: catalogue, policy and playbooks, from the texts
//! that ship and the operator's own files, all checked against each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use offhook_config::builtin::{self, Text as Shipped};
use offhook_config::{Located, Source, load, one_of};
use offhook_core::action::{Catalogue, RawActions};
use offhook_core::fault::Fault;
use offhook_core::input::{Text, Texts};
use offhook_core::playbook::{Playbook, RawPlaybook};
use offhook_core::policy::{Policy, RawPolicy};
use offhook_core::{Book, Program, TestLine};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

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
    /// Those that a start found to be wrong, by name, and what is wrong.
    pub broken: BTreeMap<String, Vec<Located>>,
    /// What they were made from.
    pub sources: Sources,
}

/// The texts of books, each under its hash.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Of the policy.
    pub policy: Text,
    /// Of all actions, one file after the other.
    pub actions: Text,
    /// Of each playbook, by name.
    pub playbooks: BTreeMap<String, Text>,
    /// Every text by its hash.
    pub texts: BTreeMap<String, String>,
}

impl Sources {
    /// Takes a text in.
    pub fn add(&mut self, name: &str, text: &str) -> Text {
        let hash = hash_of(text);
        self.texts.insert(hash.clone(), text.to_owned());
        Text {
            name: name.to_owned(),
            hash,
        }
    }

    /// All of them, with what they are: `policy`, `actions`, `playbook`.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &Text)> {
        let playbooks = self.playbooks.values().map(|text| ("playbook", text));
        [("policy", &self.policy), ("actions", &self.actions)]
            .into_iter()
            .chain(playbooks)
    }

    /// The texts of a conversation by that book.
    pub fn of(&self, program: &Program) -> Texts {
        let playbook = match program {
            Program::Playbook(playbook) => self.playbooks.get(&playbook.name).cloned(),
            Program::Test(_) => None,
        };
        Texts {
            policy: self.policy.clone(),
            playbook: playbook.unwrap_or_default(),
            actions: self.actions.clone(),
        }
    }
}

/// The first 64 bits of the SHA-256 of a text, in hex.
fn hash_of(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest[..8].iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes all");
        hex
    })
}

/// A policy that passed its own cases.
#[derive(Clone, Debug)]
pub struct CheckedPolicy {
    /// What it compiled to.
    pub policy: Policy,
    /// Its text.
    pub page: Page,
    /// What is odd about it, but no fault.
    pub odd: Vec<Located>,
    /// Its golden cases, by name.
    pub cases: Vec<String>,
}

impl CheckedPolicy {
    /// Compiles a policy against this catalogue and runs its golden cases.
    ///
    /// # Errors
    /// All that is wrong with it, by place.
    pub fn of(page: Page, catalogue: &Catalogue) -> Result<Self, Vec<Located>> {
        let mut faults = Vec::new();
        let raw = page.raw::<RawPolicy>(&mut faults);
        let policy = raw
            .as_ref()
            .and_then(|raw| page.keep(Policy::compile(raw, catalogue), &mut faults));
        let (Some(raw), Some(policy)) = (raw, policy) else {
            return Err(faults);
        };
        let mut odd = Vec::new();
        page.keep::<()>(Err(policy.lint(&raw)), &mut odd);
        let cases = raw.case.iter().map(|case| case.name.value.clone());
        Ok(Self {
            cases: cases.collect(),
            policy,
            page,
            odd,
        })
    }
}

/// The actions of a text, and the playbook of another: for a replay.
///
/// # Errors
/// What is wrong with them now.
pub fn recompile(actions: &str, playbook: &str) -> Result<(Catalogue, Playbook), String> {
    let mut faults = Vec::new();
    let mut catalogue = Catalogue::default();
    let page = Page::given("actions", "actions", actions);
    if let Some(raw) = page.raw::<RawActions>(&mut faults) {
        page.keep(catalogue.add(&raw), &mut faults);
    }
    let page = Page::given("playbook", "playbook", playbook);
    let made = page.playbook(&catalogue, &mut faults);
    match (made.and_then(|(_, playbook)| playbook), faults.first()) {
        (Some(playbook), None) => Ok((catalogue, playbook)),
        (_, fault) => Err(fault.map_or_else(String::new, ToString::to_string)),
    }
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
pub struct Page {
    /// File name without `.toml`.
    name: String,
    /// As a person would name it.
    file: String,
    text: String,
}

impl Page {
    /// The policy of that name, or at that path when it looks like one.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn policy(name: &str, base: &Path) -> Result<Self, String> {
        policy_page(name, base)
    }

    /// A text that somebody else has read.
    pub fn given(name: &str, file: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            file: file.to_owned(),
            text: text.to_owned(),
        }
    }

    /// As a person would name it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What stands in it.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn shipped(folder: &str, text: &Shipped) -> Self {
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
        let pages = |folder, texts: &[Shipped]| {
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
    /// in routes, whatever is wrong with them. `forgiving`: what is wrong with a
    /// playbook is no fault of the books.
    pub(super) fn compile(&self, forgiving: bool) -> (Vec<String>, Result<Books, Vec<Located>>) {
        let mut faults = Vec::new();
        let catalogue = self.catalogue(&mut faults);
        let policy = self.policy(&catalogue, &mut faults);
        let (mut names, mut playbooks) = (Vec::new(), BTreeMap::new());
        let mut broken = BTreeMap::new();
        for page in &self.playbooks {
            let mut wrong = Vec::new();
            let read = page.playbook(&catalogue, &mut wrong);
            let (name, playbook) = read.unwrap_or_else(|| (page.name.clone(), None));
            names.push(name.clone());
            match forgiving {
                true if !wrong.is_empty() => drop(broken.insert(name.clone(), wrong)),
                true => {}
                false => faults.append(&mut wrong),
            }
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
                broken,
                sources: self.sources(),
            }),
            _ => Err(faults),
        };
        (names, books)
    }

    fn sources(&self) -> Sources {
        let mut sources = Sources::default();
        let actions: Vec<&str> = self.actions.iter().map(|page| page.text.as_str()).collect();
        sources.actions = sources.add("actions", &actions.join("\n"));
        if let Some(page) = &self.policy {
            sources.policy = sources.add(&page.name, &page.text);
        }
        for page in &self.playbooks {
            let raw = page.raw::<RawPlaybook>(&mut Vec::new());
            let name = raw.map_or_else(|| page.name.clone(), |raw| raw.name.value);
            let text = sources.add(&name, &page.text);
            sources.playbooks.insert(name, text);
        }
        sources
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
