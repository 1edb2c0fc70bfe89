//! A conversation under test: inputs as words, outputs as words.

use core::fmt::Write as _;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use offhook_core::book::Book;
use offhook_core::input::{
    AnswerClass, Cause, Digit, Fact, Happening, Lease, Offered, Originate, Recollection, Referral,
    SilenceCause, UpstreamAnswer, Words,
};
use offhook_core::memory::{Attestation, Identity, LeadId, Source, Topic, Transition};
use offhook_core::{
    ActionId, Command, Conversation, ConversationId, Event, Input, LegEvent, LegId, Output, Record,
    Seq, Turn, Verdict,
};

/// Wall time of scenarios: some day in 2026.
const WALL_MS: u64 = 1_795_000_000_000;

pub struct Stage {
    pub conversation: Conversation,
    pub wait: Option<Duration>,
    turn: u32,
    play: u32,
    played_on: u32,
    seq: u32,
    kinds: BTreeMap<ActionId, String>,
    last_action: Option<ActionId>,
    steps: Vec<ActionId>,
    person: LegId,
    person_play: u32,
    /// Who it is was told: what is learned is shown.
    remembers: bool,
    asked: Option<ActionId>,
    /// Of every output so far (FNV-1a over what `Debug` says of it).
    pub digest: u64,
}

