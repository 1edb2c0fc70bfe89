//! Who a caller says they are, what the network says about it, and by which detours
//! they came.
//!
//! Reads the INVITE's names; it believes the trunk, and a signature that
//! [`crate::stir`] has checked, and nobody else. The decision thread asks it.

use std::fmt::Write as _;
use std::time::Duration;

use offhook_core::Number;
use offhook_core::memory::Attestation;
use offhook_core::number::Numbering;
use offhook_sip::identity::{Attestation as Level, Diversion, HistoryEntry, SignedIdentity};
use offhook_sip::{Incoming, Uri};

use crate::stir::{self, Stir, Verdict};
use crate::timeline::Line;

/// A caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// In E.164 where that can be told, else as the trunk gives it; empty when anonymous.
    pub shown: String,
    /// The number, where it is one.
    pub number: Option<Number>,
    /// What the network says of it.
    pub attestation: Attestation,
}

/// The caller of an INVITE. What the trunk asserts (RFC 3325) goes before what
/// the caller wrote into `From`.
pub fn caller(invite: &Incoming, numbering: &Numbering) -> Caller {
    let asserted = invite.asserted_identity.iter();
    let written = invite.from.uri.as_str();
    let texts = asserted.map(|party| party.uri.as_str()).chain([written]);
    let number = texts
        .clone()
        .filter_map(user)
        .find_map(|user| numbering.read(user));
    let mut verdicts = texts.filter_map(verstat);
    let shown = match &number {
        Some(number) => number.as_str().to_owned(),
        None => invite.from.uri.user().unwrap_or_default(),
    };
    Caller {
        shown,
        number,
        attestation: verdicts.next_back().unwrap_or_default(),
    }
}

/// What the signatures of a call are worth, a line each, and what they say of the
/// caller's number.
pub fn signatures(
    invite: &Incoming,
    caller: &Caller,
    numbering: &Numbering,
    stir: Option<&Stir>,
    now: Duration,
) -> (Vec<Line>, Option<Attestation>) {
    let called = [invite.to.uri.user(), invite.request_uri.user()];
    let called = called.into_iter().flatten();
    let read = |user: &String| {
        numbering
            .read(user)
            .map(|number| number.as_str().to_owned())
    };
    let called: Vec<_> = called
        .flat_map(|user| [read(&user), Some(user)])
        .flatten()
        .collect();
    let all = &invite.identities;
    let verdicts = stir.map(|stir| stir.judge(all, &caller.shown, &called, now));
    let verdict = |place: usize| verdicts.as_ref().and_then(|it| it.get(place));
    let lines = all.iter().enumerate().map(|(place, signed)| {
        let event = match stir::is_diversion(signed) {
            true => "identity_div",
            false => "identity",
        };
        Line::signalling(event, signed_text(signed, verdict(place)))
    });
    let mut says = None;
    for (place, signed) in all.iter().enumerate() {
        let said = match verdict(place) {
            // Levels B and C say nothing of the number (RFC 8588 §4).
            Some(Verdict::Right(right)) if right.attestation == Some(Level::Full) => {
                Some(Attestation::Passed)
            }
            Some(Verdict::Wrong(_)) if !stir::is_diversion(signed) => Some(Attestation::Failed),
            Some(_) | None => None,
        };
        // What is wrong is not made right by another one.
        says = if says == Some(Attestation::Failed) {
            says
        } else {
            said.or(says)
        };
    }
    (lines.collect(), says)
}

fn signed_text(signed: &SignedIdentity, verdict: Option<&Verdict>) -> String {
    let signer = signed.certificate.as_deref().unwrap_or("nobody");
    let mut text = match &signed.diverter {
        Some(number) => format!("sent on by {number}"),
        None => {
            let level = signed.attestation.map_or('-', Level::letter);
            format!("attestation {level}")
        }
    };
    let _ = write!(text, ", signed by {signer}");
    if let Some(verdict) = verdict {
        let _ = write!(text, ", {verdict}");
    }
    if let Some(Verdict::Right(right)) = verdict
        && !right.providers.is_empty()
    {
        let _ = write!(text, ", provider {}", right.providers.join(" "));
    }
    text
}

/// By which detours a call came: diversions, and the stations that they left it at.
pub fn detours(invite: &Incoming) -> Vec<Line> {
    let user = |uri: &Uri| uri.user().unwrap_or_else(|| uri.to_string());
    let diversion = |it: &Diversion| {
        let reason = it.reason.as_deref().unwrap_or("unknown");
        let times = match it.counter {
            0 | 1 => String::new(),
            times => format!(", {times} times"),
        };
        Line::signalling(
            "diverted",
            format!("by {} ({reason}{times})", user(&it.party.uri)),
        )
    };
    let station = |it: &HistoryEntry| match it.cause {
        Some(cause) => format!("{} {} ({cause})", it.index, user(&it.target)),
        None => format!("{} {}", it.index, user(&it.target)),
    };
    let stations: Vec<_> = invite.history.iter().map(station).collect();
    let way = (!stations.is_empty()).then(|| Line::signalling("history", stations.join(", ")));
    invite.diversion.iter().map(diversion).chain(way).collect()
}

/// The user part of `"Ada" <sip:+4930123456;verstat=…@host>` or `tel:+49…`.
fn user(text: &str) -> Option<&str> {
    let address = match text.split_once('<') {
        Some((_, rest)) => rest.split('>').next()?,
        None => text,
    };
    let rest = ["sips:", "sip:", "tel:"]
        .into_iter()
        .find_map(|scheme| address.strip_prefix(scheme))?;
    let user = rest.split('@').next()?;
    user.split(';').next()
}

/// The verdict of the network's STIR verification (ATIS-1000074 §5.3.1; 3GPP
/// TS 24.229 §7.2A.20): a parameter of the number.
fn verstat(text: &str) -> Option<Attestation> {
    let at = text.find("verstat=")?;
    let value = &text[at + "verstat=".len()..];
    let end = value.find([';', '@', '>', ' ', '&']).unwrap_or(value.len());
    match &value[..end] {
        "TN-Validation-Passed" => Some(Attestation::Passed),
        "TN-Validation-Failed" => Some(Attestation::Failed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_in_every_way_of_writing_an_address() {
        for (text, expected) in [
            ("<sip:+4930123456@host;user=phone>", Some("+4930123456")),
            (
                "\"Ada <x>\" <sip:1@h>",
                None, // Brackets in a display name are not worth believing.
            ),
            (
                "Ada <sip:+49301;verstat=TN-Validation-Passed@h>",
                Some("+49301"),
            ),
            ("tel:+4930123456;cpc=x", Some("+4930123456")),
            ("sip:anonymous@anonymous.invalid", Some("anonymous")),
            ("nonsense", None),
            ("<", None),
        ] {
            assert_eq!(user(text), expected, "{text}");
        }
    }

    #[test]
    fn the_networks_verdict_is_read_and_nothing_else_counts() {
        for (text, expected) in [
            (
                "<sip:+49301;verstat=TN-Validation-Passed@h>",
                Some(Attestation::Passed),
            ),
            (
                "<tel:+49301;verstat=TN-Validation-Failed>",
                Some(Attestation::Failed),
            ),
            ("<sip:+49301;verstat=No-TN-Validation@h>", None),
            ("<sip:+49301;verstat=TN-Validation-PassedX@h>", None),
            ("<sip:+49301@h>", None),
        ] {
            assert_eq!(verstat(text), expected, "{text}");
        }
    }
}
