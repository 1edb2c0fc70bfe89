//! Leg ↔ dialog ↔ media slot ↔ conversation. It connects and translates; it
//! holds no timers and no rules. Called by the decision thread only.

mod agreement;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::RandomState;
use offhook_core::input::{Cause, Digit, Referral, Words};
use offhook_core::{Command, ConversationId, LegEvent, LegId};
use offhook_sip::sdp::SdpSession;
use offhook_sip::{
    CallKey, EndCause, Event as SipEvent, Failure, Flow, Invite, StoredDialog, Summary,
    TransferTarget, Uri,
};
use tokio::sync::mpsc;

use crate::control::MediaCounts;
use crate::media::{
    Digits, Full, Hearing, Media, Opened, Order as MediaOrder, ReportKind, Secret, SlotId, Speech,
};
use crate::orders::Orders;
use crate::phrases::Transcript;
use crate::prompts::Prompts;
use crate::reports::{Told, reported};
use crate::settings::{Keys, Sound, Told as Advertised};
use crate::signalling::{Notice, Order};
use crate::timeline::Line;
use crate::translate;

use agreement::{Agreement, local_media, reached_at};
pub use agreement::{SDP_REFUSED, local_srtp, random_octets};

/// A leg of a conversation.
pub type Place = (ConversationId, LegId);

/// One leg as the switchboard knows it.
#[derive(Default)]
struct Leg {
    key: Option<CallKey>,
    /// How its signalling goes.
    flow: Option<Flow>,
    slot: Option<SlotId>,
    /// What its peer and we have said of sound.
    agreement: Agreement,
    /// The peer's offer, until it is answered.
    offer: Option<Vec<u8>>,
    /// As the media edge said last.
    turn: u32,
    /// How its sound may be coded and encrypted.
    sound: Sound,
    /// The ear listens from the beginning, not from the first packet on.
    heard: bool,
    /// What it said, where the question is who answered: we called it.
    said: Option<Transcript>,
    /// Keys are secret now, those in INFO too.
    secret: bool,
    /// Its peer may have us call somebody else.
    follows: bool,
    /// Hang up as soon as there is a key to hang up, for this reason.
    doomed: Option<Cause>,
}

/// The switchboard.
pub struct Switchboard {
    media: Media,
    orders: Orders,
    legs: HashMap<Place, Leg, RandomState>,
    by_key: HashMap<CallKey, Place, RandomState>,
    by_slot: HashMap<SlotId, Place, RandomState>,
    placing: HashMap<u64, Place, RandomState>,
    next_token: u64,
    /// What one report or notice had to say beyond the first thing.
    more: VecDeque<(Place, Told)>,
    /// Address in our SDP, where it is not the socket's own.
    told: Option<Advertised>,
    /// Legs with media that conversations may have; slots beyond are for apologies.
    room: usize,
}

impl Switchboard {
    /// Connects media and signalling.
    pub fn new(
        media: Media,
        orders: mpsc::Sender<Order>,
        told: Option<Advertised>,
        room: usize,
    ) -> Self {
        Self {
            media,
            orders: Orders::new(orders),
            legs: HashMap::default(),
            by_key: HashMap::default(),
            by_slot: HashMap::default(),
            placing: HashMap::default(),
            next_token: 0,
            more: VecDeque::new(),
            told,
            room,
        }
    }

    /// Seats an incoming call on its leg.
    pub fn seat(
        &mut self,
        place: Place,
        (key, flow): (CallKey, Flow),
        offer: Option<Vec<u8>>,
        sound: Sound,
        heard: bool,
    ) {
        self.by_key.insert(key, place);
        self.legs.insert(
            place,
            Leg {
                key: Some(key),
                flow: Some(flow),
                offer,
                sound,
                heard,
                ..Leg::default()
            },
        );
    }

    /// The leg of a call.
    pub fn place_of(&self, key: CallKey) -> Option<Place> {
        self.by_key.get(&key).copied()
    }

    /// Refuses a call that gets no leg.
    pub fn turn_away(&mut self, key: CallKey, cause: Cause) {
        self.orders.reject(key, &cause.into());
    }

