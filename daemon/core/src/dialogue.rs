//! Walks a playbook: which stage, which handler, what follows.
//!
//! It owns the caller's side of a call (mouth, hearing, keypad) and the ledger,
//! and proposes; whether anything happens is decided at the `desk`. It does not
//! know how the call was set up or torn down: that is `call`.

mod actions;
mod approvals;
mod attempts;
mod listening;
mod onward;
mod remembering;
mod role;
mod secrets;
mod stays;
mod steps;
mod transfer;
mod weighing;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::action::builtin;
use crate::desk::{Desk, Scene};
use crate::hearing::Hearing;
use crate::id::{ActionId, Name};
use crate::input::SilenceCause;
use crate::keypad::Keypad;
use crate::ledger::{Ledger, Turnout};
use crate::memory::{Freshness, Identity};
use crate::mouth::{Heard, Mouth, Purpose, Spoken, Utterance};
use crate::objection::{Doubt, Objections};
use crate::output::{Came, Command, Prompts};
use crate::playbook::{CALL_NAMES, Go, Guard, Handler, Known, Playbook, Stage, StageId, Template};
use crate::signal::{SignalKind, Trigger, is_key};
use crate::silence::Cadence;
use crate::timers::Timer;
use approvals::Pending;
use attempts::Attempts;

use onward::Onward;
use role::Return;
use secrets::Handing;
use stays::Visit;
use transfer::Consult;

/// Characters of a number or name that are kept; it goes into every row.
const PARTY_MAX: usize = 200;
/// Keys pressed in one go: what a leg takes.
const KEYS_MAX: usize = 32;

/// Who talks with whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parties {
    pub(crate) caller: String,
    pub(crate) called: String,
    pub(crate) trunk: String,
    /// The other side: the caller inbound, the called outbound.
    pub(crate) party: String,
    pub(crate) person: String,
}

#[derive(Debug)]
pub(crate) struct Dialogue {
    playbook: Arc<Playbook>,
    stage: StageId,
    /// Counts the stays in stages.
    epoch: u32,
    /// How often each handler was taken in this stay.
    taken: BTreeMap<usize, u32>,
    values: BTreeMap<Name, Name>,
    /// Values that are remembered and were not said in this call.
    recalled: BTreeSet<String>,
    /// These may be said aloud: it is known who listens.
    may_speak: bool,
    /// How much of what the playbook wants remembered still holds.
    freshness: BTreeMap<String, Freshness>,
    confirmations: i64,
    mouth: Mouth,
    hearing: Hearing,
    keypad: Option<Keypad>,
    /// A secret on its way to its sink.
    handing: Option<Handing>,
    ledger: Ledger,
    /// Actions that wait for a person.
    pending: Vec<Pending>,
    /// What became of actions and is not yet said.
    untold: VecDeque<(ActionId, Turnout)>,
    /// Stays in stages, the last ones.
    visits: VecDeque<Visit>,
    /// Where roles were entered from, the first one first.
    ways: Vec<Return>,
    objections: Objections,
    /// What the last words objected to, until it is answered.
    objected: Option<Doubt>,
    cadence: Cadence,
    consult: Option<Consult>,
    /// Whom the person sends the caller to.
    onward: Option<Onward>,
    /// The stage in which a person was asked for.
    asked_in: StageId,
    persons_called: u8,
    /// Why no person took the call, until the caller is told.
    failed: Option<Came>,
    /// What came of each person who was called.
    attempts: Attempts,
    /// Notices heard to their end, a bit each.
    notices_heard: u32,
    /// The price that was heard holds no more, and the caller does not know yet.
    price_moved: bool,
    /// Words of an utterance have come, but not its last text.
    so_far: bool,
    /// The last utterance that was understood.
    utterance: u32,
    /// When our last word ended, until the caller answers.
    our_end: Option<Duration>,
    silence_cause: Option<SilenceCause>,
    far_holds: bool,
    /// What is heard began before this stage did: it is no answer to its question.
    belated: bool,
    /// When anything was last heard, from either side.
    last_sound: Duration,
    close_asked: bool,
    is_over: bool,
    pub(crate) wants_hang_up: bool,
    pub(crate) result: Option<String>,
    /// The last action that led to a result, and what the result was before.
    owed_to: Option<(ActionId, Option<String>)>,
    pub(crate) turns: u32,
    pub(crate) barge_ins: u32,
}

