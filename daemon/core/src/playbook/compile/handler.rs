//! The part of the compiler that reads what follows a signal: triggers, guards, what is
//! remembered, what is proposed and where it goes. The stages around them are the parent's.

use super::*;
use crate::input::HAPPENINGS;

impl<'a> Compiler<'a> {
    pub(super) fn handler(&mut self, raw: &RawHandler, path: &str) -> Handler {
        let at = |key: &str| format!("{path}.{key}");
        if let (Some(go), true) = (&raw.go, raw.propose.is_some()) {
            let reason = "depends on the answer; write `go_on_durable` inside `propose`";
            self.faults.add(go, at("go"), reason);
        }
        if let (Some(go), true) = (&raw.go, raw.hang_up) {
            self.faults
                .add(go, at("go"), "`hang_up` ends the call; leave one out");
        }
        let go = raw.go.as_ref();
        let when: Vec<Trigger> = raw
            .when
            .iter()
            .filter_map(|word| self.trigger(word, &at("when")))
            .collect();
        Handler {
            guards: raw
                .guards
                .iter()
                .filter_map(|guard| self.guard(guard, &at("if")))
                .collect(),
            at_most: raw.at_most.as_ref().map(|times| times.value),
            set: raw
                .set
                .iter()
                .map(|(name, value)| (name.as_str().into(), value.value.as_str().into()))
                .collect(),
            identifies: self.identifies(raw.identifies.as_ref(), &at("identifies")),
            keeps: self.remembered(&raw.keeps, &at("keeps")),
            forgets: self.remembered(&raw.forgets, &at("forgets")),
            remember: self.remember(&raw.remember, &at("remember")),
            intent: raw.intent.clamp(-1_000, 1_000),
            confirms: raw.confirms,
            acknowledges_price: raw.acknowledges_price,
            say: self.prompts(&raw.say, &at("say")),
            press: raw
                .press
                .as_ref()
                .map(|keys| self.template(keys, &at("press"))),
            propose: raw
                .propose
                .as_ref()
                .map(|propose| Arc::new(self.propose(propose, &at("propose")))),
            go: go.and_then(|go| self.go(go, &at("go"))),
            hang_up: raw.hang_up,
            when,
        }
    }

    pub(super) fn identifies(
        &mut self,
        raw: Option<&At<String>>,
        path: &str,
    ) -> Option<Identifies> {
        let raw = raw?;
        let words = [
            ("named", Identifies::Named),
            ("verified", Identifies::Verified),
            ("other", Identifies::Other),
        ];
        let found = words.iter().find(|(word, _)| *word == raw.value);
        if found.is_none() {
            let near = suggest(&raw.value, words.iter().map(|(word, _)| *word));
            let reason = format!("unknown `{}`{near}", raw.value);
            self.faults.add(raw, path, reason);
        }
        found.map(|(_, identifies)| *identifies)
    }

    /// Names of values that are remembered.
    pub(super) fn remembered(&mut self, raw: &[At<String>], path: &str) -> Vec<String> {
        for name in raw {
            if !self.raw.memory.contains_key(&name.value) {
                let near = suggest(&name.value, self.raw.memory.keys().map(String::as_str));
                let reason = format!("`{}` is not remembered{near}", name.value);
                self.faults.add(name, path, reason);
            }
        }
        raw.iter().map(|name| name.value.clone()).collect()
    }

    /// `"TOPIC.NAME" = "text"`.
    pub(super) fn remember(
        &mut self,
        raw: &BTreeMap<String, At<String>>,
        path: &str,
    ) -> Vec<(Topic, String, Template)> {
        let mut remember = Vec::new();
        for (key, text) in raw {
            let (topic, name) = key.split_once('.').unwrap_or((key, ""));
            let value = self.template(text, path);
            match Topic::named(topic) {
                Some(topic) if is_name(name) => remember.push((topic, name.to_owned(), value)),
                Some(_) => {
                    let reason = format!("`{key}` names nothing; write `{topic}.some_name`");
                    self.faults.add(text, path, reason);
                }
                None => {
                    let near = suggest(topic, Topic::ALL.map(Topic::name));
                    let reason = format!("no topic `{topic}`{near}");
                    self.faults.add(text, path, reason);
                }
            }
        }
        remember
    }

    pub(super) fn trigger(&mut self, word: &At<String>, path: &str) -> Option<Trigger> {
        if let Some(trigger) = Trigger::fixed(&word.value) {
            return Some(trigger);
        }
        if self.raw.phrases.contains_key(&word.value) {
            return Some(Trigger::Is(SignalKind::Phrase(word.value.clone())));
        }
        let lists = self.raw.phrases.keys().map(String::as_str);
        let happenings = HAPPENINGS.map(|name| format!("@{name}"));
        let happenings = happenings.iter().map(String::as_str);
        let known = TRIGGER_WORDS.into_iter().chain(lists).chain(happenings);
        let near = suggest(&word.value, known);
        let reason = format!("unknown signal `{}`{near}", word.value);
        self.faults.add(word, path, reason);
        None
    }

