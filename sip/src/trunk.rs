//! A trunk as the endpoint keeps up with it: its registration and its health.
//! Data and the rules of both; the endpoint sends and sets the timers.

use core::fmt;
use core::time::Duration;

use crate::digest::{Credentials, Login};
use crate::message::StatusCode;
use crate::timers::Alarms;
use crate::transaction::TransactionId;
use crate::transport::Flow;
use crate::uri::Uri;

/// Names a trunk; chosen by the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrunkKey(pub u32);

/// What is known of a trunk from its configuration.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Its name from now on.
    pub key: TrunkKey,
    /// The path to its next hop: the outbound proxy or the trunk itself.
    pub flow: Flow,
    /// Request-URI of OPTIONS, and what the trunk is called.
    pub target: Uri,
    /// Routes that every request begins with (an outbound proxy).
    pub routes: Vec<String>,
    /// What challenges are answered with.
    pub credentials: Option<Credentials>,
    /// Register there.
    pub registration: Option<Registration>,
    /// Ask whether it is there.
    pub probing: Option<Probing>,
}

/// How we register.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Request-URI of REGISTER.
    pub registrar: Uri,
    /// Whom we register: To and From.
    pub address: Uri,
    /// User part of the Contact.
    pub contact_user: String,
    /// How long we ask for, in seconds.
    pub expires: u32,
}

/// How a trunk is asked whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// Gap between two OPTIONS while all is well.
    pub every: Duration,
    /// Failures in a row after which it is down.
    pub down_after: u8,
    /// Answers in a row after which it is up again.
    pub up_after: u8,
}

/// How a trunk stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is known yet; calls may try.
    Unknown,
    /// It answers, and we are registered where that is asked for.
    Up,
    /// Calls take another one.
    Down(Outage),
}

/// Why a trunk is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It does not answer OPTIONS.
    Silent,
    /// It answers OPTIONS with a refusal.
    Failing(StatusCode),
    /// The registrar does not answer.
    RegistrarSilent,
    /// The registrar refuses, with its words.
    Refused(StatusCode, String),
    /// User or password is wrong.
    WrongPassword,
    /// A password is asked for and there is none, or no way of proving it that
    /// we know.
    NoPassword,
    /// No connection comes about.
    Unreachable,
}

impl fmt::Display for Outage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => formatter.write_str("does not answer OPTIONS"),
            Self::Failing(status) => write!(formatter, "answers OPTIONS with {status}"),
            Self::RegistrarSilent => formatter.write_str("does not answer REGISTER"),
            Self::Refused(status, phrase) => {
                write!(formatter, "refuses REGISTER: {} {phrase}", status.code())
            }
            Self::WrongPassword => {
                formatter.write_str("refuses user or password (REGISTER, Authorization)")
            }
            Self::NoPassword => formatter.write_str(
                "asks for a password that is not configured, or in an unknown way (WWW-Authenticate)",
            ),
            Self::Unreachable => formatter.write_str("no connection"),
        }
    }
}

/// First pause after a failed registration, and the longest.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Longest `Expires` that we raise ours to because a registrar asks (RFC 3261 §10.2.8).
const EXPIRES_MAX: u32 = 86_400;
/// Refreshed at least this long before the end, where the time allows (64*T1:
/// one REGISTER may be lost whole).
const MARGIN: u32 = 32;

/// One trunk and how it stands.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) trunk: Trunk,
    pub(crate) login: Option<Login>,
    pub(crate) alarms: Alarms,
    pub(crate) standing: Standing,
    pub(crate) registering: Registering,
    pub(crate) health: Health,
    /// Call-ID and From tag of all its requests.
    pub(crate) call_id: Box<str>,
    pub(crate) tag: Box<str>,
    pub(crate) cseq: u32,
    /// Nothing is told of it any more; it goes with its last transaction.
    pub(crate) leaving: bool,
}

/// Where a registration stands.
#[derive(Debug, Default)]
pub(crate) struct Registering {
    /// The REGISTER under way.
    pub(crate) under_way: Option<TransactionId>,
    /// The registrar knows us, as far as we know.
    pub(crate) bound: bool,
    /// Seconds asked for; a registrar may have raised them.
    pub(crate) expires: u32,
    /// The registrar asked for more seconds, and that try is not answered.
    pub(crate) raised: bool,
    /// Failures in a row.
    pub(crate) failures: u32,
    pub(crate) outage: Option<Outage>,
    /// Seconds after which the registrar takes its path to us for lost.
    pub(crate) flow_timer: u64,
    /// Routes that calls take from now on (RFC 3608).
    pub(crate) service_route: Vec<Box<str>>,
}

/// What OPTIONS say of a trunk.
#[derive(Debug, Default)]
pub(crate) struct Health {
    pub(crate) under_way: Option<TransactionId>,
    pub(crate) answered: u8,
    pub(crate) failed: u8,
    pub(crate) outage: Option<Outage>,
    /// Something was heard, or failed often enough to be sure.
    pub(crate) known: bool,
}

impl Kept {
    pub(crate) fn new(trunk: Trunk, call_id: String, tag: String) -> Self {
        let registering = Registering {
            expires: trunk.registration.as_ref().map_or(0, |it| it.expires),
            ..Registering::default()
        };
        Self {
            login: trunk.credentials.clone().map(Login::new),
            trunk,
            alarms: Alarms::default(),
            standing: Standing::Unknown,
            registering,
            health: Health::default(),
            call_id: call_id.into(),
            tag: tag.into(),
            cseq: 0,
            leaving: false,
        }
    }

    pub(crate) fn next_cseq(&mut self) -> u32 {
        self.cseq = self.cseq.wrapping_add(1) & 0x7fff_ffff;
        self.cseq
    }

