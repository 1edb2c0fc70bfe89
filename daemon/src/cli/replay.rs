//! `offhook replay`: calls lived through again from their log; and what another
//! policy or playbook would have changed, before it is activated.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use offhook_core::gate::Judgement;
use offhook_core::{ConversationId, Record};
use serde_json::{Value, json};

use super::ask::{Trouble, tell};
use super::audit::reader;
use super::policy::{checked, settings};
use super::{Common, NO, OK, print, print_json};
use crate::clock;
use crate::leads::wall_ms;
use crate::replay::{Difference, Divergence, Library, Recording, Replayed};
use crate::settings::{CheckedPolicy, recompile};
use crate::store::reader::{Call, Reader};
use crate::upstream::event::rfc3339;

/// Differences after the first that are shown of a call; JSON has all.
const LATER_MAX: usize = 5;
/// A day, in ms.
const DAY_MS: u64 = 86_400_000;

/// Live calls through again from their log: the same decisions, bit for bit. With
/// another policy or playbook: what would have come out otherwise, and by which rule.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// Ids, beginnings or ends of them, or `last`.
    calls: Vec<String>,
    /// The last so many calls, beside those that are named.
    #[arg(long, value_name = "NUMBER")]
    last: Option<u32>,
    /// The calls that began on that day (UTC): `today`, `yesterday`, or as `2026-11-21`.
    #[arg(long, value_name = "DAY", value_parser = day)]
    day: Option<String>,
    /// A policy to be tried: a file, or a name that ships.
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// A playbook to be tried on the calls of the playbook of its name.
    #[arg(long, value_name = "FILE")]
    playbook: Option<std::path::PathBuf>,
}

pub(super) fn run(common: &Common, arguments: &ReplayArgs) -> u8 {
    replay(common, arguments).unwrap_or_else(|trouble| tell(common, trouble))
}

/// What became of one call.
struct Lived {
    id: ConversationId,
    decisions: usize,
    /// Why it could not be replayed, or how it came out otherwise than recorded.
    fault: Option<String>,
    divergence: Option<Divergence>,
    /// When the call began, in the time of its log.
    born: Duration,
    /// The playbook that is tried is not the one that it went by.
    other_playbook: bool,
    /// Proposals that the other policy judges otherwise, by itself.
    otherwise: Vec<(u64, Record, Judgement)>,
}

impl Lived {
    /// ms since the call began.
    fn since(&self, at: Duration) -> u64 {
        u64::try_from(at.saturating_sub(self.born).as_millis()).unwrap_or(u64::MAX)
    }

    fn words(&self, it: &Difference) -> String {
        let or_nothing = |what: &Option<String>| what.clone().unwrap_or("nothing more".to_owned());
        let (was, would_be) = (or_nothing(&it.was), or_nothing(&it.would_be));
        format!("at {} ms: {was}; would be: {would_be}", self.since(it.at))
    }
}

fn replay(common: &Common, arguments: &ReplayArgs) -> Result<u8, Trouble> {
    let reader = reader(common)?;
    let could_not = |error: rusqlite::Error| Trouble::CouldNot(error.to_string());
    let library = Library::open(&reader).map_err(could_not)?;
    let settings = settings(common)?;
    let policy = arguments.policy.as_ref();
    let policy = policy
        .map(|_| checked(&settings, arguments.policy.as_ref()))
        .transpose()?;
    let trial = Trial {
        library: &library,
        policy,
        playbook: match &arguments.playbook {
            None => None,
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .map_err(|error| Trouble::CouldNot(format!("{}: {error}", file.display())))?,
            ),
        },
    };
    let mut lived = Vec::new();
    for id in named(&reader, arguments)? {
        lived.push(trial.live(&reader, id));
    }
    let tried = trial.policy.is_some() || trial.playbook.is_some();
    if common.json {
        print_json(&Value::from(lived.iter().map(as_json).collect::<Vec<_>>()));
    } else {
        print(&text(&lived, tried));
    }
    let differs = |it: &Lived| it.fault.is_some() || it.divergence.is_some();
    Ok(if lived.iter().any(differs) { NO } else { OK })
}

