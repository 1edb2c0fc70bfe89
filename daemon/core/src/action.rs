//! The action catalogue: what can be proposed, which fields it carries, and
//! what may be told to the caller about it. It decides nothing.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::fault::{At, Fault, Faults, suggest};

/// Action types the core itself proposes; no file may redefine them.
pub mod builtin {
    /// Say prompts.
    pub const SAY: &str = "say";
    /// Answer an inbound call.
    pub const ANSWER: &str = "answer";
    /// Place an outbound call.
    pub const DIAL: &str = "dial";
    /// End the call.
    pub const HANG_UP: &str = "hang_up";
    /// Call a person and connect the caller.
    pub const TRANSFER: &str = "transfer";
    /// Press keys, as in the menu of whoever we called.
    pub const PRESS: &str = "press";
    /// Give a secret to a sink of the box.
    pub const HAND_OVER: &str = "hand_over";
    /// The lead does not want to be called any more. It stands in a file, as it
    /// is delivered, but the core knows its meaning.
    pub const OPT_OUT: &str = "opt_out";
}

/// A file of `config/actions/`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the fields are described at their compiled form"
)]
pub struct RawActions {
    pub action: Vec<RawAction>,
}

/// One `[[action]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the fields are described at their compiled form"
)]
pub struct RawAction {
    #[serde(rename = "type")]
    pub kind: At<String>,
    pub effect: Option<At<String>>,
    #[serde(default)]
    pub irreversible: bool,
    pub confirm: Option<At<String>>,
    pub accept_ms: Option<At<u64>>,
    pub ask_ms: Option<At<u64>>,
    #[serde(default)]
    pub dedupe: Vec<At<String>>,
    #[serde(default)]
    pub leased: Vec<At<String>>,
    pub cost: Option<At<i64>>,
    pub compensation: Option<At<String>>,
    #[serde(default)]
    pub steps: Vec<At<String>>,
    #[serde(default)]
    pub field: Vec<RawField>,
}

/// One `[[action.field]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the fields are described at their compiled form"
)]
pub struct RawField {
    pub name: At<String>,
    #[serde(rename = "type")]
    pub kind: Option<At<String>>,
    #[serde(default)]
    pub required: bool,
}

/// Where an action takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An outbox row, delivered upstream.
    Upstream,
    /// On the line: a call is placed, answered or ended.
    Line,
    /// In the caller's ear only.
    Voice,
}

/// What the caller may be told, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// It is passed on: as soon as the row is durable.
    Durable,
    /// It is done: only after the upstream's answer.
    Accepted,
}

/// What a field may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Any text.
    Text,
    /// A decimal integer.
    Integer,
    /// Digits, with a leading `+` or not.
    Phone,
}

impl FieldKind {
    /// Whether the text is of that kind.
    pub fn admits(self, text: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Integer => text.parse::<i64>().is_ok(),
            Self::Phone => {
                let digits = text.strip_prefix('+').unwrap_or(text);
                !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
            }
        }
    }
}

/// One field of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it may hold.
    pub kind: FieldKind,
    /// The gate refuses the action when it is empty.
    pub required: bool,
}

/// One action type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Where it takes effect.
    pub effect: Effect,
    /// Cannot be undone: its row is born held.
    pub irreversible: bool,
    /// What may be told to the caller.
    pub confirm: Confirm,
    /// How long to wait for the upstream's answer, in ms; then the weaker phrase.
    pub accept_ms: u64,
    /// How long to wait for a person's approval, in ms, where one is needed.
    pub ask_ms: u64,
    /// Fields that make two of its kind the same effect.
    pub dedupe: Vec<String>,
    /// The action that undoes it once it is on its way.
    pub compensation: Option<String>,
    /// The actions that it is made of, in the order of delivery: all take effect, or
    /// those that did are undone in reverse order.
    pub steps: Vec<String>,
    /// What it costs, in points.
    pub cost: i64,
    /// Fields whose value must be on offer at this instant: `slot.tuesday`.
    pub leased: Vec<String>,
    /// Its fields.
    pub fields: Vec<Field>,
}

impl Action {
    /// It reaches somebody beyond this box: kept as a row at once.
    pub fn external(&self) -> bool {
        match self.effect {
            Effect::Upstream => true,
            Effect::Line => self.irreversible,
            Effect::Voice => false,
        }
    }

    const fn local(effect: Effect, irreversible: bool) -> Self {
        Self {
            effect,
            irreversible,
            confirm: Confirm::Durable,
            accept_ms: 0,
            ask_ms: 0,
            dedupe: Vec::new(),
            leased: Vec::new(),
            cost: 0,
            compensation: None,
            steps: Vec::new(),
            fields: Vec::new(),
        }
    }
}

/// All action types of the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    actions: BTreeMap<String, Action>,
}

