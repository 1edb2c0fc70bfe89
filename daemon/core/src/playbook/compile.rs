//! A playbook's TOML -> the playbook: every name looked up, all faults at once.
//! What the whole must fulfil is for `check`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::raw::{
    RawCollect, RawHandler, RawIntent, RawLimits, RawNotice, RawObjection, RawPhrases, RawPlaybook,
    RawPropose, RawRole, RawStage, RawTransfer,
};
use super::{
    Answer, Answers, CALL_NAMES, Collect, Go, Guard, Handler, Identifies, Limits, Notice, Part,
    Playbook, Propose, Role, RoleId, Secret, Skip, Stage, StageId, Template, Transfer, TransferWay,
    Wanted, Weights, check,
};
use crate::action::{Action, Catalogue, Confirm, Effect, builtin, is_name, name_fault};
use crate::condition::{self, Literal, Operator};
use crate::facts::{self, FactId};
use crate::fault::{At, Fault, Faults, suggest};
use crate::intent::Thresholds;
use crate::interpret::{Lexicon, Phrases};
use crate::memory::Topic;
use crate::objection::Doubt;
use crate::output::Came;
use crate::phrase::Phrase;
use crate::policy::unknown_fact;
use crate::signal::{Meaning, SignalKind, TRIGGER_WORDS, Trigger, is_key};
use crate::silence::Pace;

mod handler;

/// Timers below this are a mistake in unit: nobody speaks within 100 ms.
const TIMER_LEAST_MS: u64 = 100;
/// The longest call that can be asked for: 4 hours.
const TIMER_MOST_MS: u64 = 4 * 3_600_000;
/// Half of the evidence is gone after this time, where the file says nothing.
const HALF_LIFE_MS: u64 = 24_000;
/// Scores and thresholds stay within this, in thousandths.
const SCORE_MOST: i64 = 1_000;
/// `go` to where the role was entered from.
const BACK: &str = "back";
/// The value that holds why a call to a person came to nothing.
pub(crate) const TRANSFER_VALUE: &str = "transfer";
/// Facts that a notice may make true.
const NOTICE_FACTS: [&str; 3] = ["disclosure_heard", "price_heard", "recording_notice_heard"];

/// Most keys of one collection; a card number has 19 (ISO/IEC 7812-1).
const DIGITS_MAX: u64 = 32;
/// The one check digit that is known (ISO/IEC 7812-1 annex B).
const CHECK_LUHN: &str = "luhn";
/// The longest shelf life of what is remembered: ten years.
const SHELF_MOST_HOURS: u64 = 10 * 366 * 24;

impl Playbook {
    /// Checks the file against the catalogue.
    ///
    /// # Errors
    /// All faults of the file.
    pub fn compile(raw: &RawPlaybook, catalogue: &Catalogue) -> Result<Self, Vec<Fault>> {
        let mut compiler = Compiler::new(raw, catalogue);
        let playbook = compiler.playbook();
        compiler.check_names();
        let faults = compiler.faults;
        let playbook = faults.or(playbook)?;
        let mut faults = Faults::default();
        check::check(raw, &playbook, &mut faults);
        faults.or(playbook)
    }
}

struct Compiler<'a> {
    raw: &'a RawPlaybook,
    catalogue: &'a Catalogue,
    stages: BTreeMap<&'a str, StageId>,
    /// In the order of the file: as declared, else as stages name them.
    roles: Vec<&'a str>,
    /// Names with all the values that handlers set; `None` = collected, any value.
    values: BTreeMap<&'a str, Option<BTreeSet<&'a str>>>,
    faults: Faults,
}

