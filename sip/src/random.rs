//! Unpredictable tags, branches and Call-IDs from a seed.
//!
//! The generator is xoshiro256++; whoever sees enough raw output can predict
//! it, so every identifier is one output passed through a one-way mix with a
//! secret word of the seed. The seed must hold at least 64 bits of entropy
//! that no peer knows; the daemon takes it from the system at start, tests
//! take any number.

/// Source of identifiers.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: [u64; 4],
    secret: u64,
}

impl Random {
    pub(crate) fn new(seed: [u64; 4]) -> Self {
        let mut mixed = seed;
        let mut carry = 0x9e37_79b9_7f4a_7c15_u64;
        for word in &mut mixed {
            carry = mix(carry ^ *word);
            *word = carry;
        }
        if mixed == [0; 4] {
            mixed[0] = 1;
        }
        Self {
            state: mixed,
            secret: mix(carry ^ 0xd1b5_4a32_d192_ed03),
        }
    }

    /// xoshiro256++ (Blackman and Vigna).
    pub(crate) fn next(&mut self) -> u64 {
        let [s0, s1, s2, s3] = self.state;
        let result = s0.wrapping_add(s3).rotate_left(23).wrapping_add(s0);
        let (s2, s3) = (s2 ^ s0, s3 ^ s1);
        self.state = [s0 ^ s3, s1 ^ s2, s2 ^ (s1 << 17), s3.rotate_left(45)];
        result
    }

    /// A number below `limit` (which is small beside 2^64).
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        let high = (u128::from(self.next()) * u128::from(limit.max(1))) >> 64;
        u32::try_from(high).unwrap_or(0)
    }

    /// 16 hexadecimal digits.
    pub(crate) fn tag(&mut self) -> String {
        let word = self.token();
        let mut text = String::with_capacity(16);
        push_hex(&mut text, word);
        text
    }

    /// A branch with the cookie of RFC 3261.
    pub(crate) fn branch(&mut self) -> String {
        let word = self.token();
        let mut text = String::with_capacity(24);
        text.push_str("z9hG4bK");
        push_hex(&mut text, word);
        text
    }

    /// 32 hexadecimal digits.
    pub(crate) fn call_id(&mut self) -> String {
        let (high, low) = (self.token(), self.token());
        let mut text = String::with_capacity(32);
        push_hex(&mut text, high);
        push_hex(&mut text, low);
        text
    }

    /// Bytes for a seal.
    pub(crate) fn secret(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for piece in bytes.chunks_exact_mut(8) {
            piece.copy_from_slice(&self.token().to_be_bytes());
        }
        bytes
    }

    fn token(&mut self) -> u64 {
        let word = self.next();
        mix(word ^ self.secret).wrapping_mul(self.secret | 1) ^ word.rotate_left(31)
    }

    /// A number that depends on the secret and the bytes alone, for answers
    /// that keep no state.
    pub(crate) fn keyed(&self, bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words.iter().chain([&last]).fold(self.secret, |hash, word| {
            mix(hash ^ u64::from_le_bytes(*word)).wrapping_add(self.secret)
        })
    }
}

/// Appends a word as 16 hexadecimal digits.
pub(crate) fn push_hex(text: &mut String, word: u64) {
    let digits = (0..16).rev().map(|place| {
        let digit = u8::try_from((word >> (4 * place)) & 0xf).unwrap_or_default();
        char::from(digit + if digit < 10 { b'0' } else { b'a' - 10 })
    });
    text.extend(digits);
}

/// The finalizer of splitmix64.
const fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn identifiers_repeat_with_the_seed_and_never_among_themselves() {
        let mut one = Random::new([1, 2, 3, 4]);
        let mut two = Random::new([1, 2, 3, 4]);
        let mut seen = HashSet::new();
        for _ in 0..10_000 {
            let tag = one.tag();
            assert_eq!(tag, two.tag());
            assert!(seen.insert(tag));
        }
        assert_ne!(
            Random::new([1, 2, 3, 5]).tag(),
            Random::new([1, 2, 3, 4]).tag()
        );
        assert_eq!(Random::new([0; 4]).below(1), 0);
    }
}