impl Default for Catalogue {
    fn default() -> Self {
        let actions = [
            (builtin::SAY, Action::local(Effect::Voice, false)),
            (builtin::ANSWER, Action::local(Effect::Line, false)),
            (builtin::DIAL, Action::local(Effect::Line, true)),
            (builtin::HANG_UP, Action::local(Effect::Line, false)),
            (builtin::TRANSFER, Action::local(Effect::Line, true)),
            (builtin::PRESS, Action::local(Effect::Line, true)),
            (builtin::HAND_OVER, Action::local(Effect::Line, true)),
        ];
        Self {
            actions: actions
                .into_iter()
                .map(|(kind, action)| (kind.to_owned(), action))
                .collect(),
        }
    }
}

impl Catalogue {
    /// The catalogue of one file.
    ///
    /// # Errors
    /// All faults of the file.
    pub fn compile(raw: &RawActions) -> Result<Self, Vec<Fault>> {
        let mut catalogue = Self::default();
        catalogue.add(raw)?;
        Ok(catalogue)
    }

    /// Adds a further file, or nothing when it has faults.
    ///
    /// # Errors
    /// All faults of the file.
    pub fn add(&mut self, raw: &RawActions) -> Result<(), Vec<Fault>> {
        let mut faults = Faults::default();
        let mut actions = self.actions.clone();
        for raw in &raw.action {
            let action = compile_action(raw, &mut faults);
            if actions.insert(raw.kind.value.clone(), action).is_some() {
                let reason = format!("`{}` is defined twice or built in", raw.kind.value);
                faults.add(&raw.kind, "action.type", reason);
            }
        }
        for raw in &raw.action {
            check_compensation(raw, &actions, &mut faults);
            check_steps(raw, &actions, &mut faults);
            let holds =
                |kind: &At<String>| actions.get(&kind.value).is_some_and(|it| it.irreversible);
            let held = raw.steps.iter().any(holds);
            if let Some(action) = actions.get_mut(&raw.kind.value) {
                action.irreversible |= held;
            }
        }
        self.actions = faults.or(actions)?;
        Ok(())
    }

    /// The action of that type.
    pub fn action(&self, kind: &str) -> Option<&Action> {
        self.actions.get(kind)
    }

    /// All action types.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.actions.keys().map(String::as_str)
    }
}

/// The upstream is given this long to accept, where the file says nothing.
const ACCEPT_MS: u64 = 5_000;
/// Points of one action, at most.
const COST_MAX: i64 = 1_000_000_000;

/// A person is given this long to approve, where the file says nothing; the
/// caller hears a bridge phrase meanwhile.
const ASK_MS: u64 = 20_000;
/// Nobody waits longer than this on the phone for somebody else's yes.
const ASK_MOST_MS: u64 = 120_000;

fn compile_action(raw: &RawAction, faults: &mut Faults) -> Action {
    let path = |key: &str| format!("action.{}.{key}", raw.kind.value);
    if !is_name(&raw.kind.value) {
        faults.add(&raw.kind, "action.type", name_fault(&raw.kind.value));
    }
    let effects = [("upstream", Effect::Upstream), ("voice", Effect::Voice)];
    let confirms = [
        ("durable", Confirm::Durable),
        ("accepted", Confirm::Accepted),
    ];
    let fields: Vec<Field> = raw
        .field
        .iter()
        .map(|field| compile_field(field, &path("field"), faults))
        .collect();
    for (names, key) in [(&raw.dedupe, "dedupe"), (&raw.leased, "leased")] {
        for name in names {
            if !fields.iter().any(|field| field.name == name.value) {
                let near = suggest(&name.value, fields.iter().map(|f| f.name.as_str()));
                let reason = format!("no field `{}`{near}", name.value);
                faults.add(name, path(key), reason);
            }
        }
    }
    if let Some(ms) = raw
        .ask_ms
        .as_ref()
        .filter(|ms| !(1..=ASK_MOST_MS).contains(&ms.value))
    {
        let reason = format!("{} ms; write 1 to {ASK_MOST_MS}", ms.value);
        faults.add(ms, path("ask_ms"), reason);
    }
    Action {
        effect: choose(raw.effect.as_ref(), &path("effect"), &effects, faults),
        irreversible: raw.irreversible,
        confirm: choose(raw.confirm.as_ref(), &path("confirm"), &confirms, faults),
        accept_ms: raw.accept_ms.as_ref().map_or(ACCEPT_MS, |ms| ms.value),
        ask_ms: raw.ask_ms.as_ref().map_or(ASK_MS, |ms| ms.value),
        dedupe: raw.dedupe.iter().map(|name| name.value.clone()).collect(),
        leased: raw.leased.iter().map(|name| name.value.clone()).collect(),
        compensation: raw.compensation.as_ref().map(|kind| kind.value.clone()),
        steps: raw.steps.iter().map(|kind| kind.value.clone()).collect(),
        cost: cost(raw.cost.as_ref(), &path("cost"), faults),
        fields,
    }
}

