//! From the store's rows to what the control socket shows. It reads; the
//! decision thread is not asked but for what lives.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use offhook_core::output::{Attempt, Outcome};
use offhook_core::{ConversationId, Name, Record, Verdict};

use super::words::{
    CallDetail, CallRow, CallState, Decision, Explanation, Lane, OutboxStatus, Rule, TapeInfo,
    TimelineEntry,
};
use super::{Live, LiveCall};
use crate::clock;
use crate::replay::Recording;
use crate::store::reader::{Call, Counts, Item, Reader, What};
use crate::store::{Entry, EntryKind};
use crate::switchboard::SDP_REFUSED;
use crate::timeline::Line;

/// The event that ends every call.
pub(super) const OUTCOME: &str = "outcome";

/// Lines on the way by which a call came.
const ORIGIN: [&str; 5] = [
    "identity",
    "identity_div",
    "diverted",
    "history",
    SDP_REFUSED,
];

/// State of an action that was authorised and could not be made durable: it was
/// never sent and never will be.
const NOT_KEPT: &str = "not_kept";

/// A reader of the store with the eyes of the control socket.
pub(super) struct Archive {
    reader: Reader,
}

impl Archive {
    pub(super) fn open(store: &Path) -> rusqlite::Result<Self> {
        Reader::open(store).map(|reader| Self { reader })
    }

    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The newest calls first.
    pub(super) fn rows(&self, live: &Live, limit: u32) -> rusqlite::Result<Vec<CallRow>> {
        let calls = self.reader.calls(limit, None)?;
        Ok(calls.iter().map(|call| row(call, live)).collect())
    }

    fn row(&self, id: ConversationId, live: &Live) -> rusqlite::Result<Option<(Call, CallRow)>> {
        let call = self.reader.call(id)?;
        Ok(call.map(|call| {
            let row = row(&call, live);
            (call, row)
        }))
    }

    pub(super) fn detail(
        &self,
        id: ConversationId,
        live: &Live,
        recordings: Option<&Path>,
    ) -> rusqlite::Result<Option<CallDetail>> {
        let Some((call, row)) = self.row(id, live)? else {
            return Ok(None);
        };
        let timeline = timeline(&call, self.reader.items(id)?);
        let recording = tape(id, &timeline, recordings);
        Ok(Some(CallDetail {
            call: row,
            timeline,
            recording,
        }))
    }

    /// `why` gives the reason of a rule in the words of the policy.
    pub(super) fn explanation(
        &self,
        id: ConversationId,
        live: &Live,
        why: impl Fn(&str) -> Option<String>,
    ) -> rusqlite::Result<Option<Explanation>> {
        let Some((call, row)) = self.row(id, live)? else {
            return Ok(None);
        };
        let states: BTreeMap<String, &'static str> = self
            .reader
            .outbox_of(id)?
            .into_iter()
            .map(|line| (line.id, line.state.name()))
            .collect();
        let decisions = self.reader.decisions(id)?;
        let decisions = decisions
            .into_iter()
            .map(|record| decision(&call, record, &states, &why))
            .collect();
        let texts = Recording::read(&self.reader, id).map(|it| it.texts.playbook);
        let playbook = texts.map(|it| format!("{} {:.12}", it.name, it.hash));
        Ok(Some(Explanation {
            call: row,
            playbook: playbook.unwrap_or_default(),
            decisions,
            origin: timeline(&call, self.reader.items(id)?)
                .into_iter()
                .filter(|line| ORIGIN.contains(&line.event.as_str()))
                .collect(),
            persons: self.outcome(id)?.map(|it| it.persons).unwrap_or_default(),
        }))
    }

    /// Of a call that is over.
    fn outcome(&self, id: ConversationId) -> rusqlite::Result<Option<Outcome>> {
        let items = self.reader.items(id)?.into_iter().rev();
        let mut outcomes = items.filter_map(|item| match item.what {
            What::Outcome(outcome) => Some(outcome),
            _ => None,
        });
        Ok(outcomes.next())
    }

