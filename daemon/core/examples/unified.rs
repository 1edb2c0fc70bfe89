//! One session against hand-offs that restart: the same 200 scripted callers on
//! `sales` (four roles of one conversation) and on three configurations, one after
//! the other, of which each begins anew. Simulated time; every run is the same.
//! `cargo run -p offhook-core --example unified [OUT.svg]`: a table and a picture.
//!
//! The callers answer what they are asked. Who objected to the price objects again
//! when it is put to them anew; of those who are asked what they have answered
//! already, some hang up (the share is a row of the table).

#[path = "../tests/common/mod.rs"]
mod common;

use core::time::Duration;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use offhook_core::book::Book;
use offhook_core::input::{Cause, Fact, Offered, UpstreamAnswer, Words};
use offhook_core::{Command, Conversation, ConversationId, Event, Input, LegEvent, LegId, Output};

const CALLERS: u64 = 200;
/// Flite's `rms` says about 150 words a minute.
const WORD_MS: u64 = 400;
/// From our last word to the caller's, and the words themselves.
const ANSWER_MS: u64 = 1_800;
/// A call changes hands.
const HAND_OFF_MS: u64 = 3_000;

/// xorshift64* (Vigna 2016).
struct Dice(u64);

impl Dice {
    fn percent(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % 100
    }
}

/// What a caller wants and has said.
struct Caller {
    dice: Dice,
    objections: Vec<&'static str>,
    buys: bool,
    impatient: u64,
    answered: BTreeSet<&'static str>,
    turns: u64,
    repeated: u64,
    talk: Duration,
    left: bool,
}

impl Caller {
    fn new(seed: u64, impatient: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut objections = Vec::new();
        if dice.percent() < 60 {
            objections.push("that is too expensive");
        }
        if dice.percent() < 40 {
            objections.push("it is too soon");
        }
        let buys = dice.percent() < 70;
        Self {
            dice,
            objections,
            buys,
            impatient,
            answered: BTreeSet::new(),
            turns: 0,
            repeated: 0,
            talk: Duration::ZERO,
            left: false,
        }
    }

