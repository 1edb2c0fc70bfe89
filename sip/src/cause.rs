//! Why a call failed or ended, as one word for what SIP statuses, ITU-T Q.850
//! causes and `Reason` headers (RFC 3326) say, both ways (RFC 3398 §7.2.4.1,
//! §8.2.6.1).

use crate::event::Failure;
use crate::headers::Params;
use crate::message::StatusCode;
use crate::text;

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It was over.
    NormalClearing,
    /// The line is in use.
    Busy,
    /// It rang, and nobody took the call.
    NoAnswer,
    /// Nobody is registered or reachable under the number now.
    NotReachable,
    /// Somebody refused the call.
    Declined,
    /// There is no such number.
    Unallocated,
    /// The number has changed.
    NumberChanged,
    /// The number is incomplete or no number.
    InvalidNumber,
    /// The network knows no way there.
    NoRoute,
    /// We may not, or did not prove who we are.
    Forbidden,
    /// The destination or what leads to it does not work.
    OutOfOrder,
    /// No lines or too much traffic.
    Congestion,
    /// The network failed for now.
    TemporaryFailure,
    /// No media that both sides have.
    IncompatibleMedia,
    /// A service or method that the other side does not have.
    NotImplemented,
    /// Nobody answered a message in time.
    Timeout,
    /// One side does not follow the protocol.
    Protocol,
    /// The call went round in a circle.
    Loop,
    /// The number is now elsewhere (3xx).
    Moved,
    /// Nothing more is known.
    Unspecified,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::NormalClearing,
        Self::Busy,
        Self::NoAnswer,
        Self::NotReachable,
        Self::Declined,
        Self::Unallocated,
        Self::NumberChanged,
        Self::InvalidNumber,
        Self::NoRoute,
        Self::Forbidden,
        Self::OutOfOrder,
        Self::Congestion,
        Self::TemporaryFailure,
        Self::IncompatibleMedia,
        Self::NotImplemented,
        Self::Timeout,
        Self::Protocol,
        Self::Loop,
        Self::Moved,
        Self::Unspecified,
    ];

    /// What a Q.850 cause means; 1–127, others mean nothing.
    pub const fn from_q850(cause: u8) -> Self {
        match cause {
            1 => Self::Unallocated,
            2 | 3 => Self::NoRoute,
            16 | 26 => Self::NormalClearing,
            17 => Self::Busy,
            18 | 20 => Self::NotReachable,
            19 => Self::NoAnswer,
            21 => Self::Declined,
            22 => Self::NumberChanged,
            23 => Self::Moved,
            25 => Self::Loop,
            27 | 38 => Self::OutOfOrder,
            28 => Self::InvalidNumber,
            29 | 63 | 69 | 79 => Self::NotImplemented,
            34 | 42 | 44 | 47 => Self::Congestion,
            41 => Self::TemporaryFailure,
            50 | 52..=55 | 57 | 87 => Self::Forbidden,
            58 => Self::Congestion,
            65 | 66 | 70 | 88 => Self::IncompatibleMedia,
            81..=86 | 89..=101 | 103..=111 => Self::Protocol,
            102 => Self::Timeout,
            _ => Self::Unspecified,
        }
    }

    /// The Q.850 cause that says it.
    pub const fn q850(self) -> u8 {
        match self {
            Self::Unallocated => 1,
            Self::NoRoute => 3,
            Self::NormalClearing => 16,
            Self::Busy => 17,
            Self::NotReachable => 18,
            Self::NoAnswer => 19,
            Self::Declined => 21,
            Self::NumberChanged => 22,
            Self::Moved => 23,
            Self::Loop => 25,
            Self::OutOfOrder => 27,
            Self::InvalidNumber => 28,
            Self::Congestion => 34,
            Self::TemporaryFailure => 41,
            Self::Forbidden => 57,
            Self::NotImplemented => 79,
            Self::IncompatibleMedia => 88,
            Self::Timeout => 102,
            Self::Protocol => 111,
            Self::Unspecified => 31,
        }
    }

    /// What a final status means.
    pub const fn from_status(status: StatusCode) -> Self {
        match status.code() {
            200..=299 => Self::NormalClearing,
            300..=399 => Self::Moved,
            401 | 402 | 403 | 407 | 433 | 437 | 438 | 607 | 608 => Self::Forbidden,
            404 | 604 => Self::Unallocated,
            405 | 501 => Self::NotImplemented,
            408 | 504 => Self::Timeout,
            410 => Self::NumberChanged,
            406 | 415 | 488 | 606 => Self::IncompatibleMedia,
            416 | 484 | 485 => Self::InvalidNumber,
            480 => Self::NotReachable,
            482 | 483 => Self::Loop,
            486 | 600 => Self::Busy,
            487 => Self::NoAnswer,
            502 => Self::OutOfOrder,
            503 => Self::Congestion,
            500 => Self::TemporaryFailure,
            603 => Self::Declined,
            400 | 413 | 414 | 420..=429 | 481 | 491 | 493 | 505 | 513 => Self::Protocol,
            _ => Self::Unspecified,
        }
    }

    /// The status that refuses a call for it.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Busy => StatusCode::BUSY_HERE,
            Self::NoAnswer | Self::NotReachable | Self::NormalClearing | Self::Unspecified => {
                StatusCode::TEMPORARILY_UNAVAILABLE
            }
            Self::Declined => StatusCode::DECLINE,
            Self::Unallocated | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::NumberChanged | Self::Moved => StatusCode::GONE,
            Self::InvalidNumber => StatusCode::ADDRESS_INCOMPLETE,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::OutOfOrder => StatusCode::BAD_GATEWAY,
            Self::Congestion => StatusCode::SERVICE_UNAVAILABLE,
            Self::TemporaryFailure | Self::Protocol => StatusCode::SERVER_INTERNAL_ERROR,
            Self::IncompatibleMedia => StatusCode::NOT_ACCEPTABLE_HERE,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Timeout => StatusCode::SERVER_TIMEOUT,
            Self::Loop => StatusCode::LOOP_DETECTED,
        }
    }

    /// What a `Reason` header says; the telephone network's word counts for
    /// more than that of a proxy. `None`: neither is in it.
    pub fn from_reason(value: &str) -> Option<Self> {
        let protocol = |wanted: &[u8]| {
            let elements = text::elements(value.as_bytes()).flatten();
            elements.into_iter().find_map(|element| {
                let (protocol, params) = text::split_at_first(element, b';');
                let named = text::trim(protocol).eq_ignore_ascii_case(wanted);
                let params = Params::parse(params.filter(|_| named)?)?;
                text::decimal(params.value(b"cause")?)
            })
        };
        let network = protocol(b"Q.850").and_then(|cause| u8::try_from(cause).ok());
        if let Some(cause) = network.filter(|cause| (1..=127).contains(cause)) {
            return Some(Self::from_q850(cause));
        }
        let status = u16::try_from(protocol(b"SIP")?).ok()?;
        Some(Self::from_status(StatusCode::new(status)?))
    }

    /// A few words, as Q.850 has them.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::NormalClearing => "Normal call clearing",
            Self::Busy => "User busy",
            Self::NoAnswer => "No answer from user",
            Self::NotReachable => "No user responding",
            Self::Declined => "Call rejected",
            Self::Unallocated => "Unallocated number",
            Self::NumberChanged => "Number changed",
            Self::InvalidNumber => "Invalid number format",
            Self::NoRoute => "No route to destination",
            Self::Forbidden => "Not authorised",
            Self::OutOfOrder => "Destination out of order",
            Self::Congestion => "No circuit available",
            Self::TemporaryFailure => "Temporary failure",
            Self::IncompatibleMedia => "Incompatible destination",
            Self::NotImplemented => "Service not implemented",
            Self::Timeout => "Recovery on timer expiry",
            Self::Protocol => "Protocol error",
            Self::Loop => "Exchange routing error",
            Self::Moved => "Redirected to another number",
            Self::Unspecified => "Normal, unspecified",
        }
    }

    /// Value of a `Reason` header that says it.
    pub fn reason(self) -> String {
        format!("Q.850;cause={}", self.q850())
    }
}

