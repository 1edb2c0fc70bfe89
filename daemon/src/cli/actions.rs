//! `offhook actions`: the action catalogue as JSON Schema, for those who build
//! the receiving end; and which of them failed. Reads the config and the store; it needs
//! no daemon.

use std::path::{Path, PathBuf};

use offhook_core::Catalogue;
use offhook_core::action::{Action, Confirm, Effect, Field, FieldKind};
use serde_json::{Map, Value, json};

use super::ask::{Trouble, tell};
use super::{Common, NO, OK, print, print_json};
use crate::settings::{INSTALLED, Settings};
use crate::store::reader::{OutboxLine, Reader, RowState};

/// Characters of a field, as they leave the box.
const FIELD_MAX: u64 = 500;

/// What can be done upstream: each action's payload as JSON Schema, with its
/// cost, its dedupe key and what undoes it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ActionsArgs {
    /// This one alone.
    kind: Option<String>,
    /// Instead what was refused or given up by the receiver, and what could not be
    /// undone: somebody has to look.
    #[arg(long, conflicts_with = "kind")]
    failed: bool,
}

pub(super) fn run(common: &Common, arguments: &ActionsArgs) -> u8 {
    let file = common.config.clone();
    let file = file.unwrap_or_else(|| PathBuf::from(INSTALLED));
    let settings = match Settings::load(&file) {
        Ok(settings) => settings,
        Err(error) => return tell(common, Trouble::CouldNot(error.to_string())),
    };
    if arguments.failed {
        return match failed(&settings.store) {
            Ok(lines) => show_failed(common, &lines),
            Err(error) => tell(common, Trouble::CouldNot(error.to_string())),
        };
    }
    let catalogue = &settings.books.catalogue;
    let schemas = schemas(catalogue);
    let Some(kind) = &arguments.kind else {
        print_json(&schemas);
        return OK;
    };
    match schemas.get(kind) {
        Some(schema) => {
            print_json(schema);
            OK
        }
        None => tell(common, Trouble::No(format!("there is no action `{kind}`"))),
    }
}

/// Rows that are shown at most.
const FAILED_MAX: u32 = 1_000;

fn failed(store: &Path) -> rusqlite::Result<Vec<OutboxLine>> {
    Reader::open(store)?.outbox(Some(RowState::Dead), FAILED_MAX)
}

/// 0 when there is nothing to look at.
fn show_failed(common: &Common, lines: &[OutboxLine]) -> u8 {
    if common.json {
        lines.iter().for_each(print_json);
    } else {
        lines.iter().for_each(|line| print(&failed_line(line)));
    }
    if lines.is_empty() { OK } else { NO }
}

fn failed_line(line: &OutboxLine) -> String {
    let what = if line.undoes { "NOT UNDONE" } else { "REFUSED" };
    let reason = line.last_error.as_deref().unwrap_or("no reason given");
    format!(
        "{what}  {}  {}  {}: {reason}\n",
        line.id, line.kind, line.lead
    )
}

/// Of all that is delivered upstream.
fn schemas(catalogue: &Catalogue) -> Map<String, Value> {
    let actions = catalogue
        .kinds()
        .filter_map(|kind| Some((kind, catalogue.action(kind)?)));
    actions
        .filter(|(_, action)| action.effect == Effect::Upstream)
        .map(|(kind, action)| (kind.to_owned(), schema(kind, action)))
        .collect()
}

/// The `fields` of an action's event (JSON Schema 2020-12).
fn schema(kind: &str, action: &Action) -> Value {
    let fields = action.fields.iter();
    let properties: Map<String, Value> = fields
        .clone()
        .map(|field| (field.name.clone(), property(field)))
        .collect();
    let required: Vec<&str> = fields
        .filter(|field| field.required)
        .map(|field| field.name.as_str())
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind,
        "type": "object",
        "properties": properties,
        "required": required,
        "x-irreversible": action.irreversible,
        "x-confirm": match action.confirm {
            Confirm::Durable => "durable",
            Confirm::Accepted => "accepted",
        },
        "x-dedupe": action.dedupe,
        "x-leased": action.leased,
        "x-cost": action.cost,
        "x-compensation": action.compensation,
        "x-steps": action.steps,
    })
}

/// Every field travels as text.
fn property(field: &Field) -> Value {
    match field.kind {
        FieldKind::Text => json!({ "type": "string", "maxLength": FIELD_MAX }),
        FieldKind::Integer => json!({ "type": "string", "pattern": "^-?[0-9]{1,19}$" }),
        FieldKind::Phone => json!({ "type": "string", "pattern": "^\\+?[0-9]+$" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_ships_is_described_with_what_undoes_it() {
        let text = offhook_config::builtin::OFFHOOK;
        let settings = Settings::parse(Path::new(INSTALLED), text).expect("it ships");
        let schemas = schemas(&settings.books.catalogue);
        let schedule = &schemas["schedule"];
        assert_eq!(schedule["required"], json!(["slot"]));
        assert_eq!(schedule["x-compensation"], "cancel_schedule");
        assert_eq!(schedule["x-dedupe"], json!(["slot"]));
        let steps = json!(["schedule", "confirm_visit", "write_crm"]);
        assert_eq!(schemas["book_visit"]["x-steps"], steps);
        assert_eq!(schemas["book_visit"]["x-irreversible"], true);
        assert!(schemas.contains_key("take_payment") && !schemas.contains_key("say"));
    }
}
