//! The safe: per slot room for one secret of keys, put there by the media thread
//! when it is complete and taken out once, which erases it. No locks.
//!
//! Called by the media thread (`seal`) and by whoever carries the secret to its
//! sink (`take`). Nothing else ever sees it.

use std::sync::atomic::{AtomicU8, Ordering};

use zeroize::{Zeroize, Zeroizing};

/// Keys of a secret, at most: the longest card number has 19 (ISO/IEC 7812-1).
pub const KEYS: usize = 32;

/// A secret outside the safe: in one place on the heap until it is dropped, which
/// erases it.
pub type Secret = Zeroizing<Vec<u8>>;

/// One slot's safe.
#[derive(Default)]
pub struct Safe {
    keys: [AtomicU8; KEYS],
    count: AtomicU8,
}

impl Safe {
    /// Puts a secret in, or with none erases what is there. Does not wait.
    pub fn seal(&self, keys: &[u8]) {
        for (place, kept) in self.keys.iter().enumerate() {
            kept.store(keys.get(place).copied().unwrap_or(0), Ordering::Relaxed);
        }
        // Release: who sees the count sees the keys.
        let count = keys.len().min(KEYS) as u8;
        self.count.store(count, Ordering::Release);
    }

    /// Takes the secret out; none is left behind.
    pub fn take(&self) -> Option<Secret> {
        // AcqRel: the keys are those of this count, and nobody takes them again.
        let count = usize::from(self.count.swap(0, Ordering::AcqRel));
        let mut secret = Secret::new(Vec::with_capacity(KEYS));
        for (place, kept) in self.keys.iter().enumerate() {
            let key = kept.swap(0, Ordering::Relaxed);
            if place < count {
                secret.push(key);
            }
        }
        (count > 0).then_some(secret)
    }
}

/// The keys of a secret as they are pressed.
#[derive(Clone, Debug, Default)]
pub struct Pressed {
    keys: [u8; KEYS],
    count: usize,
    /// So many, or this key.
    wanted: Option<(u8, Option<u8>)>,
    sealed: bool,
}

impl Pressed {
    /// Waits for another secret, or for none. What was pressed is erased.
    pub fn begin(&mut self, wanted: Option<(u8, Option<u8>)>) {
        self.erase();
        self.wanted = wanted;
        self.sealed = false;
    }

    /// Keys are secret now.
    pub fn is_secret(&self) -> bool {
        self.wanted.is_some()
    }

    /// Takes a key; the secret, when it is complete by it.
    pub fn press(&mut self, key: u8) -> Option<&[u8]> {
        let (most, terminator) = self.wanted?;
        if self.sealed {
            return None;
        }
        let ends = Some(key) == terminator;
        if !ends {
            *self.keys.get_mut(self.count)? = key;
            self.count += 1;
        }
        if !ends && self.count < usize::from(most) || self.count == 0 {
            return None;
        }
        self.sealed = true;
        Some(&self.keys[..self.count])
    }

    /// Erases what was pressed; further keys of this secret are nobody's.
    pub fn erase(&mut self) {
        self.keys.zeroize();
        self.count = 0;
    }
}

/// Whether the last digit checks the others (ISO/IEC 7812-1 annex B, "Luhn").
pub fn ends_in_check_digit(keys: &[u8]) -> bool {
    let digits = keys.iter().rev().map(|key| key.wrapping_sub(b'0'));
    let sum = digits.enumerate().try_fold(0u32, |sum, (place, digit)| {
        let doubled = u32::from(digit) << (place % 2);
        (digit < 10).then_some(sum + doubled / 10 + doubled % 10)
    });
    keys.len() > 1 && sum.is_some_and(|sum| sum.is_multiple_of(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_digit_of_known_numbers_is_right() {
        let rows: [(&[u8], bool); 6] = [
            (b"4111111111111111", true),
            (b"4111111111111112", false),
            (b"79927398713", true),
            (b"79927398710", false),
            (b"0", false),
            (b"41111*1111111111", false),
        ];
        for (keys, right) in rows {
            assert_eq!(ends_in_check_digit(keys), right, "{keys:?}");
        }
    }

    #[test]
    fn a_secret_is_complete_by_its_last_key_or_its_terminator() {
        let mut pressed = Pressed::default();
        assert_eq!(pressed.press(b'1'), None, "nothing is awaited");
        pressed.begin(Some((3, Some(b'#'))));
        assert_eq!(pressed.press(b'#'), None, "nothing was pressed");
        assert_eq!(pressed.press(b'1'), None);
        assert_eq!(pressed.press(b'#'), Some(&b"1"[..]));
        assert_eq!(pressed.press(b'2'), None, "it is sealed");
        pressed.begin(Some((2, None)));
        assert_eq!(pressed.press(b'4'), None);
        assert_eq!(pressed.press(b'2'), Some(&b"42"[..]));
    }

    #[test]
    fn a_secret_is_taken_once_and_nothing_of_it_stays() {
        let safe = Safe::default();
        assert!(safe.take().is_none());
        safe.seal(b"4242");
        assert_eq!(safe.take().as_deref(), Some(&b"4242".to_vec()));
        assert!(safe.take().is_none());
        assert!(safe.keys.iter().all(|key| key.load(Ordering::Relaxed) == 0));
        safe.seal(b"1");
        safe.seal(b"");
        assert!(safe.take().is_none());
    }
}