impl<'a> Compiler<'a> {
    fn new(raw: &'a RawPlaybook, catalogue: &'a Catalogue) -> Self {
        let mut values: BTreeMap<&str, Option<BTreeSet<&str>>> = BTreeMap::new();
        let handlers = raw
            .on
            .iter()
            .chain(raw.stage.iter().flat_map(|stage| &stage.on));
        for (name, value) in handlers.flat_map(|handler| &handler.set) {
            let known = values.entry(name).or_insert_with(|| Some(BTreeSet::new()));
            if let Some(known) = known {
                known.insert(&value.value);
            }
        }
        for collect in raw.stage.iter().filter_map(|stage| stage.collect.as_ref()) {
            // Of a secret: the id under which its sink has it.
            values.insert(&collect.name.value, None);
        }
        if raw.stage.iter().any(|stage| stage.transfer.is_some()) {
            let reasons = Came::TOLD.into_iter().map(Came::name).collect();
            values.insert(TRANSFER_VALUE, Some(reasons));
        }
        let stages = raw.stage.iter().enumerate();
        Self {
            roles: role_names(raw),
            raw,
            catalogue,
            stages: stages
                .map(|(place, stage)| (stage.name.value.as_str(), StageId(place)))
                .collect(),
            values,
            faults: Faults::default(),
        }
    }

    fn playbook(&mut self) -> Playbook {
        let raw = self.raw;
        let weights = self.weights(&raw.evidence, Weights::default(), "evidence");
        let stages = raw.stage.iter();
        let stages = stages.map(|stage| self.stage(stage, &weights)).collect();
        Playbook {
            name: raw.name.value.clone(),
            language: raw.language.value.clone(),
            needs_words: raw.needs_words,
            limits: self.limits(&raw.limits),
            prompts: raw
                .prompts
                .iter()
                .map(|(key, text)| (key.clone(), text.value.clone()))
                .collect(),
            bridge: raw
                .bridge
                .iter()
                .map(|key| self.prompt(key, "bridge"))
                .collect(),
            lexicon: self.lexicon(),
            thresholds: self.thresholds(&raw.intent),
            weights,
            objections: self.objections(),
            notices: raw.notice.iter().map(|it| self.notice(it)).collect(),
            roles: self.roles(),
            start: self.stage_id(&raw.start, "start").unwrap_or(StageId(0)),
            stages,
            memory: self.memory(),
            everywhere: raw.on.iter().map(|on| self.handler(on, "on")).collect(),
        }
    }

    /// What is remembered must be something that the playbook sets or collects.
    fn memory(&mut self) -> BTreeMap<String, Wanted> {
        let raw = self.raw;
        let mut memory = BTreeMap::new();
        for (name, wanted) in &raw.memory {
            let (at, path) = (&wanted.shelf_hours, format!("memory.{name}"));
            let Some(known) = self.values.get(name.as_str()) else {
                let near = suggest(name, self.values.keys().copied());
                let reason = format!("nothing sets `{name}`{near}");
                self.faults.add(at, path, reason);
                continue;
            };
            if !(1..=SHELF_MOST_HOURS).contains(&at.value) {
                let reason = format!("{} hours; write 1 to {SHELF_MOST_HOURS}", at.value);
                self.faults.add(at, format!("{path}.shelf_hours"), reason);
            }
            let known = known.as_ref();
            let wanted = Wanted {
                shelf_ms: at.value.saturating_mul(3_600_000),
                known: known.map(|all| all.iter().map(|&value| value.to_owned()).collect()),
            };
            memory.insert(name.clone(), wanted);
        }
        memory
    }

    fn limits(&mut self, raw: &RawLimits) -> Limits {
        Limits {
            answer_after_ms: raw.answer_after_ms.as_ref().map_or(0, |ms| ms.value),
            ring_ms: self.ms(raw.ring_ms.as_ref(), "limits.ring_ms", 45_000),
            call_ms: self.ms(raw.call_ms.as_ref(), "limits.call_ms", 900_000),
            media_lost_ms: self.ms(raw.media_lost_ms.as_ref(), "limits.media_lost_ms", 20_000),
            words_ms: self.ms(raw.words_ms.as_ref(), "limits.words_ms", 600),
        }
    }

    fn ms(&mut self, given: Option<&At<u64>>, key: &str, default: u64) -> u64 {
        let Some(given) = given else { return default };
        if !(TIMER_LEAST_MS..=TIMER_MOST_MS).contains(&given.value) {
            let reason = format!(
                "{} ms; write {TIMER_LEAST_MS} to {TIMER_MOST_MS}",
                given.value
            );
            self.faults.add(given, key, reason);
        }
        given.value
    }

