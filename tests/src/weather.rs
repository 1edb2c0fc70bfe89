//! Weather for packets: what becomes of each of them on a bad line, by a seed. The
//! same seed and the same packets give the same losses and delays, whoever receives.
//!
//! It only decides; `shaper` carries it out on a netfilter queue (this kernel's
//! `tc` may have no netem), and `lane` brings the two together.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How much later a packet comes that is overtaken: its successor of 20 ms goes first.
const OVERTAKEN: Duration = Duration::from_millis(30);

/// One kind of weather. Shares are in percent, times in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    /// What every packet waits.
    pub delay: f64,
    /// What it waits beside, at most; evenly spread. Order is kept.
    pub jitter: f64,
    /// Packets lost.
    pub loss: f64,
    /// Packets lost in a row, on average; up to 1 each is lost for itself.
    pub burst: f64,
    /// Packets that are overtaken.
    pub reorder: f64,
    /// Packets that come twice.
    pub duplicate: f64,
    /// Another seed is another hour of the same weather.
    pub seed: u64,
}

impl FromStr for Weather {
    type Err = String;

    /// `delay=40 jitter=20 loss=5`, what is not named is 0.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut weather = Self::default();
        for word in text.split_whitespace() {
            let (name, value) = word.split_once('=').ok_or(format!("{word}: no value"))?;
            let number: f64 = value.parse().map_err(|_| format!("{word}: no number"))?;
            let place = match name {
                "delay" => &mut weather.delay,
                "jitter" => &mut weather.jitter,
                "loss" => &mut weather.loss,
                "burst" => &mut weather.burst,
                "reorder" => &mut weather.reorder,
                "duplicate" => &mut weather.duplicate,
                "seed" => {
                    weather.seed = number as u64;
                    continue;
                }
                _ => return Err(format!("{name}: no such weather")),
            };
            *place = number;
        }
        Ok(weather)
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            ("delay", self.delay),
            ("jitter", self.jitter),
            ("loss", self.loss),
            ("burst", self.burst),
            ("reorder", self.reorder),
            ("duplicate", self.duplicate),
        ];
        for (name, value) in named.into_iter().filter(|(_, value)| *value > 0.0) {
            write!(f, "{name}={value} ")?;
        }
        write!(f, "seed={}", self.seed)
    }
}

/// What becomes of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is lost.
    Lost,
    /// It comes at this time, `twice` or once.
    Comes {
        /// When, on the clock of the question.
        at: Duration,
        /// A copy comes with it.
        twice: bool,
    },
}

/// A sky: weather with its dice and what it remembers.
#[derive(Clone, Debug)]
pub struct Sky {
    weather: Weather,
    dice: u64,
    in_burst: bool,
    /// The latest that a packet in order was told to come.
    last: Duration,
}

