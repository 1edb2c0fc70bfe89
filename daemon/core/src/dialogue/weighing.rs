//! What was said is weighed: as evidence of intent, in the life of objections, as
//! a price that holds. Nothing here acts; an answer to an objection is only said.

use core::time::Duration;

use super::Dialogue;
use crate::desk::Desk;
use crate::facts::FactId;
use crate::input::Manner;
use crate::intent::{Change, Dimension, Evidence};
use crate::memory::Topic;
use crate::mouth::Purpose;
use crate::objection::{Doubt, Life};
use crate::output::Came;
use crate::playbook::Go;
use crate::signal::{Meaning, Signal, SignalKind};

/// An answer is slow at so many percent of what this caller usually takes.
const SLOW_PCT: i64 = 200;

impl Dialogue {
    /// Words so far: evidence that the last text of the utterance may withdraw.
    pub(super) fn weigh_so_far(&mut self, desk: &mut Desk, signal: &Signal) {
        desk.intent.withdraw_provisional(desk.now);
        self.count(desk, signal.means, true);
    }

    /// The last text: what earlier ones suggested is gone, this stands.
    pub(super) fn weigh(&mut self, desk: &mut Desk, means: Meaning) {
        desk.intent.withdraw_provisional(desk.now);
        self.count(desk, means, false);
        match means {
            Meaning::Confirm => self.objections.resolve(),
            Meaning::Softens => self.objections.soften(),
            Meaning::Objection(_)
            | Meaning::Plain
            | Meaning::Deny
            | Meaning::PriceQuestion
            | Meaning::Deferral
            | Meaning::OptOut
            | Meaning::WrongPerson
            | Meaning::AsksHuman
            | Meaning::Hesitation => {}
        }
        self.tell_objections(desk);
    }

    fn count(&mut self, desk: &mut Desk, means: Meaning, provisional: bool) {
        if means == Meaning::Deny {
            desk.intent.reverse(desk.now, self.stage, provisional);
        }
        let amount = self.playbook.weights(self.stage).of(means);
        let dimension = match means {
            Meaning::Objection(Doubt::Price) | Meaning::PriceQuestion => Dimension::Price,
            Meaning::Objection(Doubt::Timing) | Meaning::Deferral => Dimension::Timing,
            Meaning::Objection(Doubt::Trust) | Meaning::WrongPerson => Dimension::Trust,
            Meaning::Objection(Doubt::Need)
            | Meaning::Plain
            | Meaning::Confirm
            | Meaning::Deny
            | Meaning::Softens
            | Meaning::OptOut
            | Meaning::AsksHuman
            | Meaning::Hesitation => Dimension::Readiness,
        };
        self.add_evidence(desk, means.name(), dimension, amount, provisional);
        if dimension != Dimension::Readiness {
            // Whatever is in doubt, readiness suffers or gains with it.
            self.add_evidence(
                desk,
                means.name(),
                Dimension::Readiness,
                amount,
                provisional,
            );
        }
    }

    fn add_evidence(
        &self,
        desk: &mut Desk,
        kind: &'static str,
        dimension: Dimension,
        amount: i64,
        provisional: bool,
    ) {
        if amount != 0 {
            let stage = self.stage;
            let evidence = Evidence {
                stage,
                kind,
                dimension,
                amount,
                provisional,
            };
            desk.intent.add(desk.now, evidence);
        }
    }

    pub(super) fn weigh_handler(&self, desk: &mut Desk, amount: i64) {
        self.add_evidence(desk, "handler", Dimension::Readiness, amount, false);
    }

    pub(super) fn weigh_interruption(&self, desk: &mut Desk) {
        let amount = self.playbook.weights(self.stage).interruption;
        self.add_evidence(desk, "interruption", Dimension::Readiness, amount, false);
    }

    /// The caller begins to answer: how long it took, beside what it usually takes.
    pub(super) fn weigh_answer_time(&mut self, desk: &mut Desk, at: Duration) {
        let Some(ended) = self.our_end.take().filter(|_| self.mouth.is_idle()) else {
            return;
        };
        let Some(percent) = self.cadence.answered(at.saturating_sub(ended)) else {
            return;
        };
        desk.facts.own("response_pct", percent);
        if percent >= SLOW_PCT {
            let amount = self.playbook.weights(self.stage).slow_answer;
            self.add_evidence(desk, "slow_answer", Dimension::Readiness, amount, false);
        }
    }

