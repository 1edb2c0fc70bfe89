//! Leads from a file: one record to the pages that are news. Reading the file
//! is the command line's part; what a record means is decided here.

use std::collections::BTreeMap;
use std::time::Duration;

use offhook_core::LeadId;
use offhook_core::memory::{Source, TEXT_MAX, Topic, Transition};
use offhook_core::number::Numbering;
use serde::{Deserialize, Serialize};

use super::{Chapter, Handle, LEADS_MAX, Leads, Page, Who, wall_ms};

/// Fields of one record that are looked at.
const FIELDS_MAX: usize = 64;

/// One lead as a file gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Line of the file, from 1.
    pub line: u64,
    /// `number`, `id`, `name`, `consent`, `opt_out`, `TOPIC.NAME`, or the name of an answer.
    pub fields: BTreeMap<String, String>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Imported {
    /// A lead that was not known.
    New,
    /// Something new of one that was.
    Changed,
    /// Nothing new.
    Unchanged,
    /// Number and id belonged to two leads, which are one from now on.
    Merged,
}

/// A record that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Line of the file.
    pub line: u64,
    /// What is wrong, and what to write.
    pub reason: String,
}

impl Leads {
    /// Takes a record in; the pages are to be kept.
    ///
    /// # Errors
    /// What is wrong with it. Nothing of it was taken.
    pub fn import(
        &mut self,
        record: &Record,
        numbering: &Numbering,
        fresh: LeadId,
        wall: Duration,
    ) -> Result<(Imported, Vec<Page>), Rejected> {
        let rejected = |reason: String| Rejected {
            line: record.line,
            reason,
        };
        let handles = handles(record, numbering).map_err(rejected)?;
        let learned = record.transitions(&Source::Import, wall);
        let learned = learned.map_err(rejected)?;
        let mut found = Vec::new();
        for handle in &handles {
            match self.who(handle) {
                Who::Nobody => {}
                Who::One(lead) if found.contains(&lead) => {}
                Who::One(lead) => found.push(lead),
                Who::Several => {
                    let reason = format!(
                        "`{}` belongs to several leads; name this one by its `id`, or merge them",
                        handle.text()
                    );
                    if handles.len() == 1 {
                        return Err(rejected(reason));
                    }
                }
            }
        }
        if found.is_empty() && self.count() >= LEADS_MAX {
            return Err(rejected(format!("there are {LEADS_MAX} leads already")));
        }
        let lead = found.first().copied().unwrap_or(fresh);
        let mut pages = Vec::new();
        for other in found.iter().skip(1) {
            pages.extend(self.merge(*other, lead));
        }
        let merged = !pages.is_empty();
        pages.extend(self.write(lead, handles.into_iter().map(Chapter::Known)));
        pages.extend(self.write(lead, learned.into_iter().map(Chapter::Learned)));
        let imported = match (found.is_empty(), merged, pages.is_empty()) {
            (true, _, _) => Imported::New,
            (false, true, _) => Imported::Merged,
            (false, false, false) => Imported::Changed,
            (false, false, true) => Imported::Unchanged,
        };
        Ok((imported, pages))
    }
}

fn handles(record: &Record, numbering: &Numbering) -> Result<Vec<Handle>, String> {
    let mut handles = Vec::new();
    for (name, value) in &record.fields {
        let value = value.trim();
        match name.as_str() {
            "number" | "phone" if !value.is_empty() => {
                let number = numbering.read(value).ok_or_else(|| {
                    format!(
                        "`{value}` in `{name}` is no telephone number; write it as +49…, or name the country with --country"
                    )
                })?;
                handles.push(Handle::Number(number));
            }
            "id" if !value.is_empty() => {
                if value.len() > TEXT_MAX || value.chars().any(char::is_control) {
                    return Err("`id` is too long, or holds control characters".to_owned());
                }
                handles.push(Handle::External(value.to_owned()));
            }
            _ => {}
        }
    }
    if handles.is_empty() {
        return Err("names nobody: write `number` or `id`".to_owned());
    }
    handles.dedup();
    Ok(handles)
}

impl Record {
    /// What it says of the person.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn transitions(&self, source: &Source, wall: Duration) -> Result<Vec<Transition>, String> {
        let record = self;
        if record.fields.len() > FIELDS_MAX {
            return Err(format!("has more than {FIELDS_MAX} fields"));
        }
        let mut learned = Vec::new();
        for (name, value) in &record.fields {
            let value = value.trim();
            if value.is_empty() || matches!(name.as_str(), "number" | "phone" | "id") {
                continue;
            }
            if value.chars().count() > TEXT_MAX {
                return Err(format!("`{name}` is longer than {TEXT_MAX} characters"));
            }
            let (topic, name) = subject(name)?;
            let value = match topic {
                Topic::OptOut if is_no(value) => continue,
                _ => value,
            };
            let at_ms = wall_ms(wall);
            learned.push(Transition::new(
                topic,
                name,
                Some(value),
                at_ms,
                source.clone(),
            ));
        }
        Ok(learned)
    }
}

/// What a column is about: `slot`, `preference.time`, `consent`.
fn subject(column: &str) -> Result<(Topic, &str), String> {
    match column {
        "name" => return Ok((Topic::Person, "name")),
        "consent" => return Ok((Topic::Consent, "calls")),
        "opt_out" | "do_not_call" => return Ok((Topic::OptOut, "calls")),
        _ => {}
    }
    let (topic, name) = match column.split_once('.') {
        None => (Topic::Answer, column),
        Some((topic, name)) => {
            let known = Topic::named(topic).ok_or_else(|| {
                let topics: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
                format!(
                    "column `{column}`: no topic `{topic}`, {}",
                    offhook_config::one_of(topic, topics)
                )
            })?;
            (known, name)
        }
    };
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b' ');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(good) {
        return Err(format!(
            "column `{column}` is no name: use up to 64 of a-z, 0-9 and _"
        ));
    }
    Ok((topic, name))
}

/// A tick that is not set.
fn is_no(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "0" | "no" | "n" | "false" | "off" | "-"
    )
}
