//! `offhook policy`: checks, tests, compares and activates the rules. All but
//! `activate` work on files alone; no daemon is asked.

use std::path::Path;

use serde_json::json;

use super::ask::{Trouble, asking, tell};
use super::{Common, NO, OK, print, print_json};
use crate::control::{PolicyNow, PolicyText};
use crate::settings::{CheckedPolicy, INSTALLED, Page, Settings};

/// The rules: are they right, do their cases hold, what would change?
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum PolicyVerb {
    /// All that is wrong or odd, with line and column; the golden cases are run.
    Check(Named),
    /// Run the golden cases of the policy, one line each.
    Test(Named),
    /// What NEW changes: rules and grants added, removed, changed.
    Diff(Pair),
    /// Put it in force, for running calls as well, until the next start. Refused
    /// as a whole, and the old one stays, when anything is wrong with it.
    Activate(Activation),
}

/// Which policy.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Named {
    /// A file, or a name that ships; the one that the config names when left out.
    policy: Option<String>,
}

/// Which two.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Pair {
    /// A file or a name.
    new: String,
    /// Compared with; the one that the config names when left out.
    old: Option<String>,
}

/// What is put in force.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Activation {
    /// A file or a name; the one that the config names, read anew, when left out.
    policy: Option<String>,
    /// Who does it; kept in the audit chain.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
    by: String,
}

pub(super) fn run(common: &Common, verb: &PolicyVerb) -> u8 {
    let done = match verb {
        PolicyVerb::Check(named) => check(common, named, false),
        PolicyVerb::Test(named) => check(common, named, true),
        PolicyVerb::Diff(pair) => diff(common, pair),
        PolicyVerb::Activate(activation) => return activate(common, activation),
    };
    done.unwrap_or_else(|trouble| tell(common, trouble))
}

/// The settings that name the actions and the policy.
pub(super) fn settings(common: &Common) -> Result<Settings, Trouble> {
    let installed = Path::new(INSTALLED);
    match &common.config {
        Some(file) => Settings::load(file),
        None if installed.exists() => Settings::load(installed),
        None => Settings::parse(Path::new("offhook.toml"), ""),
    }
    .map_err(|error| Trouble::CouldNot(error.to_string()))
}

fn page(settings: &Settings, named: Option<&String>) -> Result<Page, Trouble> {
    match named {
        Some(name) => Page::policy(name, Path::new("")),
        None => settings.policy_page(),
    }
    .map_err(Trouble::CouldNot)
}

/// The policy, or all that is wrong with it as the answer no.
pub(super) fn checked(
    settings: &Settings,
    named: Option<&String>,
) -> Result<CheckedPolicy, Trouble> {
    let page = page(settings, named)?;
    CheckedPolicy::of(page, &settings.books.catalogue).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Trouble::No(lines.join("\n"))
    })
}

fn check(common: &Common, named: &Named, cases: bool) -> Result<u8, Trouble> {
    let settings = settings(common)?;
    let checked = checked(&settings, named.policy.as_ref())?;
    let (policy, file) = (&checked.policy, checked.page.file());
    if common.json {
        print_json(&json!({
            "policy": policy.name(),
            "file": file,
            "hash": policy.hash(),
            "rules": policy.rules().len(),
            "cases": checked.cases,
            "odd": checked.odd.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }));
        return Ok(OK);
    }
    let mut text = String::new();
    if cases {
        for case in &checked.cases {
            text += &format!("ok  {case}\n");
        }
    }
    for odd in &checked.odd {
        text += &format!("{odd} (odd)\n");
    }
    text += &format!(
        "{file}: ok: {} rules, {} cases hold, {} odd; {} {}\n",
        policy.rules().len(),
        checked.cases.len(),
        checked.odd.len(),
        policy.name(),
        policy.hash(),
    );
    print(&text);
    Ok(OK)
}

fn diff(common: &Common, pair: &Pair) -> Result<u8, Trouble> {
    let settings = settings(common)?;
    let new = checked(&settings, Some(&pair.new))?;
    let old = checked(&settings, pair.old.as_ref())?;
    let changes = old.policy.diff(&new.policy);
    if common.json {
        print_json(&json!({ "changes": changes }));
    } else if changes.is_empty() {
        print("nothing that decides differs\n");
    } else {
        print(&(changes.join("\n") + "\n"));
    }
    Ok(if changes.is_empty() { OK } else { NO })
}

fn activate(common: &Common, activation: &Activation) -> u8 {
    let text = activation.policy.as_ref().map(|name| {
        let page = Page::policy(name, Path::new("")).map_err(Trouble::CouldNot)?;
        Ok::<_, Trouble>((page.file().to_owned(), Some(page.text().to_owned())))
    });
    let (file, text) = match text.unwrap_or_else(|| Ok((String::new(), None))) {
        Ok(text) => text,
        Err(trouble) => return tell(common, trouble),
    };
    asking(common, async |client| {
        let by = activation.by.clone();
        let order = PolicyText { file, text, by };
        let now: PolicyNow = client.post("/v1/policy", &order).await?;
        if common.json {
            print_json(&now);
        } else {
            let mut text = now.changes.join("\n");
            if !text.is_empty() {
                text.push('\n');
            }
            print(&format!(
                "{text}policy {} ({}) is in force; running calls that go by it: {}\n",
                now.name, now.hash, now.calls
            ));
        }
        Ok(OK)
    })
}
