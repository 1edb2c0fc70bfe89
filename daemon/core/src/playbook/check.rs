//! What a playbook must fulfil as a whole: every stage reached, none without a
//! way out, no talking in circles, nothing awaited that can never come.
//!
//! Called by `compile` once every name has been looked up.

use std::collections::BTreeSet;

use super::raw::{RawHandler, RawPhrases, RawPlaybook, RawStage};
use super::{Go, Guard, Handler, Identifies, Playbook, RoleId, Stage};
use crate::action::builtin;
use crate::condition::{self, Literal};
use crate::facts::FactId;
use crate::fault::{At, Faults};
use crate::objection::Doubt;
use crate::signal::{Meaning, SignalKind, Trigger};

/// What comes by itself, without a word or a key of the caller's.
const UNATTENDED: [Trigger; 4] = [
    Trigger::Is(SignalKind::Silence),
    Trigger::Is(SignalKind::Said),
    Trigger::Is(SignalKind::Elapsed),
    Trigger::Is(SignalKind::TransferFailed),
];

/// Notes all that is wrong.
pub(super) fn check(raw: &RawPlaybook, playbook: &Playbook, faults: &mut Faults) {
    check_graph(raw, playbook, faults);
    check_circles(raw, playbook, faults);
    for (place, stage) in raw.stage.iter().enumerate() {
        let compiled = &playbook.stages[place];
        let path = format!("stage.{}.on.when", stage.name.value);
        check_handlers(raw, stage, compiled, faults);
        check_shadows((&stage.on, &compiled.on), playbook, &path, faults);
        check_kind(stage, compiled, faults);
    }
    check_everywhere(raw, playbook, faults);
    check_shadows((&raw.on, &playbook.everywhere), playbook, "on.when", faults);
    check_facts(raw, playbook, faults);
    check_heard(raw, faults);
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
    let stages = || playbook.stages.iter();
    let skips = |stage: &Stage| stage.skip.iter().map(|skip| skip.go.0).collect();
    let skips: Vec<BTreeSet<usize>> = stages().map(skips).collect();
    let skipping = circular(&skips);
    // `at_most` counts anew with each entry, but for who comes `back`.
    let drifts = |and_back| -> Vec<BTreeSet<usize>> {
        let next = stages().map(|stage| drifts(playbook, stage, and_back));
        next.collect()
    };
    let mut drifting = circular(&drifts(false));
    drifting.extend(circular(&drifts(true)));
    for (place, stage) in raw.stage.iter().enumerate() {
        let path = format!("stage.{}", stage.name.value);
        let first = stage.skip.first().filter(|_| skipping.contains(&place));
        if let Some(skip) = first {
            let reason = "skipped in a circle: each of these stages leads to the next and none is ever entered; let one lead elsewhere, or leave its `skip` out";
            faults.add(&skip.go, format!("{path}.skip.go"), reason);
        } else if drifting.contains(&place) {
            let reason = "it talks in a circle and listens to nobody: while the caller is silent these stages lead to one another; let one say it again with `at_most`, without `go`, and then lead to a stage with `end = true`";
            faults.add(&stage.name, path, reason);
        }
    }
}

/// Where a stage leads while the caller is silent.
fn drifts(playbook: &Playbook, stage: &Stage, and_back: bool) -> BTreeSet<usize> {
    let mut next: BTreeSet<usize> = stage.skip.iter().map(|skip| skip.go.0).collect();
    for trigger in &UNATTENDED {
        let taking = handlers(playbook, stage).filter(|on| on.when.contains(trigger));
        let mut taking: Vec<&Handler> = taking.collect();
        if taking.iter().any(|on| is_timed(on)) {
            // Some day that one decides otherwise.
            continue;
        }
        let always = |on: &&Handler| on.guards.is_empty() && on.at_most.is_none();
        let last = taking
            .iter()
            .position(|on| always(on) && !may_pass(playbook, stage, on));
        taking.truncate(last.map_or(taking.len(), |last| last + 1));
        for on in taking {
            match on.go {
                Some(Go::Back) if and_back => next.extend(entered_from(playbook, stage.role)),
                Some(Go::Back) | None => {}
                Some(Go::To(_)) if and_back && on.at_most.is_some() => {}
                Some(Go::To(stage)) => drop(next.insert(stage.0)),
            }
            next.extend(answers(on).filter_map(|go| stage_of(Some(go))));
        }
    }
    next
}

/// It asks how long the call has lasted.
fn is_timed(on: &Handler) -> bool {
    let call_ms = FactId::find("call_ms").expect("it is in the list of facts");
    let timed = |guard: &Guard| matches!(guard, Guard::Fact(fact, ..) if *fact == call_ms);
    on.guards.iter().any(timed)
}