    /// Sends a call that gets no leg elsewhere.
    pub fn send_on(&mut self, key: CallKey, uri: &str) {
        self.orders.redirect(key, uri);
    }

    /// No leg is left.
    pub fn is_quiet(&self) -> bool {
        self.legs.is_empty()
    }

    /// A leg of the conversation is not gone yet.
    pub fn has_leg(&self, conversation: ConversationId) -> bool {
        self.slots_of(conversation).next().is_some()
    }

    /// A media slot is free for a conversation.
    pub fn has_room(&self) -> bool {
        let (used, _) = self.media.load();
        used < self.room
    }

    /// A media slot is free for an apology.
    pub fn has_spare(&self) -> bool {
        let (used, all) = self.media.load();
        used < all
    }

    /// Orders that signalling or media have no room for yet are sent as they make some.
    pub fn push_orders(&mut self) {
        self.orders.push();
        self.media.push_orders();
    }

    /// Slots of the media threads.
    pub fn media_counts(&self) -> MediaCounts {
        let (used, _) = self.media.load();
        MediaCounts {
            used: used as u64,
            slots: self.room as u64,
            threads: self.media.pulses().len() as u64,
        }
    }

    /// Why nothing is recorded at the moment, where something should be.
    pub fn not_recording(&self) -> Option<String> {
        self.media.not_recording()
    }

    /// Sends BYE in a dialog that a crash left behind.
    pub fn abandon(&mut self, place: Place, dialog: Box<StoredDialog>) {
        let token = self.token(place);
        self.orders.abandon(token, dialog);
    }

    /// Seats a leg whose key signalling will choose.
    fn token(&mut self, place: Place) -> u64 {
        self.legs.entry(place).or_default();
        self.next_token += 1;
        self.placing.insert(self.next_token, place);
        self.next_token
    }

    /// What signalling says, and of which leg; nothing when it concerns none.
    pub fn notice(&mut self, now: Duration, notice: Notice) -> Option<(Place, Told)> {
        let event = match notice {
            Notice::Placed { token, key } => {
                self.placed(token, key);
                return None;
            }
            Notice::Dialog { key, text } => {
                return Some((*self.by_key.get(&key)?, Told::Dialog(text)));
            }
            Notice::Event(event) => event,
        };
        let place = *self.by_key.get(&key_of(&event)?)?;
        let told = self.signalled(now, place, event)?;
        Some((place, told))
    }

    fn placed(&mut self, token: u64, key: CallKey) {
        let Some(place) = self.placing.remove(&token) else {
            return;
        };
        let Some(leg) = self.legs.get_mut(&place) else {
            return;
        };
        leg.key = Some(key);
        self.by_key.insert(key, place);
        if let Some(cause) = leg.doomed {
            self.orders.hang_up(key, cause);
        }
    }