    pub(super) fn guard(&mut self, text: &At<String>, path: &str) -> Option<Guard> {
        match self.read_guard(&text.value) {
            Ok(guard) => Some(guard),
            Err(reason) => {
                self.faults.add(text, path, reason);
                None
            }
        }
    }

    pub(super) fn read_guard(&self, text: &str) -> Result<Guard, String> {
        let parsed = condition::parse(text)?;
        let (name, operator) = (parsed.name, parsed.operator);
        let equality = matches!(operator, Operator::Equal | Operator::Unequal);
        if let Literal::Freshness(right) = parsed.literal {
            return match (self.raw.memory.contains_key(name), equality) {
                (true, true) => Ok(Guard::Recalled(name.to_owned(), operator, right)),
                (true, false) => Err(format!("compare `{name}` with == or !=")),
                (false, _) => Err(format!(
                    "`{name}` is not remembered; write `[memory.{name}]` with its `shelf_hours`"
                )),
            };
        }
        if parsed.literal == Literal::Offered {
            return match equality {
                true => self.read_offer(name, operator == Operator::Equal),
                false => Err(format!("compare `{name}` with == or !=")),
            };
        }
        let of_call = CALL_NAMES.contains(&name).then_some(&None);
        match (parsed.literal, self.values.get(name).or(of_call)) {
            (Literal::Text(right), Some(known)) => {
                if !equality {
                    return Err(format!("`{name}` is a text; compare it with == or !="));
                }
                if let Some(known) = known
                    && !known.contains(right.as_str())
                {
                    let near = suggest(&right, known.iter().copied());
                    return Err(format!("`{name}` is never '{right}'{near}"));
                }
                Ok(Guard::Value(name.into(), operator, right.into()))
            }
            (Literal::Number(_), Some(_)) => {
                Err(format!("`{name}` is a text; write {name} == '…'"))
            }
            (Literal::Number(right), None) => {
                let fact = FactId::find(name).ok_or_else(|| self.unknown_name(name))?;
                Ok(Guard::Fact(fact, operator, right))
            }
            (Literal::Text(_), None) if FactId::find(name).is_some() => {
                Err(format!("`{name}` is a number; write an integer"))
            }
            (Literal::Text(_), None) => Err(self.unknown_name(name)),
            (Literal::Freshness(_) | Literal::Offered, _) => unreachable!("taken above"),
        }
    }

    /// `slot.tuesday`: a value that this playbook may collect, as upstream offers it.
    fn read_offer(&self, offer: &str, wanted: bool) -> Result<Guard, String> {
        let Some((name, value)) = offer.split_once('.') else {
            return Err(format!(
                "`{offer}` is no offer; write a value and one it can have, as `slot.tuesday`"
            ));
        };
        match self.values.get(name) {
            None => Err(self.unknown_name(name)),
            Some(Some(known)) if !known.contains(value) => {
                let near = suggest(value, known.iter().copied());
                Err(format!("`{name}` is never '{value}'{near}"))
            }
            Some(_) => Ok(Guard::Offered(offer.to_owned(), wanted)),
        }
    }

    pub(super) fn unknown_name(&self, name: &str) -> String {
        if self.values.is_empty() {
            return unknown_fact(name);
        }
        let mut known: Vec<&str> = facts::names().collect();
        known.extend(self.values.keys());
        format!("unknown fact or value `{name}`{}", suggest(name, known))
    }

    pub(super) fn propose(&mut self, raw: &RawPropose, path: &str) -> Propose {
        let at = |key: &str| format!("{path}.{key}");
        let action = self.action(&raw.action, &at("action"));
        if let Some(action) = action {
            self.check_propose(raw, action, path);
        }
        let mut fields = Vec::new();
        for (name, text) in &raw.fields {
            fields.push((name.clone(), self.template(text, &at("fields"))));
        }
        let mut answer = |say: &[At<String>], go: &Option<At<String>>, word: &str| Answer {
            say: self.prompts(say, &format!("{path}.say_on_{word}")),
            go: go
                .as_ref()
                .and_then(|go| self.go(go, &format!("{path}.go_on_{word}"))),
        };
        let passed_on = answer(&raw.say_on_passed_on, &raw.go_on_passed_on, "passed_on");
        let compensated = answer(
            &raw.say_on_compensated,
            &raw.go_on_compensated,
            "compensated",
        );
        let undo = action.and_then(|action| match action.steps.is_empty() {
            true => action.compensation.as_ref(),
            // Each step has its own.
            false => Some(&raw.action.value),
        });
        let undo = undo.filter(|_| !compensated.say.is_empty()).map(|kind| {
            Arc::new(Propose {
                action: kind.clone(),
                durable: compensated,
                refused: passed_on.clone(),
                failed: passed_on.clone(),
                ..Propose::default()
            })
        });
        Propose {
            action: raw.action.value.clone(),
            compensation: undo,
            fields,
            durable: answer(&raw.say_on_durable, &raw.go_on_durable, "durable"),
            refused: answer(&raw.say_on_refused, &raw.go_on_refused, "refused"),
            failed: answer(&raw.say_on_failed, &raw.go_on_failed, "failed"),
            withdrawn: answer(&raw.say_on_withdrawn, &raw.go_on_withdrawn, "withdrawn"),
            passed_on,
            accepted: answer(&raw.say_on_accepted, &raw.go_on_accepted, "accepted"),
            rejected: answer(&raw.say_on_rejected, &raw.go_on_rejected, "rejected"),
            late: answer(&raw.say_on_late, &raw.go_on_late, "late"),
            deny: raw
                .deny
                .iter()
                .filter_map(|word| self.trigger(word, &at("deny")))
                .collect(),
        }
    }

