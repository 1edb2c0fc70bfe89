//! A call lived through again: from its input log, by the texts that governed
//! it then, or by others. It reads the store and sends nothing.
//!
//! The first difference that the caller or the upstream would have noticed is
//! evidence; what follows it is not, as the recorded replies no longer fit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use offhook_core::action::Catalogue;
use offhook_core::gate::Judgement;
use offhook_core::input::Texts;
use offhook_core::{
    Book, Command, Conversation, ConversationId, Event, Input, Name, Output, Playbook, Policy,
    Program, Record, Verdict,
};

use crate::settings::{CheckedPolicy, Page, recompile};
use crate::store::chain::Kind;
use crate::store::reader::{Reader, What};
use crate::store::{Entry, EntryKind};

/// A call as it was: what came in, by which texts, and what was decided.
pub struct Recording {
    /// Which call.
    pub id: ConversationId,
    /// What governed it at its beginning.
    pub texts: Texts,
    inputs: Vec<(Duration, Input)>,
    /// What was decided, by time.
    pub decisions: Vec<Record>,
}

/// Texts by their hash, as the store keeps them.
pub struct Library(BTreeMap<String, String>);

/// What a replay made of a call.
pub struct Replayed {
    /// What was decided, in order.
    pub records: Vec<Record>,
    /// What caller and upstream noticed, each with the input that led to it.
    pub noticed: Vec<Noticed>,
    /// What another policy said to each proposal, beside what was decided.
    pub shadowed: Vec<(Record, Judgement)>,
}

/// Something that the caller or the upstream noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noticed {
    /// Which input led to it.
    pub input: usize,
    /// When it was handled.
    pub at: Duration,
    /// What it was.
    pub what: String,
}

/// A difference between two replays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// When.
    pub at: Duration,
    /// What happened; `None` where there was nothing more.
    pub was: Option<String>,
    /// What would have happened.
    pub would_be: Option<String>,
}

/// Where two replays part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The first difference.
    pub first: Difference,
    /// The rule, or the text, that makes it.
    pub rule: String,
    /// Those after it; no evidence, since the recorded replies no longer fit.
    pub later: Vec<Difference>,
}

impl Library {
    /// All texts that the store keeps.
    ///
    /// # Errors
    /// SQLite's.
    pub fn open(reader: &Reader) -> rusqlite::Result<Self> {
        let text = |row: Vec<u8>| {
            let row: serde_json::Value = serde_json::from_slice(&row).ok()?;
            let part = |name| row.get(name)?.as_str().map(str::to_owned);
            Some((part("hash")?, part("text")?))
        };
        let rows = reader.told(Kind::Text)?;
        Ok(Self(rows.into_iter().filter_map(text).collect()))
    }

    fn text(&self, hash: &str) -> Result<&str, String> {
        let text = self.0.get(hash).map(String::as_str);
        text.ok_or_else(|| format!("the text {hash} is not kept: the call is older than replays"))
    }

    /// What a call went by.
    ///
    /// # Errors
    /// A text is not kept, or does not compile any more.
    pub fn book(&self, texts: &Texts) -> Result<Book, String> {
        if texts.playbook.hash.is_empty() {
            return Err("a test line: nothing is decided there".to_owned());
        }
        let actions = self.text(&texts.actions.hash)?;
        let (catalogue, playbook) = recompile(actions, self.text(&texts.playbook.hash)?)?;
        let policy = self.policy(&texts.policy.hash, &catalogue)?;
        Ok(Book {
            program: Program::Playbook(Arc::new(playbook)),
            policy,
            catalogue: Arc::new(catalogue),
        })
    }

    /// What could be proposed in a call.
    ///
    /// # Errors
    /// The text is not kept.
    pub fn actions(&self, texts: &Texts) -> Result<&str, String> {
        self.text(&texts.actions.hash)
    }

    fn policy(&self, hash: &str, catalogue: &Catalogue) -> Result<Arc<Policy>, String> {
        let page = Page::given("policy", "policy", self.text(hash)?);
        let checked = CheckedPolicy::of(page, catalogue);
        checked
            .map(|checked| Arc::new(checked.policy))
            .map_err(|faults| faults.first().map_or_else(String::new, ToString::to_string))
    }
}

