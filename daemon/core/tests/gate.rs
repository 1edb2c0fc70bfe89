//! The gate: what it refuses whatever the policy says, and what it cannot see.

mod common;

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use offhook_core::facts::{FactId, Facts};
use offhook_core::gate::{self, Evidence, Judgement, Proposal, judge};
use offhook_core::record::Rules;
use offhook_core::{Level, Limit, Name, Override, Policy, RawPolicy, Standing, Turn, Verdict};
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
        kind: "schedule".into(),
        role: "booking".into(),
        turn: Turn(turn),
        signals: 3,
        dedupe: Some("lead|schedule|tuesday".to_owned()),
        flaws: Rules::new(),
        approved: false,
    }
}

fn nothing_decreed() -> &'static Standing {
    static NOTHING: LazyLock<Standing> = LazyLock::new(Standing::default);
    &NOTHING
}

fn evidence<'a>(facts: &'a Facts, in_force: &'a BTreeSet<String>) -> Evidence<'a> {
    Evidence {
        now: Duration::from_secs(60),
        turn: Turn(5),
        signals: 3,
        suspended: false,
        lead: "lead",
        facts,
        in_force,
        standing: nothing_decreed(),
    }
}

fn rules(judgement: &Judgement) -> Vec<&str> {
    judgement.rules.iter().map(Name::as_str).collect()
}

#[test]
fn each_built_in_rule_refuses_by_its_name() {
    let policy = common::policy();
    let facts = known(&[("confirmations", 1), ("store_ok", 1)]);
    let none = BTreeSet::new();
    let in_force = BTreeSet::from(["lead|schedule|tuesday".to_owned()]);
    let flawed = Proposal {
        flaws: ["field.missing:slot".into()].into_iter().collect(),
        ..schedule(5)
    };
    let stranger = Proposal {
        role: "stranger".into(),
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
            ..evidence(&facts, in_force)
        };
        let judgement = judge(&policy, &evidence, &proposal);
        assert_eq!(judgement.verdict, Verdict::Refused);
        assert_eq!(rules(&judgement), expected);
        for rule in &judgement.rules {
            assert!(!gate::why(&policy, rule).is_empty(), "{rule} says why");
        }
    }
}

/// What people read of a refusal; nothing for a rule that nobody has.
#[test]
fn every_rule_of_the_gate_says_why_in_its_own_words() {
    let policy = common::policy();
    let rows = [
        (
            "stale.turn",
            "The caller has taken the word since it was proposed",
        ),
        (
            "stale.signal",
            "The caller has said something new since it was proposed",
        ),
        (
            "authority.suspended",
            "The caller has interrupted and is not yet understood",
        ),
        ("duplicate.action", "The same effect is authorised already"),
        (
            "limit.actions",
            "This conversation has had too many actions",
        ),
        (
            "step.refused",
            "One of its steps is refused: all of it happens, or nothing",
        ),
        (
            "role.authority",
            "A role may do what the policy grants it, and nothing else",
        ),
        (
            "token.expired",
            "The role has this authority for a time, from when it began",
        ),
        ("approval.declined", "A person was asked and declined"),
        (
            "approval.late",
            "A person was asked and did not answer in time",
        ),
        (
            "approval.taken_back",
            "The caller took it back while a person was being asked",
        ),
        (
            "autonomy.observe",
            "Only recorded: this action may not be carried out by itself yet",
        ),
        ("autonomy.ask", "A person has to approve this action"),
        (
            "fact.missing:store_ok",
            "Nobody has said what `store_ok` is; what is not known is not allowed",
        ),
        ("field.missing:slot", "The field `slot` is needed and empty"),
        (
            "field.invalid:phone",
            "The field `phone` does not hold what it should",
        ),
        (
            "lease.missing:slot.tuesday",
            "`slot.tuesday` is not on offer, or no longer",
        ),
        (
            "override:o1",
            "A person lifted a rule for a time: `offhook override` shows `o1`",
        ),
        (
            "booking.confirmed",
            "A booking needs an explicit yes after the last change",
        ),
        ("moon.phase", ""),
    ];
    for (rule, why) in rows {
        assert_eq!(gate::why(&policy, rule), why, "{rule}");
    }
    assert_eq!(policy.why("booking.confirmed"), Some(rows[18].1));
    assert_eq!(policy.why("moon.phase"), None);
    assert_eq!(policy.name(), "default");
}

