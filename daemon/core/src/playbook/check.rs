//! What a playbook must fulfil as a whole: every stage reached, none without a
//! way out, no talking in circles, nothing awaited that can never come.
//!
//! Called by `compile` once every name has been looked up.

use std::collections::BTreeSet;

use super::raw::{RawHandler, RawPlaybook, RawStage};
use super::{Go, Handler, Playbook, RoleId, Stage};
use crate::facts::FactId;
use crate::fault::Faults;
use crate::signal::{SignalKind, Trigger};

/// Notes all that is wrong.
pub(super) fn check(raw: &RawPlaybook, playbook: &Playbook, faults: &mut Faults) {
    check_graph(raw, playbook, faults);
    check_circles(raw, playbook, faults);
    for (place, stage) in raw.stage.iter().enumerate() {
        check_handlers(raw, stage, &playbook.stages[place], faults);
        check_shadows(stage, playbook, place, faults);
        check_kind(stage, &playbook.stages[place], faults);
    }
    check_everywhere(raw, playbook, faults);
    check_facts(raw, playbook, faults);
}

/// Every stage is reached, can end, and does not wait for ever.
fn check_graph(raw: &RawPlaybook, playbook: &Playbook, faults: &mut Faults) {
    let next: Vec<BTreeSet<usize>> = (0..playbook.stages.len())
        .map(|place| successors(playbook, place))
        .collect();
    let reached = closure(&next, playbook.start.0);
    for (place, stage) in playbook.stages.iter().enumerate() {
        let name = &raw.stage[place].name;
        let path = format!("stage.{}", stage.name);
        if !reached.contains(&place) {
            let reason = "no stage leads here; write a `go` to it or remove it";
            faults.add(name, path, reason);
            continue;
        }
        let ends = |place: &usize| can_end(playbook, &playbook.stages[*place]);
        if !closure(&next, place).iter().any(ends) {
            let reason = "the call cannot end from here; lead to a stage with `end = true`";
            faults.add(name, path, reason);
        } else if !stage.end && !stage.handed_over && !leaves_unattended(playbook, stage) {
            let reason = "when nobody speaks the call stays here; add an `on` for `silence` with `go` or `hang_up`, without `at_most` or `if`, or a `[silence]` for all stages";
            faults.add(name, path, reason);
        }
    }
}

/// Stages that lead on by themselves, one to the other and round again.
fn check_circles(raw: &RawPlaybook, playbook: &Playbook, faults: &mut Faults) {
    let said = Trigger::Is(SignalKind::Said);
    let next: Vec<BTreeSet<usize>> = playbook
        .stages
        .iter()
        .map(|stage| {
            let leads = |on: &&Handler| on.when.contains(&said) && on.at_most.is_none();
            let on = stage.on.iter().filter(leads);
            on.filter_map(|on| stage_of(on.go)).collect()
        })
        .collect();
    for (place, stage) in raw.stage.iter().enumerate() {
        let round = next[place]
            .iter()
            .any(|first| closure(&next, *first).contains(&place));
        if round {
            let path = format!("stage.{}", stage.name.value);
            let reason = "it talks in a circle and listens to nobody; let one `on` for `said` have an `at_most`";
            faults.add(&stage.name, path, reason);
        }
    }
}

/// Signals that nothing in this stage can emit.
fn check_handlers(raw: &RawPlaybook, stage: &RawStage, compiled: &Stage, faults: &mut Faults) {
    let path = format!("stage.{}.on.when", stage.name.value);
    for word in stage.on.iter().flat_map(|on| &on.when) {
        let missing = match word.value.as_str() {
            "collected" | "incomplete" if compiled.collect.is_none() => {
                "no keys are collected here; write `collect`"
            }
            "not_taken" if !compiled.takes_secret() => {
                "no secret is collected here; write `secret = true` in `collect`"
            }
            "elapsed" if compiled.elapsed_ms.is_none() => "no time is set here; write `elapsed_ms`",
            "transferred" | "transfer_failed" if compiled.transfer.is_none() => {
                "nobody is called here; write `[stage.transfer]`"
            }
            "ready" | "cooled" if !has_evidence(raw) => {
                "nothing is evidence of intent; write `[evidence]` or an `intent`"
            }
            "price_changed" if !says_price(raw) => {
                "no price is ever said; write a `[[notice]]` with the fact `price_heard`"
            }
            _ => continue,
        };
        faults.add(word, path.as_str(), missing);
    }
}