impl Stage {
    pub fn new(book: Arc<Book>) -> Self {
        Self {
            conversation: Conversation::new(ConversationId(1), book),
            wait: None,
            turn: 0,
            play: 0,
            played_on: 0,
            seq: 0,
            kinds: BTreeMap::new(),
            last_action: None,
            steps: Vec::new(),
            person: LegId(1),
            person_play: 0,
            remembers: false,
            asked: None,
            digest: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// Wakes it whenever it asks for it, up to and including then.
    pub fn wait_until(&mut self, until: Duration) -> Vec<String> {
        let mut said = Vec::new();
        for _ in 0..1_000 {
            let Some(at) = self.wait.filter(|at| *at <= until) else {
                return said;
            };
            said.extend(self.handle(at, Event::Wake));
        }
        panic!("it never comes to rest");
    }

    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<String> {
        self.handle_of(now, now, event)
    }

    /// Something that happened at `at` and is heard of now.
    pub fn handle_of(&mut self, at: Duration, now: Duration, event: Event) -> Vec<String> {
        self.conversation.handle(now, Input { at, event });
        let mut said = Vec::new();
        loop {
            match self.conversation.poll() {
                Output::Wait(wait) => {
                    self.wait = wait;
                    return said;
                }
                output => {
                    for byte in format!("{output:?}").bytes() {
                        self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                    }
                    said.extend(self.render(output));
                }
            }
        }
    }

    /// One line each; an authorised `say` is seen by its prompt alone.
    fn render(&mut self, output: Output) -> Option<String> {
        let line = match output {
            Output::Do(LegId(0), command) => self.render_command(command),
            Output::Do(leg, command) => self.render_on_person(leg, command),
            Output::Decided(record) => return render_record(&record),
            Output::Persist(persist) => {
                self.seq = persist.seq.0;
                self.steps = persist.actions.iter().map(|row| row.id).collect();
                let mut line = "keep".to_owned();
                for row in persist.actions {
                    let _ = write!(line, " {}", row.kind);
                    for (name, value) in &row.fields {
                        let _ = write!(line, " {name}={value}");
                    }
                    if row.held {
                        line.push_str(" (held)");
                    }
                    self.last_action = Some(row.id);
                    self.kinds.insert(row.id, row.kind);
                }
                line
            }
            // The verdict before it says so.
            Output::Ask(approval) => {
                self.asked = Some(approval.action);
                return None;
            }
            Output::Release(id) => format!("release {}", self.kinds[&id]),
            Output::Withdraw(id) => format!("withdraw {}", self.kinds[&id]),
            Output::Ended(outcome) => {
                let persons = outcome.persons.iter().map(|it| {
                    let (to, came) = (&it.to, it.came.name());
                    format!("; called {to}: {came}")
                });
                let persons: String = persons.collect();
                let (result, cause) = (outcome.result, outcome.cause.name());
                format!("ended {result} ({cause}){persons}")
            }
            Output::Learned(known) if self.remembers => {
                let (topic, name) = (known.topic.name(), known.name);
                format!(
                    "learn {topic} {name}={}",
                    known.value.as_deref().unwrap_or("-")
                )
            }
            Output::Learned(_) => return None,
            Output::Identified(identity) => format!("identified {}", identity.name()),
            Output::OtherPerson => "another person".to_owned(),
            Output::Wait(_) => unreachable!("taken in handle"),
        };
        Some(line)
    }

    /// What we do on the leg of a person whom we called.
    fn render_on_person(&mut self, leg: LegId, command: Command) -> String {
        self.person = leg;
        match command {
            Command::Dial {
                to,
                trunk,
                replaces: None,
            } => format!("call {to} by {trunk}"),
            Command::Dial {
                to,
                trunk,
                replaces: Some(held),
            } => format!("call {to} by {trunk} in place of {held}"),
            Command::Play(play) => {
                self.person_play = play.play;
                format!("tell the person {}", play.prompts.join(" "))
            }
            Command::HangUp(_) => "let the person go".to_owned(),
            Command::TakeReferral { taken } => format!("go there for them: {taken}"),
            Command::ReportReferral { how } => format!("tell them {how:?}"),
            other => panic!("not on that leg: {other:?}"),
        }
    }

    fn render_command(&mut self, command: Command) -> String {
        match command {
            Command::Ring => "ring".to_owned(),
            Command::Answer => "answer".to_owned(),
            Command::Refuse(cause) => format!("refuse {}", cause.name()),
            Command::Dial { to, trunk, .. } => format!("dial {to} by {trunk}"),
            Command::HangUp(_) => "hang up".to_owned(),
            Command::Play(play) => {
                self.play = play.play;
                self.played_on = play.turn.0;
                let firm = if play.interruptible { "" } else { " (firm)" };
                format!("say {}{firm}", play.prompts.join(" "))
            }
            Command::Stop { .. } => {
                self.turn += 1;
                "stop".to_owned()
            }
            Command::Resume { play, .. } => {
                self.play = play;
                "resume".to_owned()
            }
            Command::Press { keys } => format!("press {keys}"),
            Command::Collect { secret: Some(_) } => "collect secretly".to_owned(),
            Command::Collect { secret: None } => "collect".to_owned(),
            Command::HandOver { sink, .. } => format!("hand over to {sink}"),
            Command::Join { with } => format!("join leg {}", with.0),
            Command::Refer { to, trunk } => format!("send to {to} by {trunk}"),
            Command::TakeReferral { taken } => format!("go there for the caller: {taken}"),
            Command::ReportReferral { how } => format!("tell the caller {how:?}"),
            Command::ReferToLeg { with } => format!("send to leg {}", with.0),
            Command::Echo => "echo".to_owned(),
            Command::TestTone => "tone".to_owned(),
        }
    }

    /// An input in words; what a scenario writes after the time.
    pub fn event(&mut self, text: &str) -> Event {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "offered" => Event::Offered(Offered {
                trunk: "main".to_owned(),
                caller: rest.to_owned(),
                called: "100".to_owned(),
                person: String::new(),
            }),
            "remembered" => self.remembered(rest),
            "happened" => Event::Happened(happening(rest)),
            "leased" => Event::Leased(rest.split_whitespace().map(lease).collect()),
            "originate" => Event::Originate(Originate {
                to: rest.to_owned(),
                trunk: "main".to_owned(),
                by: "operator".to_owned(),
            }),
            "facts" => Event::Facts(rest.split_whitespace().map(fact).collect()),
            "stored" => self.stored(true),
            "lost" => self.stored(false),
            "accepted" => self.upstream(UpstreamAnswer::Accepted, rest),
            "rejected" => self.upstream(UpstreamAnswer::Rejected, rest),
            "approved" => self.approval(true),
            "declined" => self.approval(false),
            "operator" => Event::OperatorHangup,
            "leg" => {
                let (leg, rest) = rest.split_once(' ').expect("a number and what happens");
                let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let leg = LegId(leg.parse().expect("a number"));
                Event::Leg(leg, self.leg_event(word, rest))
            }
            "person" if rest == "heard" => Event::Leg(
                self.person,
                LegEvent::Played {
                    play: self.person_play,
                    sent_ms: 4_000,
                    finished: true,
                },
            ),
            "person" => {
                let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                Event::Leg(self.person, self.leg_event(word, rest))
            }
            _ => Event::Leg(LegId(0), self.leg_event(word, rest)),
        }
    }

    /// `remembered LEVEL[+] HOURS_AGO.TOPIC.NAME=VALUE…`; `+`: the network vouches.
    fn remembered(&mut self, text: &str) -> Event {
        self.remembers = true;
        let mut words = text.split_whitespace();
        let level = words.next().expect("a level");
        let levels = [
            Identity::None,
            Identity::Number,
            Identity::Named,
            Identity::Verified,
        ];
        let identity = levels
            .into_iter()
            .find(|it| it.name() == level.trim_end_matches('+'));
        let transition = |word: &str| {
            let (hours, rest) = word.split_once('.').expect("hours ago");
            let (topic, rest) = rest.split_once('.').expect("a topic");
            let (name, value) = rest.split_once('=').expect("a value");
            let ago_ms = hours.parse::<u64>().expect("hours") * 3_600_000;
            let topic = Topic::named(topic).expect("a topic");
            let source = Source::Call(ConversationId(7));
            Transition::new(topic, name, Some(value), WALL_MS - ago_ms, source)
        };
        Event::Remembered(Recollection {
            lead: LeadId(1),
            identity: identity.expect("none, number, named or verified"),
            attestation: match level.ends_with('+') {
                true => Attestation::Passed,
                false => Attestation::Unknown,
            },
            wall_ms: WALL_MS,
            transitions: words.map(transition).collect(),
        })
    }

    fn stored(&self, durable: bool) -> Event {
        let seq = Seq(self.seq);
        Event::Stored { seq, durable }
    }

    fn approval(&self, approved: bool) -> Event {
        Event::Approval {
            action: self.asked.expect("an action was asked about"),
            approved,
            by: "ann".to_owned(),
        }
    }

    /// To the last action kept, or to one of its steps, counted from 1.
    fn upstream(&self, answer: UpstreamAnswer, step: &str) -> Event {
        let last = self.last_action.expect("an action was kept");
        let action = match step.parse::<usize>() {
            Ok(step) => self.steps[step - 1],
            Err(_) => last,
        };
        Event::Upstream { action, answer }
    }

    fn leg_event(&mut self, word: &str, rest: &str) -> LegEvent {
        match word {
            "ringing" => LegEvent::Ringing { media: false },
            "early" => LegEvent::Ringing { media: true },
            "answered" => LegEvent::Answered,
            "failed" => LegEvent::Failed(cause(rest)),
            "ended" => LegEvent::Ended(cause(rest)),
            "speaks" => LegEvent::SpeechStart,
            "quiet" => LegEvent::SpeechEnd,
            "turn_over" => LegEvent::TurnEnd { confidence: 67 },
            "interrupts" => {
                self.turn += 1;
                LegEvent::BargeIn {
                    turn: Turn(self.turn),
                }
            }
            "turn" => {
                self.turn += 1;
                LegEvent::Turn {
                    turn: Turn(self.turn),
                }
            }
            "coughed" => LegEvent::BargeInRetracted,
            "key" => LegEvent::Digit(Digit::Key(rest.chars().next().expect("a key"))),
            "masked" => LegEvent::Digit(Digit::Masked),
            "sealed" => sealed(rest),
            "taken" => LegEvent::HandedOver { taken: true },
            "not_taken" => LegEvent::HandedOver { taken: false },
            "said" => words(rest, true),
            "saying" => words(rest, false),
            "joined" => LegEvent::Joined,
            "not_joined" => LegEvent::JoinFailed,
            "sends_on" => {
                let (to, held) = rest.split_once(" holding ").unwrap_or((rest, ""));
                LegEvent::AskedOnward {
                    to: to.to_owned(),
                    replaces: (!held.is_empty()).then(|| held.to_owned()),
                }
            }
            "referred" => LegEvent::Referral(match rest {
                "rings" => Referral::Rings,
                "reached" => Referral::Reached,
                "refused" => Referral::Refused,
                "unreported" => Referral::Unreported,
                "hung_up" => Referral::HungUp,
                missed => Referral::Missed(cause(missed)),
            }),
            "muted" => LegEvent::Silence(SilenceCause::ComfortNoise),
            "thinks" => LegEvent::Silence(SilenceCause::Thinking),
            "gone" => LegEvent::Silence(SilenceCause::Gone),
            "deaf" => LegEvent::Silence(SilenceCause::NoRtp),
            "played" => LegEvent::Played {
                play: self.play,
                sent_ms: 2_000,
                finished: true,
            },
            "cut" => LegEvent::Played {
                play: self.play,
                sent_ms: rest.parse().expect("ms"),
                finished: false,
            },
            "stale" => LegEvent::Stale {
                turn: Turn(self.played_on),
            },
            "beep" => LegEvent::Beep,
            "greeting_end" => LegEvent::GreetingEnd,
            "music" => LegEvent::Silence(SilenceCause::HoldMusic),
            "hold" => LegEvent::Held(true),
            "unhold" => LegEvent::Held(false),
            "no_media" => LegEvent::MediaLost {
                ms: rest.parse().expect("ms"),
            },
            "lost_events" => LegEvent::EventsLost {
                count: 3,
                speaking: rest == "speaking",
            },
            class => LegEvent::Answer {
                class: answer_class(class),
                confidence: 90,
                corrected: rest == "corrected",
            },
        }
    }
}

/// `sealed KEYS`, with the wrong check digit `sealed KEYS wrong`.
fn sealed(text: &str) -> LegEvent {
    let (keys, wrong) = text.split_once(' ').unwrap_or((text, ""));
    LegEvent::Sealed {
        keys: keys.parse().expect("how many keys"),
        check_digit: wrong.is_empty(),
    }
}

fn render_record(record: &Record) -> Option<String> {
    let (kind, rules) = (&record.kind, record.rules.join(", "));
    match record.verdict {
        Verdict::Authorised if record.kind == "say" => None,
        Verdict::Authorised if record.kind == "role" => {
            Some(format!("role {} ({rules})", record.object))
        }
        Verdict::Refused if record.kind == "role" => {
            Some(format!("not role {}: needs {rules}", record.object))
        }
        Verdict::Authorised => Some(format!("allowed {kind}")),
        Verdict::Asked => Some(format!("ask about {kind}")),
        Verdict::Observed => Some(format!("only observed {kind}")),
        Verdict::Refused => Some(format!("refused {kind}: {rules}")),
    }
}

/// `happened NAME [TEXT]`
fn happening(text: &str) -> Happening {
    let (name, words) = text.split_once(' ').unwrap_or((text, ""));
    Happening {
        name: name.to_owned(),
        text: Some(words.to_owned()).filter(|words| !words.is_empty()),
    }
}

/// `NAME=VALUE@SECONDS`
fn lease(text: &str) -> Lease {
    let (rest, until) = text.split_once('@').expect("until when");
    let (name, value) = rest.split_once('=').expect("a value");
    Lease {
        name: name.to_owned(),
        value: value.parse().expect("a number"),
        until: Duration::from_secs_f64(until.parse().expect("seconds")),
    }
}

/// `#3 900ms yes`: the third utterance, said in 900 ms; both may be left out.
fn words(text: &str, last: bool) -> LegEvent {
    let mut words = Words {
        text: text.to_owned(),
        confidence: 80,
        last,
        utterance: 0,
        spoken_ms: 0,
        engine: String::new(),
    };
    while let Some((first, rest)) = words.text.split_once(' ') {
        if let Some(number) = first.strip_prefix('#') {
            words.utterance = number.parse().expect("a number");
        } else if let Some(Ok(ms)) = first.strip_suffix("ms").map(str::parse) {
            words.spoken_ms = ms;
        } else {
            break;
        }
        words.text = rest.to_owned();
    }
    LegEvent::Words(words)
}

fn fact(text: &str) -> Fact {
    let (name, value) = text.split_once('=').expect("name=value");
    Fact {
        name: name.to_owned(),
        value: value.parse().ok(),
    }
}

fn cause(name: &str) -> Cause {
    [
        Cause::FarHangup,
        Cause::NearHangup,
        Cause::Cancelled,
        Cause::Busy,
        Cause::NoAnswer,
        Cause::Declined,
        Cause::Unallocated,
        Cause::TrunkDown,
        Cause::Congestion,
        Cause::NoAck,
    ]
    .into_iter()
    .find(|cause| cause.name() == name)
    .unwrap_or_else(|| panic!("no cause `{name}`"))
}

fn answer_class(name: &str) -> AnswerClass {
    use AnswerClass as Class;
    [
        Class::Human,
        Class::Machine,
        Class::Screening,
        Class::Ivr,
        Class::Fax,
        Class::Sit,
        Class::Busy,
        Class::Reorder,
        Class::Ringback,
        Class::Silence,
        Class::Unsure,
    ]
    .into_iter()
    .find(|class| class.name() == name)
    .unwrap_or_else(|| panic!("no input `{name}`"))
}