    fn lexicon(&mut self) -> Lexicon {
        let raw = self.raw;
        let mut lists = BTreeMap::new();
        for (name, phrases) in &raw.phrases {
            lists.insert(name.clone(), self.list(name, phrases));
        }
        Lexicon {
            lists,
            negations: self.phrases(&raw.negations, "negations"),
            corrections: self.phrases(&raw.corrections, "corrections"),
            backchannels: self.phrases(&raw.backchannels, "backchannels"),
            least_confidence: raw.least_confidence.as_ref().map_or(50, |at| at.value),
        }
    }

    fn list(&mut self, name: &str, raw: &'a RawPhrases) -> Phrases {
        let path = format!("phrases.{name}");
        if let Some(negated) = &raw.negated
            && !self.raw.phrases.contains_key(&negated.value)
        {
            let near = suggest(&negated.value, self.raw.phrases.keys().map(String::as_str));
            let reason = format!("no phrase list `{}`{near}", negated.value);
            self.faults.add(negated, format!("{path}.negated"), reason);
        }
        let mut any = self.phrases(&raw.any, &format!("{path}.any"));
        for (language, phrases) in &raw.also {
            any.extend(self.phrases(phrases, &format!("{path}.also.{language}")));
        }
        let means = match &raw.means {
            Some(word) => self.meaning(word, &format!("{path}.means")),
            None => Meaning::find(name).unwrap_or_default(),
        };
        Phrases {
            any,
            negated: raw.negated.as_ref().map(|list| list.value.clone()),
            outweighs: raw.outweighs,
            means,
        }
    }

    fn meaning(&mut self, word: &At<String>, path: &str) -> Meaning {
        Meaning::find(&word.value).unwrap_or_else(|| {
            let near = suggest(&word.value, Meaning::WORDS.iter().map(|(word, _)| *word));
            let reason = format!("unknown `{}`{near}", word.value);
            self.faults.add(word, path, reason);
            Meaning::Plain
        })
    }

    fn phrases(&mut self, raw: &[At<String>], path: &str) -> Vec<Phrase> {
        let mut phrases = Vec::new();
        for phrase in raw {
            match Phrase::read(&phrase.value) {
                Ok(ways) => phrases.extend(ways),
                Err(reason) => self.faults.add(phrase, path, reason),
            }
        }
        phrases
    }

    fn thresholds(&mut self, raw: &RawIntent) -> Thresholds {
        let value = |at: &Option<At<i64>>, default| at.as_ref().map_or(default, |at| at.value);
        let thresholds = Thresholds {
            ready: value(&raw.ready, 600),
            relax: value(&raw.relax, 400),
            fall: value(&raw.fall, 400),
        };
        for (at, key) in [
            (&raw.ready, "intent.ready"),
            (&raw.relax, "intent.relax"),
            (&raw.fall, "intent.fall"),
        ] {
            if let Some(at) = at
                .as_ref()
                .filter(|at| !(1..=SCORE_MOST).contains(&at.value))
            {
                let reason = format!("{}; write 1 to {SCORE_MOST}", at.value);
                self.faults.add(at, key, reason);
            }
        }
        if let Some(relax) = &raw.relax
            && thresholds.relax > thresholds.ready
        {
            let reason = format!("above `ready` ({}); write less", thresholds.ready);
            self.faults.add(relax, "intent.relax", reason);
        }
        thresholds
    }

    /// What counts as evidence: as before, but for what is written here.
    fn weights(&mut self, raw: &BTreeMap<String, At<i64>>, before: Weights, path: &str) -> Weights {
        let mut weights = before;
        for (name, weight) in raw {
            let value = weight.value.clamp(-SCORE_MOST, SCORE_MOST);
            match (name.as_str(), Meaning::find(name)) {
                ("interruption", _) => weights.interruption = value,
                ("slow_answer", _) => weights.slow_answer = value,
                (_, Some(meaning)) => weights.set(meaning, value),
                (_, None) => {
                    let words = Meaning::WORDS.iter().map(|(word, _)| *word);
                    let known = words.chain(["interruption", "slow_answer"]);
                    let reason = format!("unknown evidence `{name}`{}", suggest(name, known));
                    self.faults.add(weight, format!("{path}.{name}"), reason);
                }
            }
        }
        weights
    }

