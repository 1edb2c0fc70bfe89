//! The decision thread: all conversations, in one total order.
//!
//! It sleeps on a bell. Whatever rings - a packet that means something, a SIP
//! event, a commit, an order from the command line, a timer - becomes an input
//! of one conversation; what that conversation wants is carried out before the
//! next input is looked at. It touches neither disk nor socket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use offhook_core::input::{Fact, UpstreamAnswer};
use offhook_core::output::Approval;
use offhook_core::{ActionId, ConversationId, Event, Input, LegEvent, LegId, Output, Standing};
use offhook_sip::Event as SipEvent;

use crate::backlog::Backlog;
use crate::bell::{Bell, nap_after};
use crate::call::Call;
use crate::campaigns::Campaigns;
use crate::clock;
use crate::control::Told as Seen;
use crate::engine::Recognised;
use crate::facts;
use crate::house::{House, Rules};
use crate::keeper::Keeper;
use crate::leads::Leads;
use crate::media::PlayoutFigures;
use crate::offers::Offers;
use crate::reports::Told;
use crate::signalling::Notice;
use crate::store::{self, Store, Write};
use crate::switchboard::{Place, Switchboard};
use crate::timeline::Line;
use crate::tray::Inbound;
use crate::vigil::{Fate, Vigil};
use crate::watchdog::Pulse;
use crate::zones::Zones;

mod arrivals;
mod calls;
mod campaigns;
mod decrees;
mod fallback;
mod outputs;
mod people;
mod requests;

/// The caller's leg, or the one that we called.
const FIRST: LegId = LegId(0);
/// With the store's linger and a commit, what is lost of a log by a kill is less
/// than 250 ms (what leads to an action is kept with it).
const FLUSH_EVERY: Duration = Duration::from_millis(200);
/// The wall clock's facts change once a minute.
const FACTS_EVERY: Duration = Duration::from_secs(60);
/// Even with nothing to do the thread turns this often, for the watchdog.
const IDLE: Duration = Duration::from_millis(500);
/// Six hundred inputs a second and more are looked at this often: what they lead to is
/// a call that is answered a few hundredths later.
const LONG_NAP: Duration = Duration::from_millis(20);
/// Inputs taken from one source before the others get their turn.
const BATCH: usize = 256;

