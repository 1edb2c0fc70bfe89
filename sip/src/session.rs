//! Session timers (RFC 4028): what an INVITE asks, what is agreed, and when to
//! do what. No sending here; called by the endpoint.

use core::time::Duration;

use crate::headers::HeaderName;
use crate::message::{Core, Request};
use crate::text;

/// Shortest interval that we take, in seconds (RFC 4028 §4).
pub(crate) const MIN_SE: u32 = 90;
/// Longest that we are raised to.
const SE_MAX: u32 = 86_400;

/// Who refreshes, as the requester of the last refresh sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Uac,
    Uas,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Seconds.
    pub(crate) interval: Option<u32>,
    pub(crate) refresher: Option<Role>,
    /// Its sender, and everyone on the way, takes no shorter one.
    pub(crate) least: u32,
    /// Its sender knows session timers.
    pub(crate) supported: bool,
}

/// A session that lapses unless it is refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Seconds.
    pub(crate) interval: u32,
    pub(crate) least: u32,
    /// We refresh.
    pub(crate) ours: bool,
}

impl Asked {
    /// Reads a request; one that says nothing of timers asks for nothing.
    pub(crate) fn read(request: &Request<'_>) -> Self {
        let (interval, refresher) = match expires(&request.core) {
            Some((interval, refresher)) => (Some(interval), refresher),
            None => (None, None),
        };
        Self {
            interval,
            refresher,
            least: least(&request.core).unwrap_or(0),
            supported: request.supports("timer"),
        }
    }

    /// Too short for us: the request gets 422 with [`MIN_SE`].
    pub(crate) fn is_too_short(&self) -> bool {
        self.supported && self.interval.is_some_and(|seconds| seconds < MIN_SE)
    }

    /// What the answer grants; `ours` is the interval we like, 0 for none.
    pub(crate) fn grant(&self, ours: u32) -> Option<Grant> {
        let least = self.least.max(MIN_SE);
        let interval = match (self.interval, ours) {
            (None, 0) => return None,
            (Some(asked), 0) => asked,
            (None, ours) => ours,
            (Some(asked), ours) => asked.min(ours),
        };
        // Who does not know timers is refreshed by us.
        let refresher = if self.supported {
            self.refresher.unwrap_or(Role::Uac)
        } else {
            Role::Uas
        };
        let session = Session {
            interval: interval.max(least),
            least,
            ours: refresher == Role::Uas,
        };
        Some(Grant { session, refresher })
    }
}

/// What we grant as the one who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) session: Session,
    refresher: Role,
}

impl Grant {
    /// Value of `Session-Expires`.
    pub(crate) fn value(&self) -> String {
        let role = match self.refresher {
            Role::Uac => "uac",
            Role::Uas => "uas",
        };
        format!("{};refresher={role}", self.session.interval)
    }

    /// The peer must know what it is in for (RFC 4028 §9).
    pub(crate) fn is_required(&self) -> bool {
        self.refresher == Role::Uac
    }
}

impl Session {
    /// From the 2xx to a request of ours; `None`: nobody refreshes.
    pub(crate) fn agreed(core: &Core<'_>, least: u32) -> Option<Self> {
        let (interval, refresher) = expires(core)?;
        Some(Self {
            interval: interval.clamp(MIN_SE, SE_MAX),
            least,
            ours: refresher != Some(Role::Uas),
        })
    }

    /// When to refresh, or when to give up on the peer's refresh: a little
    /// before the end, so that the BYE is still of this session (RFC 4028 §10).
    pub(crate) fn due(&self) -> Duration {
        let seconds = if self.ours {
            self.interval / 2
        } else {
            self.interval - (self.interval / 3).min(32)
        };
        Duration::from_secs(u64::from(seconds))
    }

    /// A 422: the interval that is long enough; `None` when that is no sane one.
    pub(crate) fn raised(&self, core: &Core<'_>) -> Option<Self> {
        let least = least(core).filter(|seconds| *seconds > self.interval && *seconds <= SE_MAX)?;
        Some(Self {
            interval: least,
            least,
            ..*self
        })
    }
}

/// `Session-Expires`: seconds and refresher.
fn expires(core: &Core<'_>) -> Option<(u32, Option<Role>)> {
    let value = core.view.first(HeaderName::SessionExpires)?;
    let (seconds, params) = text::split_at_first(value, b';');
    let seconds = u32::try_from(text::decimal(text::trim(seconds))?).ok()?;
    let params = crate::headers::Params::parse(params.unwrap_or_default())?;
    let refresher = match params.value(b"refresher") {
        Some(role) if role.eq_ignore_ascii_case(b"uac") => Some(Role::Uac),
        Some(role) if role.eq_ignore_ascii_case(b"uas") => Some(Role::Uas),
        Some(_) | None => None,
    };
    Some((seconds, refresher))
}

fn least(core: &Core<'_>) -> Option<u32> {
    let value = core.view.first(HeaderName::MinSe)?;
    let seconds = text::trim(text::split_at_first(value, b';').0);
    u32::try_from(text::decimal(seconds)?).ok()
}