    fn objections(&mut self) -> BTreeMap<Doubt, Answers> {
        let mut objections = BTreeMap::new();
        for (name, raw) in &self.raw.objection {
            let path = format!("objection.{name}");
            let topic = Doubt::ALL.into_iter().find(|topic| topic.name() == name);
            let answers = self.answers(raw, &path);
            match (topic, answers) {
                (Some(topic), Some(answers)) => drop(objections.insert(topic, answers)),
                (Some(_), None) => {}
                (None, _) => {
                    let near = suggest(name, Doubt::ALL.map(Doubt::name));
                    let reason = format!("unknown objection `{name}`{near}");
                    self.faults.add(&raw.answers, path, reason);
                }
            }
        }
        objections
    }

    fn answers(&mut self, raw: &RawObjection, path: &str) -> Option<Answers> {
        if raw.answers.value.iter().any(Vec::is_empty) || raw.answers.value.is_empty() {
            let reason = "an answer without words; write prompts, the shortest answer first";
            self.faults
                .add(&raw.answers, format!("{path}.answers"), reason);
        }
        let path_of = format!("{path}.answers");
        let say = raw.answers.value.iter();
        Some(Answers {
            say: say.map(|say| self.prompts(say, &path_of)).collect(),
            exhausted: self.stage_id(&raw.exhausted, &format!("{path}.exhausted"))?,
        })
    }

    fn notice(&mut self, raw: &RawNotice) -> Notice {
        let mut facts = Vec::new();
        for fact in &raw.facts {
            let known = NOTICE_FACTS.contains(&fact.value.as_str());
            match FactId::find(&fact.value).filter(|_| known) {
                Some(id) => facts.push(id),
                None => {
                    let near = suggest(&fact.value, NOTICE_FACTS);
                    let reason = format!("no notice makes `{}` true{near}", fact.value);
                    self.faults.add(fact, "notice.facts", reason);
                }
            }
        }
        for key in [&raw.prompt].into_iter().chain(&raw.again) {
            self.prompt(key, "notice");
        }
        Notice {
            prompt: raw.prompt.value.clone(),
            again: raw.again.as_ref().map(|key| key.value.clone()),
            facts,
        }
    }

    fn roles(&mut self) -> Vec<Role> {
        let default = self.raw.intent.half_life_ms.as_ref();
        let default = self.ms(default, "intent.half_life_ms", HALF_LIFE_MS);
        let named = self.raw.role.iter();
        if self.raw.role.is_empty() {
            let roles = self.roles.iter();
            return roles
                .map(|name| Role {
                    name: (*name).into(),
                    guards: Vec::new(),
                    half_life_ms: default,
                })
                .collect();
        }
        named.map(|raw| self.role(raw, default)).collect()
    }

    fn role(&mut self, raw: &RawRole, default: u64) -> Role {
        let path = |key: &str| format!("role.{}.{key}", raw.name.value);
        let guards = raw.guards.iter();
        Role {
            name: raw.name.value.as_str().into(),
            guards: guards
                .filter_map(|guard| self.guard(guard, &path("if")))
                .collect(),
            half_life_ms: self.ms(raw.half_life_ms.as_ref(), &path("half_life_ms"), default),
        }
    }

    fn role_id(&mut self, raw: &At<String>, path: &str) -> RoleId {
        let found = self.roles.iter().position(|name| *name == raw.value);
        if found.is_none() {
            let near = suggest(&raw.value, self.roles.iter().copied());
            let reason = format!("no role `{}`{near}", raw.value);
            self.faults.add(raw, path, reason);
        }
        RoleId(found.unwrap_or(0))
    }