fn named(reader: &Reader, arguments: &ReplayArgs) -> Result<Vec<ConversationId>, Trouble> {
    let mut ids = Vec::new();
    for call in &arguments.calls {
        let id = reader
            .find(call)
            .map_err(|error| Trouble::No(format!("{call}: {error}")))?;
        ids.push(id);
    }
    if arguments.last.is_some() || arguments.day.is_some() {
        let calls = reader.calls(arguments.last.unwrap_or(u32::MAX), None);
        let calls = calls.map_err(|error| Trouble::CouldNot(error.to_string()))?;
        let began_then = |call: &Call| {
            let began = rfc3339(call.started_ms);
            arguments
                .day
                .as_ref()
                .is_none_or(|day| began.starts_with(day))
        };
        // Only what is over.
        let over = calls.into_iter().filter(|call| call.ended_ms.is_some());
        let meant = over.filter(began_then).rev();
        ids.extend(meant.map(|call| call.conversation));
    }
    ids.dedup();
    match (ids.is_empty(), &arguments.day) {
        (true, Some(day)) => Err(Trouble::No(format!("no call that is over began on {day}"))),
        (true, None) => Err(Trouble::No(
            "no calls: name some, --last NUMBER or --day yesterday".to_owned(),
        )),
        (false, _) => Ok(ids),
    }
}

/// A day as RFC 3339 begins with it.
fn day(text: &str) -> Result<String, String> {
    let now = wall_ms(clock::wall());
    let date = |ms: u64| rfc3339(ms)[.."2026-11-21".len()].to_owned();
    let digits =
        |part: &str, count| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    match (text, parts.as_slice()) {
        ("today", _) => Ok(date(now)),
        ("yesterday", _) => Ok(date(now.saturating_sub(DAY_MS))),
        (_, [year, month, day]) if digits(year, 4) && digits(month, 2) && digits(day, 2) => {
            Ok(text.to_owned())
        }
        _ => Err("write `today`, `yesterday`, or a day as 2026-11-21".to_owned()),
    }
}

struct Trial<'t> {
    library: &'t Library,
    policy: Option<CheckedPolicy>,
    playbook: Option<String>,
}

impl Trial<'_> {
    fn live(&self, reader: &Reader, id: ConversationId) -> Lived {
        let mut lived = Lived {
            id,
            decisions: 0,
            fault: None,
            divergence: None,
            born: Duration::ZERO,
            other_playbook: false,
            otherwise: Vec::new(),
        };
        let done = Recording::read(reader, id).and_then(|call| self.compare(&call, &mut lived));
        lived.fault = lived.fault.or(done.err());
        lived
    }

    fn compare(&self, call: &Recording, lived: &mut Lived) -> Result<(), String> {
        let shadow = self.policy.as_ref();
        let shadow = shadow.map(|checked| Arc::new(checked.policy.clone()));
        let as_it_was = call.replay(self.library, shadow.clone())?;
        lived.decisions = as_it_was.records.len();
        if let Some((was, is)) = call.first_unlike(&as_it_was) {
            let say = |record: Option<&Record>| record.map_or("nothing".to_owned(), one);
            lived.fault = Some(format!(
                "decided {} when recorded, {} when replayed",
                say(was),
                say(is)
            ));
        }
        lived.born = call.born();
        for (record, judgement) in &as_it_was.shadowed {
            if record.verdict != judgement.verdict {
                let at = lived.since(record.at);
                lived
                    .otherwise
                    .push((at, record.clone(), judgement.clone()));
            }
        }
        match self.tried(call, shadow)? {
            Some(tried) => lived.divergence = as_it_was.diverges(&tried),
            None => lived.other_playbook = self.playbook.is_some(),
        }
        Ok(())
    }

    /// Lived through by what is tried; `None` when nothing is.
    fn tried(
        &self,
        call: &Recording,
        policy: Option<Arc<offhook_core::Policy>>,
    ) -> Result<Option<Replayed>, String> {
        let playbook = match &self.playbook {
            Some(text) => {
                let book = self.library.book(&call.texts)?;
                let actions = self.library.actions(&call.texts)?;
                let (_, playbook) = recompile(actions, text)?;
                let same = matches!(&book.program,
                    offhook_core::Program::Playbook(then) if then.name == playbook.name);
                same.then(|| Arc::new(playbook))
            }
            None => None,
        };
        if policy.is_none() && playbook.is_none() {
            return Ok(None);
        }
        call.replay_by(self.library, policy, playbook).map(Some)
    }
}

