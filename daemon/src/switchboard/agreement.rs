//! What legs agree on with their peers: offers and answers, whose keys are fresh, and
//! who is held. Descriptions are read and written by `offhook_sip::sdp`; what was
//! agreed on goes to the media edge. Called by the switchboard, for one leg at a time.

use std::net::IpAddr;

use offhook_core::input::Cause;
use offhook_core::{ConversationId, LegEvent};
use offhook_sip::rtp::srtp::MasterKey;
use offhook_sip::sdp::{LocalMedia, LocalSrtp, Negotiated, SRTP_RANDOM, SdpSession};
use offhook_sip::{CallKey, Flow, ReinviteAnswer};

use super::{Leg, Place, Switchboard};
use crate::clock;
use crate::media::Order as MediaOrder;
use crate::media::system::random;
use crate::orders::Refused;
use crate::reports::Told;
use crate::settings::{Keys, Sound, Srtp, Told as Advertised};
use crate::timeline::Line;
use crate::translate;

/// Packet length we like (RFC 3551 §4.2).
const PTIME_MS: u8 = 20;
/// How the timeline names what stands against a description of the peer's.
pub const SDP_REFUSED: &str = "sdp_refused";

/// How far a leg and its peer have come.
#[derive(Default)]
pub(super) struct Agreement {
    /// From its first media on.
    pub session: Option<Box<SdpSession>>,
    /// Our offer is out, or the call came without one.
    offered: bool,
    /// Whether the peer holds us, once anything was agreed on.
    held: Option<bool>,
    /// What the core knows of that.
    told_held: bool,
    /// The core has been told of the answer.
    up: bool,
    /// Of what we send now.
    key: Option<MasterKey>,
}

impl Agreement {
    /// A key that was in use never is again: what it protects would be counted from the
    /// beginning (RFC 3711 §9.1).
    fn renew_keys(&mut self, now: Option<MasterKey>) {
        let before = std::mem::replace(&mut self.key, now);
        // Before the answer each of several phones may still take one that we have offered.
        let spent = self.up && before.is_some() && before != now;
        if let (true, Some(session)) = (spent, &mut self.session)
            && let Some(old) = &session.local.srtp
            && let Ok(octets) = random_octets()
        {
            let fresh = LocalSrtp::new(old.required, &octets);
            session.local.srtp = Some(match now {
                Some(key) => fresh.keeping(key),
                None => fresh,
            });
        }
    }

    /// The session with another peer on the same leg: of what was agreed on with this
    /// one nothing is left, and it does not know our keys.
    fn anew(&self, srtp: Srtp) -> Result<SdpSession, Refused> {
        let mut session = self.session.as_deref().ok_or(Cause::InternalError)?.clone();
        let srtp = local_srtp(srtp).map_err(|_| Cause::InternalError)?;
        session.begin_anew(srtp);
        Ok(session)
    }
}

impl Switchboard {
    /// A new call takes the place of one that is up (RFC 3891): the leg and its
    /// audio stay, the old dialog is hung up. Without a common description the new one
    /// is refused, and the old one goes on.
    pub fn take_over(
        &mut self,
        old: CallKey,
        new: CallKey,
        offer: Option<Vec<u8>>,
    ) -> Option<Place> {
        let place = *self.by_key.get(&old)?;
        match self.try_take_over(place, new, offer) {
            Ok(sdp) => {
                self.by_key.remove(&old);
                self.by_key.insert(new, place);
                self.orders.accept(new, sdp);
                self.orders.hang_up(old, Cause::NearHangup);
                Some(place)
            }
            Err(refused) => {
                self.tell_fault(place, &refused);
                self.orders.reject(new, &refused);
                None
            }
        }
    }