impl Recording {
    /// A call from the store.
    ///
    /// # Errors
    /// It was forgotten, is damaged, or is older than replays; or SQLite's.
    pub fn read(reader: &Reader, id: ConversationId) -> Result<Self, String> {
        let items = reader.items(id).map_err(|error| error.to_string())?;
        let mut entries: Vec<Entry> = Vec::new();
        for item in items {
            match item.what {
                What::Log(more) => entries.extend(more),
                What::Forgotten => return Err("forgotten: it cannot be replayed".to_owned()),
                _ => {}
            }
        }
        entries.sort_by_key(|entry| entry.n);
        let mut inputs = Vec::new();
        for entry in entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Input)
        {
            let event = serde_json::from_str(entry.body())
                .map_err(|error| format!("line {} of its log cannot be read: {error}", entry.n))?;
            let at = Duration::from_micros(entry.at_us);
            let now = Duration::from_micros(entry.now_us);
            inputs.push((now, Input { at, event }));
        }
        let governed = inputs.iter().find_map(|(_, input)| match &input.event {
            Event::Governed(texts) => Some(texts.clone()),
            _ => None,
        });
        Ok(Self {
            id,
            texts: governed.ok_or("it is older than replays: no texts are named in its log")?,
            inputs,
            decisions: reader.decisions(id).map_err(|error| error.to_string())?,
        })
    }

    /// Lives it through by the texts of then.
    ///
    /// # Errors
    /// A text of then is missing.
    pub fn replay(
        &self,
        library: &Library,
        shadow: Option<Arc<Policy>>,
    ) -> Result<Replayed, String> {
        let book = library.book(&self.texts)?;
        let catalogue = Arc::clone(&book.catalogue);
        self.run(book, shadow, |texts| {
            library.policy(&texts.policy.hash, &catalogue).map(Some)
        })
    }

    /// Lives it through by another policy, another playbook, or both.
    ///
    /// # Errors
    /// A text of then is missing.
    pub fn replay_by(
        &self,
        library: &Library,
        policy: Option<Arc<Policy>>,
        playbook: Option<Arc<Playbook>>,
    ) -> Result<Replayed, String> {
        let mut book = library.book(&self.texts)?;
        let catalogue = Arc::clone(&book.catalogue);
        let given = policy.is_some();
        if let Some(policy) = policy {
            book.policy = policy;
        }
        if let Some(playbook) = playbook {
            book.program = Program::Playbook(playbook);
        }
        self.run(book, None, |texts| match given {
            true => Ok(None),
            false => library.policy(&texts.policy.hash, &catalogue).map(Some),
        })
    }

    fn run(
        &self,
        book: Book,
        shadow: Option<Arc<Policy>>,
        swap: impl Fn(&Texts) -> Result<Option<Arc<Policy>>, String>,
    ) -> Result<Replayed, String> {
        let mut conversation = Conversation::new(self.id, Arc::new(book));
        if let Some(policy) = shadow {
            conversation.shadow(policy);
        }
        let (mut records, mut noticed) = (Vec::new(), Vec::new());
        for (number, (now, input)) in self.inputs.iter().enumerate() {
            if let Event::Governed(texts) = &input.event
                && let Some(policy) = swap(texts)?
            {
                conversation.adopt(policy);
            }
            conversation.handle(*now, input.clone());
            loop {
                let output = conversation.poll();
                if let Output::Wait(_) = output {
                    break;
                }
                noticed.extend(notice(&output).map(|what| Noticed {
                    input: number,
                    at: *now,
                    what,
                }));
                match output {
                    Output::Decided(record) => records.push(record),
                    Output::Persist(persist) => records.push(persist.record),
                    _ => {}
                }
            }
        }
        records.sort_by_key(|record: &Record| (record.at, record.action.number));
        Ok(Replayed {
            shadowed: conversation.shadowed().to_vec(),
            records,
            noticed,
        })
    }

    /// When the call began, in the time of its log.
    pub fn born(&self) -> Duration {
        self.inputs.first().map_or(Duration::ZERO, |(now, _)| *now)
    }

    /// The first decision that came out otherwise than it was recorded.
    pub fn first_unlike<'r>(
        &'r self,
        replayed: &'r Replayed,
    ) -> Option<(Option<&'r Record>, Option<&'r Record>)> {
        let all = self.decisions.len().max(replayed.records.len());
        (0..all)
            .map(|n| (self.decisions.get(n), replayed.records.get(n)))
            .find(|(was, is)| was != is)
    }
}