    fn stage(&mut self, raw: &'a RawStage, weights: &Weights) -> Stage {
        let path = |key: &str| format!("stage.{}.{key}", raw.name.value);
        if let Some(on) = raw.on.first().filter(|_| raw.end)
            && let Some(first) = on.when.first()
        {
            let reason = "the call ends here when all is said; nothing is awaited";
            self.faults.add(first, path("on"), reason);
        }
        let said = raw.say.is_empty();
        for word in raw.on.iter().flat_map(|on| &on.when) {
            if said && word.value == "said" {
                let reason = "nothing is said in this stage; write `say`";
                self.faults.add(word, path("on.when"), reason);
            }
        }
        Stage {
            name: raw.name.value.as_str().into(),
            role: self.role_id(&raw.role, &path("role")),
            ask: self.prompts(&raw.ask, &path("ask")),
            pace: self.pace(raw.pace.as_ref(), &path("pace")),
            elapsed_ms: raw
                .elapsed_ms
                .as_ref()
                .map(|ms| self.ms(Some(ms), &path("elapsed_ms"), 0)),
            half_life_ms: raw
                .half_life_ms
                .as_ref()
                .map(|ms| self.ms(Some(ms), &path("half_life_ms"), 0)),
            weights: (!raw.evidence.is_empty())
                .then(|| self.weights(&raw.evidence, weights.clone(), &path("evidence"))),
            transfer: raw
                .transfer
                .as_ref()
                .map(|transfer| self.transfer(transfer, &path("transfer"))),
            handed_over: raw.handed_over,
            say: self.prompts(&raw.say, &path("say")),
            say_as: self.say_as(raw.say_as.as_ref(), &path("say_as")),
            interruptible: raw.interruptible.unwrap_or(true),
            silence_ms: self.ms(raw.silence_ms.as_ref(), &path("silence_ms"), 6_000),
            collect: raw
                .collect
                .as_ref()
                .map(|collect| self.collect(collect, &path("collect"))),
            result: raw.result.as_ref().map(|result| result.value.clone()),
            skip: self.skips(raw, &path("skip")),
            end: raw.end,
            on: self.handlers(raw, &path("on")),
        }
    }

    /// Its own, then the steps of silence that hold for every stage without such.
    fn handlers(&mut self, raw: &'a RawStage, path: &str) -> Vec<Handler> {
        let own = raw.on.iter();
        let mut handlers: Vec<Handler> = own.map(|on| self.handler(on, path)).collect();
        let silence = Trigger::Is(SignalKind::Silence);
        let has_own = handlers.iter().any(|it| it.when.contains(&silence));
        let Some(steps) = &self.raw.silence else {
            return handlers;
        };
        if has_own || raw.end || raw.handed_over {
            return handlers;
        }
        let step = |say, go: Option<Go>| Handler {
            when: vec![silence.clone()],
            at_most: go.is_none().then_some(1),
            say,
            go,
            ..Handler::default()
        };
        let clarify = if raw.ask.is_empty() {
            &raw.say
        } else {
            &raw.ask
        };
        let (reassure, clarify) = (
            self.prompts(&steps.reassure, "silence.reassure"),
            self.prompts(clarify, path),
        );
        let close = self.stage_id(&steps.close, "silence.close");
        handlers.push(step(reassure, None));
        handlers.push(step(clarify, None));
        handlers.extend(close.map(|stage| step(Vec::new(), Some(Go::To(stage)))));
        handlers
    }

    fn pace(&mut self, raw: Option<&At<String>>, path: &str) -> Pace {
        let Some(raw) = raw else {
            return Pace::default();
        };
        let known = Pace::WORDS.iter().find(|(word, _)| *word == raw.value);
        if known.is_none() {
            let near = suggest(&raw.value, Pace::WORDS.map(|(word, _)| word));
            let reason = format!("unknown `{}`{near}", raw.value);
            self.faults.add(raw, path, reason);
        }
        known.map_or_else(Pace::default, |(_, pace)| *pace)
    }

    fn transfer(&mut self, raw: &RawTransfer, path: &str) -> Transfer {
        let at = |key: &str| format!("{path}.{key}");
        let accept = raw.accept.iter();
        Transfer {
            to: self.template(&raw.to, &at("to")),
            way: self.transfer_way(raw, path),
            trunk: raw.trunk.as_ref().map(|trunk| trunk.value.clone()),
            ring_ms: self.ms(raw.ring_ms.as_ref(), &at("ring_ms"), 20_000),
            hold: self.prompts(&raw.hold, &at("hold")),
            brief: self.prompts(&raw.brief, &at("brief")),
            accept: accept
                .filter_map(|word| self.trigger(word, &at("accept")))
                .collect(),
        }
    }