    fn try_take_over(
        &mut self,
        place: Place,
        new: CallKey,
        offer: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Refused> {
        let leg = self.legs.get_mut(&place).ok_or(Cause::InternalError)?;
        let mut session = leg.agreement.anew(leg.sound.srtp)?;
        let (sdp, agreed) = answer_or_offer(&mut session, offer.as_deref())?;
        leg.key = Some(new);
        leg.agreement.session = Some(Box::new(session));
        leg.agreement.key = None;
        leg.agreement.offered = agreed.is_none();
        self.order(place, MediaOrder::Anew);
        if let Some(agreed) = agreed {
            self.settle(place, &agreed);
        }
        Ok(sdp)
    }

    /// Answers with audio, or refuses with the reason why there is none.
    pub(super) fn answer(&mut self, place: Place) -> LegEvent {
        match self.try_answer(place) {
            Ok(()) => LegEvent::Answered,
            Err(refused) => {
                self.tell_fault(place, &refused);
                if let Some(key) = self.legs.get(&place).and_then(|leg| leg.key) {
                    self.orders.reject(key, &refused);
                }
                LegEvent::Failed(refused.cause)
            }
        }
    }

    fn try_answer(&mut self, place: Place) -> Result<(), Refused> {
        self.open(place)?;
        let leg = self.legs.get_mut(&place).ok_or(Cause::InternalError)?;
        let key = leg.key.ok_or(Cause::InternalError)?;
        let agreement = &mut leg.agreement;
        let session = agreement.session.as_mut().ok_or(Cause::InternalError)?;
        let (sdp, agreed) = answer_or_offer(session, leg.offer.take().as_deref())?;
        agreement.offered = agreed.is_none();
        agreement.up = true;
        let dozes = !leg.heard;
        if let Some(agreed) = agreed {
            self.settle(place, &agreed);
        }
        self.order(place, MediaOrder::Answered { they_called: true });
        if dozes {
            self.order(place, MediaOrder::Doze);
        }
        self.record(place);
        self.orders.accept(key, sdp);
        Ok(())
    }

    /// An outgoing call was answered; without an SDP that we understand it is no call.
    pub(super) fn answered(&mut self, place: Place, sdp: Option<Vec<u8>>) -> LegEvent {
        let agreed = |leg: &Leg| leg.agreement.held.is_some();
        let connected = match sdp {
            Some(sdp) => self.connect(place, &sdp),
            // Early media was agreed in an answer before (RFC 3261 §13.2.1).
            None if self.legs.get(&place).is_some_and(agreed) => Ok(()),
            None => Err(Cause::NoSdp.into()),
        };
        if let Err(refused) = connected {
            return LegEvent::Failed(self.give_up(place, &refused));
        }
        if let Some(leg) = self.legs.get_mut(&place) {
            leg.agreement.up = true;
        }
        self.tell_hold(place);
        self.order(place, MediaOrder::Answered { they_called: false });
        self.record(place);
        LegEvent::Answered
    }

    /// The answer to an offer of ours.
    pub(super) fn connect(&mut self, place: Place, sdp: &[u8]) -> Result<(), Refused> {
        let leg = self.legs.get(&place).ok_or(Cause::InternalError)?;
        let session = leg.agreement.session.as_ref().ok_or(Cause::InternalError)?;
        let agreed = session.accept_answer(sdp)?;
        self.settle(place, &agreed);
        Ok(())
    }

    /// The answer to a late offer came with the ACK, or in a PRACK.
    pub(super) fn connect_late(&mut self, place: Place, sdp: Option<Vec<u8>>) {
        let offered = self
            .legs
            .get_mut(&place)
            .is_some_and(|leg| std::mem::take(&mut leg.agreement.offered));
        let connected = match sdp {
            Some(sdp) if offered => self.connect(place, &sdp),
            None if offered => Err(Cause::NoSdp.into()),
            _ => Ok(()),
        };
        if let Err(refused) = connected {
            self.give_up(place, &refused);
        }
    }

    /// The answer to an offer of ours in a call that is up.
    pub(super) fn connect_changed(&mut self, place: Place, sdp: Option<Vec<u8>>) {
        let connected = sdp.map_or(Ok(()), |sdp| self.connect(place, &sdp));
        if let Err(refused) = connected {
            self.give_up(place, &refused);
        }
    }

    pub(super) fn reinvited(&mut self, place: Place, offer: Option<Vec<u8>>) {
        let Some(leg) = self.legs.get_mut(&place) else {
            return;
        };
        let (Some(key), Some(session)) = (leg.key, leg.agreement.session.as_mut()) else {
            return;
        };
        let answer = match answer_or_offer(session, offer.as_deref()) {
            Ok((sdp, agreed)) => {
                leg.agreement.offered = agreed.is_none();
                if let Some(agreed) = agreed {
                    self.settle(place, &agreed);
                }
                ReinviteAnswer::Accept(sdp)
            }
            // The session stays as it was (RFC 3261 §14.2).
            Err(refused) => {
                self.tell_fault(place, &refused);
                refused.to_reinvite()
            }
        };
        self.orders.answer_reinvite(key, answer);
    }

    /// What was agreed on holds from now on: here alone it becomes known whether the
    /// peer holds us.
    fn settle(&mut self, place: Place, agreed: &Negotiated) {
        self.order(place, MediaOrder::Connect(translate::stream(agreed)));
        if let Some(leg) = self.legs.get_mut(&place) {
            leg.agreement.held = Some(!agreed.direction.sends());
            let ours = agreed.srtp.map(|keys| keys.ours);
            leg.agreement.renew_keys(ours);
        }
        self.tell_hold(place);
    }

    /// The core hears of a hold that is new to it, once it knows that the call is up.
    fn tell_hold(&mut self, place: Place) {
        let Some(leg) = self.legs.get_mut(&place).filter(|leg| leg.agreement.up) else {
            return;
        };
        let held = leg.agreement.held == Some(true);
        if std::mem::replace(&mut leg.agreement.told_held, held) != held {
            let event = LegEvent::Held(held);
            self.more
                .push_back((place, Told::Event(clock::now(), event)));
        }
    }

    /// Hangs up for want of sound; gives the cause.
    fn give_up(&mut self, place: Place, refused: &Refused) -> Cause {
        self.tell_fault(place, refused);
        self.hang_up(place, refused.cause);
        refused.cause
    }

    /// The timeline has what stands against the peer's description.
    fn tell_fault(&mut self, place: Place, refused: &Refused) {
        if let Some(fault) = &refused.fault {
            let line = Line::signalling(SDP_REFUSED, fault.to_string());
            self.more.push_back((place, Told::Note(clock::now(), line)));
        }
    }
}

/// The answer to an offer and what it means; without one, ours.
fn answer_or_offer(
    session: &mut SdpSession,
    offer: Option<&[u8]>,
) -> Result<(Vec<u8>, Option<Negotiated>), Refused> {
    match offer {
        Some(offer) => {
            let (sdp, agreed) = session.answer(offer)?;
            Ok((sdp, Some(agreed)))
        }
        None => Ok((session.offer(), None)),
    }
}

/// The address that the peer of a leg sends sound to: the one of its signalling where
/// our audio sockets are on all of them.
pub(super) fn reached_at(bound: IpAddr, flow: Option<&Flow>, told: Option<Advertised>) -> IpAddr {
    let told = told.zip(flow);
    let told = told.and_then(|(told, flow)| told.to(flow.remote.ip()));
    let own = flow.filter(|_| bound.is_unspecified());
    told.or(own.map(|flow| flow.local.ip().to_canonical()))
        .unwrap_or(bound)
}

pub(super) fn local_media(
    conversation: ConversationId,
    address: IpAddr,
    port: u16,
    sound: &Sound,
) -> Result<LocalMedia, Cause> {
    let srtp = local_srtp(sound.srtp).map_err(|_| Cause::InternalError)?;
    Ok(LocalMedia {
        session_id: conversation.0,
        version: 1,
        address,
        port,
        codecs: sound.codecs.clone(),
        telephone_event: sound.keys != Keys::Tone,
        comfort_noise: true,
        rtcp_mux: true,
        ptime_ms: PTIME_MS,
        srtp,
    })
}

/// Our keys, where sound may be encrypted.
pub fn local_srtp(srtp: Srtp) -> std::io::Result<Option<LocalSrtp>> {
    Ok(match srtp {
        Srtp::Off => None,
        Srtp::Prefer => Some(LocalSrtp::new(false, &random_octets()?)),
        Srtp::Require => Some(LocalSrtp::new(true, &random_octets()?)),
    })
}

/// Keys that nobody can guess.
pub fn random_octets() -> std::io::Result<[u8; SRTP_RANDOM]> {
    let mut octets = [0; SRTP_RANDOM];
    for part in octets.chunks_mut(16) {
        let [one, other] = random()?;
        let bits = [one.to_ne_bytes(), other.to_ne_bytes()].concat();
        part.copy_from_slice(&bits[..part.len()]);
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(port: u16) -> SdpSession {
        let sound = Sound {
            srtp: Srtp::Require,
            codecs: vec![offhook_sip::sdp::Codec::Pcma],
            ..Sound::default()
        };
        let address = IpAddr::from([192, 0, 2, 1]);
        SdpSession::new(local_media(ConversationId(1), address, port, &sound).unwrap())
    }

    /// Our key in the answer to an offer of the suite with this tag alone.
    fn agreed(agreement: &mut Agreement, tag: u8) -> MasterKey {
        let offer = String::from_utf8(session(4_000).offer()).unwrap();
        let wanted = format!("a=crypto:{tag} ");
        let other = |line: &&str| !line.starts_with("a=crypto") || line.starts_with(&wanted);
        let offer = offer.lines().filter(other).collect::<Vec<_>>().join("\r\n");
        let session = agreement.session.as_mut().unwrap();
        let (_, agreed) = session.answer(offer.as_bytes()).unwrap();
        let ours = agreed.srtp.map(|keys| keys.ours);
        agreement.renew_keys(ours);
        ours.unwrap()
    }

    #[test]
    fn a_key_goes_on_while_it_is_in_use_and_never_comes_back() {
        let mut agreement = Agreement {
            session: Some(Box::new(session(5_000))),
            up: true,
            ..Agreement::default()
        };
        let mut ours = |tag| agreed(&mut agreement, tag);
        let first = ours(1);
        assert!(ours(1) == first, "theirs alone has changed");
        let second = ours(2);
        assert!(ours(2) == second);
        assert!(ours(1) != first, "the first suite again");
    }

    #[test]
    fn what_was_offered_to_several_phones_is_kept_until_one_has_answered() {
        let mut agreement = Agreement {
            session: Some(Box::new(session(5_000))),
            ..Agreement::default()
        };
        let first = agreed(&mut agreement, 1);
        agreed(&mut agreement, 2);
        assert!(agreed(&mut agreement, 1) == first);
    }

    #[test]
    fn whoever_takes_a_call_over_gets_other_keys() {
        let agreement = Agreement {
            session: Some(Box::new(session(5_000))),
            ..Agreement::default()
        };
        let old = agreement.session.as_ref().unwrap().local.srtp.clone();
        let session = agreement.anew(Srtp::Require).unwrap();
        assert!(session.local.srtp != old && session.local.srtp.is_some());
    }
}
