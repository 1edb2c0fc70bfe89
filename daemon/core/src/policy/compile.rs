//! A policy's TOML -> the policy: every name looked up, every golden case run.
//! All faults at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::raw::{RawCase, RawGrant, RawPolicy, RawRule};
use super::{Grant, Policy, Rule, Test};
use crate::action::{Catalogue, Effect};
use crate::autonomy::Level;
use crate::condition::{self, Literal};
use crate::facts::{self, FactId, Facts};
use crate::fault::{At, Fault, Faults, suggest};
use crate::id::Name;

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

    fn run_case(&self, case: &RawCase, catalogue: &Catalogue, faults: &mut Faults) {
        let path = |key: &str| format!("case.{}.{key}", case.name.value);
        let action = core::slice::from_ref(&case.action);
        check_actions(action, &path("action"), catalogue, faults);
        let mut given = Facts::default();
        for (name, value) in &case.given {
            match FactId::find(name) {
                Some(fact) => given.set(fact, Some(value.value)),
                None => faults.add(value, path("given"), unknown_fact(name)),
            }
        }
        let ruling = self.rule_on(&case.action.value, &case.role.value, &given);
        let verdict = match (ruling.denied.is_empty(), ruling.autonomy) {
            (false, _) => "refused",
            (true, Level::Act) => "authorised",
            (true, Level::Ask) => "asked",
            (true, Level::Observe) => "observed",
        };
        if !VERDICTS.contains(&case.expect.value.as_str()) {
            let near = suggest(&case.expect.value, VERDICTS);
            let reason = format!("unknown `{}`{near}", case.expect.value);
            return faults.add(&case.expect, path("expect"), reason);
        }
        let found: BTreeSet<&str> = ruling.denied.iter().map(Name::as_str).collect();
        let wanted: BTreeSet<&str> = case.by.iter().map(|id| id.value.as_str()).collect();
        let same_rules = wanted.is_empty() || wanted == found;
        if verdict != case.expect.value || !same_rules {
            let reason = match verdict {
                "refused" => format!("the case fails: refused by {}", ruling.denied.join(", ")),
                other => format!("the case fails: {other}"),
            };
            faults.add(&case.expect, path("expect"), reason);
        }
    }

    /// What the hash is taken of: all that can change a verdict, nothing else.
    fn canonical(&self) -> String {
        let mut text = String::new();
        for (role, action, grant) in self.grants() {
            let (level, expires) = (grant.autonomy, grant.expires_s);
            let _ = writeln!(text, "grant {role} {action} {level} {expires:?}");
        }
        for rule in &self.rules {
            let _ = write!(text, "rule {} {:?} {:?}", rule.id, rule.actions, rule.roles);
            let parts = [
                ("when", &rule.when),
                ("deny", &rule.deny_any),
                ("require", &rule.require_all),
            ];
            for (word, tests) in parts {
                for test in tests {
                    let _ = write!(text, " {word} {test}");
                }
            }
            let _ = writeln!(text, " {}", if rule.firm { "firm" } else { "" });
        }
        text
    }
}

/// What a case may expect.
const VERDICTS: [&str; 4] = ["authorised", "refused", "asked", "observed"];

impl core::fmt::Display for Test {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (name, sign) = (self.fact.name(), self.operator.sign());
        write!(f, "{name} {sign} {}", self.value)
    }
}

fn compile_grants(
    raw: &[RawGrant],
    catalogue: &Catalogue,
    faults: &mut Faults,
) -> BTreeMap<String, BTreeMap<String, Grant>> {
    let mut grants: BTreeMap<String, BTreeMap<String, Grant>> = BTreeMap::new();
    for raw in raw {
        let path = |key: &str| format!("grant.{}.{key}", raw.role.value);
        let actions = check_actions(&raw.actions, &path("actions"), catalogue, faults);
        let grant = Grant {
            autonomy: level(raw.autonomy.as_ref(), &path("autonomy"), faults),
            expires_s: raw.expires_s.as_ref().map(|at| at.value),
        };
        if let Some(at) = raw.expires_s.as_ref().filter(|at| at.value <= 0) {
            faults.add(at, path("expires_s"), "write how many seconds, at least 1");
        }
        if let (Level::Ask, Some(at)) = (grant.autonomy, &raw.autonomy) {
            check_askable(&actions, at, &path("autonomy"), catalogue, faults);
        }
        let known = grants.entry(raw.role.value.clone()).or_default();
        for action in actions {
            if known.insert(action.clone(), grant).is_some() {
                let reason = format!("`{action}` is granted to `{}` twice", raw.role.value);
                faults.add(&raw.role, path("actions"), reason);
            }
        }
    }
    grants
}

fn level(raw: Option<&At<String>>, path: &str, faults: &mut Faults) -> Level {
    let Some(raw) = raw else { return Level::Act };
    raw.value.parse().unwrap_or_else(|reason: String| {
        faults.add(raw, path, reason);
        Level::Observe
    })
}

/// Nobody can be asked whether a prompt may begin now.
fn check_askable(
    actions: &BTreeSet<String>,
    at: &At<String>,
    path: &str,
    catalogue: &Catalogue,
    faults: &mut Faults,
) {
    let sent = |kind: &String| {
        let action = catalogue.action(kind);
        action.is_none_or(|action| action.effect == Effect::Upstream)
    };
    if let Some(local) = actions.iter().find(|kind| !sent(kind)) {
        let reason = format!("`{local}` cannot wait for a person; write `act` or `observe`");
        faults.add(at, path, reason);
    }
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
    if raw.deny_any.is_empty() && raw.require_all.is_empty() {
        let reason = "the rule can never deny; write `deny_any` or `require_all`";
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
        id: raw.id.value.as_str().into(),
        actions: check_actions(&raw.actions, &path("actions"), catalogue, faults),
        roles: raw.roles.iter().map(|role| role.value.clone()).collect(),
        when: compile_tests(&raw.when, &path("when"), faults),
        deny_any: compile_tests(&raw.deny_any, &path("deny_any"), faults),
        require_all: compile_tests(&raw.require_all, &path("require_all"), faults),
        firm: raw.firm,
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
        Literal::Freshness(_) | Literal::Offered => Err(format!(
            "`{}` is compared with a number; what is remembered or offered is for playbooks to ask",
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