    fn transfer_way(&mut self, raw: &RawTransfer, path: &str) -> TransferWay {
        let Some(word) = &raw.way else {
            return TransferWay::default();
        };
        let known = TransferWay::WORDS
            .iter()
            .find(|(name, _)| *name == word.value);
        let Some((_, way)) = known else {
            let near = suggest(&word.value, TransferWay::WORDS.map(|(name, _)| name));
            let reason = format!("unknown `{}`{near}", word.value);
            self.faults.add(word, format!("{path}.way"), reason);
            return TransferWay::default();
        };
        if let (TransferWay::Refer, Some(key)) = (way, raw.brief.iter().chain(&raw.accept).next()) {
            let reason = "nobody is told before a caller is sent on by `refer`; write `attended`, or leave it out";
            self.faults.add(key, format!("{path}.way"), reason);
        }
        *way
    }

    fn skips(&mut self, raw: &RawStage, path: &str) -> Vec<Skip> {
        let mut skips = Vec::new();
        for skip in &raw.skip {
            if skip.guards.is_empty() {
                let reason = "the stage is always skipped; write a condition in `if`";
                self.faults.add(&skip.go, path, reason);
            }
            let guards = skip.guards.iter();
            let guards = guards
                .filter_map(|guard| self.guard(guard, &format!("{path}.if")))
                .collect();
            if let Some(go) = self.stage_id(&skip.go, &format!("{path}.go")) {
                skips.push(Skip { guards, go });
            }
        }
        skips
    }

    fn say_as(&mut self, raw: Option<&At<String>>, path: &str) -> String {
        let Some(raw) = raw else {
            return builtin::SAY.to_owned();
        };
        let found = self.action(raw, path);
        if found.is_some_and(|action| action.effect != Effect::Voice) {
            let reason = format!("`{}` is not said; write `propose`", raw.value);
            self.faults.add(raw, path, reason);
        }
        raw.value.clone()
    }

    fn collect(&mut self, raw: &RawCollect, path: &str) -> Collect {
        if !(1..=DIGITS_MAX).contains(&raw.digits.value) {
            let reason = format!("{} keys; write 1 to {DIGITS_MAX}", raw.digits.value);
            self.faults
                .add(&raw.digits, format!("{path}.digits"), reason);
        }
        let terminator = raw.terminator.as_ref().and_then(|given| {
            let path = format!("{path}.terminator");
            let key = given.value.chars().next().filter(|key| is_key(*key));
            if key.is_none() || given.value.len() != 1 {
                let reason = format!("`{}` is no key; write `#` or `*`", given.value);
                self.faults.add(given, path, reason);
            }
            key
        });
        let secret = self.secret(raw, path);
        Collect {
            name: raw.name.value.clone(),
            digits: raw.digits.value.min(DIGITS_MAX) as usize,
            terminator,
            secret,
            timeout_ms: self.ms(
                raw.timeout_ms.as_ref(),
                &format!("{path}.timeout_ms"),
                5_000,
            ),
        }
    }

    /// Where the keys go; whether the box has such a sink, the config says.
    fn secret(&mut self, raw: &RawCollect, path: &str) -> Option<Secret> {
        if !raw.secret {
            for (key, given) in [("sink", &raw.sink), ("check", &raw.check)] {
                if let Some(given) = given {
                    let reason = "belongs to a secret: write `secret = true`, or leave it out";
                    self.faults.add(given, format!("{path}.{key}"), reason);
                }
            }
            return None;
        }
        if let Some(check) = raw.check.as_ref().filter(|it| it.value != CHECK_LUHN) {
            let reason = format!("unknown `{}`; write `{CHECK_LUHN}`", check.value);
            self.faults.add(check, format!("{path}.check"), reason);
        }
        let Some(sink) = &raw.sink else {
            let reason = "a secret goes to a sink and nowhere else: write `sink = \"NAME\"`";
            self.faults.add(&raw.name, format!("{path}.sink"), reason);
            return None;
        };
        Some(Secret {
            sink: sink.value.clone(),
            checked: raw.check.is_some(),
        })
    }

    fn prompts(&mut self, raw: &[At<String>], path: &str) -> Vec<Template> {
        raw.iter().map(|key| self.prompt(key, path)).collect()
    }

    /// A prompt key, which may depend on a value that handlers set: every key
    /// that can come of it must exist.
    fn prompt(&mut self, key: &At<String>, path: &str) -> Template {
        let template = self.template(key, path);
        for key_text in self.expansions(&template, key, path) {
            if !self.raw.prompts.contains_key(&key_text) {
                let near = suggest(&key_text, self.raw.prompts.keys().map(String::as_str));
                self.faults
                    .add(key, path, format!("no prompt `{key_text}`{near}"));
            }
        }
        template
    }

