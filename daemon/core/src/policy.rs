//! The policy: a typed rule table. Default deny, every denying rule named, a
//! missing fact is a refusal.
//!
//! This file holds the compiled form and what it says to one proposal. In
//! `policy/`: the TOML (`raw`), the way from one to the other with its golden
//! cases (`compile`), what is odd but no fault (`lint`), what differs between
//! two (`diff`). It interprets nothing and does nothing; `gate` asks it.

mod compile;
mod diff;
mod lint;
mod raw;

use std::collections::{BTreeMap, BTreeSet};

use smol_str::format_smolstr;

use crate::autonomy::{ANY, Level};
use crate::condition::Operator;
use crate::facts::{FactId, Facts};
use crate::id::Name;
use crate::record::{Rules, Values};

pub(crate) use compile::unknown_fact;
pub use raw::{RawCase, RawGrant, RawPolicy, RawRule};

/// The rule that refuses what nobody granted.
pub const ROLE_AUTHORITY: &str = "role.authority";
/// The rule that refuses what was granted for a time that is over.
pub const TOKEN_EXPIRED: &str = "token.expired";
/// Prefix of the rule that refuses for want of a fact.
pub const FACT_MISSING: &str = "fact.missing:";

/// A fact, an operator and a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// What is read.
    pub fact: FactId,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub value: i64,
}

/// What a role may do: a token with a scope and an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How far it may go by itself.
    pub autonomy: Level,
    /// It ends when the role has lasted this long, in seconds.
    pub expires_s: Option<i64>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name in records.
    pub id: Name,
    /// Action types it applies to.
    pub actions: BTreeSet<String>,
    /// Roles it applies in; all when empty.
    pub roles: BTreeSet<String>,
    /// It applies when all of these hold; one that is not known counts as holding.
    pub when: Vec<Test>,
    /// Denies when one of these holds.
    pub deny_any: Vec<Test>,
    /// Denies when one of these does not hold.
    pub require_all: Vec<Test>,
    /// No override lifts it.
    pub firm: bool,
    /// The reason, for people.
    pub why: String,
}

impl Rule {
    fn is_about(&self, action: &str, role: &str) -> bool {
        self.actions.contains(action) && (self.roles.is_empty() || self.roles.contains(role))
    }
}

/// What the table says to one action in one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruling {
    /// Rules that denied; none = authorised.
    pub denied: Rules,
    /// Rules that applied and did not deny.
    pub passed: Rules,
    /// What was read, by name.
    pub values: Values,
    /// How far the action may go by itself in this role.
    pub autonomy: Level,
}

/// A compiled policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    name: String,
    hash: u64,
    grants: BTreeMap<String, BTreeMap<String, Grant>>,
    rules: Vec<Rule>,
}

impl Policy {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hash of what it decides by (FNV-1a over the canonical rules), in hex.
    pub fn hash(&self) -> Name {
        format_smolstr!("{:016x}", self.hash)
    }

    /// The rules, in the order of the file.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of that name.
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|known| known.id == id)
    }

    /// All grants: role, action, and what is granted, by name.
    pub fn grants(&self) -> impl Iterator<Item = (&str, &str, Grant)> {
        self.grants.iter().flat_map(|(role, actions)| {
            let role = role.as_str();
            actions
                .iter()
                .map(move |(action, grant)| (role, action.as_str(), *grant))
        })
    }

    /// Why a rule of this policy denies, for people.
    pub fn why(&self, rule: &str) -> Option<&str> {
        Some(&self.rule(rule)?.why)
    }

    /// What was granted to a role: its own grant before the one of all roles.
    fn grant(&self, action: &str, role: &str) -> Option<Grant> {
        [role, ANY]
            .iter()
            .find_map(|role| self.grants.get(*role)?.get(action))
            .copied()
    }

    /// What the grants and the table say, given these facts.
    pub fn rule_on(&self, action: &str, role: &str, facts: &Facts) -> Ruling {
        let mut ruling = Ruling::default();
        match self.grant(action, role) {
            Some(grant) => {
                ruling.passed.push(Name::new_static(ROLE_AUTHORITY));
                ruling.autonomy = grant.autonomy;
                expire(grant, facts, &mut ruling);
            }
            None => ruling.denied.push(Name::new_static(ROLE_AUTHORITY)),
        }
        for rule in self.rules.iter().filter(|rule| rule.is_about(action, role)) {
            apply(rule, facts, &mut ruling);
        }
        ruling
    }
}

/// A token without an expiry reads nothing.
fn expire(grant: Grant, facts: &Facts, ruling: &mut Ruling) {
    let Some(limit) = grant.expires_s else { return };
    let fact = FactId::find("role_s").expect("`role_s` is in OWN_FACTS");
    match read(fact, facts, ruling) {
        Some(lasted) if lasted >= limit => ruling.denied.push(Name::new_static(TOKEN_EXPIRED)),
        Some(_) => ruling.passed.push(Name::new_static(TOKEN_EXPIRED)),
        None => missing(fact, ruling),
    }
}

fn read(fact: FactId, facts: &Facts, ruling: &mut Ruling) -> Option<i64> {
    let value = facts.value(fact);
    let values = &mut ruling.values;
    if let Err(place) = values.binary_search_by_key(&fact.name(), |(name, _)| name) {
        values.insert(place, (Name::new_static(fact.name()), value));
    }
    value
}

fn apply(rule: &Rule, facts: &Facts, ruling: &mut Ruling) {
    for test in &rule.when {
        let value = read(test.fact, facts, ruling);
        if value.is_some_and(|value| !test.operator.holds(&value, &test.value)) {
            return;
        }
    }
    let (mut denies, mut unknown) = (false, false);
    let wanted = rule.deny_any.iter().map(|test| (test, false));
    let required = rule.require_all.iter().map(|test| (test, true));
    for (test, must_hold) in wanted.chain(required) {
        match read(test.fact, facts, ruling) {
            Some(value) => denies |= test.operator.holds(&value, &test.value) != must_hold,
            None => {
                unknown = true;
                missing(test.fact, ruling);
            }
        }
    }
    match (denies, unknown) {
        (true, _) => ruling.denied.push(rule.id.clone()),
        (false, true) => {}
        (false, false) => ruling.passed.push(rule.id.clone()),
    }
}

fn missing(fact: FactId, ruling: &mut Ruling) {
    let rule = format_smolstr!("{FACT_MISSING}{}", fact.name());
    if !ruling.denied.contains(&rule) {
        ruling.denied.push(rule);
    }
}