    /// What the action's definition demands of a proposal.
    pub(super) fn check_propose(&mut self, raw: &RawPropose, action: &Action, path: &str) {
        let at = |key: &str| format!("{path}.{key}");
        if action.effect != Effect::Upstream {
            let reason = format!(
                "`{}` is not delivered upstream; write `say_as`, or `hang_up = true`",
                raw.action.value
            );
            self.faults.add(&raw.action, at("action"), reason);
        }
        for (name, text) in &raw.fields {
            if !action.fields.iter().any(|field| field.name == *name) {
                let near = suggest(name, action.fields.iter().map(|f| f.name.as_str()));
                let reason = format!("`{}` has no field `{name}`{near}", raw.action.value);
                self.faults.add(text, at("fields"), reason);
            }
        }
        let given = |field: &str| raw.fields.contains_key(field);
        for field in action.fields.iter().filter(|f| f.required) {
            if !given(&field.name) {
                let reason = format!("`{}` needs the field `{}`", raw.action.value, field.name);
                self.faults.add(&raw.action, at("fields"), reason);
            }
        }
        if let (Some(first), Some(kind)) = (
            raw.say_on_compensated.first(),
            self.final_part(&raw.action.value, action),
        ) {
            let reason = format!(
                "nothing undoes `{kind}`; write its `compensation` in the action catalogue"
            );
            self.faults.add(first, at("say_on_compensated"), reason);
        }
        let accepted = action.confirm == Confirm::Accepted;
        let demands = [
            (true, &raw.say_on_refused, "refused"),
            (true, &raw.say_on_failed, "failed"),
            (
                action.irreversible || !accepted,
                &raw.say_on_durable,
                "durable",
            ),
            (accepted, &raw.say_on_accepted, "accepted"),
            (accepted, &raw.say_on_rejected, "rejected"),
            (accepted, &raw.say_on_late, "late"),
            (!raw.deny.is_empty(), &raw.say_on_withdrawn, "withdrawn"),
            (!raw.deny.is_empty(), &raw.say_on_passed_on, "passed_on"),
        ];
        for (demanded, say, word) in demands {
            if demanded && say.is_empty() {
                let reason = "the caller must be told; write which prompt";
                self.faults
                    .add(&raw.action, at(&format!("say_on_{word}")), reason);
            }
        }
    }

    /// The action itself, or that step of it, which nothing undoes.
    fn final_part<'b>(&self, kind: &'b str, action: &'b Action) -> Option<&'b str> {
        if action.steps.is_empty() {
            return action.compensation.is_none().then_some(kind);
        }
        let lasts = |kind: &&String| {
            let step = self.catalogue.action(kind);
            step.is_some_and(|step| step.compensation.is_none())
        };
        action.steps.iter().find(lasts).map(String::as_str)
    }

    pub(super) fn action(&mut self, raw: &At<String>, path: &str) -> Option<&'a Action> {
        let found = self.catalogue.action(&raw.value);
        if found.is_none() {
            let near = suggest(&raw.value, self.catalogue.kinds());
            let reason = format!("unknown action `{}`{near}", raw.value);
            self.faults.add(raw, path, reason);
        }
        found
    }

    pub(super) fn go(&mut self, raw: &At<String>, path: &str) -> Option<Go> {
        match raw.value.as_str() {
            BACK => Some(Go::Back),
            _ => self.stage_id(raw, path).map(Go::To),
        }
    }

    pub(super) fn stage_id(&mut self, raw: &At<String>, path: &str) -> Option<StageId> {
        let found = self.stages.get(raw.value.as_str()).copied();
        if found.is_none() {
            let near = suggest(&raw.value, self.stages.keys().copied());
            let reason = format!("no stage `{}`{near}", raw.value);
            self.faults.add(raw, path, reason);
        }
        found
    }
}