impl Dialogue {
    pub(crate) fn new(playbook: Arc<Playbook>) -> Self {
        Self {
            stage: playbook.start,
            playbook,
            epoch: 0,
            taken: BTreeMap::new(),
            values: BTreeMap::new(),
            recalled: BTreeSet::new(),
            may_speak: false,
            freshness: BTreeMap::new(),
            confirmations: 0,
            mouth: Mouth::default(),
            hearing: Hearing::default(),
            keypad: None,
            handing: None,
            ledger: Ledger::default(),
            pending: Vec::new(),
            untold: VecDeque::new(),
            visits: VecDeque::new(),
            ways: Vec::new(),
            objections: Objections::default(),
            objected: None,
            cadence: Cadence::default(),
            consult: None,
            onward: None,
            asked_in: StageId::default(),
            persons_called: 0,
            failed: None,
            attempts: Attempts::default(),
            notices_heard: 0,
            price_moved: false,
            so_far: false,
            utterance: 0,
            our_end: None,
            silence_cause: None,
            belated: false,
            far_holds: false,
            last_sound: Duration::ZERO,
            close_asked: false,
            is_over: false,
            wants_hang_up: false,
            result: None,
            owed_to: None,
            turns: 0,
            barge_ins: 0,
        }
    }

    /// Learns who talks with whom.
    pub(crate) fn meet(&mut self, desk: &mut Desk, parties: Parties) {
        // Where nobody tells who it is, a number counts for what it is.
        if desk.lead.is_none() && !parties.party.is_empty() {
            desk.identity = Identity::Number;
        }
        if !parties.party.is_empty() {
            desk.party = parties.party.chars().take(PARTY_MAX).collect();
        }
        let known = desk.identity.level();
        let values = [
            ("caller", parties.caller),
            ("called", parties.called),
            ("trunk", parties.trunk),
            ("party", parties.party),
            ("person", parties.person),
        ];
        let kept = |value: String| value.chars().take(PARTY_MAX).collect::<Name>();
        self.values
            .extend(values.map(|(name, value)| (Name::new_static(name), kept(value))));
        for (name, value) in [
            ("identity_level", known),
            ("barge_ins", 0),
            ("disclosure_heard", 0),
            ("recording_notice_heard", 0),
            ("price_heard", 0),
            ("price_acknowledged", 0),
            ("response_pct", 100),
            ("opted_out", 0),
            ("confirmations", 0),
        ] {
            desk.facts.own(name, value);
        }
        self.tell_objections(desk);
        desk.hold(&self.scene().role);
    }

    /// The call is up.
    pub(crate) fn start(&mut self, desk: &mut Desk) {
        desk.turn_began = desk.now;
        desk.answered = desk.now;
        self.enter(desk, self.playbook.start);
    }

    /// The leg is over: nothing more can be said, what is held goes out.
    pub(crate) fn end(&mut self, desk: &mut Desk) {
        if core::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.untold.clear();
        self.handing = None;
        self.give_up_asking(desk);
        self.hearing = Hearing::Open;
        self.so_far = false;
        desk.suspended = false;
        desk.timers.clear();
        self.end_person(desk);
    }

    /// Nothing is on its way to the store any more, and no person is on the line.
    pub(crate) fn is_settled(&self) -> bool {
        !self.ledger.is_storing() && self.consult.is_none() && self.onward.is_none()
    }

    pub(crate) fn heard(&self) -> impl Iterator<Item = &Heard> {
        self.mouth.heard()
    }

    /// Role and stage now.
    pub(crate) fn scene(&self) -> Scene {
        let stage = self.here();
        Scene {
            role: self.playbook.role(stage.role).name.clone(),
            stage: stage.name.clone(),
        }
    }

