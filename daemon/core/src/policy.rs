//! The policy: a typed rule table. Default deny, every denying rule named, a
//! missing fact is a refusal.
//!
//! It is compiled against the catalogue and must pass the golden cases that
//! stand in the same file. It interprets nothing and does nothing; `gate` asks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

use crate::action::Catalogue;
use crate::condition::{self, Literal, Operator};
use crate::facts::{self, FactId, Facts};
use crate::fault::{At, Fault, Faults, suggest};

/// Stands for every role in a grant.
const ANY_ROLE: &str = "*";
/// The rule that refuses what nobody granted.
pub const ROLE_AUTHORITY: &str = "role.authority";
/// Prefix of the rule that refuses for want of a fact.
pub const FACT_MISSING: &str = "fact.missing:";

/// A policy file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the fields are described at their compiled form"
)]
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
#[allow(
    missing_docs,
    reason = "the fields are described at their compiled form"
)]
pub struct RawGrant {
    pub role: At<String>,
    pub actions: Vec<At<String>>,
}

/// One `[[rule]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the fields are described at their compiled form"
)]
pub struct RawRule {
    pub id: At<String>,
    pub actions: Vec<At<String>>,
    #[serde(default)]
    pub roles: Vec<At<String>>,
    #[serde(default)]
    pub deny_any: Vec<At<String>>,
    #[serde(default)]
    pub require: Vec<At<String>>,
    pub why: At<String>,
}

/// One `[[case]]`: a golden case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the fields are described at their compiled form"
)]
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

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name in records.
    pub id: String,
    /// Action types it applies to.
    pub actions: BTreeSet<String>,
    /// Roles it applies in; all when empty.
    pub roles: BTreeSet<String>,
    /// Denies when one of these holds.
    pub deny_any: Vec<Test>,
    /// Denies when one of these does not hold.
    pub require: Vec<Test>,
    /// The reason, for people.
    pub why: String,
}

impl Rule {
    fn applies(&self, action: &str, role: &str) -> bool {
        self.actions.contains(action) && (self.roles.is_empty() || self.roles.contains(role))
    }
}

/// What the table says to one action in one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruling {
    /// Rules that denied; none = authorised.
    pub denied: Vec<String>,
    /// Rules that applied and did not deny.
    pub passed: Vec<String>,
    /// What was read; `None` = missing.
    pub values: BTreeMap<&'static str, Option<i64>>,
}

/// A compiled policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    name: String,
    hash: u64,
    grants: BTreeMap<String, BTreeSet<String>>,
    rules: Vec<Rule>,
}

impl Policy {
    /// Checks the file against the catalogue and runs its golden cases.
    ///
    /// # Errors
    /// All faults of the file.
    pub fn compile(raw: &RawPolicy, catalogue: &Catalogue) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        let mut policy = Self {
            name: raw.name.value.clone(),
            hash: 0,
            grants: compile_grants(&raw.grant, catalogue, &mut faults),
            rules: compile_rules(&raw.rule, catalogue, &mut faults),
        };
        policy.hash = fnv(policy.canonical().as_bytes());
        let policy = faults.or(policy)?;
        let mut faults = Faults::default();
        for case in &raw.case {
            policy.run_case(case, catalogue, &mut faults);
        }
        faults.or(policy)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hash of what it decides by (FNV-1a over the canonical rules), in hex.
    pub fn hash(&self) -> String {
        format!("{:016x}", self.hash)
    }

    /// The rules, in the order of the file.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Why a rule of this policy denies, for people.
    pub fn why(&self, rule: &str) -> Option<&str> {
        let found = self.rules.iter().find(|known| known.id == rule)?;
        Some(&found.why)
    }

    /// What the grants and the table say, given these facts.
    pub fn rule_on(&self, action: &str, role: &str, facts: &Facts) -> Ruling {
        let mut ruling = Ruling::default();
        let granted = [role, ANY_ROLE]
            .iter()
            .filter_map(|role| self.grants.get(*role))
            .any(|actions| actions.contains(action));
        match granted {
            true => ruling.passed.push(ROLE_AUTHORITY.to_owned()),
            false => ruling.denied.push(ROLE_AUTHORITY.to_owned()),
        }
        for rule in self.rules.iter().filter(|rule| rule.applies(action, role)) {
            apply(rule, facts, &mut ruling);
        }
        ruling
    }

    fn run_case(&self, case: &RawCase, catalogue: &Catalogue, faults: &mut Faults) {
        let path = |key: &str| format!("case.{}.{key}", case.name.value);
        check_actions(
            core::slice::from_ref(&case.action),
            &path("action"),
            catalogue,
            faults,
        );
        let mut given = Facts::default();
        for (name, value) in &case.given {
            match FactId::find(name) {
                Some(fact) => given.set(fact, Some(value.value)),
                None => faults.add(value, path("given"), unknown_fact(name)),
            }
        }
        let ruling = self.rule_on(&case.action.value, &case.role.value, &given);
        let found: BTreeSet<&str> = ruling.denied.iter().map(String::as_str).collect();
        let wanted: BTreeSet<&str> = case.by.iter().map(|id| id.value.as_str()).collect();
        let verdict = if found.is_empty() {
            "authorised"
        } else {
            "refused"
        };
        match case.expect.value.as_str() {
            "authorised" | "refused" => {}
            other => {
                let reason = format!("unknown `{other}`; write `authorised` or `refused`");
                return faults.add(&case.expect, path("expect"), reason);
            }
        }
        let same_rules = verdict == "authorised" || wanted.is_empty() || wanted == found;
        if verdict != case.expect.value || !same_rules {
            let by = ruling.denied.join(", ");
            let reason = match verdict {
                "refused" => format!("the case fails: refused by {by}"),
                _ => "the case fails: authorised".to_owned(),
            };
            faults.add(&case.expect, path("expect"), reason);
        }
    }