/// The same for what is awaited everywhere.
fn check_everywhere(raw: &RawPlaybook, playbook: &Playbook, faults: &mut Faults) {
    let some = |wanted: fn(&Stage) -> bool| playbook.stages.iter().any(wanted);
    for word in raw.on.iter().flat_map(|on| &on.when) {
        let missing = match word.value.as_str() {
            "collected" | "incomplete" if !some(|stage| stage.collect.is_some()) => {
                "no stage collects keys"
            }
            "not_taken" if !some(Stage::takes_secret) => "no stage collects a secret",
            "elapsed" if !some(|stage| stage.elapsed_ms.is_some()) => "no stage sets `elapsed_ms`",
            "transferred" | "transfer_failed" if !some(|stage| stage.transfer.is_some()) => {
                "no stage has a `[stage.transfer]`"
            }
            "ready" | "cooled" if !has_evidence(raw) => {
                "nothing is evidence of intent; write `[evidence]` or an `intent`"
            }
            "price_changed" if !says_price(raw) => {
                "no price is ever said; write a `[[notice]]` with the fact `price_heard`"
            }
            _ => continue,
        };
        faults.add(word, "on.when", missing);
    }
}

/// An `on` that an earlier one of the stage leaves nothing to.
fn check_shadows(raw: &RawStage, playbook: &Playbook, place: usize, faults: &mut Faults) {
    let stage = &playbook.stages[place];
    // Into a role with guards it may be passed over.
    let may_pass = |go: Go| match go {
        Go::To(next) => !playbook.role(playbook.stage(next).role).guards.is_empty(),
        Go::Back => true,
    };
    let mut taken: Vec<&Trigger> = Vec::new();
    for (raw_on, on) in raw.on.iter().zip(&stage.on) {
        let shadowed = |trigger: &Trigger| taken.contains(&trigger);
        if let (true, Some(first)) = (on.when.iter().all(shadowed), raw_on.when.first()) {
            let path = format!("stage.{}.on.when", stage.name);
            let reason = "never taken: an `on` before it takes this without a condition; move it up or remove it";
            faults.add(first, path, reason);
        }
        if on.guards.is_empty() && on.at_most.is_none() && !on.go.is_some_and(may_pass) {
            taken.extend(&on.when);
        }
    }
}

/// What a stage is excludes other things.
fn check_kind(raw: &RawStage, stage: &Stage, faults: &mut Faults) {
    let path = format!("stage.{}", stage.name);
    if stage.handed_over && (stage.end || !raw.on.is_empty() || !raw.say.is_empty()) {
        let reason = "a person has the call here: nothing is said, awaited or ended; leave `say`, `on` and `end` out";
        faults.add(&raw.name, path.as_str(), reason);
    }
    let answers = |word: &str| {
        raw.on
            .iter()
            .flat_map(|on| &on.when)
            .any(|at| at.value == word)
    };
    if stage.transfer.is_some() && !(answers("transferred") && answers("transfer_failed")) {
        let reason = "a person may take the call or not; write an `on` for `transferred` and one for `transfer_failed`";
        faults.add(&raw.name, path, reason);
    }
}

/// Guards on facts that nothing in the file ever makes true.
fn check_facts(raw: &RawPlaybook, playbook: &Playbook, faults: &mut Faults) {
    let silent = silent_facts(raw, playbook);
    let stages = raw.stage.iter();
    let handlers = raw.on.iter().chain(stages.flat_map(|stage| &stage.on));
    let of_handlers = handlers.flat_map(|on: &RawHandler| &on.guards);
    let of_roles = raw.role.iter().flat_map(|role| &role.guards);
    for guard in of_handlers.chain(of_roles) {
        for (fact, missing) in &silent {
            if guard.value.trim_start().starts_with(fact) {
                let reason = format!("`{fact}` is never set; {missing}");
                faults.add(guard, "if", reason);
            }
        }
    }
}

