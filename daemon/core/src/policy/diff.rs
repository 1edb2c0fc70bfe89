//! What differs between two policies, in lines for people.

use core::fmt::Display;
use std::collections::BTreeMap;

use super::{Grant, Policy, Rule};
use crate::id::Name;

impl Policy {
    /// What `new` changes, one line each: `+` added, `-` removed, `~` changed.
    /// Empty when both decide by the same.
    pub fn diff(&self, new: &Self) -> Vec<String> {
        let grants = |policy: &Self| -> BTreeMap<String, Grant> {
            let named = policy.grants();
            named
                .map(|(role, action, grant)| (format!("{role} may {action}"), grant))
                .collect()
        };
        let rules = |policy: &Self| -> BTreeMap<Name, Rule> {
            let named = policy.rules().iter();
            named.map(|rule| (rule.id.clone(), rule.clone())).collect()
        };
        let mut lines = changes("grant", &grants(self), &grants(new), grant_text);
        lines.extend(changes("rule", &rules(self), &rules(new), rule_text));
        lines
    }
}

fn changes<K: Ord + Display, T: PartialEq>(
    what: &str,
    old: &BTreeMap<K, T>,
    new: &BTreeMap<K, T>,
    text: impl Fn(&T) -> String,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, before) in old {
        match new.get(name) {
            None => lines.push(format!("- {what} {name}: {}", text(before))),
            Some(after) if after != before => lines.push(format!(
                "~ {what} {name}: {} -> {}",
                text(before),
                text(after)
            )),
            Some(_) => {}
        }
    }
    for (name, after) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        lines.push(format!("+ {what} {name}: {}", text(after)));
    }
    lines
}

fn grant_text(grant: &Grant) -> String {
    match grant.expires_s {
        Some(seconds) => format!("{} for {seconds} s", grant.autonomy),
        None => grant.autonomy.to_string(),
    }
}

fn rule_text(rule: &Rule) -> String {
    let list = |word: &str, tests: &[super::Test]| {
        let tests: Vec<String> = tests.iter().map(ToString::to_string).collect();
        (!tests.is_empty()).then(|| format!("{word} {}", tests.join(", ")))
    };
    let actions: Vec<&str> = rule.actions.iter().map(String::as_str).collect();
    let roles: Vec<&str> = rule.roles.iter().map(String::as_str).collect();
    let parts = [
        Some(actions.join(", ")),
        (!roles.is_empty()).then(|| format!("as {}", roles.join(", "))),
        list("when", &rule.when),
        list("deny any of", &rule.deny_any),
        list("require all of", &rule.require_all),
        rule.firm.then(|| "firm".to_owned()),
        Some(format!("\"{}\"", rule.why)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