impl Failure {
    /// Why, from its `Reason` header where there is one, else from its status.
    pub fn cause(&self) -> Cause {
        let told = self.reason.as_deref().and_then(Cause::from_reason);
        told.unwrap_or(Cause::from_status(self.status))
    }

    /// Whether the way that was taken failed, and not the one who was called:
    /// another way may do. `rang`: the called party had been reached.
    pub fn is_of_the_way(&self, rang: bool) -> bool {
        let hop = match self.status.code() {
            408 => !rang,
            401 | 407 | 500..=599 => true,
            _ => false,
        };
        match self.cause() {
            Cause::Congestion
            | Cause::TemporaryFailure
            | Cause::OutOfOrder
            | Cause::Timeout
            | Cause::NoRoute
            | Cause::NotImplemented
            | Cause::Protocol
            | Cause::Loop
            | Cause::Forbidden
            | Cause::Unspecified => hop,
            Cause::NormalClearing
            | Cause::Busy
            | Cause::NoAnswer
            | Cause::NotReachable
            | Cause::Declined
            | Cause::Unallocated
            | Cause::NumberChanged
            | Cause::InvalidNumber
            | Cause::IncompatibleMedia
            | Cause::Moved => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_survives_the_telephone_network_and_back() {
        for cause in Cause::ALL {
            let back = Cause::from_q850(cause.q850());
            assert_eq!(back, cause, "{cause:?} as {}", cause.q850());
        }
    }

    #[test]
    fn every_status_and_every_number_means_something_and_nothing_panics() {
        for number in 0..=255 {
            let cause = Cause::from_q850(number);
            assert!((1..=127).contains(&cause.q850()));
        }
        for code in 100..700 {
            let status = StatusCode::new(code).expect("a code");
            let refusal = Cause::from_status(status).status().code();
            assert!((400..700).contains(&refusal), "{code}");
        }
    }

    #[test]
    fn a_refusal_means_the_same_on_the_other_side() {
        use Cause::{
            Busy, Congestion, Declined, Forbidden, IncompatibleMedia, Loop, Timeout, Unallocated,
        };
        for cause in [
            Busy,
            Congestion,
            Declined,
            Forbidden,
            IncompatibleMedia,
            Loop,
            Timeout,
            Unallocated,
        ] {
            assert_eq!(Cause::from_status(cause.status()), cause);
        }
    }

    #[test]
    fn reasons_are_read_as_trunks_write_them() {
        let table = [
            ("Q.850;cause=17;text=\"User busy\"", Some(Cause::Busy)),
            ("q.850 ; cause=1", Some(Cause::Unallocated)),
            ("SIP;cause=486;text=\"a, b\"", Some(Cause::Busy)),
            ("SIP ;cause=480, Q.850 ;cause=21", Some(Cause::Declined)),
            ("Q.850;cause=300, SIP;cause=603", Some(Cause::Declined)),
            ("X.Y;cause=17", None),
            ("Q.850;text=\"busy\"", None),
            ("Q.850;cause=\"", None),
            ("", None),
        ];
        for (value, expected) in table {
            assert_eq!(Cause::from_reason(value), expected, "{value}");
        }
    }
}
