//! The decision thread: all conversations, in one total order.
//!
//! It sleeps on a bell. Whatever rings - a packet that means something, a SIP
//! event, a commit, an order from the command line, a timer - becomes an input
//! of one conversation; what that conversation wants is carried out before the
//! next input is looked at. It touches neither disk nor socket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::time::Duration;

use offhook_core::input::{Cause, Fact, Offered, Originate, UpstreamAnswer};
use offhook_core::output::{Outcome, Persist};
use offhook_core::{
    ActionId, Book, Command, Conversation, ConversationId, Event, Input, LegEvent, LegId, Output,
    Program, Record, Verdict,
};
use offhook_sip::{CallKey, Event as SipEvent, Flow, Incoming};

use crate::bell::Bell;
use crate::call::Call;
use crate::clock;
use crate::control::{Failure, Live, Order, Request, Told as Seen};
use crate::facts;
use crate::house::House;
use crate::keeper::Keeper;
use crate::leads::Leads;
use crate::logging::Redacted;
use crate::reports::Told;
use crate::signalling::{self, Notice};
use crate::store::{self, Birth, Commit, Direction, Ended, Store, Write};
use crate::switchboard::{Place, Switchboard};
use crate::timeline::Line;
use crate::watchdog::Pulse;

/// The caller's leg, or the one that we called.
const FIRST: LegId = LegId(0);
/// What is lost of a log by a kill at most (what leads to an action is kept with it).
const FLUSH_EVERY: Duration = Duration::from_millis(250);
/// The wall clock's facts change once a minute.
const FACTS_EVERY: Duration = Duration::from_secs(60);
/// Even with nothing to do the thread turns this often, for the watchdog.
const IDLE: Duration = Duration::from_millis(500);
/// Inputs taken from one source before the others get their turn.
const BATCH: usize = 256;

/// What comes to the decision thread but from the media threads.
pub enum Inbound {
    /// From signalling.
    Notice(Notice),
    /// From the store.
    Stored(store::Answer),
    /// From the forwarder: what the upstream says to a delivered action.
    Upstream(ActionId, UpstreamAnswer),
    /// From the command line.
    Request(Request),
    /// Take no more calls, end those that there are, and stop.
    Stop,
}

/// Puts things into the decision thread's queue and rings.
#[derive(Clone)]
pub struct Tray {
    sender: SyncSender<Inbound>,
    bell: Bell,
}

impl Tray {
    /// The queue's one way in.
    pub fn new(sender: SyncSender<Inbound>, bell: Bell) -> Self {
        Self { sender, bell }
    }

    /// Puts it in, or hands it back when there is no room.
    pub fn offer(&self, inbound: Inbound) -> Result<(), Inbound> {
        match self.sender.try_send(inbound) {
            Ok(()) => {
                self.bell.ring();
                Ok(())
            }
            Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => Err(back),
        }
    }

    /// Puts it in, waiting for room. For threads that may wait.
    pub fn put(&self, inbound: Inbound) {
        if self.sender.send(inbound).is_ok() {
            self.bell.ring();
        }
    }
}

impl signalling::Inbox for Tray {
    fn offer(&self, notice: Notice) -> Result<(), Notice> {
        Tray::offer(self, Inbound::Notice(notice)).map_err(|back| match back {
            Inbound::Notice(notice) => notice,
            _ => unreachable!("what comes back is what was offered"),
        })
    }
}

/// The decision thread's state.
pub struct Decision {
    house: Arc<House>,
    inbox: Receiver<Inbound>,
    bell: Bell,
    board: Switchboard,
    keeper: Keeper,
    leads: Leads,
    calls: BTreeMap<ConversationId, Call>,
    wakeups: BTreeSet<(Duration, ConversationId)>,
    /// Inputs that a command led to, handled before anything else.
    at_once: VecDeque<(ConversationId, Input)>,
    dirty: BTreeSet<ConversationId>,
    flush_at: Duration,
    facts_at: Duration,
    last_id: u64,
    stopping: bool,
    pulse: Pulse,
}

impl Decision {
    /// What it takes to decide; nothing happens before [`Self::run`].
    pub fn new(
        house: Arc<House>,
        inbox: Receiver<Inbound>,
        bell: Bell,
        board: Switchboard,
        store: Store,
        leads: Leads,
        pulse: Pulse,
    ) -> Self {
        Self {
            house,
            inbox,
            bell,
            board,
            keeper: Keeper::new(store),
            leads,
            calls: BTreeMap::new(),
            wakeups: BTreeSet::new(),
            at_once: VecDeque::new(),
            dirty: BTreeSet::new(),
            flush_at: Duration::ZERO,
            facts_at: clock::now() + FACTS_EVERY,
            last_id: 0,
            stopping: false,
            pulse,
        }
    }