/// Facts of which the file leaves out what would set them.
fn silent_facts(raw: &RawPlaybook, playbook: &Playbook) -> Vec<(&'static str, &'static str)> {
    let mut silent = Vec::new();
    for fact in ["disclosure_heard", "recording_notice_heard", "price_heard"] {
        let id = FactId::find(fact).expect("it is in the list of facts");
        if !playbook.notices.iter().any(|it| it.facts.contains(&id)) {
            silent.push((fact, "write a `[[notice]]` that names it"));
        }
    }
    let stages = playbook.stages.iter();
    let mut handlers = stages.flat_map(|it| &it.on).chain(&playbook.everywhere);
    if !handlers.any(|on| on.acknowledges_price) {
        let missing = "write `acknowledges_price = true` where the caller agrees to it";
        silent.push(("price_acknowledged", missing));
    }
    if !has_evidence(raw) {
        silent.push(("ready", "write `[evidence]` or an `intent`"));
    }
    silent
}

fn has_evidence(raw: &RawPlaybook) -> bool {
    let stages = raw.stage.iter().flat_map(|stage| &stage.on);
    !raw.evidence.is_empty() || raw.on.iter().chain(stages).any(|on| on.intent != 0)
}

fn says_price(raw: &RawPlaybook) -> bool {
    let facts = raw.notice.iter().flat_map(|notice| &notice.facts);
    facts.into_iter().any(|fact| fact.value == "price_heard")
}

fn handlers<'a>(playbook: &'a Playbook, stage: &'a Stage) -> impl Iterator<Item = &'a Handler> {
    let everywhere: &[Handler] = match stage.end || stage.handed_over {
        true => &[],
        false => &playbook.everywhere,
    };
    stage.on.iter().chain(everywhere)
}

fn stage_of(go: Option<Go>) -> Option<usize> {
    match go {
        Some(Go::To(stage)) => Some(stage.0),
        Some(Go::Back) | None => None,
    }
}

/// All that a stage may lead to by a handler or by what became of an action.
fn ways(playbook: &Playbook, stage: &Stage) -> Vec<Go> {
    let answers = |on: &Handler| {
        let plan = on.propose.as_ref();
        plan.map_or_else(Vec::new, |plan| {
            plan.answers().iter().filter_map(|it| it.go).collect()
        })
    };
    handlers(playbook, stage)
        .flat_map(|on| on.go.into_iter().chain(answers(on)))
        .collect()
}

fn successors(playbook: &Playbook, place: usize) -> BTreeSet<usize> {
    let stage = &playbook.stages[place];
    let mut next: BTreeSet<usize> = stage.skip.iter().map(|skip| skip.go.0).collect();
    for go in ways(playbook, stage) {
        match go {
            Go::To(stage) => drop(next.insert(stage.0)),
            Go::Back => next.extend(entered_from(playbook, stage.role)),
        }
    }
    if !stage.end && !stage.handed_over {
        next.extend(playbook.objections.values().map(|it| it.exhausted.0));
    }
    next
}

/// Stages of other roles that lead into this one.
fn entered_from(playbook: &Playbook, role: RoleId) -> impl Iterator<Item = usize> {
    let leads_in = move |stage: &Stage| {
        let into = |go: &Go| stage_of(Some(*go)).map(|place| playbook.stages[place].role);
        stage.role != role
            && ways(playbook, stage)
                .iter()
                .any(|go| into(go) == Some(role))
    };
    let stages = playbook.stages.iter().enumerate();
    stages
        .filter(move |(_, stage)| leads_in(stage))
        .map(|(place, _)| place)
}

fn closure(next: &[BTreeSet<usize>], start: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(place) = open.pop() {
        if reached.insert(place) {
            open.extend(&next[place]);
        }
    }
    reached
}

fn can_end(playbook: &Playbook, stage: &Stage) -> bool {
    stage.end || stage.handed_over || handlers(playbook, stage).any(|handler| handler.hang_up)
}

/// A handler without condition leads out when nothing but time happens.
fn leaves_unattended(playbook: &Playbook, stage: &Stage) -> bool {
    let unattended = |trigger: &Trigger| {
        matches!(
            trigger,
            Trigger::Is(SignalKind::Silence | SignalKind::Said | SignalKind::TransferFailed)
        )
    };
    handlers(playbook, stage).any(|handler| {
        handler.guards.is_empty()
            && handler.at_most.is_none()
            && (handler.go.is_some() || handler.hang_up)
            && handler.when.iter().any(unattended)
    })
}