    fn signalled(&mut self, now: Duration, place: Place, event: SipEvent) -> Option<Told> {
        let heard = |event| Some(Told::Event(now, event));
        match event {
            // Incoming calls are seated by the decision thread, which routes them.
            SipEvent::Incoming { .. } => None,
            SipEvent::Cancelled { reason, .. } => self.explained(
                now,
                place,
                reason.as_deref(),
                LegEvent::Ended(Cause::Cancelled),
            ),
            SipEvent::Confirmed { sdp, .. } => {
                self.connect_late(place, sdp);
                None
            }
            SipEvent::Progress { sdp, .. } => {
                let media = sdp.is_some_and(|sdp| self.connect(place, &sdp).is_ok());
                heard(LegEvent::Ringing { media })
            }
            SipEvent::Answered { sdp, .. } => heard(self.answered(place, sdp)),
            SipEvent::Failed { failure, .. } => {
                heard(LegEvent::Failed(translate::failure(&failure)))
            }
            SipEvent::Reinvite { offer, .. } => {
                self.reinvited(place, offer);
                None
            }
            SipEvent::ReinviteConfirmed { sdp, .. } => {
                self.connect_late(place, sdp);
                None
            }
            SipEvent::ReinviteCancelled { .. } => None,
            SipEvent::Ended { cause, .. } => {
                let reason = match &cause {
                    EndCause::RemoteBye { reason } => reason.as_deref(),
                    EndCause::LocalBye
                    | EndCause::LocalCancel
                    | EndCause::AckTimeout
                    | EndCause::PrackTimeout
                    | EndCause::SessionExpired => None,
                };
                let over = LegEvent::Ended(translate::ending(&cause));
                self.explained(now, place, reason, over)
            }
            SipEvent::Rerouted { flow, failure, .. } => Some(Told::Note(
                now,
                Line::signalling("another way", refused_at(&flow, &failure)),
            )),
            SipEvent::Redirected { flow, failure, .. } => Some(Told::Note(
                now,
                Line::signalling("sent elsewhere", refused_at(&flow, &failure)),
            )),
            SipEvent::EarlyAnswer { sdp, .. } => {
                self.connect_late(place, Some(sdp));
                None
            }
            SipEvent::Changed { sdp, .. } => {
                self.connect_changed(place, sdp);
                None
            }
            SipEvent::Unchanged { status, .. } => Some(Told::Note(
                now,
                Line::signalling("unchanged", status.to_string()),
            )),
            SipEvent::Info { kind, body, .. } => {
                let key = translate::info_key(&kind, &body)?;
                let secret = self.legs.get(&place).is_some_and(|leg| leg.secret);
                if let (true, Digit::Key(key)) = (secret, key) {
                    // Where the keys of a secret are kept, all of them are.
                    self.order(place, MediaOrder::Press(key as u8));
                    return None;
                }
                heard(LegEvent::Digit(key))
            }
            SipEvent::TransferProgress { .. } => heard(LegEvent::Referral(Referral::Rings)),
            SipEvent::TransferEnded { outcome, .. } => {
                heard(LegEvent::Referral(translate::referral(&outcome)))
            }
            SipEvent::TransferAsked {
                key, to, replaces, ..
            } => {
                let asked = self.asked_onward(place, &to, replaces);
                if asked.is_none() {
                    self.orders.answer_transfer(key, false);
                }
                asked.and_then(heard)
            }
            // Trunks are signalling's own: see `crate::trunks`.
            SipEvent::Trunk { .. } => None,
            SipEvent::Released { .. } => self.release(place).then_some(Told::Gone),
            SipEvent::Message {
                sent,
                summary,
                repeated,
                ..
            } => Some(Told::Note(now, message_line(sent, &summary, repeated))),
        }
    }

    /// What happened, after the reason that the peer gave.
    fn explained(
        &mut self,
        now: Duration,
        place: Place,
        reason: Option<&str>,
        event: LegEvent,
    ) -> Option<Told> {
        let event = Told::Event(now, event);
        let Some(reason) = reason else {
            return Some(event);
        };
        self.more.push_back((place, event));
        let line = Line::signalling("reason", translate::reason_text(reason));
        Some(Told::Note(now, line))
    }

    /// What the last notice had to say beyond the first thing.
    pub fn more(&mut self) -> Option<(Place, Told)> {
        self.more.pop_front()
    }

