//! `offhook explain`: why each action of a call was allowed or refused.

use std::fmt::Write as _;
use std::time::Duration;

use offhook_core::output::Attempt;

use super::ask::asking;
use super::text::{or_dash, tame};
use super::{Common, OK, print, print_json};
use crate::control::client::path_step;
use crate::control::{Decision, Explanation, Rule};

/// Why each action of a call was allowed or refused.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// The call's id, the beginning or end of it, or `last`.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: String,
    /// Only what leaves the box: no prompts, no answering, no hanging up.
    #[arg(long)]
    external: bool,
    /// Only what was refused.
    #[arg(long)]
    refused: bool,
}

pub(super) fn run(common: &Common, arguments: &ExplainArgs) -> u8 {
    asking(common, async |client| {
        let path = format!("/v1/calls/{}/explain", path_step(&arguments.id));
        let mut explanation: Explanation = client.get(&path).await?;
        explanation.decisions.retain(|decision| {
            (decision.external || !arguments.external)
                && (decision.verdict == "refused" || !arguments.refused)
        });
        if common.json {
            print_json(&explanation);
        } else {
            print(&text(&explanation));
        }
        Ok(OK)
    })
}

fn text(explanation: &Explanation) -> String {
    let call = &explanation.call;
    let mut text = format!(
        "{} {}: {} -> {}\n",
        call.direction.name(),
        call.id,
        or_dash(&tame(&call.caller)),
        or_dash(&tame(&call.called)),
    );
    if !explanation.playbook.is_empty() {
        text.push_str(&format!("playbook {}\n", explanation.playbook));
    }
    for line in &explanation.origin {
        text.push_str(&format!("{} {}\n", line.event, tame(&line.detail)));
    }
    if explanation.decisions.is_empty() {
        text.push_str("nothing was proposed\n");
    }
    for decision in &explanation.decisions {
        text.push('\n');
        text.push_str(&one(decision));
    }
    for person in &explanation.persons {
        text.push('\n');
        text.push_str(&person_text(person));
    }
    text
}

/// A person who was called: what it came to, and what was heard there.
fn person_text(person: &Attempt) -> String {
    let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
    let by = match person.leg {
        Some(leg) => format!("leg {leg} by {}", tame(&person.trunk)),
        None => "by the caller's side".to_owned(),
    };
    let mut text = format!(
        "CALLED  {}  {by}: {} after {:.1} s\n",
        tame(&person.to),
        person.came.name(),
        seconds(person.ms),
    );
    for sign in &person.signs {
        writeln!(text, "    {:5.1} s  {}", seconds(sign.ms), tame(&sign.what))
            .expect("a String takes all");
    }
    text
}

fn one(decision: &Decision) -> String {
    let mut text = format!(
        "{} ms  {}  {} {}\n",
        decision.ms,
        decision.verdict.to_uppercase(),
        decision.kind,
        tame(&decision.object),
    );
    let mut add = |name: &str, value: String| {
        writeln!(text, "    {name:9}{value}").expect("a String takes all");
    };
    let state = decision.state.as_ref();
    let state = state.map_or(String::new(), |state| match state.as_str() {
        "not_kept" => ", NOT KEPT: the store failed; it was not sent and never will be".to_owned(),
        state => format!(", now {state}"),
    });
    add("action", format!("{}{state}", decision.action));
    add(
        "proposed",
        format!("as {} in {}", decision.role, decision.stage),
    );
    for rule in &decision.rules {
        add("rule", rule_text(rule));
    }
    for (name, value) in &decision.values {
        let value = value.map_or("unknown".to_owned(), |value| value.to_string());
        add("read", format!("{name} = {value}"));
    }
    for it in &decision.evidence {
        let (kind, fact, stage) = (&it.kind, &it.fact, &it.stage);
        let (amount, left, age) = (it.amount, it.left, it.age_ms);
        add(
            "weighed",
            format!("{kind} in {stage}: {amount:+} to {fact}, {left:+} left after {age} ms"),
        );
    }
    add("policy", decision.policy.chars().take(12).collect());
    text
}

fn rule_text(rule: &Rule) -> String {
    match &rule.why {
        Some(why) => format!("{}: {why}", rule.id),
        None => rule.id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use offhook_core::Weighed;

    #[test]
    fn a_refusal_names_rules_reasons_and_values() {
        let decision = Decision {
            ms: 4_210,
            action: "0000000000abc-3".into(),
            kind: "schedule".into(),
            object: "tuesday".into(),
            role: "host".into(),
            stage: "offer".into(),
            external: true,
            verdict: "refused".into(),
            rules: vec![Rule {
                id: "contact.frequency".into(),
                why: Some("called too often".into()),
            }],
            values: [
                ("contacts_24h".to_owned(), Some(4)),
                ("dnc".to_owned(), None),
            ]
            .into(),
            policy: "0123456789abcdef".into(),
            evidence: vec![Weighed {
                kind: "confirm".into(),
                stage: "offer".into(),
                fact: "intent".into(),
                amount: 400,
                left: 200,
                age_ms: 24_000,
            }],
            state: None,
        };
        let text = one(&decision);
        for line in [
            "4210 ms  REFUSED  schedule tuesday",
            "    rule     contact.frequency: called too often",
            "    read     contacts_24h = 4",
            "    read     dnc = unknown",
            "    weighed  confirm in offer: +400 to intent, +200 left after 24000 ms",
            "    policy   0123456789ab",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
