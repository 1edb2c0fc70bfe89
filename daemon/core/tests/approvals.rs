//! Actions that a person has to approve, and what the caller does meanwhile.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::stage::Stage;
use offhook_core::book::Book;
use offhook_core::{Event, Level, Limit, Policy, RawPolicy, Standing};

/// The shipped booking playbook under a policy that asks before it books.
fn asking() -> Stage {
    let role = "[[grant]]\nrole = \"booking\"\n";
    let text = common::shipped("policies/default.toml");
    assert!(text.contains(role), "the policy has a grant for booking");
    let text = text.replace(role, &format!("{role}autonomy = \"ask\"\n"));
    let raw: RawPolicy = toml::from_str(&text).unwrap();
    let cases = RawPolicy {
        case: Vec::new(),
        ..raw
    };
    let policy = common::sound(&text, Policy::compile(&cases, &common::catalogue()));
    let book = Book {
        policy: Arc::new(policy),
        ..(*common::book("booking")).clone()
    };
    Stage::new(Arc::new(book))
}

/// Everything that was said and done, after inputs of 1 s each.
fn play(stage: &mut Stage, from: u64, words: &[&str]) -> Vec<String> {
    let mut said = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let now = Duration::from_secs(from + n as u64);
        said.extend(stage.wait_until(now));
        let event = stage.event(word);
        said.extend(stage.handle(now, event));
    }
    said
}

/// Up to the moment at which a person is being asked.
fn asked(stage: &mut Stage) -> Vec<String> {
    let words = [
        "facts store_ok=1",
        "offered +15550100",
        "answered",
        "played",
        "key 1",
        "key 1",
    ];
    play(stage, 1, &words)
}

fn has(said: &[String], line: &str) -> bool {
    said.iter().any(|it| it == line)
}

#[test]
fn a_person_is_asked_the_caller_is_bridged_and_a_yes_books() {
    let mut stage = asking();
    let said = asked(&mut stage);
    assert!(has(&said, "ask about schedule"), "{said:?}");
    assert_eq!(said.last().unwrap(), "say one_moment", "{said:?}");
    let said = play(&mut stage, 10, &["played", "approved"]);
    assert!(
        has(&said, "keep schedule phone=+15550100 slot=tuesday (held)"),
        "{said:?}"
    );
}

#[test]
fn a_no_and_no_answer_in_time_are_refusals_that_the_caller_hears() {
    for (words, rule) in [
        (["played", "declined"], "approval.declined"),
        (["played", "facts store_ok=1"], "approval.late"),
    ] {
        let mut stage = asking();
        asked(&mut stage);
        let mut said = play(&mut stage, 10, &words);
        said.extend(stage.wait_until(Duration::from_secs(30)));
        assert!(has(&said, &format!("refused schedule: {rule}")), "{said:?}");
        assert!(
            has(&said, "say not_booked goodbye") || has(&said, "say not_booked"),
            "{said:?}"
        );
    }
}

#[test]
fn the_caller_takes_it_back_while_a_person_is_asked() {
    let mut stage = asking();
    asked(&mut stage);
    let said = play(&mut stage, 10, &["played", "key 2"]);
    assert!(
        has(&said, "refused schedule: approval.taken_back"),
        "{said:?}"
    );
    assert!(has(&said, "say withdrawn"), "{said:?}");
    let said = play(&mut stage, 12, &["approved"]);
    assert!(!said.iter().any(|it| it.starts_with("keep")), "{said:?}");
}

#[test]
fn what_the_caller_says_meanwhile_makes_the_answer_stale() {
    let mut stage = asking();
    asked(&mut stage);
    let opted_out = play(&mut stage, 10, &["played", "key 8"]);
    assert!(
        has(&opted_out, "keep opt_out phone=+15550100"),
        "{opted_out:?}"
    );
    let said = play(&mut stage, 12, &["approved"]);
    let refused = said.iter().find(|it| it.starts_with("refused schedule"));
    assert!(
        refused.is_some_and(|it| it.contains("stale.signal")),
        "{said:?}"
    );
}

#[test]
fn a_hang_up_ends_the_asking() {
    let mut stage = asking();
    asked(&mut stage);
    let said = play(&mut stage, 10, &["ended far_hangup"]);
    assert!(has(&said, "refused schedule: approval.late"), "{said:?}");
    assert!(said.last().unwrap().starts_with("ended"), "{said:?}");
}

#[test]
fn what_is_decreed_during_a_call_holds_at_once() {
    let mut stage = Stage::new(common::book("booking"));
    play(
        &mut stage,
        1,
        &["facts store_ok=1", "offered +15550100", "answered", "key 1"],
    );
    let standing = Standing {
        limits: vec![Limit {
            role: "booking".to_owned(),
            action: "schedule".to_owned(),
            level: Level::Observe,
            by: "box".to_owned(),
            reason: "drift".to_owned(),
        }],
        overrides: Vec::new(),
    };
    stage.handle(Duration::from_secs(6), Event::Standing(standing));
    let said = play(&mut stage, 7, &["key 1"]);
    assert!(has(&said, "only observed schedule"), "{said:?}");
    assert!(!said.iter().any(|it| it.starts_with("keep")), "{said:?}");
}