    /// How the caller speaks, for rules and handlers that ask.
    pub(crate) fn tell_manner(desk: &mut Desk, manner: &Manner) {
        for (name, value) in [
            ("speech_rate", i64::from(manner.syllables_per_minute)),
            ("hesitating", i64::from(manner.hesitating)),
            ("pitch_shift", i64::from(manner.pitch_shift_cents)),
            ("energy_shift", i64::from(manner.energy_shift_tenths_db)),
        ] {
            desk.facts.own(name, value);
        }
    }

    /// Readiness may have come or gone; who cools down is not passed on to anybody.
    pub(super) fn judge_intent(&mut self, desk: &mut Desk) {
        match desk.intent.judge(desk.now, self.playbook.thresholds) {
            Some(Change::Ready) => self.on_signal(desk, &SignalKind::Ready),
            Some(Change::Cooled) => {
                self.call_off(desk, Came::Cooled);
                self.on_signal(desk, &SignalKind::Cooled);
            }
            None => {}
        }
    }

    /// Answers an objection that no handler takes: in proportion, no answer twice,
    /// then the stage's question in short. Gives whether it was one to be answered.
    pub(super) fn answer_objection(&mut self, desk: &mut Desk) -> bool {
        let Some(topic) = self.objected.take() else {
            return false;
        };
        let playbook = std::sync::Arc::clone(&self.playbook);
        let Some(answers) = playbook.objections.get(&topic) else {
            return false;
        };
        let due = self.objections.raise(topic);
        self.tell_objections(desk);
        match answers.say.get(due) {
            Some(words) => {
                self.mouth.stop(desk);
                self.objections.begin(topic);
                self.say(words, Purpose::Answer(topic));
                self.say(&playbook.stage(self.stage).ask, Purpose::Plain);
            }
            None => self.go(desk, Go::To(answers.exhausted)),
        }
        true
    }

    pub(super) fn objection_answered(&mut self, desk: &mut Desk, topic: Doubt) {
        self.objections.answered(topic);
        self.tell_objections(desk);
    }

    pub(super) fn tell_objections(&self, desk: &mut Desk) {
        desk.facts.own("objections_open", self.objections.open());
        for topic in Doubt::ALL {
            let life = self.objections.life(topic);
            desk.facts.own(topic.fact(), life as i64);
            if life != Life::Unheard {
                // What is no news goes nowhere.
                desk.learn(Topic::Objection, topic.name(), Some(life.name()));
            }
        }
    }

    /// The notice was heard to its end.
    pub(super) fn notice_heard(&mut self, desk: &mut Desk, notice: usize) {
        self.notices_heard |= 1 << notice;
        for fact in &self.playbook.notices[notice].facts {
            desk.facts.set(*fact, Some(1));
        }
    }

    /// The price that was heard does not hold any more, nor does what was agreed to it.
    pub(crate) fn price_changed(&mut self, desk: &mut Desk) {
        let price = price_heard();
        let mut known = desk.facts.value(price) == Some(1);
        for (place, notice) in self.playbook.notices.iter().enumerate() {
            if notice.facts.contains(&price) {
                self.notices_heard &= !(1 << place);
                known |= self.mouth.outdate(place);
            }
        }
        for (name, value) in [
            ("price_heard", 0),
            ("price_acknowledged", 0),
            ("confirmations", 0),
        ] {
            desk.facts.own(name, value);
        }
        self.confirmations = 0;
        self.price_moved |= known;
    }

    /// The caller agrees to the price: it counts when it was heard to its end.
    pub(super) fn acknowledge_price(&self, desk: &mut Desk) {
        if self.knows_price(desk) {
            desk.facts.own("price_acknowledged", 1);
        }
    }

    /// The price that holds was heard to its end.
    pub(super) fn knows_price(&self, desk: &Desk) -> bool {
        desk.facts.value(price_heard()) == Some(1)
    }
}

fn price_heard() -> FactId {
    FactId::find("price_heard").expect("it is in the list of facts")
}
