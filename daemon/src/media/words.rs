//! The words between the media threads and the rest: orders in, reports out.
//!
//! Values only; nothing here acts. Orders and reports travel through rings of
//! fixed size and are never boxed; what an order carries by `Arc` is handed
//! back and freed off the media thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use offhook_sip::rtp::srtp::Keys;
pub use offhook_sip::sdp::{Codec, Direction};

use super::playout::PlayoutFigures;

/// One media slot of one call. The generation tells a late word about an
/// earlier call on the same slot from one about this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId {
    /// Which media thread.
    pub thread: u16,
    /// Which of its slots.
    pub index: u16,
    /// Counts the calls on this slot.
    pub generation: u32,
}

/// Payload types of sound that the peer may send; more are never negotiated.
pub type ReceiveTypes = heapless::Vec<(u8, Codec), 4>;

/// What offer and answer agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Where the peer wants its RTP. An unspecified address or port 0: nowhere.
    pub remote_rtp: SocketAddr,
    /// Where the peer wants its RTCP; as above.
    pub remote_rtcp: SocketAddr,
    /// RTCP of both sides goes by the port of RTP (RFC 5761).
    pub rtcp_mux: bool,
    /// How we code.
    pub codec: Codec,
    /// Payload type of what we send.
    pub send_payload_type: u8,
    /// What we understand.
    pub receive: ReceiveTypes,
    /// Payload type of comfort noise, which both may send (13; RFC 3389).
    pub comfort_noise: Option<u8>,
    /// Payload type and clock of the telephone-events that we send.
    pub telephone_event: Option<(u8, u32)>,
    /// Payload types of those that we understand.
    pub events: [Option<u8>; 2],
    /// Milliseconds a packet: 10 to 60, in tens; with Opus 10, 20, 40 or 60.
    pub ptime_ms: u8,
    /// The longest packet that the peer takes, in milliseconds.
    pub longest_ms: u8,
    /// Which way sound flows.
    pub direction: Direction,
    /// Keys of SRTP; `None`: in the clear.
    pub srtp: Option<Keys>,
}

impl Stream {
    /// Opus may come or go.
    pub fn has_opus(&self) -> bool {
        let mut codecs = self.receive.iter().map(|(_, codec)| *codec);
        self.codec == Codec::Opus || codecs.any(|codec| codec == Codec::Opus)
    }
}

/// Something that can be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// 8 kHz, 16-bit.
    pub samples: Box<[i16]>,
    /// Samples after the last of each word, rising; may be empty. A prompt that
    /// was cut goes on at the last of these that was heard.
    pub words: Box<[u32]>,
}

/// Clips said one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// In this order.
    pub clips: Vec<Arc<Clip>>,
}

/// Keys to be sent, in ASCII.
pub type Digits = heapless::Vec<u8, 32>;

/// What a leg is to do. Carried out at the next tick, in the order given.
#[derive(Clone, Debug)]
pub enum Order {
    /// The peer is known, or has changed (re-INVITE).
    Connect(Stream),
    /// Whoever is connected next is another than before, who has heard nothing of ours.
    Anew,
    /// The call is answered; what came before was early media.
    Answered {
        /// They called us: who answered is no question to the ear.
        they_called: bool,
    },
    /// Say something; `Played` answers.
    Play {
        /// The turn it was decided on.
        turn: u32,
        /// Its number in `Played`.
        play: u32,
        /// What to say.
        script: Arc<Script>,
        /// Speech over it stops it here.
        interruptible: bool,
    },
    /// Say what streams in as this speech (see [`super::speech::Speech`]), until
    /// it is over; `Played` answers. While nothing comes: comfort noise.
    Stream {
        /// The turn it was decided on.
        turn: u32,
        /// Its number in `Played`.
        play: u32,
        /// Which speech, as `Media::speak` numbers them.
        speech: u32,
        /// Speech over it stops it here, in the same tick.
        interruptible: bool,
    },
    /// Fade out, and raise the turn. Never stale: silence is right on any turn,
    /// and whoever stops counts on the raise.
    Stop,
    /// Go on with the prompt that was cut last, from the last word boundary heard.
    Resume {
        /// The turn it was decided on.
        turn: u32,
        /// Its number in `Played`.
        play: u32,
    },
    /// From now on keys are reported; those of a secret are masked and kept for
    /// [`super::Media::take_secret`] once they are complete, which `Sealed` reports.
    Collect {
        /// When the secret is complete: so many keys, or this one, in ASCII.
        secret: Option<(u8, Option<u8>)>,
    },
    /// A key that came by signalling (SIP INFO), in ASCII.
    Press(u8),
    /// Send keys.
    SendDigits(Digits),
    /// Return the caller's sound at once and send nothing else.
    Echo,
    /// The ear sleeps until the peer's first packet.
    Doze,
    /// What a recogniser understood so far: evidence of who answered.
    Understand(offhook_dsp::Words),
    /// Send this tone and nothing else.
    Tone {
        /// Below 4,000.
        hz: u16,
    },
    /// Put what is heard and what is sent on tape from the next frame on, under
    /// this number (which `Media::record` gives).
    Record(u32),
    /// The leg ends; `Closed` answers.
    Close,
}

