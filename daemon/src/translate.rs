//! Between the words of SIP, of the media threads and of the ear, and the core's. No state, no rules:
//! one closed enum to another, so that a new variant must be thought about here.

use offhook_core::input::{
    AnswerClass, Cause, Digit, LegEvent, Manner, Referral, SilenceCause, TURN_END_LATEST_MS,
};
use offhook_dsp as dsp;
use offhook_sip::sdp::{Codec, Negotiated, SdpFault};
use offhook_sip::{EndCause, Failure, StatusCode, TransferOutcome};

use crate::media::Stream;

/// Whoever waits for a turn's end must not give it up before the ear tells it.
const _: () = assert!(dsp::TURN_END_LATEST_MS < TURN_END_LATEST_MS);

/// What the ear heard, where the core wants to know it. Keys are reported by
/// the media edge, which knows of telephone-events too and masks secret ones;
/// so does it report a barge-in, with the new turn.
pub fn heard(kind: &dsp::EventKind) -> Option<LegEvent> {
    use dsp::EventKind as Heard;
    Some(match *kind {
        Heard::SpeechStart { .. } => LegEvent::SpeechStart,
        Heard::SpeechPause { .. } => LegEvent::SpeechPause,
        Heard::SpeechEnd { .. } => LegEvent::SpeechEnd,
        Heard::BargeInRetracted => LegEvent::BargeInRetracted,
        Heard::Answer {
            class, confidence, ..
        } => LegEvent::Answer {
            class: answer_class(class),
            confidence,
            corrected: false,
        },
        Heard::AnswerCorrected {
            class, confidence, ..
        } => LegEvent::Answer {
            class: answer_class(class),
            confidence,
            corrected: true,
        },
        Heard::Beep { .. } => LegEvent::Beep,
        Heard::Tone { kind, .. } => LegEvent::Tone(kind.name().to_owned()),
        Heard::Silence { cause, .. } => LegEvent::Silence(silence_cause(cause)),
        Heard::GreetingEnd { .. } => LegEvent::GreetingEnd,
        Heard::TurnEnd { confidence, .. } => LegEvent::TurnEnd { confidence },
        Heard::Manner(manner) => LegEvent::Manner(spoken(&manner)),
        Heard::BargeIn { .. } | Heard::Dtmf { .. } => return None,
    })
}

/// The core counts in whole numbers, so that its log replays bit for bit.
fn spoken(manner: &dsp::Manner) -> Manner {
    Manner {
        syllables_per_minute: (60.0 * manner.syllables_per_s).round() as u16,
        pause_ms: manner.pause_ms,
        latency_ms: manner.latency_ms,
        latency_spread_ms: manner.latency_spread_ms,
        hesitating: manner.hesitating,
        pitch_shift_cents: (100.0 * manner.pitch_shift).round() as i16,
        energy_shift_tenths_db: (10.0 * manner.energy_shift_db).round() as i16,
        confidence: manner.confidence,
    }
}

/// The sample at which the thing began, for events that look back.
pub fn began(event: &dsp::Event) -> u64 {
    use dsp::EventKind as Heard;
    match event.kind {
        Heard::SpeechStart { start }
        | Heard::SpeechPause { start }
        | Heard::BargeIn { start }
        | Heard::Tone { start, .. }
        | Heard::Dtmf { start, .. } => start,
        Heard::SpeechEnd { end }
        | Heard::Beep { end, .. }
        | Heard::GreetingEnd { end }
        | Heard::TurnEnd { end, .. } => end,
        Heard::Silence { since, .. } => since,
        Heard::BargeInRetracted
        | Heard::Answer { .. }
        | Heard::AnswerCorrected { .. }
        | Heard::Manner(_) => event.at,
    }
}

fn answer_class(class: dsp::AnswerClass) -> AnswerClass {
    match class {
        dsp::AnswerClass::Human => AnswerClass::Human,
        dsp::AnswerClass::Machine => AnswerClass::Machine,
        dsp::AnswerClass::Screening => AnswerClass::Screening,
        dsp::AnswerClass::Ivr => AnswerClass::Ivr,
        dsp::AnswerClass::Fax => AnswerClass::Fax,
        dsp::AnswerClass::Sit => AnswerClass::Sit,
        dsp::AnswerClass::Busy => AnswerClass::Busy,
        dsp::AnswerClass::Reorder => AnswerClass::Reorder,
        dsp::AnswerClass::Ringback => AnswerClass::Ringback,
        dsp::AnswerClass::Silence => AnswerClass::Silence,
        dsp::AnswerClass::Unsure => AnswerClass::Unsure,
    }
}