    /// What is asked for, by the last prompt; and what the caller says to it.
    fn answer(&mut self, prompt: &str, fresh: &mut Vec<&'static str>) -> Option<&'static str> {
        let (asked, answer) = match prompt {
            "offer" | "offer_short" | "which_day" => ("day", "tuesday"),
            "shall_i" => ("booking", "yes"),
            "age" => ("age", "yes"),
            "interested" => match fresh.pop() {
                Some(objection) => {
                    self.turns += 1;
                    return Some(objection);
                }
                None if self.buys => ("price", "yes, sounds good"),
                None => ("price", "no"),
            },
            "sign" => ("signature", "yes"),
            "shall_call" => ("call", "no"),
            _ => return None,
        };
        if !self.answered.insert(asked) {
            self.repeated += 1;
            self.left |= self.dice.percent() < self.impatient;
        }
        self.turns += 1;
        Some(answer)
    }
}

/// One configuration's part of a call, up to its result.
fn part(caller: &mut Caller, book: &Arc<Book>) -> String {
    let Book { program, .. } = book.as_ref();
    let offhook_core::Program::Playbook(playbook) = program else {
        unreachable!("the comparison is of playbooks")
    };
    let mut conversation = Conversation::new(ConversationId(1), Arc::clone(book));
    let mut now = Duration::ZERO;
    let mut inbox: Vec<(Duration, Event)> = vec![(now, facts()), (now, offered())];
    let mut fresh = caller.objections.clone();
    let mut wait = None;
    loop {
        inbox.sort_by_key(|(at, _)| *at);
        let next = inbox.first().map(|(at, _)| *at);
        let (at, event) = match (next, wait) {
            (Some(at), wake) if wake.is_none_or(|wake| at <= wake) => inbox.remove(0),
            (_, Some(wake)) => (wake, Event::Wake),
            _ => unreachable!("a conversation ends"),
        };
        now = now.max(at);
        conversation.handle(now, Input { at, event });
        loop {
            let after = |ms: u64| now + Duration::from_millis(ms);
            let leg = |event| Event::Leg(LegId(0), event);
            match conversation.poll() {
                Output::Wait(wake) => {
                    wait = wake;
                    break;
                }
                Output::Do(_, Command::Answer) => inbox.push((now, leg(LegEvent::Answered))),
                Output::Do(_, Command::HangUp(_)) => {
                    inbox.push((now, leg(LegEvent::Ended(Cause::NearHangup))));
                }
                Output::Do(_, Command::Play(play)) => {
                    let text = play
                        .prompts
                        .iter()
                        .map(|key| &playbook.prompts[key.as_str()]);
                    let words: usize = text.map(|text| text.split(' ').count()).sum();
                    let ends = after(words as u64 * WORD_MS);
                    let sent_ms = words as u32 * WORD_MS as u32;
                    let played = LegEvent::Played {
                        play: play.play,
                        sent_ms,
                        finished: true,
                    };
                    inbox.push((ends, leg(played)));
                    let last = play.prompts.last().expect("a play says something");
                    if let Some(text) = caller.answer(last, &mut fresh) {
                        let said = ends + Duration::from_millis(ANSWER_MS);
                        let words = Words {
                            text: text.to_owned(),
                            confidence: 90,
                            last: true,
                            utterance: 0,
                            spoken_ms: 600,
                            engine: String::new(),
                        };
                        let event = match caller.left {
                            true => LegEvent::Ended(Cause::FarHangup),
                            false => LegEvent::Words(words),
                        };
                        inbox.push((said, leg(event)));
                    }
                }
                Output::Persist(persist) => {
                    let (seq, durable) = (persist.seq, true);
                    inbox.push((after(5), Event::Stored { seq, durable }));
                }
                Output::Release(action) => {
                    let answer = UpstreamAnswer::Accepted;
                    inbox.push((after(500), Event::Upstream { action, answer }));
                }
                Output::Ended(outcome) => {
                    caller.talk += outcome.talk;
                    return outcome.result;
                }
                _ => {}
            }
        }
    }
}

fn facts() -> Event {
    let known = [
        ("store_ok", 1),
        ("uplink_backlog", 0),
        ("agents_free", 0),
        ("price_cents", 1_200),
    ];
    let fact = |(name, value): (&str, i64)| Fact {
        name: name.to_owned(),
        value: Some(value),
    };
    Event::Facts(known.map(fact).into())
}

fn offered() -> Event {
    Event::Offered(Offered {
        trunk: "main".to_owned(),
        caller: "+4930123456".to_owned(),
        called: "100".to_owned(),
        person: String::new(),
    })
}

/// What all callers came to.
#[derive(Default)]
struct Sum {
    turns: u64,
    repeated: u64,
    talk: Duration,
    sold: u64,
    booked: u64,
    left: u64,
}

impl Sum {
    fn add(&mut self, caller: &Caller, result: &str) {
        self.turns += caller.turns;
        self.repeated += caller.repeated;
        self.talk += caller.talk;
        self.sold += u64::from(result == "sold");
        self.booked += u64::from(caller.answered.contains("booking"));
        self.left += u64::from(caller.left);
    }

    fn seconds(&self) -> u64 {
        self.talk.as_secs() / CALLERS
    }

