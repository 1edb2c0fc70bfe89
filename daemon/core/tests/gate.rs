//! The gate: what it refuses whatever the policy says, and what it cannot see.

mod common;

use std::collections::BTreeSet;

use offhook_core::facts::{FactId, Facts};
use offhook_core::gate::{self, Evidence, Judgement, Proposal, judge};
use offhook_core::{Policy, RawPolicy, Turn, Verdict};
use proptest::prelude::*;

fn known(pairs: &[(&str, i64)]) -> Facts {
    let mut facts = Facts::default();
    for (name, value) in pairs {
        facts.set(FactId::find(name).unwrap(), Some(*value));
    }
    facts
}

fn schedule(turn: u32) -> Proposal {
    Proposal {
        kind: "schedule".to_owned(),
        role: "booking".to_owned(),
        turn: Turn(turn),
        dedupe: Some("lead|schedule|tuesday".to_owned()),
        flaws: Vec::new(),
    }
}

fn rules(judgement: &Judgement) -> Vec<&str> {
    judgement.rules.iter().map(String::as_str).collect()
}

#[test]
fn each_built_in_rule_refuses_by_its_name() {
    let policy = common::policy();
    let facts = known(&[("confirmations", 1), ("store_ok", 1)]);
    let none = BTreeSet::new();
    let in_force = BTreeSet::from(["lead|schedule|tuesday".to_owned()]);
    let flawed = Proposal {
        flaws: vec!["field.missing:slot".to_owned()],
        ..schedule(5)
    };
    let stranger = Proposal {
        role: "stranger".to_owned(),
        ..schedule(5)
    };
    type Row<'a> = (u32, bool, &'a BTreeSet<String>, Proposal, &'a [&'a str]);
    let rows: [Row<'_>; 6] = [
        (5, false, &none, schedule(4), &["stale.turn"]),
        (5, true, &none, schedule(5), &["authority.suspended"]),
        (5, false, &in_force, schedule(5), &["duplicate.action"]),
        (5, false, &none, flawed, &["field.missing:slot"]),
        (5, false, &none, stranger, &["role.authority"]),
        (
            5,
            true,
            &in_force,
            schedule(4),
            &["stale.turn", "authority.suspended", "duplicate.action"],
        ),
    ];
    for (turn, suspended, in_force, proposal, expected) in rows {
        let evidence = Evidence {
            turn: Turn(turn),
            suspended,
            facts: &facts,
            in_force,
        };
        let judgement = judge(&policy, &evidence, &proposal);
        assert_eq!(judgement.verdict, Verdict::Refused);
        assert_eq!(rules(&judgement), expected);
        for rule in &judgement.rules {
            assert!(!gate::why(&policy, rule).is_empty(), "{rule} says why");
        }
    }
}

#[test]
fn what_is_authorised_names_what_applied_and_what_was_read() {
    let facts = known(&[("confirmations", 2), ("store_ok", 1)]);
    let none = BTreeSet::new();
    let evidence = Evidence {
        turn: Turn(5),
        suspended: false,
        facts: &facts,
        in_force: &none,
    };
    let judgement = judge(&common::policy(), &evidence, &schedule(5));
    assert_eq!(judgement.verdict, Verdict::Authorised);
    assert_eq!(
        rules(&judgement),
        ["role.authority", "booking.confirmed", "store.working"]
    );
    assert_eq!(
        judgement.values,
        [
            ("confirmations".to_owned(), Some(2)),
            ("store_ok".to_owned(), Some(1))
        ]
    );
}

#[test]
fn the_thirty_third_action_of_a_conversation_is_refused() {
    let policy = common::policy();
    let facts = known(&[("confirmations", 1), ("store_ok", 1)]);
    for (authorised, expected) in [
        (gate::ACTIONS_MAX - 1, Verdict::Authorised),
        (gate::ACTIONS_MAX, Verdict::Refused),
    ] {
        let in_force = (0..authorised).map(|n| format!("effect {n}")).collect();
        let evidence = Evidence {
            turn: Turn(5),
            suspended: false,
            facts: &facts,
            in_force: &in_force,
        };
        let judgement = judge(&policy, &evidence, &schedule(5));
        assert_eq!(judgement.verdict, expected, "{authorised}");
    }
}

#[test]
fn a_rule_with_roles_applies_in_those_alone() {
    let text = "name = 'p'\n[[grant]]\nrole = '*'\nactions = ['schedule']\n[[rule]]\nid = 'r'\nactions = ['schedule']\nroles = ['booking']\nrequire = ['store_ok == 1']\nwhy = 'x'\n";
    let raw: RawPolicy = toml::from_str(text).unwrap();
    let policy = common::sound(text, Policy::compile(&raw, &common::catalogue()));
    let facts = known(&[("store_ok", 0)]);
    assert_eq!(policy.rule_on("schedule", "booking", &facts).denied, ["r"]);
    assert!(
        policy
            .rule_on("schedule", "closing", &facts)
            .denied
            .is_empty()
    );
}

/// Whoever judges must not interpret.
#[test]
fn the_gate_and_the_policy_cannot_import_the_interpreter() {
    for source in [
        include_str!("../src/gate.rs"),
        include_str!("../src/policy.rs"),
        include_str!("../src/facts.rs"),
        include_str!("../src/condition.rs"),
    ] {
        for forbidden in [
            "interpret::",
            "playbook::",
            "signal::",
            "dialogue::",
            "Words",
        ] {
            assert!(!source.contains(forbidden), "{forbidden}");
        }
    }
}

proptest! {
    #[test]
    fn an_older_proposal_is_refused_whatever_the_facts(
        turn in 1u32..u32::MAX, age in 1u32.., values in prop::collection::vec(any::<i64>(), 13)
    ) {
        let facts = all_facts(&values);
        let none = BTreeSet::new();
        let evidence = Evidence { turn: Turn(turn), suspended: false, facts: &facts, in_force: &none };
        let judgement = judge(&common::policy(), &evidence, &schedule(turn.saturating_sub(age)));
        prop_assert_eq!(judgement.verdict, Verdict::Refused);
        prop_assert!(judgement.rules.contains(&"stale.turn".to_owned()));
    }

    /// Withdrawing any fact that was read turns every verdict into a refusal.
    #[test]
    fn a_missing_fact_never_opens_the_gate(
        values in prop::collection::vec(-2i64..1500, 13), missing in 0usize..13,
        kind in prop::sample::select(vec!["schedule", "dial", "take_payment", "callback"])
    ) {
        let policy = common::policy();
        let names: Vec<&str> = names();
        let mut facts = all_facts(&values);
        let role = if kind == "dial" { "outreach" } else { "closing" };
        let before = policy.rule_on(kind, role, &facts);
        facts.set(FactId::find(names[missing]).unwrap(), None);
        let after = policy.rule_on(kind, role, &facts);
        if before.values.contains_key(names[missing]) {
            let rule = format!("fact.missing:{}", names[missing]);
            prop_assert!(after.denied.contains(&rule));
        } else {
            prop_assert_eq!(before.denied, after.denied);
        }
    }
}

fn names() -> Vec<&'static str> {
    let daemon = offhook_core::facts::DAEMON_FACTS.iter();
    let own = offhook_core::facts::OWN_FACTS.iter();
    daemon.chain(own).map(|fact| fact.name).collect()
}

fn all_facts(values: &[i64]) -> Facts {
    let pairs: Vec<(&str, i64)> = names().into_iter().zip(values.iter().copied()).collect();
    known(&pairs)
}