fn silence_cause(cause: dsp::SilenceCause) -> SilenceCause {
    match cause {
        dsp::SilenceCause::NoRtp => SilenceCause::NoRtp,
        dsp::SilenceCause::ComfortNoise => SilenceCause::ComfortNoise,
        dsp::SilenceCause::HoldMusic => SilenceCause::HoldMusic,
        dsp::SilenceCause::Quiet => SilenceCause::Quiet,
        dsp::SilenceCause::Thinking => SilenceCause::Thinking,
        dsp::SilenceCause::Gone => SilenceCause::Gone,
    }
}

/// A key as the media edge reports it; anything else is no key.
pub fn key(ascii: u8) -> Option<Digit> {
    matches!(ascii, b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D').then(|| Digit::Key(char::from(ascii)))
}

/// The key in an INFO: `Signal=5` (application/dtmf-relay) or the bare key
/// (application/dtmf).
pub fn info_key(kind: &str, body: &[u8]) -> Option<Digit> {
    let text = std::str::from_utf8(body).ok()?;
    let signal = match kind {
        "application/dtmf-relay" => text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("Signal").then_some(value)
        })?,
        "application/dtmf" => text,
        _ => return None,
    };
    match signal.trim().as_bytes() {
        b"10" => key(b'*'),
        b"11" => key(b'#'),
        [one] => key(one.to_ascii_uppercase()),
        _ => None,
    }
}

/// Why an outgoing call failed: what its `Reason` header says, else its status.
pub fn failure(failure: &Failure) -> Cause {
    if failure.local {
        return Cause::TrunkDown;
    }
    failed(failure.cause(), failure.status)
}

/// How a transfer ended that we asked a peer for.
pub fn referral(outcome: &TransferOutcome) -> Referral {
    use offhook_sip::Cause as Told;
    match outcome {
        TransferOutcome::Completed => Referral::Reached,
        TransferOutcome::NotAsked | TransferOutcome::Refused(_) => Referral::Refused,
        TransferOutcome::Failed(status) => {
            Referral::Missed(failed(Told::from_status(*status), *status))
        }
        TransferOutcome::Unreported => Referral::Unreported,
        TransferOutcome::HungUp => Referral::HungUp,
    }
}

/// What a peer who asked us for a transfer is told of it.
pub fn report(how: Referral) -> Option<StatusCode> {
    match how {
        Referral::Rings => Some(StatusCode::RINGING),
        Referral::Reached => Some(StatusCode::OK),
        Referral::Missed(cause) => Some(told(cause).status()),
        Referral::Refused | Referral::Unreported | Referral::HungUp => None,
    }
}

fn failed(told: offhook_sip::Cause, status: StatusCode) -> Cause {
    use offhook_sip::Cause as Told;
    match told {
        Told::Busy => Cause::Busy,
        Told::NoAnswer | Told::NotReachable | Told::NormalClearing => Cause::NoAnswer,
        // 408: somebody on the way waited in vain for the called party.
        Told::Timeout if status == StatusCode::REQUEST_TIMEOUT => Cause::NoAnswer,
        Told::Declined => Cause::Declined,
        Told::Unallocated
        | Told::NumberChanged
        | Told::InvalidNumber
        | Told::NoRoute
        | Told::Moved => Cause::Unallocated,
        Told::Forbidden => Cause::Forbidden,
        Told::IncompatibleMedia => Cause::NoCommonCodec,
        Told::Congestion | Told::TemporaryFailure | Told::OutOfOrder | Told::Timeout => {
            Cause::Congestion
        }
        Told::NotImplemented | Told::Protocol | Told::Loop | Told::Unspecified => Cause::TrunkDown,
    }
}

/// Why a call that was up is over: a BYE is a person who hangs up, unless it says that
/// the network gave the call up.
pub fn ending(cause: &EndCause) -> Cause {
    match cause {
        EndCause::RemoteBye { reason } => {
            let told = reason.as_deref().and_then(offhook_sip::Cause::from_reason);
            told.map_or(Cause::FarHangup, given_up)
        }
        EndCause::LocalBye => Cause::NearHangup,
        EndCause::LocalCancel => Cause::NoAnswer,
        EndCause::AckTimeout => Cause::NoAck,
        EndCause::PrackTimeout | EndCause::SessionExpired => Cause::TrunkDown,
    }
}

