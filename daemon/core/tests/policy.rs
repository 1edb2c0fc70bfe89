//! The policy checker: what is odd, what differs, what its cases may expect.

mod common;

use offhook_core::{Policy, RawPolicy};

fn read(text: &str) -> (RawPolicy, Policy) {
    let raw: RawPolicy = toml::from_str(text).unwrap();
    let policy = common::sound(text, Policy::compile(&raw, &common::catalogue()));
    (raw, policy)
}

/// The oddities, each as `text it is about: key: reason`.
fn odd(text: &str) -> Vec<String> {
    let (raw, policy) = read(text);
    let lint = policy.lint(&raw).into_iter();
    lint.map(|it| format!("{}: {}: {}", &text[it.start..it.end], it.key, it.reason))
        .collect()
}

const GRANT: &str = "name = 'p'\n[[grant]]\nrole = 'a'\nactions = ['schedule', 'dial']\n";

fn with(rules: &str) -> String {
    format!("{GRANT}{rules}")
}

fn rule(id: &str, body: &str) -> String {
    format!("[[rule]]\nid = '{id}'\nactions = ['schedule']\nwhy = 'x'\n{body}\n")
}

#[test]
fn a_rule_that_can_never_deny_is_odd() {
    for (body, part) in [
        (
            "deny_any = ['store_ok == 2']",
            "'store_ok == 2': rule.r.deny_any: never denies",
        ),
        (
            "deny_any = ['contacts_24h < 0']",
            "never denies; remove it (`contacts_24h` is 0 or more",
        ),
        (
            "require_all = ['store_ok <= 1']",
            "'store_ok <= 1': rule.r.require_all: never denies",
        ),
        (
            "require_all = ['weekday != 8']",
            "never denies; remove it (`weekday` is 1 to 7 day)",
        ),
        (
            "deny_any = ['local_minute >= 0']",
            "denies always, whatever the value",
        ),
        (
            "deny_any = ['weekday <= 7']",
            "denies always, whatever the value",
        ),
        (
            "require_all = ['store_ok > 1']",
            "denies always, whatever the value",
        ),
        (
            "require_all = ['store_ok == 5']",
            "denies always, whatever the value",
        ),
        (
            "when = ['recording > 1']\ndeny_any = ['store_ok == 0']",
            "never holds: the rule never fires",
        ),
        (
            "when = ['recording >= 0']\ndeny_any = ['store_ok == 0']",
            "always holds; leave it out",
        ),
    ] {
        let odd = odd(&with(&rule("r", body)));
        assert_eq!(odd.len(), 1, "{body}: {odd:?}");
        assert!(odd[0].contains(part), "{body}: {}", odd[0]);
    }
}

#[test]
fn what_can_deny_and_can_pass_is_not_odd() {
    for body in [
        "deny_any = ['store_ok == 0']",
        "deny_any = ['store_ok != 1']",
        "deny_any = ['weekday < 2']",
        "deny_any = ['weekday > 6']",
        "deny_any = ['weekday >= 7']",
        "deny_any = ['weekday <= 1']",
        "require_all = ['store_ok == 1']",
        "require_all = ['store_ok != 0']",
        "require_all = ['weekday < 7']",
        "require_all = ['weekday > 1']",
        "require_all = ['weekday >= 2']",
        "require_all = ['weekday <= 6']",
        "when = ['recording == 1']\nrequire_all = ['recording_notice_heard == 1']",
    ] {
        assert_eq!(odd(&with(&rule("r", body))), [""; 0], "{body}");
    }
}

#[test]
fn a_rule_where_nobody_has_a_grant_is_odd() {
    let text = with(
        "[[rule]]\nid = 'r'\nactions = ['dial', 'callback']\nrequire_all = ['store_ok == 1']\nwhy = 'x'\n",
    );
    let found = odd(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("do `callback`"), "{}", found[0]);
    let text = with(
        "[[rule]]\nid = 'r'\nactions = ['dial']\nroles = ['b']\nrequire_all = ['store_ok == 1']\nwhy = 'x'\n",
    );
    assert!(odd(&text)[0].contains("do `dial`"));
    let text = with(
        "[[rule]]\nid = 'r'\nactions = ['dial']\nroles = ['b', 'a']\nrequire_all = ['store_ok == 1']\nwhy = 'x'\n",
    );
    assert_eq!(odd(&text), [""; 0]);
    let text = "name = 'p'\n[[grant]]\nrole = '*'\nactions = ['dial']\n[[rule]]\nid = 'r'\nactions = ['dial']\nroles = ['b']\nrequire_all = ['store_ok == 1']\nwhy = 'x'\n";
    assert_eq!(odd(text), [""; 0]);
}