/// What undoes an action must be known, undoable at once, and content with its fields.
fn check_compensation(raw: &RawAction, actions: &BTreeMap<String, Action>, faults: &mut Faults) {
    let Some(kind) = &raw.compensation else {
        return;
    };
    let path = format!("action.{}.compensation", raw.kind.value);
    let Some(undo) = actions.get(&kind.value) else {
        let near = suggest(&kind.value, actions.keys().map(String::as_str));
        let reason = format!("unknown action `{}`{near}", kind.value);
        return faults.add(kind, path, reason);
    };
    if undo.effect != Effect::Upstream || undo.irreversible {
        let reason = "must be delivered upstream and not be `irreversible`: it is sent at once";
        faults.add(kind, path.as_str(), reason);
    }
    let has = |name: &str| raw.field.iter().any(|field| field.name.value == name);
    let needs = undo
        .fields
        .iter()
        .filter(|field| field.required && !has(&field.name));
    for field in needs {
        let reason = format!(
            "`{}` needs the field `{}`, which `{}` does not have",
            kind.value, field.name, raw.kind.value
        );
        faults.add(kind, path.as_str(), reason);
    }
}

/// Steps of one action, at most.
const STEPS_MAX: usize = 8;

/// Each step must be known, find its fields, and be undone where another follows.
fn check_steps(raw: &RawAction, actions: &BTreeMap<String, Action>, faults: &mut Faults) {
    let path = format!("action.{}.steps", raw.kind.value);
    if raw.steps.len() == 1 || raw.steps.len() > STEPS_MAX {
        let reason = format!("{} steps; write 2 to {STEPS_MAX}", raw.steps.len());
        faults.add(&raw.steps[0], path.as_str(), reason);
    }
    if let (Some(undo), Some(_)) = (&raw.compensation, raw.steps.first()) {
        let reason = "its steps have their own: leave it out";
        faults.add(
            undo,
            format!("action.{}.compensation", raw.kind.value),
            reason,
        );
    }
    for (place, kind) in raw.steps.iter().enumerate() {
        let Some(step) = actions.get(&kind.value) else {
            let near = suggest(&kind.value, actions.keys().map(String::as_str));
            let reason = format!("unknown action `{}`{near}", kind.value);
            faults.add(kind, path.as_str(), reason);
            continue;
        };
        let last = place + 1 == raw.steps.len();
        let fault = if step.effect != Effect::Upstream || !step.steps.is_empty() {
            Some("must be a single action that is delivered upstream".to_owned())
        } else if step.compensation.is_none() && !last {
            let reason = "is undone by nothing, and steps follow it: give it a `compensation`, or move it last";
            Some(format!("`{}` {reason}", kind.value))
        } else {
            let has = |name: &str| raw.field.iter().any(|field| field.name.value == name);
            let mut needs = step
                .fields
                .iter()
                .filter(|it| it.required && !has(&it.name));
            needs.next().map(|field| {
                format!(
                    "`{}` needs the field `{}`, which `{}` does not have",
                    kind.value, field.name, raw.kind.value
                )
            })
        };
        if let Some(fault) = fault {
            faults.add(kind, path.as_str(), fault);
        }
    }
}

/// Points; nothing where nothing is written.
fn cost(raw: Option<&At<i64>>, path: &str, faults: &mut Faults) -> i64 {
    let Some(raw) = raw else { return 0 };
    if !(0..=COST_MAX).contains(&raw.value) {
        faults.add(raw, path, format!("{}; write 0 to {COST_MAX}", raw.value));
    }
    raw.value.clamp(0, COST_MAX)
}

fn compile_field(raw: &RawField, path: &str, faults: &mut Faults) -> Field {
    let kinds = [
        ("text", FieldKind::Text),
        ("integer", FieldKind::Integer),
        ("phone", FieldKind::Phone),
    ];
    if !is_name(&raw.name.value) {
        faults.add(&raw.name, path, name_fault(&raw.name.value));
    }
    Field {
        name: raw.name.value.clone(),
        kind: choose(raw.kind.as_ref(), path, &kinds, faults),
        required: raw.required,
    }
}

/// The value of that word; the first when nothing is written.
fn choose<T: Copy>(
    given: Option<&At<String>>,
    path: &str,
    words: &[(&str, T)],
    faults: &mut Faults,
) -> T {
    let (_, first) = words[0];
    let Some(given) = given else { return first };
    match words.iter().find(|(word, _)| *word == given.value) {
        Some((_, value)) => *value,
        None => {
            let near = suggest(&given.value, words.iter().map(|(word, _)| *word));
            faults.add(given, path, format!("unknown `{}`{near}", given.value));
            first
        }
    }
}

/// Names are words of a-z, 0-9 and `_`, as they go into records and events.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

pub(crate) fn name_fault(text: &str) -> String {
    format!("`{text}` is no name; use a-z, 0-9 and _")
}