/// Into a role with guards, and back where nobody came from, it may be passed over.
fn may_pass(playbook: &Playbook, from: &Stage, on: &Handler) -> bool {
    match on.go {
        Some(Go::To(next)) => {
            let role = playbook.stage(next).role;
            role != from.role && !playbook.role(role).guards.is_empty()
        }
        Some(Go::Back) => true,
        None => false,
    }
}

/// The places from which a way leads back to where it began.
fn circular(next: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let returns = |place: &usize| {
        let mut ways = next[*place].iter();
        ways.any(|first| closure(next, *first).contains(place))
    };
    (0..next.len()).filter(returns).collect()
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

/// An `on` that an earlier one of the same place leaves nothing to.
fn check_shadows(
    (raw, handlers): (&[RawHandler], &[Handler]),
    playbook: &Playbook,
    path: &str,
    faults: &mut Faults,
) {
    // Into a role with guards it may be passed over.
    let may_pass = |go: Go| match go {
        Go::To(next) => !playbook.role(playbook.stage(next).role).guards.is_empty(),
        Go::Back => true,
    };
    let mut taken: Vec<&Trigger> = Vec::new();
    for (raw_on, on) in raw.iter().zip(handlers) {
        let shadowed = |trigger: &Trigger| taken.contains(&trigger);
        if let (true, Some(first)) = (on.when.iter().all(shadowed), raw_on.when.first()) {
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

/// Guards on facts that nothing in the file ever changes.
fn check_facts(raw: &RawPlaybook, playbook: &Playbook, faults: &mut Faults) {
    let fixed = fixed_facts(raw, playbook);
    let stages = raw.stage.iter();
    let handlers = raw.on.iter().chain(stages.flat_map(|stage| &stage.on));
    let of_handlers = handlers.flat_map(|on: &RawHandler| &on.guards);
    let of_roles = raw.role.iter().flat_map(|role| &role.guards);
    let skips = raw.stage.iter().flat_map(|stage| &stage.skip);
    let of_skips = skips.flat_map(|skip| &skip.guards);
    for guard in of_handlers.chain(of_roles).chain(of_skips) {
        let Ok(parsed) = condition::parse(&guard.value) else {
            continue;
        };
        let Literal::Number(right) = parsed.literal else {
            continue;
        };
        let holds = |value: &i64| parsed.operator.holds(value, &right);
        for (fact, values, missing) in fixed.iter().filter(|it| it.0 == parsed.name) {
            let reason = match (values.iter().any(holds), values.iter().all(holds)) {
                (true, false) => continue,
                (true, true) => "always holds",
                (false, _) => "never holds",
            };
            let reason = format!("{reason}: `{fact}` is never set; {missing}");
            faults.add(guard, "if", reason);
        }
    }
}

/// A fact, all values that it can have, and what the file lacks to give it others.
type Fixed = (&'static str, &'static [i64], String);

/// Facts of which the file leaves out what would set them.
fn fixed_facts(raw: &RawPlaybook, playbook: &Playbook) -> Vec<Fixed> {
    let mut fixed: Vec<Fixed> = Vec::new();
    for fact in ["disclosure_heard", "recording_notice_heard", "price_heard"] {
        let id = FactId::find(fact).expect("it is in the list of facts");
        if !playbook.notices.iter().any(|it| it.facts.contains(&id)) {
            fixed.push((fact, &[0], "write a `[[notice]]` that names it".to_owned()));
        }
    }
    let all = || {
        let stages = playbook.stages.iter();
        stages.flat_map(|it| &it.on).chain(&playbook.everywhere)
    };
    let opts_out = |on: &Handler| {
        let plan = on.propose.as_ref();
        plan.is_some_and(|plan| plan.action == builtin::OPT_OUT)
    };
    let secret = playbook.stages.iter().any(Stage::takes_secret);
    let rows: [(&'static str, &'static [i64], bool, &str); 4] = [
        (
            "price_acknowledged",
            &[0],
            all().any(|on| on.acknowledges_price),
            "write `acknowledges_price = true` where the caller agrees to it",
        ),
        (
            "confirmations",
            &[0],
            all().any(|on| on.confirms),
            "write `confirms = true` where the caller says yes",
        ),
        (
            "check_digit_ok",
            &[],
            secret,
            "write `secret = true` in a `collect`",
        ),
        (
            "opted_out",
            &[0],
            all().any(opts_out),
            "propose the action `opt_out` where the caller wants no calls",
        ),
    ];
    let missing = rows.into_iter().filter(|(_, _, is_set, _)| !is_set);
    fixed.extend(missing.map(|(fact, values, _, remedy)| (fact, values, remedy.to_owned())));
    fixed.extend(fixed_identity(all()));
    fixed.extend(fixed_objections(raw));
    fixed.extend(fixed_intent(raw));
    fixed
}

/// Nobody but the caller says who they are: a number alone is never more than 1.
fn fixed_identity<'a>(mut handlers: impl Iterator<Item = &'a Handler>) -> Option<Fixed> {
    let says = |on: &Handler| {
        matches!(
            on.identifies,
            Some(Identifies::Named | Identifies::Verified)
        )
    };
    let remedy = "write `identifies = \"named\"` where the caller says who they are";
    (!handlers.any(says)).then(|| ("identity_level", &[0, 1][..], remedy.to_owned()))
}

/// An objection has a life where it is heard and answered.
fn fixed_objections(raw: &RawPlaybook) -> Vec<Fixed> {
    let lives = |topic: &Doubt| {
        let answered = raw.objection.contains_key(topic.name());
        answered && is_heard(raw, Meaning::Objection(*topic))
    };
    let remedy =
        |name: &str| format!("write `[phrases.objection_{name}]` and `[objection.{name}]`");
    let dead = Doubt::ALL.into_iter().filter(|topic| !lives(topic));
    let mut fixed: Vec<Fixed> = dead
        .map(|topic| (topic.fact(), &[0][..], remedy(topic.name())))
        .collect();
    if fixed.len() == Doubt::ALL.len() {
        fixed.push(("objections_open", &[0], remedy("price")));
    }
    fixed
}

/// Scores that nothing counts for.
fn fixed_intent(raw: &RawPlaybook) -> Vec<Fixed> {
    let mut fixed: Vec<Fixed> = Vec::new();
    if !has_evidence(raw) {
        for fact in ["intent", "intent_speed", "ready"] {
            let remedy = "write `[evidence]` or an `intent`";
            fixed.push((fact, &[0], remedy.to_owned()));
        }
    }
    for (fact, kinds) in [
        ("intent_price", ["objection_price", "price_question"]),
        ("intent_timing", ["objection_timing", "deferral"]),
        ("intent_trust", ["objection_trust", "wrong_person"]),
    ] {
        let mut weighed = evidence(raw).map(|(name, _)| name);
        if !weighed.any(|name| kinds.contains(&name.as_str())) {
            let remedy = format!("write `{}` in `[evidence]`", kinds[0]);
            fixed.push((fact, &[0], remedy));
        }
    }
    fixed
}

/// Evidence and objections that no phrase list ever hears.
fn check_heard(raw: &RawPlaybook, faults: &mut Faults) {
    let own = raw.stage.iter().flat_map(|stage| {
        let path = format!("stage.{}.evidence", stage.name.value);
        let weighed = stage.evidence.iter();
        weighed.map(move |(name, weight)| (path.clone(), name, weight))
    });
    let common = raw.evidence.iter();
    let common = common.map(|(name, weight)| ("evidence".to_owned(), name, weight));
    for (path, name, weight) in common.chain(own) {
        let unheard = Meaning::find(name).is_some_and(|meaning| !is_heard(raw, meaning));
        if unheard {
            let reason = format!("nothing is ever heard as `{name}`; {}", list_for(name));
            faults.add(weight, format!("{path}.{name}"), reason);
        }
    }
    for (topic, objection) in &raw.objection {
        let name = format!("objection_{topic}");
        let unheard = Meaning::find(&name).is_some_and(|meaning| !is_heard(raw, meaning));
        if unheard {
            let reason = format!("nothing is ever heard as `{name}`; {}", list_for(&name));
            faults.add(&objection.answers, format!("objection.{topic}"), reason);
        }
    }
}

fn list_for(name: &str) -> String {
    format!("write `[phrases.{name}]`, or `means = \"{name}\"` in a list")
}

/// Some phrase list has that meaning, by its name or as it says.
fn is_heard(raw: &RawPlaybook, meaning: Meaning) -> bool {
    let means = |(name, list): (&String, &RawPhrases)| {
        let word = list.means.as_ref().map_or(name.as_str(), |it| &it.value);
        Meaning::find(word) == Some(meaning)
    };
    raw.phrases.iter().any(means)
}

/// What counts as evidence, in all stages or in one.
fn evidence(raw: &RawPlaybook) -> impl Iterator<Item = (&String, &At<i64>)> {
    let own = raw.stage.iter().flat_map(|stage| &stage.evidence);
    raw.evidence.iter().chain(own)
}

fn has_evidence(raw: &RawPlaybook) -> bool {
    let stages = raw.stage.iter().flat_map(|stage| &stage.on);
    evidence(raw).next().is_some() || raw.on.iter().chain(stages).any(|on| on.intent != 0)
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

/// Where what became of its action leads.
fn answers(on: &Handler) -> impl Iterator<Item = Go> {
    let plan = on.propose.as_ref();
    let answers = plan.into_iter().flat_map(|plan| plan.answers());
    answers.filter_map(|it| it.go)
}

/// All that a stage may lead to by a handler or by what became of an action.
fn ways(playbook: &Playbook, stage: &Stage) -> Vec<Go> {
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