    /// What was set and collected, without secrets and without the parties.
    pub(crate) fn collected(&self) -> Vec<(String, String)> {
        self.values
            .iter()
            .filter(|(name, _)| {
                !CALL_NAMES.contains(&name.as_str()) && !self.recalled.contains(name.as_str())
            })
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    /// Brings everything that follows from the last event about, until nothing does.
    pub(crate) fn settle(&mut self, desk: &mut Desk) {
        desk.suspended = self.is_in_doubt();
        if !self.is_over && self.hearing.is_open() && !self.so_far {
            self.decide_asked(desk);
            self.tell_failed(desk);
            self.tell_price(desk);
            self.judge_intent(desk);
            self.join(desk);
            self.keep_company();
            // What follows a notice waits until it was heard.
            if !self.mouth.says_firm_notice() && !self.is_handed_over() {
                self.tell(desk);
                self.end_if_final(desk);
            }
        }
        self.release(desk, self.is_over);
        let listened_to = !self.is_over && !self.is_handed_over();
        if listened_to && self.hearing.is_open() && !self.so_far {
            while let Some(refused) = self.begin_next(desk) {
                self.spoken(desk, refused);
            }
        }
        self.watch_silence(desk);
    }

    fn begin_next(&mut self, desk: &mut Desk) -> Option<Spoken> {
        if !self.mouth.may_begin() {
            return None;
        }
        let scene = self.scene();
        self.mouth.begin(desk, &scene)
    }

    /// The caller has the word, or has begun to say something that is not yet whole.
    fn is_in_doubt(&self) -> bool {
        self.hearing.is_interrupted() || self.so_far
    }

    /// The caller waits for what becomes of something proposed in this stay.
    fn keeps_waiting(&self) -> bool {
        self.ledger.keeps_waiting(self.epoch) || self.is_asking() || self.handing.is_some()
    }

    fn here(&self) -> &Stage {
        self.playbook.stage(self.stage)
    }

    fn enter(&mut self, desk: &mut Desk, stage: StageId) {
        let stage = self.skip(desk, stage);
        if !self.change_role(desk, stage) {
            return;
        }
        self.settle_in(desk, stage);
        let playbook = Arc::clone(&self.playbook);
        let stage = playbook.stage(stage);
        if let Some(result) = &stage.result {
            self.result = Some(result.clone());
        }
        if !stage.end {
            self.say_stage(stage);
        }
        if let Some(transfer) = &stage.transfer {
            self.call_person(desk, transfer);
        }
    }

    /// The stage's own state, without a word.
    fn settle_in(&mut self, desk: &mut Desk, stage: StageId) {
        self.leave(desk);
        self.stage = stage;
        let half_life_ms = self.playbook.half_life_ms(stage);
        desk.intent.set_half_life(desk.now, half_life_ms);
        self.epoch = self.epoch.saturating_add(1);
        self.taken.clear();
        self.close_asked = false;
        self.last_sound = desk.now;
        desk.stage_began = desk.now;
        self.visit(desk.now, stage);
        desk.timers.cancel(Timer::Silence);
        let playbook = Arc::clone(&self.playbook);
        let stage = playbook.stage(stage);
        desk.hold(&playbook.role(stage.role).name);
        if let Some(collect) = &stage.collect {
            desk.command(secrets::collect(collect));
            self.keypad = Some(Keypad::new(collect.clone()));
        }
        if let Some(ms) = stage.elapsed_ms {
            let until = desk.after_ms(ms);
            desk.timers.set(Timer::Elapsed, until);
        }
    }

    /// Past the stages that ask for what is known already.
    fn skip(&self, desk: &mut Desk, mut stage: StageId) -> StageId {
        desk.refresh();
        // No playbook skips in circles: it is refused when it is read.
        for _ in 0..self.playbook.stages.len() {
            let skips = &self.playbook.stage(stage).skip;
            let taken = skips.iter().find(|skip| self.hold(desk, &skip.guards));
            let Some(skip) = taken else { break };
            stage = skip.go;
        }
        stage
    }

    fn leave(&mut self, desk: &mut Desk) {
        desk.timers.cancel(Timer::Keys);
        desk.timers.cancel(Timer::Elapsed);
        self.drop_person(desk);
        let keypad = self.keypad.take();
        if keypad.is_some_and(|keypad| keypad.wanted().secret.is_some()) {
            desk.timers.cancel(Timer::HandOver);
            self.handing = None;
            desk.command(Command::Collect { secret: None });
        }
    }

    fn say_stage(&mut self, stage: &Stage) {
        let purpose = match stage.end {
            true => Purpose::Last,
            false => Purpose::Stage(self.epoch),
        };
        let interruptible = stage.interruptible && !stage.end;
        self.utter(&stage.say, &stage.say_as, interruptible, purpose);
    }

    fn say(&mut self, prompts: &[Template], purpose: Purpose) {
        let interruptible = purpose != Purpose::Last;
        self.utter(prompts, builtin::SAY, interruptible, purpose);
    }

    fn utter(&mut self, prompts: &[Template], say_as: &str, interruptible: bool, purpose: Purpose) {
        let may_say = |prompt: &&Template| self.may_say(prompt);
        let allowed = prompts.iter().filter(may_say);
        let keys: Prompts = allowed.map(|key| key.fill(&self.values)).collect();
        if keys.is_empty() {
            return;
        }
        let utterance = Utterance {
            prompts: keys,
            interruptible,
            say_as: say_as.into(),
            purpose,
            notice: None,
            tries: 0,
        };
        if say_as == builtin::SAY && utterance.purpose != Purpose::Last && !prompts.is_empty() {
            self.say_owed(&utterance);
        }
        self.say_in_parts(utterance);
    }

    /// A notice that was cut comes first, and to its end.
    fn say_owed(&mut self, like: &Utterance) {
        let playbook = Arc::clone(&self.playbook);
        for (place, notice) in playbook.notices.iter().enumerate() {
            let heard = self.notices_heard & (1 << place) != 0;
            if let (Some(again), false, true) =
                (&notice.again, heard, self.mouth.has_dropped(place))
            {
                self.mouth.say(Utterance {
                    prompts: smallvec![again.as_str().into()],
                    interruptible: false,
                    purpose: Purpose::Plain,
                    notice: Some(place),
                    ..like.clone()
                });
            }
        }
    }

    /// A notice is played by itself, so that it is known whether it was heard.
    fn say_in_parts(&mut self, utterance: Utterance) {
        let playbook = Arc::clone(&self.playbook);
        let notice = |key: &Name| playbook.notices.iter().position(|it| it.prompt == *key);
        let mut parts: SmallVec<[(Prompts, Option<usize>); 2]> = SmallVec::new();
        for key in &utterance.prompts {
            let of = notice(key);
            match parts
                .last_mut()
                .filter(|(_, last)| of.is_none() && last.is_none())
            {
                Some((keys, _)) => keys.push(key.clone()),
                None => parts.push((smallvec![key.clone()], of)),
            }
        }
        let last = parts.len().saturating_sub(1);
        for (place, (prompts, notice)) in parts.into_iter().enumerate() {
            let purpose = match place == last {
                true => utterance.purpose.clone(),
                false => Purpose::Plain,
            };
            self.mouth.say(Utterance {
                prompts,
                notice,
                purpose,
                ..utterance.clone()
            });
        }
    }

    /// A final stage says its words and ends the call, whatever came between.
    fn end_if_final(&mut self, desk: &mut Desk) {
        let playbook = Arc::clone(&self.playbook);
        let stage = playbook.stage(self.stage);
        if !stage.end || self.close_asked || self.mouth.has_last() {
            return;
        }
        match stage.say.is_empty() {
            true if self.mouth.is_idle() => self.close(desk),
            true => {}
            false => self.say_stage(stage),
        }
    }

    /// Proposes to end the call.
    fn close(&mut self, desk: &mut Desk) {
        self.close_asked = true;
        let scene = self.scene();
        self.wants_hang_up |= desk.allows(&scene, builtin::HANG_UP, Name::default());
    }

    /// Something was said, or could not be.
    fn spoken(&mut self, desk: &mut Desk, spoken: Spoken) {
        self.last_sound = desk.now;
        if let (Some(notice), true) = (spoken.notice, spoken.finished) {
            self.notice_heard(desk, notice);
        }
        match spoken.purpose {
            Purpose::Plain | Purpose::Company => {}
            Purpose::Stage(epoch) => {
                if spoken.finished && epoch == self.epoch {
                    self.on_signal(desk, &SignalKind::Said);
                }
            }
            Purpose::Confirm(id) => {
                if let (true, Some(entry)) = (spoken.finished, self.ledger.by_id(id)) {
                    entry.make_due();
                }
            }
            Purpose::Answer(topic) => {
                if spoken.finished {
                    self.objection_answered(desk, topic);
                }
            }
            Purpose::Last => self.close(desk),
        }
    }

    /// The price that was heard holds no more: the caller is to hear of it.
    fn tell_price(&mut self, desk: &mut Desk) {
        if core::mem::take(&mut self.price_moved) {
            self.on_signal(desk, &SignalKind::PriceChanged);
        }
    }

    /// Takes a signal: a denial of what is held first, then the first handler
    /// that fits, then a denial that comes too late.
    fn on_signal(&mut self, desk: &mut Desk, signal: &SignalKind) {
        if self.deny(desk, signal) {
            return;
        }
        desk.refresh();
        self.note_barred(desk, signal);
        let playbook = Arc::clone(&self.playbook);
        if let Some((place, handler)) = self.pick(desk, &playbook, signal) {
            if is_said(signal) {
                desk.signals = desk.signals.saturating_add(1);
            }
            let taken = self.taken.entry(place).or_default();
            *taken = taken.saturating_add(1);
            self.run(desk, handler, signal);
        } else if self.answer_objection(desk) {
        } else if let Some(id) = self.ledger.denied_too_late(signal) {
            self.mouth.stop(desk);
            self.compensate(desk, id);
        }
    }

    /// The first handler that waits for exactly this signal, else the first that
    /// takes it with others (`any`): an opt-out key is never taken for a mistake.
    /// While the caller waits for an answer to an action, only what holds
    /// everywhere is heard: the second press of a key is no second order.
    fn pick<'a>(
        &self,
        desk: &Desk,
        playbook: &'a Playbook,
        signal: &SignalKind,
    ) -> Option<(usize, &'a Handler)> {
        let handlers = self.handlers(playbook, signal);
        let mut willing = handlers.filter(|(place, handler)| self.accepts(desk, *place, handler));
        let exactly = Trigger::Is(signal.clone());
        let mut first = None;
        willing
            .find(|(place, handler)| {
                if first.is_none() && handler.when.iter().any(|trigger| trigger.takes(signal)) {
                    first = Some((*place, *handler));
                }
                handler.when.contains(&exactly)
            })
            .or(first)
    }