    pub(super) fn outbox(&self) -> rusqlite::Result<OutboxStatus> {
        let counts = self.reader.counts()?;
        Ok(outbox(&counts, millis(clock::wall())))
    }
}

fn outbox(counts: &Counts, now_ms: u64) -> OutboxStatus {
    OutboxStatus {
        pending: counts.pending,
        held: counts.held,
        withdrawn: counts.withdrawn,
        delivered: counts.delivered,
        dead: counts.dead,
        not_undone: counts.not_undone,
        oldest_ms: counts.backlog_age_ms(now_ms),
    }
}

fn row(call: &Call, live: &Live) -> CallRow {
    let lives: Option<&LiveCall> = live.calls.iter().find(|live| live.id == call.conversation);
    let end = call.ended_ms.unwrap_or_else(|| millis(clock::wall()));
    CallRow {
        id: call.conversation.to_string(),
        direction: call.direction,
        trunk: call.trunk.clone(),
        caller: call.caller.clone(),
        called: call.called.clone(),
        playbook: call.playbook.clone(),
        state: match lives {
            Some(live) if live.talking => CallState::Talking,
            Some(_) => CallState::Ringing,
            None => CallState::Ended,
        },
        started_ms: call.started_ms,
        duration_ms: end.saturating_sub(call.started_ms),
        stage: lives.and_then(|live| live.stage.clone()),
        role: lives.and_then(|live| live.role.clone()),
        cause: call.cause.clone(),
        result: call.result.clone(),
    }
}

/// All lines of a call, by time; what happened at the same time stays in the
/// order it was handled in.
fn timeline(call: &Call, items: Vec<Item>) -> Vec<TimelineEntry> {
    let born = Duration::from_micros(call.born_us);
    let mut lines: Vec<TimelineEntry> = Vec::new();
    for item in items {
        let committed_ms = item.wall_ms.saturating_sub(call.started_ms);
        match item.what {
            What::Log(entries) => lines.extend(entries.iter().filter_map(|e| entry(e, born))),
            What::Decision(record, _) => {
                lines.push(Line::of_record(&record).at(born, record.at));
            }
            What::Action(row) => {
                let held = if row.held { "held" } else { "to be sent" };
                let detail = format!("{} {}, {held}", row.id, row.kind);
                lines.push(action(committed_ms, "kept", detail));
            }
            What::Released(id) => lines.push(action(committed_ms, "released", id.to_string())),
            What::Withdrawn(id) => lines.push(action(committed_ms, "withdrawn", id.to_string())),
            What::Answered(id, None) => {
                lines.push(action(committed_ms, "delivered", id.to_string()));
            }
            What::Answered(id, Some(reason)) => {
                let detail = format!("{id}: {reason}");
                lines.push(action(committed_ms, "given_up", detail));
            }
            What::Outcome(outcome) => {
                lines.extend(outcome.persons.iter().map(|it| called(committed_ms, it)));
                lines.push(ended(committed_ms, &outcome));
            }
            What::Forgotten => lines.push(note(committed_ms, "forgotten")),
            What::Unreadable => lines.push(note(committed_ms, "unreadable")),
            What::Born(_) | What::Lead(_) => {}
        }
    }
    lines.sort_by_key(|line| line.ms);
    say_outcome_once(&mut lines);
    lines
}

/// The log's own line, where there is one, knows the moment better; the row
/// knows the figures.
fn say_outcome_once(lines: &mut Vec<TimelineEntry>) {
    let outcome = |line: &TimelineEntry| line.event == OUTCOME;
    let row = lines
        .iter()
        .position(|line| outcome(line) && !line.data.is_empty());
    let log = lines
        .iter()
        .position(|line| outcome(line) && line.data.is_empty());
    if let (Some(row), Some(log)) = (row, log) {
        let data = std::mem::take(&mut lines[row].data);
        lines[log].data = data;
        lines.remove(row);
    }
}

