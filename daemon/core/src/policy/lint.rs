//! What is odd in a policy but no fault: rules that can never deny, rules that
//! always do, rules behind another that denies all they deny. `offhook policy
//! check` and a start say so; nothing is refused for it.

use std::collections::BTreeSet;

use super::raw::{RawPolicy, RawRule};
use super::{Policy, Rule, Test};
use crate::autonomy::ANY;
use crate::condition::Operator;
use crate::fault::{Fault, Faults};

/// Values of one fact, both ends included.
type Span = (i64, i64);

impl Policy {
    /// What is odd about this policy, by place in its text. `raw` is what it was
    /// compiled from.
    pub fn lint(&self, raw: &RawPolicy) -> Vec<Fault> {
        let mut odd = Faults::default();
        for (place, (rule, raw)) in self.rules.iter().zip(&raw.rule).enumerate() {
            if let Some(reason) = self.in_vain(rule) {
                odd.add(&raw.id, key(raw, "actions"), reason);
            }
            lint_tests(rule, raw, &mut odd);
            let shadow = self.rules.iter().enumerate().find(|(other, by)| {
                // Of two that deny the same the later one is in vain.
                *other != place && hides(by, rule) && (!hides(rule, by) || *other < place)
            });
            if let Some((_, by)) = shadow {
                let reason = format!("`{}` denies all that this rule denies; remove one", by.id);
                odd.add(&raw.id, format!("rule.{}", rule.id), reason);
            }
        }
        odd.or(()).err().unwrap_or_default()
    }

    /// Nobody has a grant that the rule could narrow.
    fn in_vain(&self, rule: &Rule) -> Option<String> {
        let granted = |action: &str, role: Option<&str>| {
            self.grants().any(|(to, known, _)| {
                known == action && (to == ANY || role.is_none_or(|role| role == to))
            })
        };
        let reached = |action: &String| match rule.roles.is_empty() {
            true => granted(action, None),
            false => rule.roles.iter().any(|role| granted(action, Some(role))),
        };
        let idle: Vec<&str> = rule
            .actions
            .iter()
            .filter(|action| !reached(action))
            .map(String::as_str)
            .collect();
        (!idle.is_empty()).then(|| {
            let idle = idle.join("`, `");
            format!(
                "no grant lets anybody do `{idle}` where this rule applies: it never fires there"
            )
        })
    }
}

fn key(raw: &RawRule, key: &str) -> String {
    format!("rule.{}.{key}", raw.id.value)
}

fn lint_tests(rule: &Rule, raw: &RawRule, odd: &mut Faults) {
    let lists = [
        ("when", &rule.when, &raw.when, false),
        ("deny_any", &rule.deny_any, &raw.deny_any, false),
        ("require_all", &rule.require_all, &raw.require_all, true),
    ];
    for (word, tests, texts, must_hold) in lists {
        for (test, text) in tests.iter().zip(texts) {
            let (low, high) = test.fact.info().range;
            let denied = denied(test, must_hold);
            let reason = match (word, denied.is_empty(), denied == [(low, high)]) {
                ("when", true, _) => "never holds: the rule never fires",
                ("when", _, true) => "always holds; leave it out",
                (_, true, _) => "never denies; remove it",
                (_, _, true) => "denies always, whatever the value",
                _ => continue,
            };
            let unit = test.fact.info().unit;
            let range = match high {
                i64::MAX => format!("{low} or more"),
                _ => format!("{low} to {high}"),
            };
            let reason = format!("{reason} (`{}` is {range} {unit})", test.fact.name());
            odd.add(text, key(raw, word), reason);
        }
    }
}

/// The values of its fact, within the range it can have, for which a test denies.
fn denied(test: &Test, must_hold: bool) -> Vec<Span> {
    let (low, high) = test.fact.info().range;
    let at = test.value;
    let (before, after) = (at.saturating_sub(1), at.saturating_add(1));
    let holds: Vec<Span> = match test.operator {
        Operator::Equal => vec![(at, at)],
        Operator::Unequal => vec![(low, before), (after, high)],
        Operator::Below => vec![(low, before)],
        Operator::AtMost => vec![(low, at)],
        Operator::Above => vec![(after, high)],
        Operator::AtLeast => vec![(at, high)],
    };
    let fails: Vec<Span> = match test.operator {
        Operator::Equal => vec![(low, before), (after, high)],
        Operator::Unequal => vec![(at, at)],
        Operator::Below => vec![(at, high)],
        Operator::AtMost => vec![(after, high)],
        Operator::Above => vec![(low, at)],
        Operator::AtLeast => vec![(low, before)],
    };
    let spans = if must_hold { fails } else { holds };
    spans
        .into_iter()
        .map(|(from, to)| (from.max(low), to.min(high)))
        .filter(|(from, to)| from <= to)
        .collect()
}

/// Whether `by` denies whatever `rule` denies.
fn hides(by: &Rule, rule: &Rule) -> bool {
    let everywhere = |set: &BTreeSet<String>, other: &BTreeSet<String>| {
        set.is_empty() || (!other.is_empty() && set.is_superset(other))
    };
    by.when.iter().all(|test| rule.when.contains(test))
        && by.actions.is_superset(&rule.actions)
        && everywhere(&by.roles, &rule.roles)
        && all_denied(rule).all(|(fact, span)| {
            all_denied(by)
                .any(|(other, wide)| fact == other && wide.0 <= span.0 && span.1 <= wide.1)
        })
}

fn all_denied(rule: &Rule) -> impl Iterator<Item = (crate::facts::FactId, Span)> {
    let wanted = rule.deny_any.iter().map(|test| (test, false));
    let required = rule.require_all.iter().map(|test| (test, true));
    wanted.chain(required).flat_map(|(test, must_hold)| {
        let spans = denied(test, must_hold);
        spans.into_iter().map(|span| (test.fact, span))
    })
}