    /// Seconds of line time spent for each sale.
    fn cost(&self) -> u64 {
        self.talk.as_secs() / self.sold.max(1)
    }
}

fn unified(book: &Arc<Book>, impatient: u64) -> Sum {
    let mut sum = Sum::default();
    for seed in 0..CALLERS {
        let mut caller = Caller::new(seed, impatient);
        let result = part(&mut caller, book);
        sum.add(&caller, &result);
    }
    sum
}

fn segmented(books: &[(&str, Arc<Book>); 3], impatient: u64) -> Sum {
    let mut sum = Sum::default();
    for seed in 0..CALLERS {
        let mut caller = Caller::new(seed, impatient);
        let mut result = String::new();
        for (passes, book) in books {
            result = part(&mut caller, book);
            if result != *passes {
                break;
            }
            caller.talk += Duration::from_millis(HAND_OFF_MS);
        }
        sum.add(&caller, &result);
    }
    sum
}

fn main() -> std::io::Result<()> {
    let sales = common::book("sales");
    let alone = [
        ("booked", common::book("alone_booking")),
        ("qualified", common::book("alone_qualifying")),
        ("sold", common::book("alone_closing")),
    ];
    println!("{CALLERS} callers each; sums, and means per caller where it says so\n");
    println!(
        "leave when asked again | way       | turns | asked again | talk s/caller | booked | sold | left | line s/sale"
    );
    let mut rows = Vec::new();
    for impatient in [0, 10, 25] {
        for (way, sum) in [
            ("one session", unified(&sales, impatient)),
            ("hand-offs", segmented(&alone, impatient)),
        ] {
            println!(
                "{impatient:>20} % | {way:<11} | {:>3} | {:>11} | {:>13} | {:>6} | {:>4} | {:>4} | {:>11}",
                sum.turns,
                sum.repeated,
                sum.seconds(),
                sum.booked,
                sum.sold,
                sum.left,
                sum.cost()
            );
            rows.push((impatient, way, sum));
        }
    }
    let path = std::env::args().nth(1);
    let path = path.unwrap_or_else(|| "target/unified.svg".to_owned());
    std::fs::write(&path, picture(&rows))?;
    println!("\n{path}");
    Ok(())
}

/// What is drawn: its title, and how it is read.
type Figure = (&'static str, fn(&Sum) -> u64);

/// Four figures side by side, a pair of bars for each share of impatient callers.
fn picture(rows: &[(u64, &str, Sum)]) -> String {
    let figures: [Figure; 4] = [
        ("questions asked again", |sum| sum.repeated),
        ("caller's turns", |sum| sum.turns),
        ("sold, of 200", |sum| sum.sold),
        ("line seconds per sale", Sum::cost),
    ];
    let mut svg = "<svg xmlns='http://www.w3.org/2000/svg' width='1000' height='330' \
        font-family='sans-serif' font-size='12'><rect width='1000' height='330' fill='white'/>\
        <text x='20' y='24' font-size='16'>One session against hand-offs that restart: 200 scripted callers</text>\
        <rect x='20' y='38' width='12' height='12' fill='#2a6f97'/><text x='38' y='48'>one session</text>\
        <rect x='130' y='38' width='12' height='12' fill='#d08c60'/><text x='148' y='48'>hand-offs</text>\
        <text x='260' y='48'>0, 10, 25 % hang up when asked what they have answered</text>\n"
        .to_owned();
    for (place, (title, figure)) in figures.iter().enumerate() {
        let left = 20 + place as u64 * 245;
        let most = rows
            .iter()
            .map(|(_, _, sum)| figure(sum))
            .max()
            .unwrap_or(1)
            .max(1);
        let _ = writeln!(svg, "<text x='{left}' y='80'>{title}</text>");
        for (bar, (impatient, way, sum)) in rows.iter().enumerate() {
            let value = figure(sum);
            let high = value * 180 / most;
            let x = left + bar as u64 * 34 + (bar as u64 / 2) * 8;
            let colour = if *way == "one session" {
                "#2a6f97"
            } else {
                "#d08c60"
            };
            let _ = writeln!(
                svg,
                "<rect x='{x}' y='{}' width='30' height='{high}' fill='{colour}'/>\
                 <text x='{}' y='{}' text-anchor='middle'>{value}</text>",
                290 - high,
                x + 15,
                285 - high
            );
            if bar % 2 == 0 {
                let _ = writeln!(
                    svg,
                    "<text x='{}' y='308' text-anchor='middle'>{impatient} %</text>",
                    x + 32
                );
            }
        }
    }
    svg + "</svg>\n"
}
