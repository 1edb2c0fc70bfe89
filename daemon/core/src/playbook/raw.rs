//! What stands in a playbook's TOML, byte for byte; nothing is looked up yet.
#![allow(
    missing_docs,
    reason = "the fields are described at their compiled form in `playbook`"
)]

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::fault::At;

/// A playbook file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPlaybook {
    pub name: At<String>,
    pub language: At<String>,
    pub start: At<String>,
    #[serde(default)]
    pub needs_words: bool,
    #[serde(default)]
    pub limits: RawLimits,
    #[serde(default)]
    pub bridge: Vec<At<String>>,
    #[serde(default)]
    pub negations: Vec<At<String>>,
    #[serde(default)]
    pub corrections: Vec<At<String>>,
    #[serde(default)]
    pub backchannels: Vec<At<String>>,
    pub least_confidence: Option<At<u8>>,
    #[serde(default)]
    pub intent: RawIntent,
    #[serde(default)]
    pub evidence: BTreeMap<String, At<i64>>,
    #[serde(default)]
    pub objection: BTreeMap<String, RawObjection>,
    pub silence: Option<RawSilence>,
    #[serde(default)]
    pub notice: Vec<RawNotice>,
    #[serde(default)]
    pub role: Vec<RawRole>,
    pub prompts: BTreeMap<String, At<String>>,
    #[serde(default)]
    pub phrases: BTreeMap<String, RawPhrases>,
    #[serde(default)]
    pub memory: BTreeMap<String, RawWanted>,
    #[serde(default)]
    pub on: Vec<RawHandler>,
    pub stage: Vec<RawStage>,
}

/// `[limits]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLimits {
    pub answer_after_ms: Option<At<u64>>,
    pub ring_ms: Option<At<u64>>,
    pub call_ms: Option<At<u64>>,
    pub media_lost_ms: Option<At<u64>>,
    pub words_ms: Option<At<u64>>,
}

/// `[memory.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWanted {
    pub shelf_hours: At<u64>,
}

/// `[[stage.skip]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSkip {
    #[serde(rename = "if")]
    pub guards: Vec<At<String>>,
    pub go: At<String>,
}

/// `[intent]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawIntent {
    pub half_life_ms: Option<At<u64>>,
    pub ready: Option<At<i64>>,
    pub relax: Option<At<i64>>,
    pub fall: Option<At<i64>>,
}

/// `[objection.TOPIC]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawObjection {
    pub answers: At<Vec<Vec<At<String>>>>,
    pub exhausted: At<String>,
}

/// `[silence]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSilence {
    pub reassure: Vec<At<String>>,
    pub close: At<String>,
}

/// `[[notice]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawNotice {
    pub prompt: At<String>,
    pub again: Option<At<String>>,
    pub facts: Vec<At<String>>,
}

/// `[[role]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRole {
    pub name: At<String>,
    #[serde(default, rename = "if")]
    pub guards: Vec<At<String>>,
    pub half_life_ms: Option<At<u64>>,
}

/// `[phrases.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPhrases {
    pub any: Vec<At<String>>,
    #[serde(default)]
    pub also: BTreeMap<String, Vec<At<String>>>,
    pub negated: Option<At<String>>,
    #[serde(default)]
    pub outweighs: bool,
    pub means: Option<At<String>>,
}

/// `[[stage]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawStage {
    pub name: At<String>,
    pub role: At<String>,
    #[serde(default)]
    pub say: Vec<At<String>>,
    pub say_as: Option<At<String>>,
    pub interruptible: Option<bool>,
    #[serde(default)]
    pub ask: Vec<At<String>>,
    pub silence_ms: Option<At<u64>>,
    pub pace: Option<At<String>>,
    pub elapsed_ms: Option<At<u64>>,
    pub half_life_ms: Option<At<u64>>,
    #[serde(default)]
    pub evidence: BTreeMap<String, At<i64>>,
    pub transfer: Option<RawTransfer>,
    #[serde(default)]
    pub handed_over: bool,
    pub collect: Option<RawCollect>,
    pub result: Option<At<String>>,
    #[serde(default)]
    pub skip: Vec<RawSkip>,
    #[serde(default)]
    pub end: bool,
    #[serde(default)]
    pub on: Vec<RawHandler>,
}

/// `[stage.transfer]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTransfer {
    pub to: At<String>,
    pub way: Option<At<String>>,
    pub trunk: Option<At<String>>,
    pub ring_ms: Option<At<u64>>,
    #[serde(default)]
    pub hold: Vec<At<String>>,
    #[serde(default)]
    pub brief: Vec<At<String>>,
    #[serde(default)]
    pub accept: Vec<At<String>>,
}

/// `[stage.collect]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCollect {
    pub name: At<String>,
    pub digits: At<u64>,
    pub terminator: Option<At<String>>,
    #[serde(default)]
    pub secret: bool,
    pub sink: Option<At<String>>,
    pub check: Option<At<String>>,
    pub timeout_ms: Option<At<u64>>,
}

/// `[[on]]` and `[[stage.on]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawHandler {
    pub when: Vec<At<String>>,
    #[serde(default, rename = "if")]
    pub guards: Vec<At<String>>,
    pub at_most: Option<At<u32>>,
    #[serde(default)]
    pub set: BTreeMap<String, At<String>>,
    pub identifies: Option<At<String>>,
    #[serde(default)]
    pub keeps: Vec<At<String>>,
    #[serde(default)]
    pub forgets: Vec<At<String>>,
    #[serde(default)]
    pub remember: BTreeMap<String, At<String>>,
    #[serde(default)]
    pub intent: i64,
    #[serde(default)]
    pub confirms: bool,
    #[serde(default)]
    pub acknowledges_price: bool,
    #[serde(default)]
    pub say: Vec<At<String>>,
    pub press: Option<At<String>>,
    pub propose: Option<RawPropose>,
    pub go: Option<At<String>>,
    #[serde(default)]
    pub hang_up: bool,
}

/// `propose` of a handler
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPropose {
    pub action: At<String>,
    #[serde(default)]
    pub fields: BTreeMap<String, At<String>>,
    #[serde(default)]
    pub deny: Vec<At<String>>,
    #[serde(default)]
    pub say_on_durable: Vec<At<String>>,
    #[serde(default)]
    pub say_on_refused: Vec<At<String>>,
    #[serde(default)]
    pub say_on_failed: Vec<At<String>>,
    #[serde(default)]
    pub say_on_withdrawn: Vec<At<String>>,
    #[serde(default)]
    pub say_on_passed_on: Vec<At<String>>,
    #[serde(default)]
    pub say_on_compensated: Vec<At<String>>,
    #[serde(default)]
    pub say_on_accepted: Vec<At<String>>,
    #[serde(default)]
    pub say_on_rejected: Vec<At<String>>,
    #[serde(default)]
    pub say_on_late: Vec<At<String>>,
    pub go_on_durable: Option<At<String>>,
    pub go_on_refused: Option<At<String>>,
    pub go_on_failed: Option<At<String>>,
    pub go_on_withdrawn: Option<At<String>>,
    pub go_on_passed_on: Option<At<String>>,
    pub go_on_compensated: Option<At<String>>,
    pub go_on_accepted: Option<At<String>>,
    pub go_on_rejected: Option<At<String>>,
    pub go_on_late: Option<At<String>>,
}
