//! Keys, whichever way they come: as telephone-events or as tones in the sound.
//!
//! A key that comes both ways is one digit. Where telephone-events were agreed
//! on, a tone waits for its event; once an event has come, tones are no longer
//! believed. In a secret collection the key itself goes no further. Called by
//! the leg.

use std::time::Duration;

use offhook_sip::rtp::{KeyEvent, Keys, TelephoneEvent};

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
    secret: bool,
}

impl Keypad {
    /// The stream was agreed on, with or without telephone-events.
    pub fn connect(&mut self, agreed: bool) {
        self.agreed = agreed;
        self.seen = false;
    }

    /// A collection begins.
    pub fn collect(&mut self, secret: bool) {
        self.secret = secret;
    }

    /// Keys, and the sound they make, stay here.
    pub fn is_secret(&self) -> bool {
        self.secret
    }

    /// A telephone-event packet.
    pub fn hear_event(
        &mut self,
        timestamp: u32,
        marker: bool,
        event: TelephoneEvent,
    ) -> Option<Digit> {
        self.seen = true;
        self.tone = None;
        match self.events.receive(timestamp, marker, event) {
            KeyEvent::Pressed(key) => Some(self.mask(key)),
            KeyEvent::Released { .. } | KeyEvent::Nothing => None,
        }
    }

    /// A tone in the sound.
    pub fn hear_tone(&mut self, now: Duration, key: u8) -> Option<Digit> {
        if self.seen {
            return None;
        }
        if self.agreed {
            let before = self.tone.replace((key, now));
            return before.map(|(key, _)| self.mask(key));
        }
        Some(self.mask(key))
    }

    /// A tone whose event has not come in time.
    pub fn tick(&mut self, now: Duration) -> Option<Digit> {
        let (key, since) = self.tone?;
        if now.saturating_sub(since) < WAIT {
            return None;
        }
        self.tone = None;
        Some(self.mask(key))
    }

    fn mask(&self, key: u8) -> Digit {
        if self.secret {
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
        assert_eq!(
            keypad.hear_event(1, true, five(false)),
            Some(Digit::Key(b'5'))
        );
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
        assert_eq!(keypad.tick(ms(200)), Some(Digit::Key(b'1')));
        assert_eq!(keypad.tick(ms(210)), None);
        keypad.hear_tone(ms(300), b'2');
        assert_eq!(keypad.hear_tone(ms(400), b'3'), Some(Digit::Key(b'2')));
    }

    #[test]
    fn without_events_a_tone_is_a_digit_at_once() {
        let mut keypad = Keypad::default();
        keypad.connect(false);
        assert_eq!(keypad.hear_tone(ms(0), b'#'), Some(Digit::Key(b'#')));
    }

    #[test]
    fn a_secret_key_is_masked_either_way() {
        let mut keypad = Keypad::default();
        keypad.collect(true);
        assert_eq!(keypad.hear_tone(ms(0), b'5'), Some(Digit::Masked));
        assert_eq!(keypad.hear_event(1, true, five(false)), Some(Digit::Masked));
        keypad.collect(false);
        assert_eq!(
            keypad.hear_event(9000, true, five(false)),
            Some(Digit::Key(b'5'))
        );
    }
}
