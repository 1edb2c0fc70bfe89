//! What stands in a policy's TOML, byte for byte; nothing is looked up yet.
#![allow(
    missing_docs,
    reason = "the fields are described at their compiled form in `policy`"
)]

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::fault::At;

/// A policy file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPolicy {
    pub name: At<String>,
    #[serde(default)]
    pub grant: Vec<RawGrant>,
    #[serde(default)]
    pub rule: Vec<RawRule>,
    #[serde(default)]
    pub case: Vec<RawCase>,
}

/// One `[[grant]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawGrant {
    pub role: At<String>,
    pub actions: Vec<At<String>>,
    pub autonomy: Option<At<String>>,
    pub expires_s: Option<At<i64>>,
}

/// One `[[rule]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRule {
    pub id: At<String>,
    pub actions: Vec<At<String>>,
    #[serde(default)]
    pub roles: Vec<At<String>>,
    #[serde(default)]
    pub when: Vec<At<String>>,
    #[serde(default)]
    pub deny_any: Vec<At<String>>,
    #[serde(default)]
    pub require_all: Vec<At<String>>,
    #[serde(default)]
    pub firm: bool,
    pub why: At<String>,
}

/// One `[[case]]`: a golden case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCase {
    pub name: At<String>,
    pub action: At<String>,
    pub role: At<String>,
    #[serde(default)]
    pub given: BTreeMap<String, At<i64>>,
    pub expect: At<String>,
    #[serde(default)]
    pub by: Vec<At<String>>,
}