    /// Runs until told to stop and the last leg is gone.
    pub fn run(mut self) {
        while !(self.stopping && self.board.is_quiet()) {
            self.pulse.beat();
            let more = self.take_inbound() | self.take_reports();
            let now = clock::now();
            self.wake_due(now);
            self.refresh_facts(now);
            self.flush_due(now);
            self.board.push_orders();
            self.keeper.push();
            if !more {
                self.bell
                    .sleep(Some(self.next_wakeup().saturating_sub(clock::now())));
            }
        }
        self.flush_all();
        self.keeper.store().close();
    }

    /// Handles a batch from the queue; says whether there may be more.
    fn take_inbound(&mut self) -> bool {
        for _ in 0..BATCH {
            let Ok(inbound) = self.inbox.try_recv() else {
                return false;
            };
            match inbound {
                Inbound::Notice(notice) => self.take_notice(notice),
                Inbound::Stored(store::Answer {
                    conversation,
                    seq,
                    durable,
                }) => {
                    self.feed(conversation, clock::now(), Event::Stored { seq, durable });
                }
                Inbound::Upstream(action, answer) => {
                    let event = Event::Upstream { action, answer };
                    self.feed(action.conversation, clock::now(), event);
                }
                Inbound::Request(request) => self.serve(request),
                Inbound::Stop => self.stop(),
            }
        }
        true
    }

    fn take_reports(&mut self) -> bool {
        for _ in 0..BATCH {
            let Some((place, told)) = self.board.next_report() else {
                return false;
            };
            self.told(place, told);
        }
        true
    }

    fn take_notice(&mut self, notice: Notice) {
        let now = clock::now();
        match notice {
            Notice::Event(SipEvent::Incoming { key, flow, invite }) => {
                self.incoming(now, key, flow, *invite);
            }
            notice => {
                if let Some((place, told)) = self.board.notice(now, notice) {
                    self.told(place, told);
                }
            }
        }
    }

    fn told(&mut self, place: Place, told: Told) {
        let (conversation, leg) = place;
        match told {
            Told::Event(at, event) => self.feed(conversation, at, Event::Leg(leg, event)),
            Told::Note(at, line) => self.note(conversation, at, line),
            Told::Dialog(text) => {
                self.keeper.keep(Write::Dialog {
                    conversation,
                    leg: leg.0,
                    text,
                });
            }
            Told::Gone => self.gone(place),
        }
    }

    /// A leg's dialog is over; with the last one goes the call.
    fn gone(&mut self, (conversation, leg): Place) {
        self.keeper.keep(Write::DialogOver {
            conversation,
            leg: leg.0,
        });
        if self.board.has_leg(conversation) {
            return;
        }
        // Of a call that we refused signalling says no more than this; the
        // core's own reason stands.
        if self.calls.get(&conversation).is_some_and(|call| !call.over) {
            let ended = LegEvent::Ended(Cause::NearHangup);
            self.feed(conversation, clock::now(), Event::Leg(leg, ended));
        }
        let Some(mut call) = self.calls.remove(&conversation) else {
            return;
        };
        let entries = call.take_log();
        if !entries.is_empty() {
            self.keeper.keep(Write::Log {
                conversation,
                entries,
            });
        }
        self.dirty.remove(&conversation);
        if let Some(at) = call.wake_at {
            self.wakeups.remove(&(at, conversation));
        }
    }

