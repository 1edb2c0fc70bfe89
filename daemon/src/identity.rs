//! Who a caller says they are, and what the network says about it.
//!
//! Reads the INVITE's names; it believes the trunk, which is the one that
//! verifies signatures, and nobody else. The decision thread asks it.

use offhook_core::Number;
use offhook_core::memory::Attestation;
use offhook_core::number::Numbering;
use offhook_sip::Incoming;

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