impl Replayed {
    /// Where the other one first differs in what anybody would have noticed.
    pub fn diverges(&self, other: &Self) -> Option<Divergence> {
        let all = self.noticed.len().max(other.noticed.len());
        let mut unlike = (0..all)
            .map(|n| (self.noticed.get(n), other.noticed.get(n)))
            .filter(|(was, would_be)| was != would_be)
            .map(|(was, would_be)| Difference::between(was, would_be));
        let first = unlike.next()?;
        Some(Divergence {
            rule: self.reason(other, first.at),
            first,
            later: unlike.collect(),
        })
    }

    /// The rule by which the first decision up to then differs.
    fn reason(&self, other: &Self, until: Duration) -> String {
        let key = |record: &Record| (record.kind.clone(), record.object.clone(), record.at);
        let before: BTreeMap<_, &Record> = self.records.iter().map(|it| (key(it), it)).collect();
        let unlike = other
            .records
            .iter()
            .filter(|it| it.at <= until)
            .find_map(|now| {
                let was = before.get(&key(now))?;
                (was.verdict != now.verdict).then_some((*was, now))
            });
        match unlike {
            Some((was, now)) => {
                let denying = if now.verdict == Verdict::Refused {
                    now
                } else {
                    was
                };
                denying
                    .rules
                    .first()
                    .map(Name::to_string)
                    .unwrap_or_default()
            }
            None => "playbook".to_owned(),
        }
    }
}

impl Difference {
    fn between(was: Option<&Noticed>, would_be: Option<&Noticed>) -> Self {
        let both = [was, would_be].into_iter().flatten();
        Self {
            at: both.map(|it| it.at).min().unwrap_or_default(),
            was: was.map(|it| it.what.clone()),
            would_be: would_be.map(|it| it.what.clone()),
        }
    }
}

/// What the caller or the upstream notices of an output; nothing of the rest.
fn notice(output: &Output) -> Option<String> {
    Some(match output {
        Output::Do(leg, command) => {
            let what = notice_command(command)?;
            match leg.0 {
                0 => what,
                other => format!("{what} on leg {other}"),
            }
        }
        Output::Persist(persist) => {
            let rows = persist.actions.iter().map(|row| {
                let fields = row
                    .fields
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"));
                format!("{} {}", row.kind, fields.collect::<Vec<_>>().join(" "))
            });
            format!("does {}", rows.collect::<Vec<_>>().join(", "))
        }
        Output::Withdraw(_) => "takes it back".to_owned(),
        Output::Ask(approval) => format!("asks a person about {}", approval.kind),
        Output::Ended(outcome) => format!("ends as {} ({})", outcome.result, outcome.cause.name()),
        Output::Decided(_) | Output::Release(_) | Output::Wait(_) => return None,
        // What is learned of a lead shows at a later call, if at all.
        _ => return None,
    })
}

fn notice_command(command: &Command) -> Option<String> {
    Some(match command {
        Command::Play(play) => format!("says {}", play.prompts.join(" ")),
        Command::Answer => "answers".to_owned(),
        Command::Refuse(cause) => format!("refuses the call ({})", cause.name()),
        Command::Dial { to, .. } => format!("dials {to}"),
        Command::HangUp(_) => "hangs up".to_owned(),
        Command::Ring => "rings".to_owned(),
        Command::Press { keys } => format!("presses {keys}"),
        Command::Join { with } => format!("joins leg {}", with.0),
        Command::Refer { to, .. } => format!("has {to} called"),
        Command::ReferToLeg { with } => format!("hands over to leg {}", with.0),
        Command::TakeReferral { taken: true } => "sends the caller on".to_owned(),
        Command::TakeReferral { taken: false } => "does not send the caller on".to_owned(),
        Command::HandOver { sink, .. } => format!("gives what is sealed to {sink}"),
        // What stops, goes on or is waited for shows in what is said after it.
        Command::Stop { .. }
        | Command::Resume { .. }
        | Command::Collect { .. }
        | Command::ReportReferral { .. }
        | Command::Echo
        | Command::TestTone => return None,
    })
}