    /// How it stands, from both.
    pub(crate) fn judge(&self) -> Standing {
        let registers = self.trunk.registration.is_some();
        let probes = self.trunk.probing.is_some();
        let outage = self.registering.outage.as_ref();
        if let Some(outage) = outage.or(self.health.outage.as_ref()) {
            return Standing::Down(outage.clone());
        }
        let registered = !registers || self.registering.bound;
        let answers = !probes || self.health.known;
        // Nobody asks it anything: what it is, a call will show.
        if (registers || probes) && registered && answers {
            Standing::Up
        } else {
            Standing::Unknown
        }
    }

    /// Routes of a call that goes by this trunk.
    pub(crate) fn routes(&self) -> Vec<Box<str>> {
        let proxy = self.trunk.routes.iter().map(|route| route.as_str().into());
        let service = self.registering.service_route.iter().cloned();
        proxy.chain(service).collect()
    }
}

impl Registering {
    /// The registrar granted this many seconds; says when to ask again and
    /// when it has forgotten us.
    pub(crate) fn granted(&mut self, seconds: u32) -> (Duration, Duration) {
        self.bound = true;
        self.raised = false;
        self.failures = 0;
        self.outage = None;
        let seconds = seconds.max(1);
        let margin = MARGIN.max(seconds / 10);
        let refresh = (seconds / 2).max(seconds.saturating_sub(margin)).max(1);
        (
            Duration::from_secs(u64::from(refresh)),
            Duration::from_secs(u64::from(seconds)),
        )
    }

    /// The registrar wants at least this many seconds. `None`: it has said so
    /// before, or wants too many.
    pub(crate) fn raise(&mut self, least: u32) -> Option<u32> {
        let sane = least > self.expires && least <= EXPIRES_MAX && !self.raised;
        if sane {
            self.raised = true;
            self.expires = least;
        }
        sane.then_some(least)
    }

    /// A try failed: how long to wait, between half and the whole of this.
    /// What the registrar said outright counts at once; mere silence counts
    /// when it lasts, since we are still registered.
    pub(crate) fn failed(&mut self, outage: Outage, retry_after: Option<u32>) -> Duration {
        self.raised = false;
        self.failures = self.failures.saturating_add(1);
        let passing = matches!(outage, Outage::RegistrarSilent | Outage::Unreachable);
        if !(passing && self.bound && self.failures < 2) {
            self.outage = Some(outage);
        }
        let doubled = PAUSE.saturating_mul(1 << self.failures.saturating_sub(1).min(10));
        let asked = Duration::from_secs(u64::from(retry_after.unwrap_or(0)));
        doubled.min(PAUSE_MAX).max(asked.min(PAUSE_MAX * 4))
    }
}

impl Health {
    /// An answer; an outage ends after enough of them.
    pub(crate) fn good(&mut self, probing: &Probing) {
        self.failed = 0;
        self.answered = self.answered.saturating_add(1);
        if self.outage.is_none() || self.answered >= probing.up_after {
            self.outage = None;
            self.known = true;
        }
    }

    /// A failure; an outage begins after enough of them.
    pub(crate) fn bad(&mut self, probing: &Probing, outage: Outage) {
        self.answered = 0;
        self.failed = self.failed.saturating_add(1);
        if self.outage.is_some() || self.failed >= probing.down_after {
            self.outage = Some(outage);
        }
    }

    /// Gap before the next question: shorter while in doubt.
    pub(crate) fn gap(&self, probing: &Probing) -> Duration {
        let settled = if self.outage.is_some() {
            self.answered == 0
        } else {
            self.failed == 0
        };
        if settled {
            probing.every
        } else {
            (probing.every / 4).max(Duration::from_secs(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBING: Probing = Probing {
        every: Duration::from_secs(30),
        down_after: 3,
        up_after: 2,
    };

    #[test]
    fn one_lost_answer_is_no_outage_and_one_answer_is_no_recovery() {
        let mut health = Health::default();
        let mut seen = String::new();
        for good in "yynynnyynnnnynyyynnyy".chars().map(|letter| letter == 'y') {
            if good {
                health.good(&PROBING);
            } else {
                health.bad(&PROBING, Outage::Silent);
            }
            seen.push(if health.outage.is_some() { 'D' } else { 'u' });
        }
        assert_eq!(seen, "uuuuuuuuuuDDDDDuuuuuu");
    }

    #[test]
    fn a_registration_is_refreshed_in_time_whatever_is_granted() {
        for seconds in [0, 1, 2, 30, 60, 64, 65, 100, 3600, 86_400, u32::MAX] {
            let mut registering = Registering::default();
            let (refresh, lapse) = registering.granted(seconds);
            assert!(refresh <= lapse && refresh > Duration::ZERO, "{seconds}");
            if seconds > 64 {
                assert!(lapse - refresh >= Duration::from_secs(32), "{seconds}");
            }
        }
    }

    #[test]
    fn pauses_double_to_five_minutes_and_follow_the_registrar() {
        let mut registering = Registering::default();
        let outage = || Outage::Refused(StatusCode::FORBIDDEN, String::new());
        let pauses: Vec<_> = (0..9)
            .map(|_| registering.failed(outage(), None).as_secs())
            .collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(registering.failed(outage(), Some(600)).as_secs(), 600);
    }

    #[test]
    fn a_registrar_may_raise_the_time_once_and_not_to_a_year() {
        let mut registering = Registering {
            expires: 60,
            ..Registering::default()
        };
        assert_eq!(registering.raise(31_536_000), None);
        assert_eq!(registering.raise(30), None);
        assert_eq!(registering.raise(3600), Some(3600));
        assert_eq!(registering.raise(7200), None);
    }
}