#[test]
fn a_rule_behind_another_that_denies_all_it_denies_is_odd() {
    let rows = [
        (
            "deny_any = ['contacts_24h >= 3']",
            "deny_any = ['contacts_24h >= 5']",
            Some("b"),
        ),
        (
            "deny_any = ['contacts_24h >= 5']",
            "deny_any = ['contacts_24h >= 3']",
            Some("a"),
        ),
        (
            "require_all = ['store_ok == 1']",
            "deny_any = ['store_ok == 0']",
            Some("b"),
        ),
        (
            "deny_any = ['weekday == 7', 'weekday == 6']",
            "deny_any = ['weekday == 6']",
            Some("b"),
        ),
        (
            "deny_any = ['weekday == 6']",
            "deny_any = ['weekday == 7']",
            None,
        ),
        (
            "deny_any = ['contacts_24h >= 3']",
            "deny_any = ['calls_active >= 5']",
            None,
        ),
        (
            "deny_any = ['contacts_24h >= 3']",
            "deny_any = ['contacts_24h >= 5', 'weekday == 7']",
            None,
        ),
        (
            "roles = ['a']\ndeny_any = ['contacts_24h >= 3']",
            "deny_any = ['contacts_24h >= 5']",
            None,
        ),
        (
            "deny_any = ['contacts_24h >= 3']",
            "roles = ['a']\ndeny_any = ['contacts_24h >= 5']",
            Some("b"),
        ),
        (
            "when = ['recording == 1']\ndeny_any = ['contacts_24h >= 3']",
            "deny_any = ['contacts_24h >= 5']",
            None,
        ),
        (
            "deny_any = ['contacts_24h >= 3']",
            "when = ['recording == 1']\ndeny_any = ['contacts_24h >= 5']",
            Some("b"),
        ),
    ];
    for (first, second, hidden) in rows {
        let found = odd(&with(&(rule("a", first) + &rule("b", second))));
        match hidden {
            None => assert_eq!(found, [""; 0], "{first} / {second}"),
            Some(id) => {
                assert_eq!(found.len(), 1, "{first} / {second}: {found:?}");
                assert!(
                    found[0].starts_with(&format!("'{id}': rule.{id}: ")),
                    "{}",
                    found[0]
                );
            }
        }
    }
}

#[test]
fn actions_must_cover_too() {
    let wide = "[[rule]]\nid = 'wide'\nactions = ['schedule', 'dial']\ndeny_any = ['contacts_24h >= 3']\nwhy = 'x'\n";
    let found = odd(&with(
        &(rule("narrow", "deny_any = ['contacts_24h >= 3']") + wide),
    ));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("rule.narrow"), "{}", found[0]);
}

#[test]
fn a_difference_names_what_was_added_removed_and_changed() {
    let (_, old) = read(&with(
        &(rule("a", "deny_any = ['contacts_24h >= 3']")
            + &rule("b", "require_all = ['store_ok == 1']")),
    ));
    let (_, new) = read(&format!(
        "name = 'p'\n[[grant]]\nrole = 'a'\nactions = ['schedule']\nautonomy = 'ask'\nexpires_s = 9\n{}{}",
        rule(
            "a",
            "deny_any = ['contacts_24h >= 2']\nwhen = ['recording == 1']\nroles = ['a']\nfirm = true"
        ),
        rule("c", "require_all = ['store_ok == 1']"),
    ));
    assert_eq!(old.diff(&old), [""; 0]);
    assert_eq!(
        old.diff(&new),
        [
            "- grant a may dial: act",
            "~ grant a may schedule: act -> ask for 9 s",
            "~ rule a: schedule; deny any of contacts_24h >= 3; \"x\" -> schedule; as a; when recording == 1; deny any of contacts_24h >= 2; firm; \"x\"",
            "- rule b: schedule; require all of store_ok == 1; \"x\"",
            "+ rule c: schedule; require all of store_ok == 1; \"x\"",
        ]
    );
    assert_ne!(old.hash(), new.hash());
}