#[test]
fn what_was_proposed_before_the_newest_signal_and_one_action_too_many_are_refused() {
    let policy = common::policy();
    let facts = known(&[("confirmations", 1), ("store_ok", 1)]);
    let effects = |count: usize| (0..count).map(|n| format!("lead|schedule|{n}")).collect();
    type Row<'a> = (u32, usize, Option<&'a str>, &'a [&'a str]);
    let most = gate::ACTIONS_MAX;
    let rows: [Row<'_>; 6] = [
        (3, 0, Some("lead|schedule|new"), &[]),
        (2, 0, Some("lead|schedule|new"), &["stale.signal"]),
        (4, 0, Some("lead|schedule|new"), &[]),
        (3, most - 1, Some("lead|schedule|new"), &[]),
        (3, most, Some("lead|schedule|new"), &["limit.actions"]),
        // What has no effect beyond the ear is not counted.
        (3, most, None, &[]),
    ];
    for (signals, count, dedupe, refused) in rows {
        let in_force: BTreeSet<String> = effects(count);
        let proposal = Proposal {
            signals,
            dedupe: dedupe.map(str::to_owned),
            ..schedule(5)
        };
        let judgement = judge(&policy, &evidence(&facts, &in_force), &proposal);
        match refused {
            [] => assert_eq!(judgement.verdict, Verdict::Authorised, "{signals} {count}"),
            refused => assert_eq!(rules(&judgement), refused),
        }
    }
}