    /// Handlers that may be taken here, by place.
    fn handlers<'a>(
        &self,
        playbook: &'a Playbook,
        signal: &SignalKind,
    ) -> impl Iterator<Item = (usize, &'a Handler)> + use<'a> {
        let stage = playbook.stage(self.stage);
        let ended = stage.end || stage.handed_over;
        let waits = self.keeps_waiting() || !self.untold.is_empty();
        // That a person has taken the call, or has not, waits for nothing.
        let of_person = matches!(signal, SignalKind::Transferred | SignalKind::TransferFailed);
        let waits = waits && !of_person;
        let own = if waits || ended || self.belated {
            0
        } else {
            stage.on.len()
        };
        let all = if ended { 0 } else { playbook.everywhere.len() };
        let everywhere = playbook.everywhere[..all].iter().enumerate();
        let own = stage.on[..own].iter().enumerate();
        own.chain(everywhere.map(|(place, handler)| (stage.on.len() + place, handler)))
    }

    /// Where a handler would lead that only the guards of a role keep from it.
    fn barred(&self, desk: &Desk, signal: &SignalKind) -> Option<StageId> {
        let playbook = &self.playbook;
        let mut handlers = self.handlers(playbook, signal);
        let (_, handler) = handlers.find(|(place, handler)| {
            handler.when.iter().any(|trigger| trigger.takes(signal))
                && self.is_open(desk, *place, handler)
        })?;
        match handler.go {
            Some(Go::To(stage)) if !self.may_take(desk, handler) => Some(stage),
            Some(Go::To(_) | Go::Back) | None => None,
        }
    }

    /// It is not used up, its guards hold, and so do those of the role it leads to.
    fn accepts(&self, desk: &Desk, place: usize, handler: &Handler) -> bool {
        self.is_open(desk, place, handler) && self.may_take(desk, handler)
    }

    /// It is not used up, and its guards hold. Its place counts how often it was taken.
    fn is_open(&self, desk: &Desk, place: usize, handler: &Handler) -> bool {
        let taken = self.taken.get(&place).copied().unwrap_or(0);
        handler.at_most.is_none_or(|most| taken < most) && self.hold(desk, &handler.guards)
    }

    fn hold(&self, desk: &Desk, guards: &[Guard]) -> bool {
        let known = self.known(desk);
        guards.iter().all(|guard| guard.holds(known))
    }

    fn known<'a>(&'a self, desk: &'a Desk) -> Known<'a> {
        Known {
            facts: &desk.facts,
            values: &self.values,
            freshness: &self.freshness,
            leases: &desk.leases,
            now: desk.now,
        }
    }

    fn run(&mut self, desk: &mut Desk, handler: &Handler, signal: &SignalKind) {
        let acts = !handler.say.is_empty()
            || handler.press.is_some()
            || handler.propose.is_some()
            || handler.go.is_some()
            || handler.hang_up;
        // What comes of itself waits for the end of what is being said.
        let waits = matches!(
            signal,
            SignalKind::Said | SignalKind::TransferFailed | SignalKind::Ready | SignalKind::Cooled
        );
        if acts && !waits {
            self.mouth.stop(desk);
        }
        self.learn(desk, handler);
        let purpose = match handler.hang_up {
            true => Purpose::Last,
            false => Purpose::Plain,
        };
        self.say(&handler.say, purpose);
        if let Some(keys) = &handler.press {
            self.press(desk, keys);
        }
        if let Some(plan) = &handler.propose {
            self.propose(desk, plan);
        }
        if let Some(go) = handler.go {
            self.go(desk, go);
        }
        if handler.hang_up && handler.say.is_empty() {
            self.close(desk);
        }
    }

    /// Presses keys in a menu of the other side, where the role may.
    fn press(&mut self, desk: &mut Desk, keys: &Template) {
        let keys = keys.fill(&self.values);
        let keys: Name = keys
            .chars()
            .filter(|key| is_key(*key))
            .take(KEYS_MAX)
            .collect();
        let scene = self.scene();
        if !keys.is_empty() && desk.allows(&scene, builtin::PRESS, keys.clone()) {
            desk.command(Command::Press { keys: keys.into() });
        }
    }

    fn learn(&mut self, desk: &mut Desk, handler: &Handler) {
        for (name, value) in &handler.set {
            self.answered(desk, name, value.clone());
            self.confirmations = 0;
        }
        self.note(desk, handler);
        if handler.confirms {
            self.confirmations = self.confirmations.saturating_add(1);
        }
        desk.facts.own("confirmations", self.confirmations);
        if handler.acknowledges_price {
            self.acknowledge_price(desk);
        }
        self.weigh_handler(desk, handler.intent);
    }

    /// Nobody speaks and nothing is awaited but the caller: the time of silence runs.
    fn watch_silence(&mut self, desk: &mut Desk) {
        let stage = self.here();
        let quiet = !self.is_over
            && !stage.end
            && !stage.handed_over
            && self.consult.is_none()
            && self.onward.is_none()
            && !self.far_holds
            && self.hearing.is_open()
            && self.mouth.is_idle()
            && !self.keeps_waiting()
            && !self.keypad.as_ref().is_some_and(Keypad::is_begun);
        if !quiet {
            desk.timers.cancel(Timer::Silence);
        } else if !desk.timers.is_set(Timer::Silence) {
            let cause = self.silence_cause;
            let wait = self.cadence.patience(stage.silence_ms, stage.pace, cause);
            let at = self.last_sound.saturating_add(wait);
            desk.timers.set(Timer::Silence, at);
        }
    }
}

/// The caller means something by it: what was proposed before is stale.
fn is_said(signal: &SignalKind) -> bool {
    matches!(
        signal,
        SignalKind::Key(_) | SignalKind::Phrase(_) | SignalKind::Collected
    )
}
