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
    pub limits: RawLimits,
    #[serde(default)]
    pub bridge: Vec<At<String>>,
    #[serde(default)]
    pub negations: Vec<At<String>>,
    pub least_confidence: Option<At<u8>>,
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

/// `[phrases.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPhrases {
    pub any: Vec<At<String>>,
    pub negated: Option<At<String>>,
    #[serde(default)]
    pub outweighs: bool,
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
    pub silence_ms: Option<At<u64>>,
    pub collect: Option<RawCollect>,
    pub result: Option<At<String>>,
    #[serde(default)]
    pub skip: Vec<RawSkip>,
    #[serde(default)]
    pub end: bool,
    #[serde(default)]
    pub on: Vec<RawHandler>,
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
    pub say: Vec<At<String>>,
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
    pub go_on_accepted: Option<At<String>>,
    pub go_on_rejected: Option<At<String>>,
    pub go_on_late: Option<At<String>>,
}
