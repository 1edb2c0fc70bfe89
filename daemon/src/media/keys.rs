//! Keys, whichever way they come: as telephone-events or as tones in the sound.
//!
//! A key that comes both ways is one digit. Where telephone-events were agreed
//! on, a tone waits for its event; once an event has come, tones are no longer
//! believed. In a secret collection the key itself goes no further. Called by
//! the leg.

use std::time::Duration;

use offhook_sip::rtp::{KeyEvent, Keys, TelephoneEvent};

use super::safe::Pressed;
use super::words::Digit;

/// How long a tone waits for its event: an event follows its tone within a
/// few packets.
const WAIT: Duration = Duration::from_millis(200);

/// The keys of one leg.
#[derive(Clone, Debug, Default)]
pub struct Keypad {
    events: Keys,
    /// Telephone-events were agreed on.
    agreed: bool,
    /// One has come.
    seen: bool,
    tone: Option<(u8, Duration)>,
    pressed: Pressed,
}

impl Keypad {
    /// The stream was agreed on, with or without telephone-events.
    pub fn connect(&mut self, agreed: bool) {
        self.agreed = agreed;
        self.seen = false;
    }

    /// A collection begins, of a secret (see [`Pressed::begin`]) or in the open.
    pub fn collect(&mut self, secret: Option<(u8, Option<u8>)>) {
        self.pressed.begin(secret);
        // The tone of a key that belonged to what was before.
        self.tone = None;
    }

    /// Keys, and the sound they make, stay here.
    pub fn is_secret(&self) -> bool {
        self.pressed.is_secret()
    }

    /// Takes a secret that the last key has made complete out to `keep`, and
    /// erases it here.
    pub fn press(&mut self, key: u8, keep: impl FnOnce(&[u8])) -> bool {
        let Some(secret) = self.pressed.press(key) else {
            return false;
        };
        keep(secret);
        self.pressed.erase();
        true
    }

    /// A telephone-event packet.
    pub fn hear_event(
        &mut self,
        timestamp: u32,
        marker: bool,
        event: TelephoneEvent,
    ) -> Option<u8> {
        self.seen = true;
        self.tone = None;
        match self.events.receive(timestamp, marker, event) {
            KeyEvent::Pressed(key) => Some(key),
            KeyEvent::Released { .. } | KeyEvent::Nothing => None,
        }
    }

    /// A tone in the sound.
    pub fn hear_tone(&mut self, now: Duration, key: u8) -> Option<u8> {
        if self.seen {
            return None;
        }
        if self.agreed {
            let before = self.tone.replace((key, now));
            return before.map(|(key, _)| key);
        }
        Some(key)
    }

    /// A tone whose event has not come in time.
    pub fn tick(&mut self, now: Duration) -> Option<u8> {
        let (key, since) = self.tone?;
        if now.saturating_sub(since) < WAIT {
            return None;
        }
        self.tone = None;
        Some(key)
    }

    /// The key as it may leave the media edge.
    pub fn mask(&self, key: u8) -> Digit {
        if self.is_secret() {
            Digit::Masked
        } else {
            Digit::Key(key)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn five(end: bool) -> TelephoneEvent {
        TelephoneEvent {
            event: 5,
            end,
            volume: 10,
            duration: 160,
        }
    }

    #[test]
    fn a_key_that_comes_both_ways_is_one_digit() {
        let mut keypad = Keypad::default();
        keypad.connect(true);
        assert_eq!(keypad.hear_tone(ms(0), b'5'), None);
        assert_eq!(keypad.hear_event(1, true, five(false)), Some(b'5'));
        assert_eq!(keypad.tick(ms(500)), None);
        assert_eq!(keypad.hear_tone(ms(600), b'5'), None);
        assert_eq!(keypad.hear_event(1, false, five(true)), None);
    }

    #[test]
    fn a_tone_without_its_event_is_a_digit_after_the_wait() {
        let mut keypad = Keypad::default();
        keypad.connect(true);
        keypad.hear_tone(ms(0), b'1');
        assert_eq!(keypad.tick(ms(190)), None);
        assert_eq!(keypad.tick(ms(200)), Some(b'1'));
        assert_eq!(keypad.tick(ms(210)), None);
        keypad.hear_tone(ms(300), b'2');
        assert_eq!(keypad.hear_tone(ms(400), b'3'), Some(b'2'));
    }

    #[test]
    fn without_events_a_tone_is_a_digit_at_once() {
        let mut keypad = Keypad::default();
        keypad.connect(false);
        assert_eq!(keypad.hear_tone(ms(0), b'#'), Some(b'#'));
    }

    #[test]
    fn a_secret_key_is_masked_and_kept_until_it_is_complete() {
        let mut keypad = Keypad::default();
        keypad.collect(Some((2, None)));
        assert_eq!(keypad.mask(b'5'), Digit::Masked);
        assert!(!keypad.press(b'5', |_| panic!("it is not complete")));
        let mut kept = Vec::new();
        assert!(keypad.press(b'6', |secret| kept.extend_from_slice(secret)));
        assert_eq!(kept, b"56");
        assert_eq!(keypad.mask(b'7'), Digit::Masked, "until it is collected");
        keypad.collect(None);
        assert_eq!(keypad.mask(b'5'), Digit::Key(b'5'));
    }
}