    /// A call came in: of a trunk of ours, to somewhere, while there is room.
    fn incoming(&mut self, now: Duration, key: CallKey, flow: Flow, invite: Incoming) {
        let Some(trunk) = self.house.settings.trunk_of(flow.remote.ip()) else {
            tracing::warn!(event = "call_refused", reason = "unknown source", peer = %flow.remote);
            return self.board.turn_away(key, Cause::Forbidden);
        };
        let trunk = trunk.name.clone();
        let called = invite.request_uri.user().unwrap_or_default();
        let Some(book) = self.house.book_for(&called) else {
            tracing::warn!(event = "call_refused", reason = "no route", trunk, called = %Redacted(&called));
            return self.board.turn_away(key, Cause::NoRoute);
        };
        if self.stopping || !self.board.has_room() {
            return self.board.turn_away(key, Cause::Overload);
        }
        let caller = invite.from.uri.user().unwrap_or_default();
        let id = self.new_id();
        self.board.seat((id, FIRST), key, invite.offer);
        let offered = Offered {
            trunk,
            caller,
            called,
        };
        let lead = if offered.caller.is_empty() {
            id.to_string()
        } else {
            offered.caller.clone()
        };
        tracing::info!(event = "call_offered", CALL_ID = %id, trunk = offered.trunk,
            caller = %Redacted(&offered.caller), called = %Redacted(&offered.called));
        self.born(id, now, Direction::Inbound, &book, &offered, lead);
        let line = Line::signalling("INVITE", format!("received from {}", flow.remote));
        self.note(id, now, line);
        self.feed(id, now, Event::Offered(offered));
    }

    /// A conversation begins: its row, its facts.
    fn born(
        &mut self,
        id: ConversationId,
        now: Duration,
        direction: Direction,
        book: &Arc<Book>,
        offered: &Offered,
        lead: String,
    ) {
        self.keeper.keep(Write::Born(Birth {
            conversation: id,
            direction,
            trunk: offered.trunk.clone(),
            caller: offered.caller.clone(),
            called: offered.called.clone(),
            playbook: program_name(&book.program),
            started_ms: clock::wall().as_millis().try_into().unwrap_or(u64::MAX),
            born: now,
        }));
        let conversation = Conversation::new(id, Arc::clone(book));
        self.calls.insert(
            id,
            Call::new(id, now, lead, conversation, self.house.prompts_of(book)),
        );
        let facts = self.facts(&offered.called);
        self.feed(id, now, Event::Facts(facts));
    }

    /// Places a call; the gate decides whether it is dialled.
    fn originate(
        &mut self,
        originate: Originate,
        consented: bool,
        book: &Arc<Book>,
    ) -> ConversationId {
        let (id, now) = (self.new_id(), clock::now());
        let lead = originate.to.clone();
        let offered = Offered {
            trunk: originate.trunk.clone(),
            caller: String::new(),
            called: originate.to.clone(),
        };
        self.born(id, now, Direction::Outbound, book, &offered, lead);
        tracing::info!(event = "call_originated", CALL_ID = %id, trunk = originate.trunk,
            to = %Redacted(&originate.to), by = originate.by);
        let consent = facts::fact("consent_recorded", consented.into());
        self.feed(id, now, Event::Facts(vec![consent]));
        self.feed(id, now, Event::Originate(originate));
        id
    }

    fn facts(&self, number: &str) -> Vec<Fact> {
        let mut facts = facts::wall_clock();
        let healthy = self.keeper.store().health().failing.is_none();
        facts.push(facts::fact("store_ok", healthy.into()));
        facts.push(facts::fact(
            "calls_active",
            self.calls.len().try_into().unwrap_or(i64::MAX),
        ));
        facts.extend(self.leads.facts(number, clock::wall()));
        facts
    }

    /// Gives the conversation an input, then carries out all that it leads to.
    fn feed(&mut self, id: ConversationId, at: Duration, event: Event) {
        self.at_once.push_back((id, Input { at, event }));
        while let Some((id, input)) = self.at_once.pop_front() {
            if let Some(line) = Line::of_input(&input.event) {
                self.tell(id, input.at, line);
            }
            let Some(call) = self.calls.get_mut(&id) else {
                continue;
            };
            let now = clock::now();
            let at = input.at.min(now);
            self.dirty.insert(id);
            match call.handle(now, Input { at, ..input }) {
                Ok(()) => self.drain(id),
                Err(_) => self.fail(id),
            }
        }
    }

    fn drain(&mut self, id: ConversationId) {
        loop {
            let Some(call) = self.calls.get_mut(&id) else {
                return;
            };
            match call.poll() {
                Ok(Output::Wait(at)) => return self.wake_call_at(id, at),
                Ok(output) => self.carry_out(id, output),
                Err(_) => return self.fail(id),
            }
        }
    }

    fn carry_out(&mut self, id: ConversationId, output: Output) {
        match output {
            Output::Do(leg, command) => self.obey((id, leg), command),
            Output::Decided(record) => self.decided(id, record),
            Output::Persist(persist) => self.persist(id, persist),
            Output::Release(action) => self.settle(action, Write::Release(action), "released"),
            Output::Withdraw(action) => self.settle(action, Write::Withdraw(action), "withdrawn"),
            Output::Ended(outcome) => self.ended(id, outcome),
            Output::Wait(_) => {}
        }
    }

