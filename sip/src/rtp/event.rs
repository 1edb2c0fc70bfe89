//! Telephone-events: keys as packets (RFC 4733).
//!
//! One key is one digit, however many packets tell of it: with or without
//! marker bit, with retransmitted or lost ends. It makes and finds no tones.
//! Called by the media threads.

use heapless::Deque;

use super::CLOCK_RATE;

/// Octets of an event payload (RFC 4733 §2.3).
pub const PAYLOAD: usize = 4;
/// An end is sent three times (RFC 4733 §2.5.1.4).
const ENDS: u8 = 3;
/// How long a key that we send is held: 100 ms, above the 40 ms that a
/// receiver may ask for (ITU-T Q.24, annex A).
const HELD: u16 = 800;
/// Packets until the next key: 80 ms at 20 ms each, above the 40 ms of ITU-T Q.24.
const PAUSE: u8 = 4;
/// Keys waiting to be sent.
pub const WAITING: usize = 32;
/// Without marker, a segment that begins this close to where the last one
/// stood is the same key (RFC 4733 §2.5.1.3 lets long events go on so).
const SEGMENT: u32 = CLOCK_RATE / 25;

/// One event payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// 0 to 15 are keys (RFC 4733 §3.2).
    pub event: u8,
    /// The key was released.
    pub end: bool,
    /// -dBm0.
    pub volume: u8,
    /// Samples so far.
    pub duration: u16,
}

impl TelephoneEvent {
    /// The first event of a payload; `None` if too short for one.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let bytes: [u8; PAYLOAD] = payload.get(..PAYLOAD)?.try_into().ok()?;
        Some(Self {
            event: bytes[0],
            end: bytes[1] & 0x80 != 0,
            volume: bytes[1] & 0x3F,
            duration: u16::from_be_bytes([bytes[2], bytes[3]]),
        })
    }

    /// As it goes out.
    pub fn to_bytes(self) -> [u8; PAYLOAD] {
        let duration = self.duration.to_be_bytes();
        let flags = u8::from(self.end) << 7 | self.volume & 0x3F;
        [self.event, flags, duration[0], duration[1]]
    }
}

/// A key in ASCII by its event number (RFC 4733 §3.2).
pub const fn key_of(event: u8) -> Option<u8> {
    match event {
        0..=9 => Some(b'0' + event),
        10 => Some(b'*'),
        11 => Some(b'#'),
        12..=15 => Some(b'A' + (event - 12)),
        _ => None,
    }
}

/// The event number of a key in ASCII.
pub const fn event_of(key: u8) -> Option<u8> {
    match key {
        b'0'..=b'9' => Some(key - b'0'),
        b'*' => Some(10),
        b'#' => Some(11),
        b'A'..=b'D' => Some(key - b'A' + 12),
        _ => None,
    }
}

/// What a packet tells that was not known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// A key, in ASCII, went down: this is the digit.
    Pressed(u8),
    /// It was held for so many samples and is up again.
    Released {
        /// In ASCII.
        key: u8,
        /// In samples.
        duration: u32,
    },
    /// Nothing new: an update, a repeated end, or no key at all.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    event: u8,
    timestamp: u32,
    /// Of earlier segments, in samples.
    before: u32,
    duration: u16,
    ended: bool,
}

/// Finds the keys in the events of one stream.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    current: Option<Current>,
}

impl Keys {
    /// Takes one event packet. Does not allocate or block.
    pub fn receive(&mut self, timestamp: u32, marker: bool, event: TelephoneEvent) -> KeyEvent {
        let Some(key) = key_of(event.event) else {
            return KeyEvent::Nothing;
        };
        match &mut self.current {
            Some(current) if current.timestamp == timestamp && current.event == event.event => {
                current.duration = current.duration.max(event.duration);
                self.end(key, event)
            }
            Some(current) if is_behind(current, timestamp) => KeyEvent::Nothing,
            Some(current) if !marker && is_segment(current, timestamp, event) => {
                let since = timestamp.wrapping_sub(current.timestamp);
                current.before = current.before.saturating_add(since);
                current.timestamp = timestamp;
                current.duration = event.duration;
                self.end(key, event)
            }
            _ => self.begin(key, timestamp, event),
        }
    }

    fn begin(&mut self, key: u8, timestamp: u32, event: TelephoneEvent) -> KeyEvent {
        self.current = Some(Current {
            event: event.event,
            timestamp,
            before: 0,
            duration: event.duration,
            ended: event.end,
        });
        KeyEvent::Pressed(key)
    }