    /// Carries out what the core ordered. What becomes known at once is given back.
    pub fn carry_out(
        &mut self,
        place: Place,
        command: Command,
        prompts: &Prompts,
    ) -> Option<LegEvent> {
        match command {
            Command::Ring => self.ring(place),
            Command::Answer => return Some(self.answer(place)),
            Command::Refuse(cause) => self.refuse(place, cause),
            Command::HangUp(cause) => self.hang_up(place, cause),
            // The decision thread knows trunks and routes: see `dial` and `refer`.
            Command::Dial { .. } | Command::Refer { .. } => {}
            Command::ReferToLeg { with } => return self.refer_to_leg(place, with),
            Command::TakeReferral { taken } => {
                if let Some(key) = self.legs.get(&place).and_then(|leg| leg.key) {
                    self.orders.answer_transfer(key, taken);
                }
            }
            Command::ReportReferral { how } => {
                let key = self.legs.get(&place).and_then(|leg| leg.key);
                if let Some((key, status)) = key.zip(translate::report(how)) {
                    self.orders.report_transfer(key, status);
                }
            }
            Command::Play(play) => {
                let script = prompts.script(&play.prompts);
                let (turn, number) = (play.turn.0, play.play);
                let interruptible = play.interruptible;
                self.order(
                    place,
                    MediaOrder::Play {
                        turn,
                        play: number,
                        script,
                        interruptible,
                    },
                );
            }
            Command::Stop { turn: _ } => self.order(place, MediaOrder::Stop),
            Command::Resume { turn, play } => {
                self.order(place, MediaOrder::Resume { turn: turn.0, play });
            }
            Command::Press { keys } => self.press(place, &keys),
            Command::Collect { secret } => {
                if let Some(leg) = self.legs.get_mut(&place) {
                    leg.secret = secret.is_some();
                }
                let ascii = |key: char| u8::try_from(key).unwrap_or(b'#');
                let secret = secret.map(|it| (it.digits, it.terminator.map(ascii)));
                self.order(place, MediaOrder::Collect { secret });
            }
            // The decision thread knows the sinks: see `hand_over`.
            Command::HandOver { .. } => {}
            Command::Join { with } => return self.join(place, with),
            Command::Echo => self.order(place, MediaOrder::Echo),
            Command::TestTone => self.order(place, MediaOrder::Tone { hz: TEST_TONE_HZ }),
        }
        None
    }

    /// What was sealed on a leg; it is nowhere else from then on.
    pub fn take_secret(&self, place: Place) -> Option<Secret> {
        self.media.take_secret(self.legs.get(&place)?.slot?)
    }

    /// Both on one media thread from their beginning; `Joined` comes from there.
    fn join(&mut self, place: Place, with: LegId) -> Option<LegEvent> {
        let slot = |place| self.legs.get(place).and_then(|leg: &Leg| leg.slot);
        let both = slot(&place).zip(slot(&(place.0, with)));
        let joined = both.is_some_and(|(one, other)| self.media.join(one, other).is_ok());
        (!joined).then_some(LegEvent::JoinFailed)
    }

    /// Asks a leg's peer to call somebody else; what comes of it is told later.
    pub fn refer(&mut self, place: Place, to: TransferTarget) -> Option<LegEvent> {
        let Some(key) = self.legs.get(&place).and_then(|leg| leg.key) else {
            return Some(LegEvent::Referral(Referral::Refused));
        };
        self.orders.transfer(key, to);
        None
    }

    /// A peer asks us to call somebody else: a person whom we called may, where its
    /// trunk lets it, and name a number; nobody else. Where they have asked there
    /// first, ours takes the place of their call.
    fn asked_onward(&self, place: Place, to: &Uri, replaces: Option<String>) -> Option<LegEvent> {
        let leg = self.legs.get(&place)?;
        let may = leg.follows && place.1 != LegId(0);
        let to = to.user().filter(|user| may && !user.is_empty())?;
        Some(LegEvent::AskedOnward { to, replaces })
    }

    fn refer_to_leg(&mut self, place: Place, with: LegId) -> Option<LegEvent> {
        let other = self.legs.get(&(place.0, with)).and_then(|leg| leg.key);
        match other {
            Some(other) => self.refer(place, TransferTarget::PeerOf(other)),
            None => Some(LegEvent::Referral(Referral::Refused)),
        }
    }

    fn ring(&mut self, place: Place) {
        if let Some(key) = self.legs.get(&place).and_then(|leg| leg.key) {
            self.orders.ring(key);
        }
    }

    /// Both directions on tape, where the config says so; from the answer on.
    fn record(&mut self, place: Place) {
        let Some(leg) = self.legs.get(&place) else {
            return;
        };
        let Some(slot) = leg.slot else { return };
        if let Err(error) = self.media.record(slot, &tape_name(place)) {
            tracing::error!(message = "not_recorded", CALL_ID = %place.0, %error);
        }
    }

    /// Hears what a leg hears.
    pub fn listen(&mut self, place: Place) -> Result<Hearing, Full> {
        let slot = self.legs.get(&place).and_then(|leg| leg.slot);
        self.media.listen(slot.ok_or(Full::Gone)?)
    }