/// The decision thread's state.
pub struct Decision {
    house: Arc<House>,
    inbox: Receiver<Inbound>,
    bell: Bell,
    board: Switchboard,
    keeper: Keeper,
    leads: Leads,
    campaigns: Campaigns,
    offers: Offers,
    /// Boxed: a call is some kB, which the tree would move about.
    calls: BTreeMap<ConversationId, Box<Call>>,
    wakeups: BTreeSet<(Duration, ConversationId)>,
    /// Inputs that a command led to, handled before anything else.
    at_once: VecDeque<(ConversationId, Input)>,
    dirty: BTreeSet<ConversationId>,
    /// What people and the box have decreed.
    standing: Standing,
    /// Whom not to call; where numbers are.
    rules: Rules,
    /// How actions fared.
    vigil: Vigil,
    /// Overrides so far; they are named by it.
    decreed: u64,
    /// The upstream was far behind when it was last looked at.
    overload: bool,
    /// Actions that wait for a person.
    approvals: BTreeMap<ActionId, Approval>,
    backlog: Backlog,
    flush_at: Duration,
    facts_at: Duration,
    last_id: u64,
    stopping: bool,
    store_works: bool,
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
        (leads, campaigns): (Leads, Campaigns),
        pulse: Pulse,
    ) -> Self {
        let rules = Rules {
            barred: house.settings.outbound.do_not_call.clone(),
            zones: Zones::load(),
        };
        Self {
            house,
            inbox,
            bell,
            board,
            keeper: Keeper::new(store),
            leads,
            campaigns,
            offers: Offers::default(),
            calls: BTreeMap::new(),
            wakeups: BTreeSet::new(),
            at_once: VecDeque::new(),
            dirty: BTreeSet::new(),
            standing: Standing::default(),
            rules,
            vigil: Vigil::default(),
            decreed: 0,
            overload: false,
            approvals: BTreeMap::new(),
            backlog: Backlog::default(),
            flush_at: Duration::ZERO,
            facts_at: clock::now() + FACTS_EVERY,
            last_id: 0,
            stopping: false,
            store_works: true,
            pulse,
        }
    }

    /// Takes up what was decreed before the start and how actions fared, and keeps the
    /// texts that govern now; `known` are those that were kept before.
    pub fn take_up(
        &mut self,
        standing: Standing,
        decreed: u64,
        vigil: Vigil,
        known: &BTreeSet<String>,
    ) {
        self.standing = standing;
        self.vigil = vigil;
        self.decreed = decreed;
        self.keep_texts(known);
    }

    /// Runs until told to stop and the last leg is gone.
    pub fn run(mut self) {
        while !(self.stopping && self.board.is_quiet()) {
            self.pulse.beat();
            let (found, more) = self.take_all();
            let now = clock::now();
            self.wake_due(now);
            self.refresh_facts(now);
            self.flush_due(now);
            self.work_campaigns();
            self.board.push_orders();
            self.keeper.push();
            self.watch_load(now, more);
            if found > 0 && !more {
                self.bell.nap(nap_after(found, LONG_NAP));
            } else if !more {
                self.bell
                    .sleep(Some(self.next_wakeup().saturating_sub(clock::now())));
            }
        }
        self.flush_all();
        self.keeper.finish();
    }

    /// Signalling refuses new calls while this thread, or the store, does not keep up.
    fn watch_load(&mut self, now: Duration, more: bool) {
        let late = self.backlog.look(now, more || self.keeper.is_behind());
        // Relaxed: a flag that stands alone.
        let shown = &self.house.sip.decision_late;
        shown.store(late, Ordering::Relaxed);
    }

    /// Handles a batch of each source; says how much there was, and whether there may
    /// be more.
    fn take_all(&mut self) -> (usize, bool) {
        let taken = [self.take_inbound(), self.take_reports()];
        (taken.iter().sum(), taken.contains(&BATCH))
    }

    /// Handles a batch from the queue; says how many.
    fn take_inbound(&mut self) -> usize {
        for taken in 0..BATCH {
            let Ok(inbound) = self.inbox.try_recv() else {
                return taken;
            };
            match inbound {
                Inbound::Notice(notice) => self.take_notice(notice),
                Inbound::Stored(store::Answer {
                    conversation,
                    seq,
                    durable,
                }) => {
                    if self.dial_kept(conversation, seq, durable) {
                        continue;
                    }
                    if !durable {
                        self.taken_back(conversation, |asked, _| asked == seq);
                    }
                    self.feed(conversation, clock::now(), Event::Stored { seq, durable });
                }
                Inbound::HandedOver((id, leg), taken) => {
                    let event = LegEvent::HandedOver { taken };
                    self.feed(id, clock::now(), Event::Leg(leg, event));
                }
                Inbound::Upstream(action, answer) => {
                    self.leads.backlog = self.leads.backlog.saturating_sub(1);
                    if answer == UpstreamAnswer::Rejected {
                        self.went_wrong(action, Fate::Rejected);
                    }
                    let event = Event::Upstream { action, answer };
                    self.feed(action.conversation, clock::now(), event);
                }
                Inbound::Words(recognised) => self.hear(recognised),
                Inbound::Arrived(arrived) => self.arrived(*arrived),
                Inbound::Request(request) => self.serve(request),
                Inbound::Drain => self.stopping = true,
                Inbound::Stop => self.stop(),
            }
        }
        BATCH
    }

    /// Words, at the time of the call at which they were said.
    fn hear(&mut self, recognised: Recognised) {
        let Some(call) = self.calls.get(&recognised.conversation) else {
            return;
        };
        let words = &recognised.words;
        let unsure = words.last.then(|| self.vigil.heard(words.confidence));
        let said = recognised.to_ms.map(Duration::from_millis);
        let at = said.map_or_else(clock::now, |said| call.born.saturating_add(said));
        let place = (recognised.conversation, recognised.leg);
        self.board.understood(place, words);
        let event = Event::Leg(recognised.leg, LegEvent::Words(recognised.words));
        self.feed(recognised.conversation, at, event);
        if let Some(reason) = unsure.flatten() {
            self.overloaded(&reason);
        }
    }

    fn take_reports(&mut self) -> usize {
        for taken in 0..BATCH {
            let Some((place, told)) = self.board.next_report() else {
                return taken;
            };
            self.told(place, told);
        }
        BATCH
    }

    fn take_notice(&mut self, notice: Notice) {
        let now = clock::now();
        match notice {
            Notice::Event(SipEvent::Incoming { key, flow, invite }) => {
                self.incoming(now, key, flow, *invite);
            }
            notice => {
                let mut next = self.board.notice(now, notice);
                while let Some((place, told)) = next {
                    self.told(place, told);
                    next = self.board.more();
                }
            }
        }
    }

    fn told(&mut self, place: Place, told: Told) {
        let (conversation, leg) = place;
        match told {
            Told::Event(at, event) => {
                if let (LegEvent::Joined, Some(call)) = (&event, self.calls.get_mut(&conversation))
                {
                    call.joined.get_or_insert(at);
                }
                self.feed(conversation, at, Event::Leg(leg, event));
            }
            Told::Note(at, line) => self.note(conversation, at, line),
            Told::Strange { foreign, forged } => {
                let house = &self.house;
                // Relaxed: numbers that are shown, they order nothing.
                house
                    .rtp_foreign
                    .fetch_add(foreign.into(), Ordering::Relaxed);
                house.rtp_forged.fetch_add(forged.into(), Ordering::Relaxed);
            }
            Told::Playout(at, figures) => self.judge_playout(conversation, at, figures),
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

    /// Gives the conversation an input, then carries out all that it leads to.
    fn feed(&mut self, id: ConversationId, at: Duration, event: Event) {
        self.at_once.push_back((id, Input { at, event }));
        while let Some((id, input)) = self.at_once.pop_front() {
            self.tell(id, input.at, || Line::of_input(&input.event));
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

    /// A line for the timeline that the core does not see.
    fn note(&mut self, id: ConversationId, at: Duration, line: Line) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.note(at, &line);
            self.dirty.insert(id);
            self.tell(id, at, || Some(line));
        }
    }

    /// Whether two callers heard each other soon enough, as the config has it.
    fn judge_playout(&mut self, id: ConversationId, at: Duration, figures: PlayoutFigures) {
        let bound = self.house.settings.media.playout.as_millis();
        if u128::from(figures.p95_ms) <= bound {
            return;
        }
        // Relaxed: a count that stands alone.
        self.house
            .playout_over_bound
            .fetch_add(1, Ordering::Relaxed);
        let detail = format!("{figures}; 95 of 100 frames may wait {bound} ms");
        tracing::warn!(message = "playout_over_bound", CALL_ID = %id, detail);
        self.note(id, at, Line::media("playout_over_bound", detail));
    }

    /// Tells those who look on. Nobody looking on is the usual case: then the line
    /// is not even written.
    fn tell(&self, id: ConversationId, at: Duration, line: impl FnOnce() -> Option<Line>) {
        if self.house.events.receiver_count() == 0 {
            return;
        }
        let (Some(call), Some(line)) = (self.calls.get(&id), line()) else {
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
        let wall = clock::wall();
        for id in self.dialogues(None) {
            let Some(call) = self.calls.get(&id) else {
                continue;
            };
            let facts = self.rules.zones.facts(&call.lead, wall);
            self.feed(id, now, Event::Facts(facts));
        }
    }

    /// The gate hears at once when the store stops or starts to work.
    fn watch_store(&mut self, now: Duration) {
        let works = self.keeper.store().health().failing.is_none();
        if works != std::mem::replace(&mut self.store_works, works) {
            if !works {
                self.overloaded("the store does not take anything");
            }
            self.tell_all(now, &[facts::fact("store_ok", works.into())]);
        }
    }

    fn tell_all(&mut self, now: Duration, facts: &[Fact]) {
        for id in self.dialogues(None) {
            self.feed(id, now, Event::Facts(facts.to_vec()));
        }
    }

    fn flush_due(&mut self, now: Duration) {
        if now >= self.flush_at {
            self.flush_at = now + FLUSH_EVERY;
            self.watch_store(now);
            self.watch_backlog();
            self.flush_all();
        }
    }

    fn flush_all(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            let writes = self.calls.get_mut(&id).map(|call| call.take_writes());
            for write in writes.into_iter().flatten() {
                self.keeper.keep(write);
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
}