/// Something that happened on a leg.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Which leg.
    pub slot: SlotId,
    /// When: arrival of the packet, or the tick.
    pub at: Duration,
    /// Samples heard on the leg by then.
    pub sample: u64,
    /// What.
    pub kind: ReportKind,
}

/// A key as it may leave the media edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digit {
    /// In ASCII: `0`-`9`, `*`, `#`, `A`-`D`.
    Key(u8),
    /// Pressed in a secret collection.
    Masked,
}

/// How quickly a prompt gave way, counted at our socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Packets with prompt sound sent after the caller's first speech packet
    /// had arrived; the one with the fade is the last of them.
    pub packets: u32,
    /// From that arrival to the packet with the fade.
    pub took: Duration,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum ReportKind {
    /// The ear heard something (keys come as `Digit`).
    Ear(offhook_dsp::Event),
    /// Speech over an interruptible prompt: it is being stopped, the turn is raised.
    BargeIn {
        /// From now on.
        turn: u32,
        /// Which prompt.
        play: u32,
        /// First sample of the speech.
        start: u64,
        /// So far, without the packet of the fade, which `Played` counts too.
        cut: Cut,
    },
    /// The turn was raised without a barge-in: speech, or a stop.
    Turn {
        /// From now on.
        turn: u32,
    },
    /// A key was pressed.
    Digit(Digit),
    /// A secret is complete.
    Sealed {
        /// How many keys.
        keys: u8,
        /// The last one is the check digit of the others.
        check_digit: bool,
    },
    /// A prompt is over.
    Played {
        /// Which.
        play: u32,
        /// How much of it was sent.
        sent_samples: u64,
        /// Words said whole.
        words: u32,
        /// To its end.
        finished: bool,
        /// If speech cut it.
        cut: Option<Cut>,
    },
    /// A command came too late for its turn and was not carried out.
    Stale {
        /// The turn it was decided on.
        turn: u32,
    },
    /// The peer's packets come from here.
    Latched(SocketAddr),
    /// No packet for so long while some were due.
    MediaLost {
        /// Milliseconds.
        ms: u32,
    },
    /// Reports of this leg were lost; this is where it stands.
    EventsLost {
        /// How many.
        count: u32,
        /// Somebody is speaking.
        speaking: bool,
        /// The turn.
        turn: u32,
    },
    /// It is joined with the other leg: its peer hears that one's, where nothing is
    /// said here, and the other way round.
    Joined,
    /// It was not joined: one of the two is over, or has no peer. Nothing changed.
    NotJoined,
    /// The leg is over; nothing more comes from it.
    Closed(Summary),
}

/// Figures of one leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Samples heard: the length of the leg, and of its recording if it began with it.
    pub length_samples: u64,
    /// How sound was coded at the end.
    pub codec: Option<Codec>,
    /// Packets received from the peer.
    pub received: u32,
    /// Packets lost by sequence number (negative: duplicates).
    pub lost: i32,
    /// Came after their time.
    pub late: u32,
    /// Came twice.
    pub duplicate: u32,
    /// Came out of order, in time.
    pub reordered: u32,
    /// Jumps of the sender's clock and changes of SSRC.
    pub jumps: u32,
    /// Datagrams that are no RTP, or of no type that was agreed on.
    pub malformed: u32,
    /// Packets that were not encrypted with the peer's key, or came before.
    pub forged: u32,
    /// Packets from elsewhere.
    pub foreign: u32,
    /// Came while we do not listen (hold).
    pub unheard: u32,
    /// Dropped because more came than a tick's budget, or than the line can hold.
    pub flooded: u32,
    /// Made up for lost packets.
    pub concealed_ms: u32,
    /// Of lost packets, repeated by the next one (in-band FEC).
    pub recovered_ms: u32,
    /// Nothing came.
    pub stopped_ms: u32,
    /// How long gaps waited: up to 10, 20, 30, 40 ms, and in vain.
    pub waits: [u32; 5],
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter_us: u32,
    /// Packets sent.
    pub sent: u32,
    /// Packets that the system did not take.
    pub unsent: u32,
    /// Times that `far` was re-centred against `near`.
    pub shifts: u32,
    /// Frames that did not fit the tape: silence in the recording.
    pub tape_gaps: u32,
    /// Frames that whoever listened had no room for.
    pub heard_gaps: u32,
    /// Frames for which a speech that streams in had nothing: comfort noise.
    pub voice_gaps: u32,
    /// Reports lost.
    pub events_lost: u32,
    /// Barge-ins.
    pub barge_ins: u32,
    /// The slowest of them.
    pub worst_cut: Cut,
    /// How the other leg's sound fared on its way to this one's peer, if it was ever
    /// joined; what went straight waited for nothing.
    pub playout: Option<PlayoutFigures>,
    /// Packets of the other leg that were sent on as they came.
    pub straight: u32,
    /// Round trip by RTCP; 0 when unknown.
    pub round_trip_us: u32,
    /// Packets of ours that the peer says are lost.
    pub remote_lost: i32,
}