    /// A recogniser understood these words of a leg: evidence for its ear, which alone
    /// says who answered.
    pub fn understood(&mut self, place: Place, words: &Words) {
        let said = self.legs.get_mut(&place).and_then(|leg| leg.said.as_mut());
        let news = said.and_then(|it| it.take(words.utterance, &words.text, words.last));
        if let Some(news) = news {
            self.order(place, MediaOrder::Understand(news));
        }
    }

    /// Lets an operator speak on a leg, now; speech over it cuts it.
    pub fn speak(&mut self, place: Place) -> Result<Speech, Full> {
        let leg = self.legs.get(&place).ok_or(Full::Gone)?;
        let (slot, turn) = (leg.slot.ok_or(Full::Gone)?, leg.turn);
        self.media.speak(slot, turn, OPERATOR_PLAY, true)
    }

    /// Takes a media slot for the leg: none free means that the box is full.
    fn open(&mut self, place: Place) -> Result<(), Cause> {
        let sibling = self.slots_of(place.0).find_map(|slot| slot);
        let Opened { slot, rtp, .. } = self.media.open(sibling).map_err(|error| {
            tracing::warn!(message = "no_media", CALL_ID = %place.0, %error);
            Cause::Overload
        })?;
        let told = self.told;
        let leg = self.legs.entry(place).or_default();
        let address = reached_at(rtp.ip(), leg.flow.as_ref(), told);
        leg.slot = Some(slot);
        let local = local_media(place.0, address, rtp.port(), &leg.sound);
        leg.agreement.session = Some(Box::new(SdpSession::new(local?)));
        self.by_slot.insert(slot, place);
        Ok(())
    }

    /// Legs of one conversation: they are numbered from 0 and live on one media thread.
    fn slots_of(&self, conversation: ConversationId) -> impl Iterator<Item = Option<SlotId>> {
        let leg = move |leg| self.legs.get(&(conversation, LegId(leg)));
        (0..LEGS_MAX).filter_map(leg).map(|leg| leg.slot)
    }

    fn refuse(&mut self, place: Place, cause: Cause) {
        if let Some(key) = self.legs.get(&place).and_then(|leg| leg.key) {
            self.orders.reject(key, &cause.into());
        }
    }

    /// Ends a leg in whatever state it is; its peer hears why.
    pub fn hang_up(&mut self, place: Place, cause: Cause) {
        let Some(leg) = self.legs.get_mut(&place) else {
            return;
        };
        match leg.key {
            Some(key) => self.orders.hang_up(key, cause),
            None => leg.doomed = Some(cause),
        }
    }

    /// Calls out: takes a slot and hands the INVITE to signalling.
    pub fn dial(
        &mut self,
        place: Place,
        sound: Sound,
        follows: bool,
        mut invite: Box<Invite>,
    ) -> Result<(), Cause> {
        let leg = self.legs.entry(place).or_default();
        leg.sound = sound;
        leg.flow = Some(invite.way.flow);
        self.open(place)?;
        let leg = self.legs.get_mut(&place).ok_or(Cause::InternalError)?;
        leg.heard = true;
        leg.said = Some(Transcript::default());
        leg.follows = follows;
        let session = leg.agreement.session.as_mut();
        invite.offer = session.ok_or(Cause::InternalError)?.offer();
        let token = self.token(place);
        self.orders.place(token, invite);
        Ok(())
    }

    /// Presses keys as the leg's trunk wants it.
    fn press(&mut self, place: Place, keys: &str) {
        let Some(leg) = self.legs.get(&place) else {
            return;
        };
        match (leg.sound.keys, leg.key) {
            (Keys::Info, Some(key)) => self.orders.press(key, keys),
            (Keys::Info | Keys::Event | Keys::Tone, _) => {
                let digits = keys.bytes().take(Digits::new().capacity()).collect();
                self.order(place, MediaOrder::SendDigits(digits));
            }
        }
    }