    fn expansions(&mut self, template: &Template, at: &At<String>, path: &str) -> Vec<String> {
        let mut keys = vec![String::new()];
        for part in &template.0 {
            let pieces: Vec<String> = match part {
                Part::Text(text) => vec![text.to_string()],
                Part::Name(name) => match self.values.get(name.as_str()) {
                    Some(Some(known)) => known.iter().map(|&value| value.to_owned()).collect(),
                    Some(None) | None => {
                        let reason = format!(
                            "`{{{name}}}` can be anything; a prompt key needs a value that `set` names"
                        );
                        self.faults.add(at, path, reason);
                        return Vec::new();
                    }
                },
            };
            keys = keys
                .iter()
                .flat_map(|key| pieces.iter().map(move |piece| format!("{key}{piece}")))
                .collect();
        }
        keys
    }

    fn template(&mut self, text: &At<String>, path: &str) -> Template {
        let template = Template::parse(&text.value).unwrap_or_else(|reason| {
            self.faults.add(text, path, reason);
            Template::default()
        });
        for name in template.names() {
            if !CALL_NAMES.contains(&name) && !self.values.contains_key(name) {
                let known = CALL_NAMES.into_iter().chain(self.values.keys().copied());
                let reason = format!("nothing sets `{{{name}}}`{}", suggest(name, known));
                self.faults.add(text, path, reason);
            }
        }
        template
    }

    /// Names must be unique, well-formed, and not hide one another.
    fn check_names(&mut self) {
        let raw = self.raw;
        let mut seen = BTreeSet::new();
        for stage in &raw.stage {
            if !seen.insert(&stage.name.value) {
                let reason = format!("`{}` is used twice", stage.name.value);
                self.faults.add(&stage.name, "stage.name", reason);
            }
            if stage.name.value == BACK {
                let reason = "`back` leads to where a role was entered from; choose another name";
                self.faults.add(&stage.name, "stage.name", reason);
            }
            for name in [&stage.name, &stage.role].into_iter().chain(&stage.result) {
                if !is_name(&name.value) {
                    let reason = name_fault(&name.value);
                    self.faults
                        .add(name, format!("stage.{}", stage.name.value), reason);
                }
            }
        }
        for (key, text) in &raw.prompts {
            if text.value.trim().is_empty() {
                self.faults
                    .add(text, format!("prompts.{key}"), "an empty prompt");
            }
        }
        for (name, phrases) in &raw.phrases {
            if let (true, Some(first)) = (Trigger::fixed(name).is_some(), phrases.any.first()) {
                let reason = format!("`{name}` is a signal of its own; rename the list");
                self.faults.add(first, format!("phrases.{name}"), reason);
            }
        }
        self.check_values();
    }

    fn check_values(&mut self) {
        let raw = self.raw;
        let handlers = raw
            .on
            .iter()
            .chain(raw.stage.iter().flat_map(|stage| &stage.on));
        let set = handlers.flat_map(|handler| &handler.set);
        let collected = raw.stage.iter().filter_map(|stage| stage.collect.as_ref());
        let names = set
            .map(|(name, value)| (name.as_str(), value))
            .chain(collected.map(|collect| (collect.name.value.as_str(), &collect.name)));
        for (name, at) in names {
            let taken = CALL_NAMES.contains(&name)
                || name == TRANSFER_VALUE
                || FactId::find(name).is_some();
            if taken || !is_name(name) {
                let reason = format!("`{name}` is taken or no name; choose another of a-z, 0-9, _");
                self.faults.add(at, "set", reason);
            }
        }
    }
}

/// The declared roles, else those that stages name.
fn role_names(raw: &RawPlaybook) -> Vec<&str> {
    let declared: Vec<&str> = raw.role.iter().map(|it| it.name.value.as_str()).collect();
    if !declared.is_empty() {
        return declared;
    }
    let mut names = Vec::new();
    for stage in &raw.stage {
        if !names.contains(&stage.role.value.as_str()) {
            names.push(&stage.role.value);
        }
    }
    names
}