    fn obey(&mut self, place: Place, command: Command) {
        let (id, leg) = place;
        let now = clock::now();
        self.note(id, now, Line::of_command(&command));
        let known = match command {
            Command::Dial { to, trunk } => self.dial(place, &to, &trunk),
            command => {
                let prompts = self.calls.get(&id).map(|call| Arc::clone(&call.prompts));
                self.board
                    .carry_out(place, command, &prompts.unwrap_or_default())
            }
        };
        if let Some(event) = known {
            self.at_once.push_back((
                id,
                Input {
                    at: now,
                    event: Event::Leg(leg, event),
                },
            ));
        }
    }

    fn dial(&mut self, place: Place, to: &str, trunk: &str) -> Option<LegEvent> {
        self.leads.contacted(to, clock::wall());
        let invite = self.house.trunks.invite(trunk, to);
        let dialled = invite.and_then(|invite| self.board.dial(place, invite));
        dialled.err().map(LegEvent::Failed)
    }

    /// A decision that sends nothing: on something local, or a refusal.
    fn decided(&mut self, id: ConversationId, record: Record) {
        self.tell(id, record.at, Line::of_record(&record));
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if !record.external {
            call.decided(&record);
            self.dirty.insert(id);
            return;
        }
        if record.verdict == Verdict::Refused {
            tracing::info!(event = "refused", CALL_ID = %id, action = record.kind,
                rules = record.rules.join(" "));
        }
        let (facts, entries) = (call.facts(), call.take_log());
        let record = Box::new(record);
        self.keeper.keep(Write::Decision {
            conversation: id,
            record,
            facts,
            entries,
        });
    }

    /// An authorised action: kept, with all that led to it, before anybody hears of it.
    fn persist(&mut self, id: ConversationId, persist: Persist) {
        self.tell(id, persist.record.at, Line::of_record(&persist.record));
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        tracing::info!(event = "authorised", CALL_ID = %id, action = persist.record.kind);
        let commit = Commit {
            conversation: id,
            seq: persist.seq,
            entries: call.take_log(),
            record: persist.record,
            rows: persist.actions,
            facts: call.facts(),
        };
        let opted_out = commit.rows.iter().filter(|row| row.kind == "opt_out");
        opted_out.for_each(|row| self.leads.opt_out(&row.lead));
        if self
            .keeper
            .keep_now(Write::Commit(Box::new(commit)))
            .is_err()
        {
            let event = Event::Stored {
                seq: persist.seq,
                durable: false,
            };
            self.at_once.push_back((
                id,
                Input {
                    at: clock::now(),
                    event,
                },
            ));
        }
    }

    fn settle(&mut self, action: ActionId, write: Write, what: &str) {
        let id = action.conversation;
        let line = Line::action(what, action.to_string());
        self.note(id, clock::now(), line);
        self.keeper.keep(write);
    }

