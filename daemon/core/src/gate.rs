//! The gate: every proposal is authorised or refused here, against the state of
//! this instant. Deterministic, in memory, never asks anybody.
//!
//! It does not interpret what was said and does not act; `desk` calls it and
//! writes the record. Confidence of a recogniser or a model is not among its inputs.

use core::time::Duration;
use std::collections::BTreeSet;

use smol_str::format_smolstr;

use crate::autonomy::{Level, Scope, Standing};
use crate::facts::Facts;
use crate::id::{Name, Turn};
use crate::policy::{FACT_MISSING, Policy, ROLE_AUTHORITY, TOKEN_EXPIRED};
use crate::record::{Rules, Values, Verdict};

/// Refuses what was proposed before the leg's turn went up.
pub const STALE_TURN: &str = "stale.turn";
/// Refuses what was proposed before the newest signal of the caller.
pub const STALE_SIGNAL: &str = "stale.signal";
/// Refuses everything between an interruption and its understanding.
pub const AUTHORITY_SUSPENDED: &str = "authority.suspended";
/// Refuses a second action with the same effect.
pub const DUPLICATE_ACTION: &str = "duplicate.action";
/// Refuses a conversation that proposes without end.
pub const TOO_MANY_ACTIONS: &str = "limit.actions";
/// Refuses an action of several steps, one of which is refused.
pub const STEP_REFUSED: &str = "step.refused";
/// Refuses what a person was asked about and declined.
pub const APPROVAL_DECLINED: &str = "approval.declined";
/// Refuses what a person was asked about and did not answer in time.
pub const APPROVAL_LATE: &str = "approval.late";
/// Refuses what the caller took back while a person was being asked.
pub const APPROVAL_TAKEN_BACK: &str = "approval.taken_back";
/// Prefix of the rule that says how far the action may go by itself.
pub const AUTONOMY: &str = "autonomy.";
/// Prefix of the override that lifted a rule.
pub const OVERRIDE: &str = "override:";
/// Prefix of the rule that refuses for want of a required field.
pub const FIELD_MISSING: &str = "field.missing:";
/// Prefix of the rule that refuses a field of the wrong kind.
pub const FIELD_INVALID: &str = "field.invalid:";

/// Prefix of the rule that refuses what is not, or no longer, on offer.
pub const NOT_ON_OFFER: &str = "lease.missing:";

/// Actions that one conversation may have authorised.
pub const ACTIONS_MAX: usize = 32;

/// What is to be done, as far as the gate needs to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// Action type.
    pub kind: Name,
    /// Role in which it is proposed.
    pub role: Name,
    /// Turn on which it was proposed.
    pub turn: Turn,
    /// The caller's signals that were known when it was proposed.
    pub signals: u32,
    /// Its effect, where a second one like it must not happen.
    pub dedupe: Option<String>,
    /// What is wrong with its fields: `field.missing:…`, `field.invalid:…`.
    pub flaws: Rules,
    /// A person has approved it.
    pub approved: bool,
}

/// What holds at this instant.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Time since daemon start.
    pub now: Duration,
    /// The leg's turn.
    pub turn: Turn,
    /// The caller's signals so far.
    pub signals: u32,
    /// The caller has interrupted and is not yet understood.
    pub suspended: bool,
    /// The lead it is about.
    pub lead: &'a str,
    /// What is known.
    pub facts: &'a Facts,
    /// Effects authorised and not withdrawn.
    pub in_force: &'a BTreeSet<String>,
    /// What people and the box have decreed beside the policy.
    pub standing: &'a Standing,
}

/// The verdict, with what decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Yes, no, or how far.
    pub verdict: Verdict,
    /// The rules that denied, or those that applied.
    pub rules: Rules,
    /// What they read.
    pub values: Values,
}