#[test]
fn everything_that_can_change_a_verdict_changes_the_hash_and_nothing_else_does() {
    let hash = |text: &str| read(text).1.hash();
    let base = with(&rule("a", "deny_any = ['contacts_24h >= 3']"));
    for other in [
        base.replace(">= 3", ">= 4"),
        base.replace(">=", ">"),
        base.replace("deny_any", "require_all"),
        base.replace("role = 'a'", "role = 'b'"),
        base.replace("['schedule', 'dial']", "['schedule']"),
        base.replace("id = 'a'", "id = 'b'"),
        base.replace("deny_any", "firm = true\ndeny_any"),
        base.replace("deny_any", "when = ['recording == 1']\ndeny_any"),
        base.replace("deny_any", "roles = ['a']\ndeny_any"),
        base.replace("role = 'a'", "role = 'a'\nexpires_s = 5"),
        base.replace("role = 'a'", "role = 'a'\nautonomy = 'observe'"),
    ] {
        assert_ne!(hash(&base), hash(&other), "{other}");
    }
    for same in [
        base.replace("name = 'p'", "name = 'q'"),
        base.replace("why = 'x'", "why = 'y'"),
        format!("# a remark\n{base}"),
    ] {
        assert_eq!(hash(&base), hash(&same), "{same}");
    }
}

/// A version is the same on every box and in every release: FNV-1a, 64 bits, over the
/// rules as they are written out (`grant a dial act None`, a line each).
#[test]
fn the_hash_of_a_policy_is_what_anybody_computes() {
    let (_, policy) = read(GRANT);
    assert_eq!(
        (policy.name(), policy.hash().as_str()),
        ("p", "551615eea5f8c376")
    );
}

/// The faults as `text it is about: key: reason`.
fn faults(text: &str) -> Vec<String> {
    let raw: RawPolicy = toml::from_str(text).unwrap();
    let faults = Policy::compile(&raw, &common::catalogue()).unwrap_err();
    let faults = faults.into_iter();
    faults
        .map(|it| format!("{}: {}: {}", &text[it.start..it.end], it.key, it.reason))
        .collect()
}

#[test]
fn a_wrong_grant_says_what_to_write() {
    for (grant, part) in [
        (
            "actions = ['schedule']\nautonomy = 'always'",
            "'always': grant.a.autonomy: unknown `always`; write `observe`, `ask` or `act`",
        ),
        (
            "actions = ['schedule']\nexpires_s = 0",
            "0: grant.a.expires_s: write how many seconds",
        ),
        (
            "actions = ['schedule']\nexpires_s = -5",
            "-5: grant.a.expires_s: write how many seconds",
        ),
        (
            "actions = ['schedule', 'say']\nautonomy = 'ask'",
            "'ask': grant.a.autonomy: `say` cannot wait for a person",
        ),
        (
            "actions = ['schedule', 'dial']\nautonomy = 'ask'",
            "`dial` cannot wait for a person",
        ),
        (
            "actions = ['schedule']\n[[grant]]\nrole = 'a'\nactions = ['schedule']",
            "'a': grant.a.actions: `schedule` is granted to `a` twice",
        ),
    ] {
        let found = faults(&format!("name = 'p'\n[[grant]]\nrole = 'a'\n{grant}\n"));
        assert_eq!(found.len(), 1, "{grant}: {found:?}");
        assert!(found[0].contains(part), "{grant}: {}", found[0]);
    }
    read(
        "name = 'p'\n[[grant]]\nrole = 'a'\nactions = ['schedule', 'callback']\nautonomy = 'ask'\nexpires_s = 1\n",
    );
    read("name = 'p'\n[[grant]]\nrole = 'a'\nactions = ['say']\nautonomy = 'observe'\n");
}

#[test]
fn a_case_may_expect_each_verdict_and_its_rules() {
    let case = |expect: &str, by: &str, level: &str| {
        format!(
            "name = 'p'\n[[grant]]\nrole = 'a'\nactions = ['schedule']\nautonomy = '{level}'\n{}[[case]]\nname = 'c'\naction = 'schedule'\nrole = 'a'\ngiven = {{ store_ok = 1 }}\nexpect = '{expect}'\n{by}",
            rule("r", "require_all = ['store_ok == 1']")
        )
    };
    for (level, expect) in [
        ("act", "authorised"),
        ("ask", "asked"),
        ("observe", "observed"),
    ] {
        read(&case(expect, "", level));
        for wrong in ["authorised", "asked", "observed", "refused"] {
            if wrong != expect {
                let found = faults(&case(wrong, "", level));
                assert!(
                    found[0].ends_with(&format!("the case fails: {expect}")),
                    "{}",
                    found[0]
                );
            }
        }
    }
    let found = faults(&case("authorised", "by = ['r']", "act"));
    assert!(
        found[0].contains("the case fails: authorised"),
        "{}",
        found[0]
    );
    let found = faults(&case("denied", "", "act"));
    assert!(found[0].contains("unknown `denied`"), "{}", found[0]);
}