    /// The conversation is over; its legs may still be saying goodbye.
    fn ended(&mut self, id: ConversationId, outcome: Outcome) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.over = true;
        tracing::info!(event = "call_ended", CALL_ID = %id, cause = outcome.cause.name(),
            result = outcome.result, talk_ms = outcome.talk.as_millis() as u64);
        let (lead, entries) = (call.lead.clone(), call.take_log());
        let line = Line::action(
            "outcome",
            format!("{} ({})", outcome.result, outcome.cause.name()),
        );
        self.note(id, clock::now(), line);
        let ended = Ended {
            conversation: id,
            lead,
            outcome,
            entries,
        };
        self.keeper.keep(Write::Outcome(Box::new(ended)));
        if !self.board.has_leg(id) {
            self.gone((id, FIRST));
        }
    }

    /// The core panicked on this conversation: it ends alone, with an outcome.
    fn fail(&mut self, id: ConversationId) {
        tracing::error!(event = "conversation_failed", CALL_ID = %id);
        self.board.hang_up((id, FIRST));
        let outcome = Outcome {
            cause: Cause::InternalError,
            result: "failed".to_owned(),
            role: String::new(),
            stage: String::new(),
            answered_by: None,
            talk: Duration::ZERO,
            turns: 0,
            barge_ins: 0,
            authorised: 0,
            refused: 0,
            collected: Vec::new(),
        };
        if self.calls.get(&id).is_some_and(|call| !call.over) {
            self.ended(id, outcome);
        }
    }

    /// A line for the timeline that the core does not see.
    fn note(&mut self, id: ConversationId, at: Duration, line: Line) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.note(at, &line);
            self.dirty.insert(id);
            self.tell(id, at, line);
        }
    }

    /// Tells those who look on. Nobody looking on is the usual case.
    fn tell(&self, id: ConversationId, at: Duration, line: Line) {
        if self.house.events.receiver_count() == 0 {
            return;
        }
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let told = Seen {
            call: id.to_string(),
            entry: line.at(call.born, at),
        };
        // An error says that the last onlooker has just left.
        let _ = self.house.events.send(Arc::new(told));
    }

    fn wake_call_at(&mut self, id: ConversationId, at: Option<Duration>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut call.wake_at, at) {
            self.wakeups.remove(&(before, id));
        }
        if let Some(at) = at {
            self.wakeups.insert((at, id));
        }
    }

    fn wake_due(&mut self, now: Duration) {
        while let Some((at, id)) = self.wakeups.first().copied().filter(|(at, _)| *at <= now) {
            self.wakeups.remove(&(at, id));
            self.feed(id, now, Event::Wake);
        }
    }

    fn refresh_facts(&mut self, now: Duration) {
        if now < self.facts_at {
            return;
        }
        self.facts_at = now + FACTS_EVERY;
        let facts = facts::wall_clock();
        let live: Vec<_> = self.calls.keys().copied().collect();
        for id in live {
            self.feed(id, now, Event::Facts(facts.clone()));
        }
    }

    fn flush_due(&mut self, now: Duration) {
        if now >= self.flush_at {
            self.flush_at = now + FLUSH_EVERY;
            self.flush_all();
        }
    }

    fn flush_all(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            let entries = self
                .calls
                .get_mut(&id)
                .map(Call::take_log)
                .unwrap_or_default();
            if !entries.is_empty() {
                self.keeper.keep(Write::Log {
                    conversation: id,
                    entries,
                });
            }
        }
    }

    fn next_wakeup(&self) -> Duration {
        let idle = clock::now() + IDLE;
        let call = self.wakeups.first().map_or(idle, |(at, _)| *at);
        let flush = if self.dirty.is_empty() {
            idle
        } else {
            self.flush_at
        };
        idle.min(call).min(flush)
    }

    fn serve(&mut self, request: Request) {
        // A reply that nobody waits for any more is no error.
        match request {
            Request::Live(reply) => {
                let _ = reply.send(self.live());
            }
            Request::Originate(order, reply) => {
                let _ = reply.send(self.order(order));
            }
            Request::HangUp(id, reply) => {
                let lives = self.calls.get(&id).is_some_and(|call| !call.over);
                if lives {
                    self.feed(id, clock::now(), Event::OperatorHangup);
                }
                let _ = reply.send(lives);
            }
        }
    }

    fn order(&mut self, order: Order) -> Result<ConversationId, Failure> {
        if self.stopping {
            return Err(Failure::new("the daemon is going down"));
        }
        let (book, trunk) = self.house.outbound(&order).map_err(Failure::new)?;
        let by = match &order.consent {
            Some(basis) => format!("operator; consent: {basis}"),
            None => "operator".to_owned(),
        };
        let consented = order.consent.is_some();
        let originate = Originate {
            to: order.to,
            trunk,
            by,
        };
        Ok(self.originate(originate, consented, &book))
    }

    fn live(&self) -> Live {
        let calls = self
            .calls
            .values()
            .filter(|call| !call.over)
            .map(Call::live)
            .collect();
        Live {
            calls,
            media: self.board.media_counts(),
            counters: self.house.counters(),
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        let live: Vec<_> = self.calls.keys().copied().collect();
        for id in live {
            self.feed(id, clock::now(), Event::OperatorHangup);
        }
    }

    /// Ids rise with time, also over restarts, and never repeat: wall time in
    /// ms, room for 2^20 calls in each.
    fn new_id(&mut self) -> ConversationId {
        let now = u64::try_from(clock::wall().as_millis()).unwrap_or_default() << 20;
        self.last_id = now.max(self.last_id + 1);
        ConversationId(self.last_id)
    }
}

fn program_name(program: &Program) -> String {
    match program {
        Program::Playbook(playbook) => playbook.name.clone(),
        Program::Test(line) => line.name().to_owned(),
    }
}