fn entry(entry: &Entry, born: Duration) -> Option<TimelineEntry> {
    let line = match entry.kind {
        EntryKind::Input => Line::of_input(&serde_json::from_str(entry.body()).ok()?)?,
        EntryKind::Note => serde_json::from_str(entry.body()).ok()?,
        EntryKind::Decision => Line::of_record(&serde_json::from_str(entry.body()).ok()?),
    };
    Some(line.at(born, Duration::from_micros(entry.at_us)))
}

fn action(ms: u64, event: &str, detail: String) -> TimelineEntry {
    TimelineEntry {
        ms,
        lane: Lane::Action,
        event: event.to_owned(),
        detail,
        data: BTreeMap::new(),
    }
}

fn note(ms: u64, event: &str) -> TimelineEntry {
    TimelineEntry {
        lane: Lane::Note,
        ..action(ms, event, String::new())
    }
}

fn called(ms: u64, person: &Attempt) -> TimelineEntry {
    let seconds = Duration::from_millis(person.ms).as_secs_f64();
    let (to, came) = (&person.to, person.came.name());
    action(
        ms,
        "person_called",
        format!("{to}: {came} after {seconds:.1} s"),
    )
}

fn ended(ms: u64, outcome: &Outcome) -> TimelineEntry {
    let detail = format!("{}, {}", outcome.cause.name(), outcome.result);
    TimelineEntry {
        data: BTreeMap::from([
            ("cause".to_owned(), outcome.cause.name().into()),
            ("result".to_owned(), outcome.result.as_str().into()),
            ("turns".to_owned(), outcome.turns.into()),
            ("barge_ins".to_owned(), outcome.barge_ins.into()),
            ("authorised".to_owned(), outcome.authorised.into()),
            ("refused".to_owned(), outcome.refused.into()),
        ]),
        ..action(ms, OUTCOME, detail)
    }
}

fn decision(
    call: &Call,
    record: Record,
    states: &BTreeMap<String, &'static str>,
    why: impl Fn(&str) -> Option<String>,
) -> Decision {
    let id = record.action.to_string();
    let since = record
        .at
        .saturating_sub(Duration::from_micros(call.born_us));
    let rule = |id: Name| Rule {
        why: why(&id),
        id: id.into(),
    };
    let value = |(name, value): (Name, Option<i64>)| (name.into(), value);
    // A decision is kept with its action, or, when the disk did not take that, alone.
    let lost = (record.external && record.verdict == Verdict::Authorised).then_some(NOT_KEPT);
    let state = states.get(&id).copied().or(lost);
    Decision {
        ms: millis(since),
        state: state.map(str::to_owned),
        action: id,
        kind: record.kind.into(),
        object: record.object.into(),
        role: record.role.into(),
        stage: record.stage.into(),
        external: record.external,
        verdict: record.verdict.name().to_owned(),
        rules: record.rules.into_iter().map(rule).collect(),
        values: record.values.into_iter().map(value).collect(),
        policy: record.policy.into(),
        evidence: record.evidence,
    }
}