/// Judges one proposal.
pub fn judge(policy: &Policy, evidence: &Evidence<'_>, proposal: &Proposal) -> Judgement {
    let mut denied = built_in(evidence, proposal);
    let ruling = policy.rule_on(&proposal.kind, &proposal.role, evidence.facts);
    let mut passed = ruling.passed;
    let scope = Scope {
        action: &proposal.kind,
        role: &proposal.role,
        lead: evidence.lead,
    };
    for rule in ruling.denied {
        match lifted(policy, evidence.standing, evidence.now, scope, &rule) {
            Some(by) => passed.push(format_smolstr!("{OVERRIDE}{by}")),
            None => denied.push(rule),
        }
    }
    let level = evidence
        .standing
        .level(ruling.autonomy, &proposal.role, &proposal.kind);
    let verdict = match (denied.is_empty(), level) {
        (false, _) => Verdict::Refused,
        (true, Level::Act) => Verdict::Authorised,
        (true, Level::Ask) if proposal.approved => Verdict::Authorised,
        (true, Level::Ask) => Verdict::Asked,
        (true, Level::Observe) => Verdict::Observed,
    };
    if level != Level::Act {
        passed.push(format_smolstr!("{AUTONOMY}{level}"));
    }
    Judgement {
        rules: if denied.is_empty() { passed } else { denied },
        verdict,
        values: ruling.values,
    }
}

/// The override that lifts this rule, if there is one. Only a rule of the policy that is not firm can be lifted; a missing fact,
/// a missing grant and what the gate itself demands cannot.
pub fn lifted<'a>(
    policy: &Policy,
    standing: &'a Standing,
    now: Duration,
    scope: Scope<'_>,
    rule: &str,
) -> Option<&'a str> {
    let known = policy.rule(rule)?;
    if known.firm {
        return None;
    }
    let found = standing.lifts(now, rule, scope)?;
    Some(&found.id)
}

/// Why a rule refuses, in a sentence for people; empty for a rule that neither
/// the gate nor this policy has.
pub fn why(policy: &Policy, rule: &str) -> String {
    let named = |prefix: &str| rule.strip_prefix(prefix);
    if let Some(fact) = named(FACT_MISSING) {
        return format!("Nobody has said what `{fact}` is; what is not known is not allowed");
    }
    if let Some(field) = named(FIELD_MISSING) {
        return format!("The field `{field}` is needed and empty");
    }
    if let Some(field) = named(FIELD_INVALID) {
        return format!("The field `{field}` does not hold what it should");
    }
    if let Some(offer) = named(NOT_ON_OFFER) {
        return format!("`{offer}` is not on offer, or no longer");
    }
    if let Some(id) = named(OVERRIDE) {
        return format!("A person lifted a rule for a time: `offhook override` shows `{id}`");
    }
    let built_in = match rule {
        "autonomy.observe" => "Only recorded: this action may not be carried out by itself yet",
        "autonomy.ask" => "A person has to approve this action",
        APPROVAL_DECLINED => "A person was asked and declined",
        APPROVAL_LATE => "A person was asked and did not answer in time",
        APPROVAL_TAKEN_BACK => "The caller took it back while a person was being asked",
        TOKEN_EXPIRED => "The role has this authority for a time, from when it began",
        STALE_SIGNAL => "The caller has said something new since it was proposed",
        ROLE_AUTHORITY => "A role may do what the policy grants it, and nothing else",
        STALE_TURN => "The caller has taken the word since it was proposed",
        AUTHORITY_SUSPENDED => "The caller has interrupted and is not yet understood",
        DUPLICATE_ACTION => "The same effect is authorised already",
        STEP_REFUSED => "One of its steps is refused: all of it happens, or nothing",
        TOO_MANY_ACTIONS => "This conversation has had too many actions",
        _ => policy.why(rule).unwrap_or_default(),
    };
    built_in.to_owned()
}

/// What no policy can allow.
fn built_in(evidence: &Evidence<'_>, proposal: &Proposal) -> Rules {
    let repeated = proposal
        .dedupe
        .as_ref()
        .is_some_and(|effect| evidence.in_force.contains(effect));
    let full = proposal.dedupe.is_some() && evidence.in_force.len() >= ACTIONS_MAX;
    let mut denied: Rules = [
        (proposal.turn < evidence.turn, STALE_TURN),
        (proposal.signals < evidence.signals, STALE_SIGNAL),
        (evidence.suspended, AUTHORITY_SUSPENDED),
        (repeated, DUPLICATE_ACTION),
        (full, TOO_MANY_ACTIONS),
    ]
    .into_iter()
    .filter(|(denies, _)| *denies)
    .map(|(_, rule)| Name::new_static(rule))
    .collect();
    denied.extend(proposal.flaws.iter().cloned());
    denied
}