    fn order(&mut self, place: Place, order: MediaOrder) {
        let slot = self.legs.get(&place).and_then(|leg| leg.slot);
        if let Some(slot) = slot
            && let Err(error) = self.media.order(slot, order)
        {
            tracing::error!(message = "media_order_failed", CALL_ID = %place.0, %error);
        }
    }

    /// Signalling has let go of a leg; gives whether it is gone. One with media is gone
    /// when its media thread has said what there is to say of it.
    fn release(&mut self, place: Place) -> bool {
        let Some(leg) = self.legs.get_mut(&place) else {
            return true;
        };
        if let Some(key) = leg.key.take() {
            self.by_key.remove(&key);
        }
        if let Some(slot) = leg.slot
            && self.media.order(slot, MediaOrder::Close).is_ok()
        {
            return false;
        }
        self.legs.remove(&place);
        true
    }

    /// What a media thread says, and of which leg.
    pub fn next_report(&mut self) -> Option<(Place, Told)> {
        while self.more.is_empty() {
            let report = self.media.next_report()?;
            let Some(place) = self.by_slot.get(&report.slot).copied() else {
                continue;
            };
            match report.kind {
                ReportKind::Closed(_) => drop(self.by_slot.remove(&report.slot)),
                ReportKind::BargeIn { turn, .. }
                | ReportKind::Turn { turn }
                | ReportKind::EventsLost { turn, .. } => {
                    if let Some(leg) = self.legs.get_mut(&place) {
                        leg.turn = turn;
                    }
                }
                _ => {}
            }
            let more = &mut self.more;
            reported(&report, |told| more.push_back((place, told)));
            let over = |leg: &Leg| leg.slot == Some(report.slot);
            if matches!(report.kind, ReportKind::Closed(_))
                && self.legs.get(&place).is_some_and(over)
            {
                self.legs.remove(&place);
                self.more.push_back((place, Told::Gone));
            }
        }
        self.more.pop_front()
    }
}

/// Number of whatever an operator says: the core counts its own from 1.
pub const OPERATOR_PLAY: u32 = u32::MAX;

/// Legs of a conversation at most.
const LEGS_MAX: u8 = 4;
/// The caller's tape is named by the conversation; a later leg's says which.
fn tape_name((conversation, leg): Place) -> String {
    if leg.0 == 0 {
        conversation.to_string()
    } else {
        format!("{conversation}.{}", leg.0)
    }
}

/// Test frequency of ITU-T O.6, kept off a submultiple of the sampling rate.
const TEST_TONE_HZ: u16 = 1004;

fn key_of(event: &SipEvent) -> Option<CallKey> {
    match event {
        SipEvent::Incoming { key, .. }
        | SipEvent::Cancelled { key, .. }
        | SipEvent::Confirmed { key, .. }
        | SipEvent::Progress { key, .. }
        | SipEvent::Answered { key, .. }
        | SipEvent::Failed { key, .. }
        | SipEvent::Rerouted { key, .. }
        | SipEvent::Redirected { key, .. }
        | SipEvent::Reinvite { key, .. }
        | SipEvent::ReinviteCancelled { key }
        | SipEvent::EarlyAnswer { key, .. }
        | SipEvent::Changed { key, .. }
        | SipEvent::Unchanged { key, .. }
        | SipEvent::Info { key, .. }
        | SipEvent::TransferProgress { key, .. }
        | SipEvent::TransferEnded { key, .. }
        | SipEvent::TransferAsked { key, .. }
        | SipEvent::ReinviteConfirmed { key, .. }
        | SipEvent::Ended { key, .. }
        | SipEvent::Message { key, .. }
        | SipEvent::Released { key } => Some(*key),
        SipEvent::Trunk { .. } => None,
    }
}

fn refused_at(flow: &Flow, failure: &Failure) -> String {
    let status = match failure.local {
        true => "nothing came".to_owned(),
        false => format!("{} {}", failure.status.code(), failure.phrase),
    };
    format!("{}: {status}", flow.remote)
}

fn message_line(sent: bool, summary: &Summary, repeated: bool) -> Line {
    let direction = if sent { "sent" } else { "received" };
    let again = if repeated { ", again" } else { "" };
    Line::signalling(summary.to_string(), format!("{direction}{again}"))
}