/// The recording: named after the call; it begins where the timeline says so,
/// else with the answer.
fn tape(id: ConversationId, lines: &[TimelineEntry], directory: Option<&Path>) -> Option<TapeInfo> {
    let file = directory?.join(format!("{id}.wav"));
    let begins = |event: &str| lines.iter().find(|line| line.event == event);
    let start = begins("recording").or_else(|| begins("answered"))?;
    file.exists().then_some(TapeInfo {
        file,
        starts_ms: start.ms,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Birth, Direction, Ended, Log, Options, Store, Write};
    use offhook_core::input::Cause;
    use offhook_core::{Event, LegEvent, LegId, Turn};

    const BORN: Duration = Duration::from_secs(5);

    fn log() -> Log {
        let leg = |event| Event::Leg(LegId(0), event);
        let inputs = [
            (0, leg(LegEvent::Answered)),
            (1_500, leg(LegEvent::BargeIn { turn: Turn(1) })),
            (1_400, leg(LegEvent::SpeechStart)),
            (1_600, Event::Wake),
        ];
        let at = |ms| BORN + Duration::from_millis(ms);
        let mut log = Log::default();
        for (n, (ms, event)) in (0..).zip(inputs) {
            log.push(n, at(ms), at(ms), EntryKind::Input, &event)
                .unwrap();
        }
        let line = serde_json::json!({"lane": "action", "event": "outcome", "detail": "abandoned"});
        log.push(4, at(2_000), at(2_000), EntryKind::Note, &line)
            .unwrap();
        log
    }

    /// A store with one call that was interrupted once and is over.
    fn store_with_a_call(path: &Path, id: ConversationId) {
        let (store, _) = Store::open(path, &Options::default(), |_| {}).unwrap();
        let writes = [
            Write::Born {
                birth: Birth {
                    conversation: id,
                    direction: Direction::Inbound,
                    trunk: "t".into(),
                    caller: "200".into(),
                    called: "100".into(),
                    playbook: "booking".into(),
                    started_ms: 1_000_000,
                    born: BORN,
                },
                entries: Log::default(),
            },
            Write::Log {
                conversation: id,
                entries: log(),
            },
            Write::Outcome(Box::new(Ended {
                conversation: id,
                lead: "200".into(),
                ended_ms: 1_700_000_003_000,
                outcome: Outcome {
                    role: "host".into(),
                    stage: "greet".into(),
                    talk: Duration::from_secs(2),
                    turns: 1,
                    barge_ins: 1,
                    ..Outcome::of(Cause::FarHangup, "abandoned")
                },
                entries: Log::default(),
            })),
        ];
        for write in writes {
            store.write(write).unwrap();
        }
        store.close();
    }

    #[test]
    fn a_call_is_shown_by_time_since_its_invite() {
        let directory =
            std::env::temp_dir().join(format!("offhook-archive-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("a.db");
        let id = ConversationId(77);
        store_with_a_call(&path, id);
        let archive = Archive::open(&path).unwrap();
        let detail = archive.detail(id, &Live::default(), None).unwrap().unwrap();
        assert_eq!(detail.call.state, CallState::Ended);
        assert_eq!(detail.call.cause.as_deref(), Some("far_hangup"));
        let lines: Vec<(u64, &str)> = detail
            .timeline
            .iter()
            .map(|line| (line.ms, line.event.as_str()))
            .collect();
        assert_eq!(
            lines[..3],
            [
                (0, "answered"),
                (1_400, "speech_start"),
                (1_500, "barge_in")
            ]
        );
        assert_eq!(lines[3], (2_000, "outcome"), "said once, at its time");
        assert_eq!(detail.timeline[3].data["barge_ins"], 1);
        assert_eq!(lines.len(), 4, "a wakeup is not shown");
        assert_eq!(archive.rows(&Live::default(), 10).unwrap().len(), 1);
        let unknown = archive.detail(ConversationId(1), &Live::default(), None);
        assert_eq!(unknown.unwrap(), None);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_call_that_lives_shows_how_far_it_is() {
        let call = Call {
            conversation: ConversationId(3),
            direction: Direction::Outbound,
            trunk: "t".into(),
            caller: String::new(),
            called: "1".into(),
            playbook: "p".into(),
            started_ms: 1,
            born_us: 0,
            ended_ms: None,
            cause: None,
            result: None,
        };
        let live = |talking| Live {
            calls: vec![LiveCall {
                id: ConversationId(3),
                talking,
                stage: Some("greet".into()),
                role: None,
            }],
            ..Live::default()
        };
        assert_eq!(row(&call, &live(true)).state, CallState::Talking);
        assert_eq!(row(&call, &live(false)).state, CallState::Ringing);
        assert_eq!(row(&call, &Live::default()).state, CallState::Ended);
        assert_eq!(row(&call, &live(true)).stage.as_deref(), Some("greet"));
    }
}
