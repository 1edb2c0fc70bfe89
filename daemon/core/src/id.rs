//! Names of things that last: conversations, legs, actions, turns.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// A word of a playbook, a policy or the catalogue: a stage, a rule, a prompt. To copy
/// one allocates nothing, and neither does to make one of up to 23 bytes.
pub type Name = smol_str::SmolStr;

/// Crockford's base 32 in lower case: no i, l, o, u to be misread on the phone.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 13 digits of 5 bits hold 64 bits.
const WIDTH: usize = 13;

/// One conversation, for ever. Made by the daemon, ordered by birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConversationId(pub u64);

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; WIDTH];
        let mut rest = self.0;
        for place in text.iter_mut().rev() {
            *place = DIGITS[(rest % 32) as usize];
            rest /= 32;
        }
        f.write_str(core::str::from_utf8(&text).expect("the digits are ASCII"))
    }
}

/// The text is not thirteen digits of Crockford's base 32 that fit 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadId;

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an id: thirteen of 0-9 a-z without i, l, o, u")
    }
}

impl core::error::Error for BadId {}

impl FromStr for ConversationId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        if text.len() != WIDTH {
            return Err(BadId);
        }
        let digit = |byte: u8| DIGITS.iter().position(|d| *d == byte.to_ascii_lowercase());
        text.bytes()
            .try_fold(0u64, |id, byte| {
                id.checked_mul(32)?.checked_add(digit(byte)? as u64)
            })
            .map(Self)
            .ok_or(BadId)
    }
}

/// A leg of a conversation: the caller is leg 0, a consulted human a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LegId(pub u8);

/// Counts the onsets and stops on a leg. The media edge raises it and reports each
/// raise with `BargeIn` or `Turn`; that a `Stop` raises it the core knows itself.
/// What was decided in an older turn is stale.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Turn(pub u32);

/// Counts what a conversation asked the store to keep.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Seq(pub u32);

/// One authorised action, for ever; the same on every retry and every replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActionId {
    /// Whose action.
    pub conversation: ConversationId,
    /// Counts the proposals of the conversation.
    pub number: u32,
}

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.conversation, self.number)
    }
}

impl FromStr for ActionId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let (conversation, number) = text.split_once('-').ok_or(BadId)?;
        Ok(Self {
            conversation: conversation.parse()?,
            number: number.parse().map_err(|_| BadId)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_writes() {
        for id in [0, 1, 31, 32, 0x0123_4567_89ab_cdef, u64::MAX] {
            let action = ActionId {
                conversation: ConversationId(id),
                number: 7,
            };
            assert_eq!(action.to_string().parse(), Ok(action));
        }
    }

    #[test]
    fn a_text_that_is_no_id_is_refused() {
        for text in ["", "7", "zzzzzzzzzzzzz", "000000000000u", "00000000000000"] {
            assert_eq!(text.parse::<ConversationId>(), Err(BadId), "{text}");
        }
    }
}