impl Sky {
    /// Begins with the weather's seed.
    pub fn new(weather: Weather) -> Self {
        Self {
            weather,
            // splitmix64's increment: neighbouring seeds are not alike, none is 0.
            dice: weather
                .seed
                .wrapping_add(1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                | 1,
            in_burst: false,
            last: Duration::ZERO,
        }
    }

    /// What becomes of a packet before the weather begins: the line is as long.
    pub fn before(&self, now: Duration) -> Fate {
        Fate::Comes {
            at: now + Duration::from_secs_f64(self.weather.delay / 1e3),
            twice: false,
        }
    }

    /// Decides on the next packet, which was sent `now`.
    pub fn fate(&mut self, now: Duration) -> Fate {
        // Each packet takes the same dice, whatever becomes of it.
        let [lost, wait, overtaken, twice] = [(); 4].map(|()| self.roll());
        if self.loses(lost) {
            return Fate::Lost;
        }
        let twice = twice < self.weather.duplicate / 100.0;
        let ms = self.weather.delay + self.weather.jitter * wait;
        let at = now + Duration::from_secs_f64(ms / 1e3);
        if overtaken < self.weather.reorder / 100.0 {
            let at = at + OVERTAKEN;
            return Fate::Comes { at, twice };
        }
        self.last = self.last.max(at);
        let at = self.last;
        Fate::Comes { at, twice }
    }

    /// Two states, as Gilbert had them: lost in a row of `burst` on average.
    fn loses(&mut self, dice: f64) -> bool {
        let (loss, burst) = (self.weather.loss / 100.0, self.weather.burst.max(1.0));
        if burst <= 1.0 {
            return dice < loss;
        }
        let threshold = if self.in_burst {
            1.0 - 1.0 / burst
        } else {
            loss / (burst * (1.0 - loss).max(1e-9))
        };
        self.in_burst = dice < threshold;
        self.in_burst
    }

    /// 0 up to 1 (xorshift64).
    fn roll(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(text: &str, count: u32) -> Vec<(Duration, Fate)> {
        let mut sky = Sky::new(text.parse().expect("weather"));
        let sent = (0..count).map(|n| Duration::from_millis(20) * n);
        sent.map(|at| (at, sky.fate(at))).collect()
    }

    fn share(fates: &[(Duration, Fate)], of: impl Fn(&Fate) -> bool) -> f64 {
        let count = fates.iter().filter(|(_, fate)| of(fate)).count();
        count as f64 / fates.len() as f64
    }

    #[test]
    fn the_same_seed_gives_the_same_weather_and_another_gives_another() {
        let text = "delay=50 jitter=20 loss=10 burst=3 reorder=2 duplicate=1 seed=";
        assert_eq!(
            fates(&format!("{text}7"), 500),
            fates(&format!("{text}7"), 500)
        );
        assert_ne!(
            fates(&format!("{text}7"), 500),
            fates(&format!("{text}8"), 500)
        );
    }

    #[test]
    fn as_many_are_lost_as_were_ordered_alone_or_in_bursts() {
        for burst in [1, 4] {
            for loss in [1, 5, 20] {
                let found = fates(&format!("loss={loss} burst={burst} seed=3"), 100_000);
                let lost = share(&found, |fate| *fate == Fate::Lost) * 100.0;
                let near = f64::from(loss) * 0.15;
                assert!(
                    (lost - f64::from(loss)).abs() < near,
                    "{loss} {burst}: {lost}"
                );
                let pairs = found.windows(2).filter(|pair| pair[0].1 == Fate::Lost);
                let rows = pairs.filter(|pair| pair[1].1 != Fate::Lost).count();
                let mean = lost * 1_000.0 / rows as f64;
                let wanted = if burst == 1 {
                    1.0 / (1.0 - lost / 100.0)
                } else {
                    4.0
                };
                assert!((mean - wanted).abs() < 0.4, "{loss}: rows of {mean}");
            }
        }
    }

    #[test]
    fn delay_and_jitter_keep_the_order_and_their_bounds() {
        let mut last = Duration::ZERO;
        for (sent, fate) in fates("delay=40 jitter=60 seed=1", 10_000) {
            let Fate::Comes { at, twice: false } = fate else {
                panic!("{fate:?}");
            };
            let waited = (at - sent).as_secs_f64() * 1e3;
            assert!((39.99..100.01).contains(&waited), "{waited}");
            assert!(at >= last);
            last = at;
        }
    }

    #[test]
    fn whoever_is_overtaken_comes_after_the_next() {
        let found = fates("delay=10 reorder=5 duplicate=3 seed=9", 20_000);
        let times: Vec<_> = found
            .iter()
            .map(|(_, fate)| match fate {
                Fate::Comes { at, .. } => *at,
                Fate::Lost => panic!("nothing is lost here"),
            })
            .collect();
        let behind = times.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((800..1_100).contains(&behind), "{behind}");
        let twice = share(&found, |fate| {
            matches!(fate, Fate::Comes { twice: true, .. })
        });
        assert!((0.02..0.04).contains(&twice), "{twice}");
    }

    #[test]
    fn weather_reads_back_what_it_says_and_names_what_it_does_not_know() {
        let text = "delay=40 jitter=20 loss=5 burst=3 reorder=1 duplicate=2 seed=7";
        assert_eq!(text.parse::<Weather>().expect("weather").to_string(), text);
        assert_eq!(
            "fog=1".parse::<Weather>(),
            Err("fog: no such weather".to_owned())
        );
    }
}