fn given_up(told: offhook_sip::Cause) -> Cause {
    use offhook_sip::Cause as Told;
    match told {
        Told::Congestion | Told::TemporaryFailure => Cause::Congestion,
        Told::OutOfOrder | Told::Timeout | Told::Protocol | Told::NoRoute | Told::Loop => {
            Cause::TrunkDown
        }
        Told::IncompatibleMedia => Cause::NoCommonCodec,
        Told::NormalClearing
        | Told::Busy
        | Told::NoAnswer
        | Told::NotReachable
        | Told::Declined
        | Told::Unallocated
        | Told::NumberChanged
        | Told::InvalidNumber
        | Told::Forbidden
        | Told::NotImplemented
        | Told::Moved
        | Told::Unspecified => Cause::FarHangup,
    }
}

/// A `Reason` header as a person reads it.
pub fn reason_text(reason: &str) -> String {
    /// What is longer says nothing more.
    const LETTERS_MAX: usize = 120;
    let shown: String = reason.chars().take(LETTERS_MAX).collect();
    match offhook_sip::Cause::from_reason(reason) {
        Some(cause) => format!("{} ({shown})", cause.phrase()),
        None => shown,
    }
}

/// What tells a peer, and the telephone network behind it, why the call is refused
/// or over.
pub fn told(cause: Cause) -> offhook_sip::Cause {
    use offhook_sip::Cause as Told;
    match cause {
        Cause::Busy => Told::Busy,
        Cause::NoAnswer => Told::NoAnswer,
        Cause::Declined => Told::Declined,
        Cause::Unallocated | Cause::NoRoute => Told::Unallocated,
        Cause::NoCommonCodec | Cause::SdpRefused => Told::IncompatibleMedia,
        Cause::NoSdp => Told::Protocol,
        Cause::Forbidden => Told::Forbidden,
        Cause::Overload | Cause::Congestion | Cause::TrunkDown => Told::Congestion,
        Cause::InternalError | Cause::Interrupted | Cause::MediaTimeout => Told::TemporaryFailure,
        Cause::NoAck => Told::Timeout,
        Cause::FarHangup | Cause::NearHangup | Cause::Cancelled => Told::NormalClearing,
    }
}

/// What stands against a description, as everybody counts it.
pub fn refused(fault: &SdpFault) -> Cause {
    match fault {
        SdpFault::NoCommonCodec => Cause::NoCommonCodec,
        SdpFault::Syntax(_)
        | SdpFault::TooLong
        | SdpFault::NoAudio
        | SdpFault::Address
        | SdpFault::MediaCount
        | SdpFault::Refused
        | SdpFault::Encrypted
        | SdpFault::InTheClear => Cause::SdpRefused,
    }
}

/// What offer and answer agreed on, in the words of the media threads.
pub fn stream(agreed: &Negotiated) -> Stream {
    let receive = agreed.receive.iter();
    let event = agreed.telephone_event;
    Stream {
        remote_rtp: agreed.remote_rtp,
        remote_rtcp: agreed.remote_rtcp,
        rtcp_mux: agreed.rtcp_mux,
        codec: agreed.codec,
        send_payload_type: agreed.send_payload_type,
        receive: receive
            .map(|it| (it.payload_type, it.codec))
            .take(4)
            .collect(),
        comfort_noise: agreed.comfort_noise.then_some(COMFORT_NOISE),
        telephone_event: event.map(|event| (event.send, event.clock_rate)),
        events: event.map_or([None; 2], |event| event.receive),
        ptime_ms: match (agreed.codec, agreed.ptime_ms) {
            // Opus has no packets of 30 and 50 ms (RFC 6716 §2.1.4).
            (Codec::Opus, 30) => 20,
            (Codec::Opus, 50) => 40,
            (_, ptime_ms) => ptime_ms,
        },
        longest_ms: agreed.longest_ms,
        direction: agreed.direction,
        srtp: agreed.srtp,
    }
}

/// Static payload type of comfort noise (RFC 3389 §4).
const COMFORT_NOISE: u8 = 13;