#[test]
fn what_is_authorised_names_what_applied_and_what_was_read() {
    let facts = known(&[("confirmations", 2), ("store_ok", 1)]);
    let none = BTreeSet::new();
    let evidence = evidence(&facts, &none);
    let judgement = judge(&common::policy(), &evidence, &schedule(5));
    assert_eq!(judgement.verdict, Verdict::Authorised);
    assert_eq!(
        rules(&judgement),
        ["role.authority", "booking.confirmed", "store.working"]
    );
    assert_eq!(
        judgement.values[..],
        [
            ("confirmations".into(), Some(2)),
            ("store_ok".into(), Some(1))
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
        let evidence = evidence(&facts, &in_force);
        let judgement = judge(&policy, &evidence, &schedule(5));
        assert_eq!(judgement.verdict, expected, "{authorised}");
    }
}

#[test]
fn a_rule_with_roles_applies_in_those_alone() {
    let text = "name = 'p'\n[[grant]]\nrole = '*'\nactions = ['schedule']\n[[rule]]\nid = 'r'\nactions = ['schedule']\nroles = ['booking']\nrequire_all = ['store_ok == 1']\nwhy = 'x'\n";
    let raw: RawPolicy = toml::from_str(text).unwrap();
    let policy = common::sound(text, Policy::compile(&raw, &common::catalogue()));
    let facts = known(&[("store_ok", 0)]);
    assert_eq!(
        policy.rule_on("schedule", "booking", &facts).denied[..],
        ["r"]
    );
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
        turn in 1u32..u32::MAX, age in 1u32.., values in prop::collection::vec(any::<i64>(), 64)
    ) {
        let facts = all_facts(&values);
        let none = BTreeSet::new();
        let evidence = Evidence { turn: Turn(turn), ..evidence(&facts, &none) };
        let judgement = judge(&common::policy(), &evidence, &schedule(turn.saturating_sub(age)));
        prop_assert_eq!(judgement.verdict, Verdict::Refused);
        prop_assert!(judgement.rules.contains(&"stale.turn".into()));
    }

    /// Withdrawing any fact that was read turns every verdict into a refusal.
    #[test]
    fn a_missing_fact_never_opens_the_gate(
        values in prop::collection::vec(-2i64..1500, 64), missing in 0usize..64,
        kind in prop::sample::select(vec!["schedule", "dial", "take_payment", "callback"])
    ) {
        let policy = common::policy();
        let names: Vec<&str> = names();
        let missing = missing % names.len();
        let mut facts = all_facts(&values);
        let role = if kind == "dial" { "outreach" } else { "closing" };
        let before = policy.rule_on(kind, role, &facts);
        facts.set(FactId::find(names[missing]).unwrap(), None);
        let after = policy.rule_on(kind, role, &facts);
        if before.values.iter().any(|(name, _)| name == names[missing]) {
            let rule = format!("fact.missing:{}", names[missing]).into();
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

fn limit(level: Level) -> Limit {
    Limit {
        role: "booking".to_owned(),
        action: "schedule".to_owned(),
        level,
        by: "box".to_owned(),
        reason: "the upstream is far behind".to_owned(),
    }
}

#[test]
fn what_the_caller_said_since_makes_a_proposal_stale() {
    let facts = known(&[("confirmations", 1), ("store_ok", 1)]);
    let none = BTreeSet::new();
    for (signals, verdict) in [
        (2, Verdict::Refused),
        (3, Verdict::Authorised),
        (4, Verdict::Authorised),
    ] {
        let proposal = Proposal {
            signals,
            ..schedule(5)
        };
        let judgement = judge(&common::policy(), &evidence(&facts, &none), &proposal);
        assert_eq!(judgement.verdict, verdict, "{signals}");
        let stale = rules(&judgement).contains(&"stale.signal");
        assert_eq!(stale, verdict == Verdict::Refused);
    }
}

#[test]
fn a_limit_narrows_and_only_a_persons_yes_opens_what_asks() {
    let facts = known(&[("confirmations", 1), ("store_ok", 1)]);
    let none = BTreeSet::new();
    for (level, approved, verdict, rule) in [
        (
            Level::Observe,
            false,
            Verdict::Observed,
            Some("autonomy.observe"),
        ),
        (
            Level::Observe,
            true,
            Verdict::Observed,
            Some("autonomy.observe"),
        ),
        (Level::Ask, false, Verdict::Asked, Some("autonomy.ask")),
        (Level::Ask, true, Verdict::Authorised, Some("autonomy.ask")),
        (Level::Act, false, Verdict::Authorised, None),
    ] {
        let standing = Standing {
            limits: vec![limit(level)],
            overrides: Vec::new(),
        };
        let proposal = Proposal {
            approved,
            ..schedule(5)
        };
        let evidence = Evidence {
            standing: &standing,
            ..evidence(&facts, &none)
        };
        let judgement = judge(&common::policy(), &evidence, &proposal);
        assert_eq!(judgement.verdict, verdict, "{level}");
        let named = rules(&judgement)
            .into_iter()
            .find(|it| it.starts_with("autonomy"));
        assert_eq!(named, rule);
        let unconfirmed = known(&[("confirmations", 0), ("store_ok", 1)]);
        let refused = Evidence {
            facts: &unconfirmed,
            ..evidence
        };
        let judgement = judge(&common::policy(), &refused, &proposal);
        assert_eq!(
            judgement.verdict,
            Verdict::Refused,
            "a level grants nothing"
        );
        assert_eq!(rules(&judgement), ["booking.confirmed"]);
    }
}

fn lifted(rule: &str) -> Standing {
    Standing {
        limits: Vec::new(),
        overrides: vec![Override {
            id: "ov7".to_owned(),
            rule: rule.to_owned(),
            action: None,
            role: None,
            lead: Some("lead".to_owned()),
            until: Duration::from_secs(61),
            by: "ann".to_owned(),
            reason: "agreed by letter".to_owned(),
        }],
    }
}

#[test]
fn an_override_lifts_a_rule_of_the_policy_and_nothing_else() {
    let none = BTreeSet::new();
    let unconfirmed = known(&[("confirmations", 0), ("store_ok", 1)]);
    let unknown = known(&[("store_ok", 1)]);
    let rows: [(&str, &Facts, &str, u64, Verdict); 7] = [
        (
            "booking.confirmed",
            &unconfirmed,
            "lead",
            60,
            Verdict::Authorised,
        ),
        (
            "booking.confirmed",
            &unconfirmed,
            "lead",
            61,
            Verdict::Refused,
        ),
        (
            "booking.confirmed",
            &unconfirmed,
            "other",
            60,
            Verdict::Refused,
        ),
        ("booking.confirmed", &unknown, "lead", 60, Verdict::Refused),
        (
            "fact.missing:confirmations",
            &unknown,
            "lead",
            60,
            Verdict::Refused,
        ),
        ("store.working", &unconfirmed, "lead", 60, Verdict::Refused),
        ("stale.turn", &unconfirmed, "lead", 60, Verdict::Refused),
    ];
    for (rule, facts, lead, seconds, verdict) in rows {
        let standing = lifted(rule);
        let evidence = Evidence {
            now: Duration::from_secs(seconds),
            lead,
            standing: &standing,
            ..evidence(facts, &none)
        };
        let judgement = judge(&common::policy(), &evidence, &schedule(5));
        assert_eq!(judgement.verdict, verdict, "{rule} {lead} {seconds}");
        let named = rules(&judgement).contains(&"override:ov7");
        assert_eq!(named, verdict == Verdict::Authorised);
    }
    assert!(!gate::why(&common::policy(), "override:ov7").is_empty());
}

fn compiled(text: &str) -> Policy {
    let raw: RawPolicy = toml::from_str(text).unwrap();
    common::sound(text, Policy::compile(&raw, &common::catalogue()))
}

#[test]
fn no_override_lifts_a_grant_a_token_or_a_firm_rule() {
    let none = BTreeSet::new();
    let text = "name = 'p'\n[[grant]]\nrole = 'booking'\nactions = ['schedule']\nexpires_s = 60\n[[rule]]\nid = 'r'\nactions = ['schedule']\nrequire_all = ['store_ok == 1']\nfirm = true\nwhy = 'x'\n";
    let policy = compiled(text);
    for (rule, facts, role) in [
        ("r", known(&[("store_ok", 0), ("role_s", 0)]), "booking"),
        (
            "token.expired",
            known(&[("store_ok", 1), ("role_s", 60)]),
            "booking",
        ),
        (
            "role.authority",
            known(&[("store_ok", 1), ("role_s", 0)]),
            "stranger",
        ),
    ] {
        let standing = lifted(rule);
        let evidence = Evidence {
            standing: &standing,
            ..evidence(&facts, &none)
        };
        let proposal = Proposal {
            role: role.into(),
            ..schedule(5)
        };
        let judgement = judge(&policy, &evidence, &proposal);
        assert_eq!(rules(&judgement), [rule]);
        assert!(!gate::why(&policy, rule).is_empty(), "{rule} says why");
    }
}

#[test]
fn a_token_ends_when_the_role_has_lasted_its_time() {
    let text = "name = 'p'\n[[grant]]\nrole = 'booking'\nactions = ['schedule']\nexpires_s = 60\n[[grant]]\nrole = '*'\nactions = ['callback', 'schedule']\nautonomy = 'observe'\n";
    let policy = compiled(text);
    let denied =
        |role: &str, action: &str, facts: &Facts| policy.rule_on(action, role, facts).denied;
    assert!(denied("booking", "schedule", &known(&[("role_s", 59)])).is_empty());
    assert_eq!(
        denied("booking", "schedule", &known(&[("role_s", 60)]))[..],
        ["token.expired"]
    );
    assert_eq!(
        denied("booking", "schedule", &known(&[]))[..],
        ["fact.missing:role_s"]
    );
    assert!(denied("other", "schedule", &known(&[])).is_empty());
    assert_eq!(
        policy.rule_on("schedule", "booking", &known(&[])).autonomy,
        Level::Act
    );
    assert_eq!(
        policy.rule_on("schedule", "other", &known(&[])).autonomy,
        Level::Observe
    );
    let lasting = policy.rule_on("schedule", "booking", &known(&[("role_s", 59)]));
    assert_eq!(lasting.passed[..], ["role.authority", "token.expired"]);
    assert_eq!(lasting.values[..], [("role_s".into(), Some(59))]);
}

#[test]
fn a_rule_waits_for_its_when_and_an_unknown_one_does_not_open_the_gate() {
    let text = "name = 'p'\n[[grant]]\nrole = '*'\nactions = ['schedule']\n[[rule]]\nid = 'r'\nactions = ['schedule']\nwhen = ['recording == 1']\nrequire_all = ['recording_notice_heard == 1']\nwhy = 'x'\n";
    let policy = compiled(text);
    let denied = |facts: &[(&str, i64)]| policy.rule_on("schedule", "any", &known(facts)).denied;
    assert!(denied(&[("recording", 0)]).is_empty());
    assert!(denied(&[("recording", 0), ("recording_notice_heard", 0)]).is_empty());
    assert_eq!(
        denied(&[("recording", 1), ("recording_notice_heard", 0)])[..],
        ["r"]
    );
    assert_eq!(denied(&[("recording_notice_heard", 0)])[..], ["r"]);
    assert!(denied(&[("recording_notice_heard", 1)]).is_empty());
    assert_eq!(
        denied(&[("recording", 1)])[..],
        ["fact.missing:recording_notice_heard"]
    );
}