fn one(record: &Record) -> String {
    format!(
        "{} {} {}",
        record.verdict.name(),
        record.kind,
        record.object
    )
}

fn text(lived: &[Lived], tried: bool) -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").expect("a String takes all");
    for call in lived {
        let id = call.id;
        match (&call.fault, &call.divergence) {
            (Some(fault), _) => line(format!("{id}  {fault}")),
            (None, Some(it)) => {
                line(format!("{id}  {}  [{}]", call.words(&it.first), it.rule));
                if !it.later.is_empty() {
                    line(format!(
                        "{:15}then {} more, no evidence: the recorded replies no longer fit",
                        "",
                        it.later.len()
                    ));
                }
                for later in it.later.iter().take(LATER_MAX) {
                    line(format!("{:17}{}", "", call.words(later)));
                }
            }
            (None, None) if call.other_playbook => {
                line(format!("{id}  went by another playbook: not tried"));
            }
            (None, None) if tried => line(format!("{id}  nobody would have noticed anything")),
            (None, None) => line(format!(
                "{id}  the same {} decisions, bit for bit",
                call.decisions
            )),
        }
        for (ms, record, judgement) in &call.otherwise {
            line(format!(
                "{:15}by itself, at {ms} ms: {} -> {} [{}]",
                "",
                one(record),
                judgement.verdict.name(),
                judgement.rules.join(", ")
            ));
        }
    }
    let faults = lived.iter().filter(|it| it.fault.is_some()).count();
    let diverged = lived.iter().filter(|it| it.divergence.is_some()).count();
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for divergence in lived.iter().filter_map(|it| it.divergence.as_ref()) {
        *rules.entry(&divergence.rule).or_default() += 1;
    }
    if tried {
        let by: Vec<String> = rules
            .iter()
            .map(|(rule, n)| format!("{rule} {n}"))
            .collect();
        let by = if by.is_empty() {
            String::new()
        } else {
            format!(": {}", by.join(", "))
        };
        line(format!(
            "{} calls, {diverged} would have gone otherwise{by}",
            lived.len()
        ));
    } else {
        line(format!(
            "{} calls, {} the same",
            lived.len(),
            lived.len() - faults
        ));
    }
    text
}

fn as_json(call: &Lived) -> Value {
    let difference = |it: &Difference| json!({ "ms": call.since(it.at), "was": it.was, "would_be": it.would_be });
    let otherwise = call.otherwise.iter().map(|(ms, record, judgement)| {
        json!({
            "ms": ms, "kind": record.kind, "object": record.object,
            "was": record.verdict.name(), "would_be": judgement.verdict.name(),
            "rules": judgement.rules,
        })
    });
    json!({
        "call": call.id.to_string(),
        "decisions": call.decisions,
        "fault": call.fault,
        "other_playbook": call.other_playbook,
        "divergence": call.divergence.as_ref().map(|it| {
            let mut first = difference(&it.first);
            first["rule"] = json!(it.rule);
            first["later"] = it.later.iter().map(difference).collect();
            first
        }),
        "pointwise": otherwise.collect::<Vec<_>>(),
    })
}