    fn end(&mut self, key: u8, event: TelephoneEvent) -> KeyEvent {
        match &mut self.current {
            Some(current) if event.end && !current.ended => {
                current.ended = true;
                let duration = current.before.saturating_add(current.duration.into());
                KeyEvent::Released { key, duration }
            }
            _ => KeyEvent::Nothing,
        }
    }
}

/// A packet of an earlier key that was overtaken.
fn is_behind(current: &Current, timestamp: u32) -> bool {
    let behind = current.timestamp.wrapping_sub(timestamp);
    (1..10 * CLOCK_RATE).contains(&behind)
}

/// A long key goes on under a new timestamp, or a sender moves the timestamp
/// with each packet (both seen in the field).
fn is_segment(current: &Current, timestamp: u32, event: TelephoneEvent) -> bool {
    let stood_at = current.timestamp.wrapping_add(current.duration.into());
    let beyond = timestamp.wrapping_sub(stood_at) as i32;
    !current.ended && current.event == event.event && beyond <= SEGMENT as i32
}

/// What the sender puts into the packet of this tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Audio, as always.
    Audio,
    /// No audio and no event: the pause between two keys.
    Pause,
    /// An event, under the timestamp of its first packet.
    Event {
        /// The payload.
        event: TelephoneEvent,
        /// First packet of the key.
        first: bool,
        /// Samples since the first packet.
        age: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Sending {
    event: u8,
    age: u32,
    packets: u16,
    ends: u8,
    pause: u8,
}

/// Sends keys, one after the other, a packet a tick.
#[derive(Clone, Debug, Default)]
pub struct KeySender {
    waiting: Deque<u8, WAITING>,
    sending: Option<Sending>,
}

impl KeySender {
    /// Queues a key (ASCII); `false` if it is none or the queue is full.
    pub fn push(&mut self, key: u8) -> bool {
        event_of(key).is_some_and(|event| self.waiting.push_back(event).is_ok())
    }

    /// Nothing is left to be sent.
    pub fn is_idle(&self) -> bool {
        self.sending.is_none() && self.waiting.is_empty()
    }

    /// What goes into the packet of this tick, which is `samples` long.
    pub fn step(&mut self, samples: u16) -> Step {
        let Some(mut sending) = self.sending.take().or_else(|| self.take_next()) else {
            return Step::Audio;
        };
        if sending.ends == ENDS {
            sending.pause += 1;
            if sending.pause < PAUSE {
                self.sending = Some(sending);
            }
            return Step::Pause;
        }
        let step = advance(&mut sending, samples);
        self.sending = Some(sending);
        step
    }

    fn take_next(&mut self) -> Option<Sending> {
        self.waiting.pop_front().map(|event| Sending {
            event,
            age: 0,
            packets: 0,
            ends: 0,
            pause: 0,
        })
    }
}

fn advance(sending: &mut Sending, samples: u16) -> Step {
    let first = sending.packets == 0;
    let age = sending.age;
    sending.packets += 1;
    sending.age += u32::from(samples);
    let held = sending.packets.saturating_mul(samples).min(HELD);
    let end = held == HELD;
    sending.ends += u8::from(end);
    let event = TelephoneEvent {
        event: sending.event,
        end,
        // The level that RFC 4733 §2.3.2 takes for a key: -10 dBm0.
        volume: 10,
        duration: held,
    };
    Step::Event { event, first, age }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: u8, duration: u16, end: bool) -> TelephoneEvent {
        TelephoneEvent {
            event,
            end,
            volume: 10,
            duration,
        }
    }

    /// Timestamp, marker, event, duration, end.
    type Row = (u32, bool, u8, u16, bool);

    /// Gives the keys pressed.
    fn pressed(rows: &[Row]) -> String {
        let mut keys = Keys::default();
        let mut text = String::new();
        for &(timestamp, marker, number, duration, end) in rows {
            if let KeyEvent::Pressed(key) =
                keys.receive(timestamp, marker, event(number, duration, end))
            {
                text.push(char::from(key));
            }
        }
        text
    }

    #[test]
    fn one_key_is_one_digit() {
        let table: &[(&str, &str, &[Row])] = &[
            (
                "a whole key",
                "5",
                &[
                    (1000, true, 5, 160, false),
                    (1000, false, 5, 320, false),
                    (1000, false, 5, 480, true),
                    (1000, false, 5, 480, true),
                    (1000, false, 5, 480, true),
                ],
            ),
            (
                "no marker at all",
                "55",
                &[
                    (1000, false, 5, 160, false),
                    (1000, false, 5, 480, true),
                    (3000, false, 5, 160, false),
                    (3000, false, 5, 480, true),
                ],
            ),
            (
                "all ends lost, same key twice",
                "55",
                &[
                    (1000, true, 5, 160, false),
                    (1000, false, 5, 320, false),
                    (5000, true, 5, 160, false),
                    (5000, false, 5, 480, true),
                ],
            ),
            (
                "all ends and markers lost, same key twice",
                "55",
                &[(1000, false, 5, 320, false), (5000, false, 5, 320, false)],
            ),
            ("only an end arrives", "#", &[(1000, false, 11, 480, true)]),
            (
                "an end that was overtaken by the next key",
                "12",
                &[
                    (1000, true, 1, 160, false),
                    (3000, true, 2, 160, false),
                    (1000, false, 1, 480, true),
                ],
            ),
            (
                "a long key in segments",
                "9",
                &[
                    (1000, true, 9, 160, false),
                    (1000, false, 9, 65535, false),
                    (66535, false, 9, 160, false),
                    (66535, false, 9, 320, true),
                ],
            ),
            (
                "a sender that moves the timestamp",
                "4",
                &[
                    (1000, true, 4, 160, false),
                    (1160, false, 4, 160, false),
                    (1320, false, 4, 160, true),
                ],
            ),
            (
                "timestamps wrap",
                "77",
                &[
                    (u32::MAX - 100, true, 7, 480, true),
                    (u32::MAX - 100, false, 7, 480, true),
                    (2000, true, 7, 480, true),
                ],
            ),
            (
                "no keys: flash and fax tones",
                "",
                &[(1, true, 16, 160, false), (1, true, 36, 160, false)],
            ),
        ];
        for (name, expected, rows) in table {
            assert_eq!(pressed(rows), *expected, "{name}");
        }
    }

    #[test]
    fn the_release_tells_the_whole_duration_once() {
        let mut keys = Keys::default();
        keys.receive(1000, true, event(9, 160, false));
        keys.receive(1000, false, event(9, 65_535, false));
        keys.receive(66_535, false, event(9, 160, false));
        let released = keys.receive(66_535, false, event(9, 400, true));
        let expected = KeyEvent::Released {
            key: b'9',
            duration: 65_535 + 400,
        };
        assert_eq!(released, expected);
        let again = keys.receive(66_535, false, event(9, 400, true));
        assert_eq!(again, KeyEvent::Nothing);
    }

    #[test]
    fn what_is_sent_is_received_as_the_same_keys() {
        let mut sender = KeySender::default();
        let text = "0123456789*#ABCD00";
        assert!(text.bytes().all(|key| sender.push(key)));
        assert!(!sender.push(b'x'));
        let mut keys = Keys::default();
        let mut heard = String::new();
        let mut released = 0;
        for tick in 0..400u32 {
            let Step::Event { event, first, age } = sender.step(160) else {
                continue;
            };
            let event = TelephoneEvent::parse(&event.to_bytes()).unwrap();
            match keys.receive(tick * 160 - age, first, event) {
                KeyEvent::Pressed(key) => heard.push(char::from(key)),
                KeyEvent::Released { duration, .. } => {
                    assert_eq!(duration, u32::from(HELD));
                    released += 1;
                }
                KeyEvent::Nothing => {}
            }
        }
        assert_eq!(heard, text);
        assert_eq!(released, text.len());
        assert!(sender.is_idle());
    }

    #[test]
    fn the_queue_of_keys_is_bounded() {
        let mut sender = KeySender::default();
        let taken = (0..100).filter(|_| sender.push(b'1')).count();
        assert_eq!(taken, WAITING);
    }

    #[test]
    fn a_key_that_seems_to_last_for_days_is_counted_to_the_brim() {
        let mut keys = Keys::default();
        let event = |end| TelephoneEvent {
            event: 1,
            end,
            volume: 10,
            duration: u16::MAX,
        };
        // The timestamp jumps back by less than the sign bit again and again.
        for step in 0..4u32 {
            keys.receive(step.wrapping_mul(0xb000_0000), false, event(false));
        }
        keys.receive(3u32.wrapping_mul(0xb000_0000), false, event(true));
    }

    #[test]
    fn a_short_payload_is_no_event() {
        assert_eq!(TelephoneEvent::parse(&[1, 2, 3]), None);
    }
}