    /// What the hash is taken of: all that can change a verdict, nothing else.
    fn canonical(&self) -> String {
        let mut text = String::new();
        for (role, actions) in &self.grants {
            let _ = writeln!(text, "grant {role} {actions:?}");
        }
        for rule in &self.rules {
            let _ = write!(text, "rule {} {:?} {:?}", rule.id, rule.actions, rule.roles);
            for (word, tests) in [("deny", &rule.deny_any), ("require", &rule.require)] {
                for test in tests {
                    let (name, sign) = (test.fact.name(), test.operator.sign());
                    let _ = write!(text, " {word} {name} {sign} {}", test.value);
                }
            }
            text.push('\n');
        }
        text
    }
}

fn apply(rule: &Rule, facts: &Facts, ruling: &mut Ruling) {
    let (mut denies, mut unknown) = (false, false);
    let wanted = rule.deny_any.iter().map(|test| (test, false));
    let required = rule.require.iter().map(|test| (test, true));
    for (test, must_hold) in wanted.chain(required) {
        let value = facts.value(test.fact);
        ruling.values.insert(test.fact.name(), value);
        match value {
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
    let rule = format!("{FACT_MISSING}{}", fact.name());
    if !ruling.denied.contains(&rule) {
        ruling.denied.push(rule);
    }
}

fn compile_grants(
    raw: &[RawGrant],
    catalogue: &Catalogue,
    faults: &mut Faults,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut grants: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for grant in raw {
        let path = format!("grant.{}.actions", grant.role.value);
        let actions = check_actions(&grant.actions, &path, catalogue, faults);
        grants
            .entry(grant.role.value.clone())
            .or_default()
            .extend(actions);
    }
    grants
}

fn compile_rules(raw: &[RawRule], catalogue: &Catalogue, faults: &mut Faults) -> Vec<Rule> {
    let mut seen = BTreeSet::new();
    for rule in raw {
        if !seen.insert(&rule.id.value) {
            let reason = format!("`{}` is used twice; a rule id is unique", rule.id.value);
            faults.add(&rule.id, "rule.id", reason);
        }
    }
    raw.iter()
        .map(|rule| compile_rule(rule, catalogue, faults))
        .collect()
}

fn compile_rule(raw: &RawRule, catalogue: &Catalogue, faults: &mut Faults) -> Rule {
    let path = |key: &str| format!("rule.{}.{key}", raw.id.value);
    if raw.deny_any.is_empty() && raw.require.is_empty() {
        let reason = "the rule can never deny; write `deny_any` or `require`";
        faults.add(&raw.id, path("deny_any"), reason);
    }
    if raw.actions.is_empty() {
        faults.add(&raw.id, path("actions"), "the rule applies to no action");
    }
    if raw.why.value.trim().is_empty() {
        let reason = "say in a sentence why the rule denies";
        faults.add(&raw.why, path("why"), reason);
    }
    Rule {
        id: raw.id.value.clone(),
        actions: check_actions(&raw.actions, &path("actions"), catalogue, faults),
        roles: raw.roles.iter().map(|role| role.value.clone()).collect(),
        deny_any: compile_tests(&raw.deny_any, &path("deny_any"), faults),
        require: compile_tests(&raw.require, &path("require"), faults),
        why: raw.why.value.clone(),
    }
}

fn compile_tests(raw: &[At<String>], path: &str, faults: &mut Faults) -> Vec<Test> {
    let mut tests = Vec::new();
    for text in raw {
        match compile_test(&text.value) {
            Ok(test) => tests.push(test),
            Err(reason) => faults.add(text, path, reason),
        }
    }
    tests
}

fn compile_test(text: &str) -> Result<Test, String> {
    let parsed = condition::parse(text)?;
    let fact = FactId::find(parsed.name).ok_or_else(|| unknown_fact(parsed.name))?;
    match parsed.literal {
        Literal::Number(value) => Ok(Test {
            fact,
            operator: parsed.operator,
            value,
        }),
        Literal::Freshness(_) => Err(format!(
            "`{}` is compared with a number; what is remembered is for playbooks to ask",
            parsed.name
        )),
        Literal::Text(text) => Err(format!(
            "`{}` is a number; write an integer instead of '{text}'",
            parsed.name
        )),
    }
}

pub(crate) fn unknown_fact(name: &str) -> String {
    format!("unknown fact `{name}`{}", suggest(name, facts::names()))
}

fn check_actions(
    given: &[At<String>],
    path: &str,
    catalogue: &Catalogue,
    faults: &mut Faults,
) -> BTreeSet<String> {
    for action in given {
        if catalogue.action(&action.value).is_none() {
            let near = suggest(&action.value, catalogue.kinds());
            let reason = format!("unknown action `{}`{near}", action.value);
            faults.add(action, path, reason);
        }
    }
    given.iter().map(|action| action.value.clone()).collect()
}

/// FNV-1a, 64 bits (offset basis and prime of draft-eastlake-fnv §5).
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
