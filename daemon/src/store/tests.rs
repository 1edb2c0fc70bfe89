//! The store as its users see it: writes in, rows and answers out.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use offhook_core::input::{Cause, Event, LegEvent};
use offhook_core::output::{OutboxRow, Outcome, Step, UNDO, Undo};
use offhook_core::{ActionId, ConversationId, LegId, Record, Seq, Turn, Verdict};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::reader::{FindError, Reader, RowState, What};
use super::*;

mod file;

/// A directory of its own, gone at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "offhook-store-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("offhook.db")
    }

    fn open(&self) -> (Store, Recovery, Receiver<Answer>) {
        self.open_with(&Options::default())
    }

    fn open_with(&self, options: &Options) -> (Store, Recovery, Receiver<Answer>) {
        let (sender, answers) = channel();
        let answer = move |answer| sender.send(answer).unwrap_or_default();
        let (store, recovery) = Store::open(&self.file(), options, answer).unwrap();
        (store, recovery, answers)
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.file()).unwrap()
    }

    fn raw(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

const CALL: ConversationId = ConversationId(77);
const SOON: Duration = Duration::from_secs(20);

fn birth(conversation: ConversationId) -> Write {
    Write::Born {
        birth: Birth {
            conversation,
            direction: Direction::Inbound,
            trunk: "demo".into(),
            caller: "+15550100".into(),
            called: "100".into(),
            playbook: "booking".into(),
            started_ms: 1_700_000_000_000,
            born: Duration::from_secs(5),
        },
        entries: Log::default(),
    }
}

fn action(conversation: ConversationId, number: u32) -> ActionId {
    ActionId {
        conversation,
        number,
    }
}

fn record(id: ActionId, verdict: Verdict) -> Record {
    Record {
        at: Duration::from_secs(6),
        action: id,
        kind: "schedule".into(),
        object: "tuesday".into(),
        role: "agent".into(),
        stage: "book".into(),
        turn: Turn(2),
        external: true,
        verdict,
        rules: ["consent".into()].into_iter().collect(),
        values: [("intent".into(), Some(900))].into_iter().collect(),
        policy: "abc".into(),
        evidence: Vec::new(),
    }
}

fn row(id: ActionId, lead: &str, held: bool) -> OutboxRow {
    OutboxRow {
        id,
        kind: "schedule".into(),
        lead: lead.into(),
        dedupe: format!("{lead}/schedule/{}", id.number),
        held,
        fields: vec![("slot".into(), "tuesday".into())],
        step: None,
        undoes: None,
    }
}

fn entry(n: u32) -> Log {
    let at = Duration::from_millis(5000 + u64::from(n));
    let event = Event::Leg(LegId(0), LegEvent::Answered);
    let mut log = Log::default();
    log.push(n, at, at, EntryKind::Input, &event).unwrap();
    log
}

fn commit(conversation: ConversationId, number: u32, lead: &str, held: bool) -> Write {
    let id = action(conversation, number);
    Write::Commit(Box::new(Commit {
        conversation,
        seq: Seq(number),
        entries: entry(number),
        record: record(id, Verdict::Authorised),
        rows: vec![row(id, lead, held)],
        facts: Vec::new(),
        pages: Vec::new(),
    }))
}

fn outcome() -> Outcome {
    Outcome {
        role: "agent".into(),
        stage: "close".into(),
        talk: Duration::from_secs(3),
        turns: 2,
        barge_ins: 1,
        authorised: 1,
        ..Outcome::of(Cause::FarHangup, "booked")
    }
}

fn over(conversation: ConversationId) -> Write {
    Write::Outcome(Box::new(Ended {
        conversation,
        lead: "+15550100".into(),
        ended_ms: 1_700_000_003_000,
        outcome: outcome(),
        entries: entry(99),
    }))
}

fn write_all(store: &Store, writes: impl IntoIterator<Item = Write>) {
    for write in writes {
        store.write(write).unwrap();
    }
}

/// A call with one held action, up to its confirmation.
fn half_a_call(store: &Store, answers: &Receiver<Answer>) {
    let dialog = Write::Dialog {
        conversation: CALL,
        leg: 0,
        text: "dialog".into(),
    };
    write_all(store, [birth(CALL), dialog, commit(CALL, 1, "lead", true)]);
    assert_eq!(
        answers.recv_timeout(SOON).unwrap(),
        Answer {
            conversation: CALL,
            seq: Seq(1),
            durable: true
        }
    );
}

fn states(place: &Place) -> Vec<(String, RowState)> {
    let lines = place.reader().outbox(None, 1000).unwrap();
    lines
        .into_iter()
        .map(|line| (line.id, line.state))
        .collect()
}

fn marked(store: &Store, seq: u64, progress: Progress) {
    let (kept, told) = oneshot::channel();
    let mark = Mark {
        seq,
        progress,
        kept,
    };
    store.write(Write::Mark(mark)).unwrap();
    told.blocking_recv().unwrap();
}

#[test]
fn a_committed_call_reads_back_as_it_was() {
    let place = Place::new();
    let (store, recovery, answers) = place.open();
    assert!(recovery.dialogs.is_empty() && recovery.salvage.is_none());
    half_a_call(&store, &answers);
    let refused = record(action(CALL, 2), Verdict::Refused);
    let decision = Write::Decision {
        conversation: CALL,
        record: Box::new(refused.clone()),
        facts: Vec::new(),
        entries: Log::default(),
    };
    write_all(
        &store,
        [decision, Write::Release(action(CALL, 1)), over(CALL)],
    );
    store.close();

    let reader = place.reader();
    let call = reader.call(CALL).unwrap().unwrap();
    assert_eq!(call.cause.as_deref(), Some("far_hangup"));
    assert_eq!(call.result.as_deref(), Some("booked"));
    assert_eq!(call.ended_ms, Some(1_700_000_003_000));
    let kinds: Vec<&str> = reader
        .items(CALL)
        .unwrap()
        .iter()
        .map(|item| match item.what {
            What::Born(_) => "born",
            What::Log(_) => "log",
            What::Decision(..) => "decision",
            What::Action(_) => "action",
            What::Released(_) => "released",
            What::Outcome(_) => "outcome",
            _ => "?",
        })
        .collect();
    let expected = "born log decision action decision released log outcome";
    assert_eq!(kinds.join(" "), expected);
    assert_eq!(reader.decisions(CALL).unwrap()[1], refused);
    let counts = reader.counts().unwrap();
    assert_eq!((counts.pending, counts.held), (2, 0));
    assert!(reader.verify().unwrap().is_ok());
    let text = CALL.to_string();
    for name in [text.as_str(), "last", "02d", "000000"] {
        assert_eq!(reader.find(name).unwrap(), CALL, "{name}");
    }
    assert!(matches!(reader.find("9zz"), Err(FindError::None)));
}

#[test]
fn a_crash_ends_each_open_call_once_and_releases_what_was_held() {
    let place = Place::new();
    {
        let (store, _, answers) = place.open();
        half_a_call(&store, &answers);
        store.close(); // nobody wrote an outcome: a crash as far as the rows tell
    }
    for _ in 0..2 {
        let (store, recovery, _answers) = place.open();
        assert_eq!(recovery.dialogs[0].text, "dialog");
        store.close();
    }
    let (store, recovery, _answers) = place.open();
    assert!(recovery.interrupted.is_empty());
    let over = Write::DialogOver {
        conversation: CALL,
        leg: 0,
    };
    store.write(over).unwrap();
    store.close();
    assert_eq!(
        states(&place),
        [
            (format!("{CALL}-1"), RowState::Pending),
            (format!("{CALL}-outcome"), RowState::Pending)
        ]
    );
    let items = place.reader().items(CALL).unwrap();
    let outcomes: Vec<_> = items
        .iter()
        .filter_map(|item| match &item.what {
            What::Outcome(outcome) => Some(outcome),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].cause, Cause::Interrupted);
    assert_eq!((outcomes[0].authorised, &*outcomes[0].stage), (1, "book"));
    // Answered 1 ms after the INVITE, and alive at the last commit.
    let call = place.reader().call(CALL).unwrap().unwrap();
    let alive_ms = items
        .iter()
        .filter(|item| matches!(item.what, What::Log(_)))
        .map(|item| item.wall_ms)
        .max();
    assert!(call.ended_ms >= alive_ms, "{call:?}");
    let talked = call.ended_ms.unwrap() - call.started_ms - 1;
    assert_eq!(outcomes[0].talk, Duration::from_millis(talked));
    let lines = place.reader().outbox(None, 9).unwrap();
    assert_eq!(lines[1].lead, "lead", "the outcome follows its actions");
    assert!(place.open().1.dialogs.is_empty());
}

#[test]
fn a_crash_still_tells_of_the_stays_in_stages() {
    let place = Place::new();
    let (store, _, answers) = place.open();
    half_a_call(&store, &answers);
    // Decided after what the log says below, committed before it.
    let greeted = Record {
        at: Duration::from_millis(5_010),
        stage: "greet".into(),
        ..record(action(CALL, 7), Verdict::Authorised)
    };
    let spoke = Duration::from_millis(5_020);
    let mut entries = Log::default();
    let (at, kind) = (greeted.at, EntryKind::Decision);
    entries.push(2, at, at, kind, &greeted).unwrap();
    let (turn, barge_in) = (
        LegEvent::TurnEnd { confidence: 70 },
        LegEvent::BargeIn { turn: Turn(2) },
    );
    let heard = [
        (0, turn.clone()),
        (0, barge_in.clone()),
        (0, barge_in.clone()),
        (0, LegEvent::BargeInRetracted),
        // Whoever is consulted beside.
        (1, turn),
        (1, barge_in),
        (1, LegEvent::BargeInRetracted),
    ];
    for (number, (leg, event)) in (3..).zip(heard) {
        let (event, kind) = (Event::Leg(LegId(leg), event), EntryKind::Input);
        entries.push(number, spoke, spoke, kind, &event).unwrap();
    }
    let log = Write::Log {
        conversation: CALL,
        entries,
    };
    write_all(&store, [log]);
    store.close();
    let (store, ..) = place.open();
    store.close();
    let items = place.reader().items(CALL).unwrap();
    let outcome = items.into_iter().find_map(|item| match item.what {
        What::Outcome(outcome) => Some(outcome),
        _ => None,
    });
    let outcome = outcome.expect("a crash ends the call");
    let stays: Vec<_> = outcome
        .stages
        .iter()
        .map(|it| (&*it.stage, it.turns))
        .collect();
    assert_eq!(stays, [("greet", 1), ("book", 0)]);
    let until_booked = record(action(CALL, 1), Verdict::Authorised).at;
    let greeted = until_booked - Duration::from_millis(5_010);
    assert_eq!(u128::from(outcome.stages[0].ms), greeted.as_millis());
    assert_eq!((outcome.turns, &*outcome.stage), (1, "book"));
    assert_eq!(outcome.barge_ins, 1);
}

#[test]
fn a_second_outcome_is_counted_and_ignored() {
    let place = Place::new();
    let (store, _, _answers) = place.open();
    write_all(&store, [birth(CALL), over(CALL), over(CALL)]);
    store.close();
    assert_eq!(store.health().second_outcomes, 1);
    assert_eq!(states(&place).len(), 1);
}

#[test]
fn a_withdrawn_action_is_kept_and_never_due() {
    let place = Place::new();
    let (store, _, answers) = place.open();
    half_a_call(&store, &answers);
    let id = action(CALL, 1);
    write_all(
        &store,
        [Write::Withdraw(id), Write::Release(id), over(CALL)],
    );
    store.close();
    assert_eq!(states(&place)[0].1, RowState::Withdrawn);
    let due = place.reader().heads_of_line(9).unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].kind, "outcome");
}

/// An action of three steps, none of them held; so many of them can be undone.
fn three_steps(undoable: u8) -> Write {
    let whole = action(CALL, 1);
    let step = |place: u8| {
        let id = action(CALL, 1 + u32::from(place));
        let undo = (place <= undoable).then(|| Undo {
            id: action(CALL, 10 + u32::from(place)),
            kind: format!("undo_{place}"),
            dedupe: format!("{UNDO}{place}"),
            fields: vec![("compensates".into(), id.to_string())],
        });
        OutboxRow {
            step: Some(Step {
                of: whole,
                place,
                undo,
            }),
            ..row(id, "lead", false)
        }
    };
    Write::Commit(Box::new(Commit {
        conversation: CALL,
        seq: Seq(1),
        entries: entry(1),
        record: record(whole, Verdict::Authorised),
        rows: [1, 2, 3].map(step).into(),
        facts: Vec::new(),
        pages: Vec::new(),
    }))
}

/// Plays the receiver, which takes `effects` in their order, until nothing is due;
/// the process dies after every mark. Gives the actions in the order of delivery; the
/// outcome that the restart wrote is delivered among them.
fn deliver_and_die(place: &Place, fate: impl Fn(u32) -> Progress) -> Vec<(u32, bool)> {
    let mut sent = Vec::new();
    for _ in 0..12 {
        let (store, _, _answers) = place.open();
        let due = place.reader().heads_of_line(9).unwrap();
        let Some(due) = due.first() else {
            store.close();
            return sent;
        };
        let number = due.action.map(|action| action.number);
        let said = || number.map_or(Progress::Delivered, &fate);
        marked(&store, due.seq, said());
        // What the forwarder says twice, because it died too, changes nothing.
        marked(&store, due.seq, said());
        sent.extend(number.map(|number| (number, said() == Progress::Delivered)));
        store.close();
    }
    panic!("there is no end of it: {sent:?}");
}

#[test]
fn steps_take_effect_whole_or_are_undone_in_reverse_order_whenever_the_process_dies() {
    let refused = |refused| Progress::Dead {
        error: "422".into(),
        refused,
    };
    type Row = (&'static str, u32, bool, &'static [(u32, bool)]);
    let rows: [Row; 5] = [
        ("all taken", 0, true, &[(2, true), (3, true), (4, true)]),
        ("the first refused", 2, true, &[(2, false)]),
        (
            "the second refused",
            3,
            true,
            &[(2, true), (3, false), (11, true)],
        ),
        (
            "the third refused",
            4,
            true,
            &[(2, true), (3, true), (4, false), (12, true), (11, true)],
        ),
        (
            "the second given up: perhaps it took effect",
            3,
            false,
            &[(2, true), (3, false), (12, true), (11, true)],
        ),
    ];
    for (name, bad, for_good, expected) in rows {
        let place = Place::new();
        let (store, _, _answers) = place.open();
        write_all(&store, [birth(CALL), three_steps(2)]);
        store.close();
        let sent = deliver_and_die(&place, |number| match number == bad {
            true => refused(for_good),
            false => Progress::Delivered,
        });
        assert_eq!(sent, expected, "{name}");
        let counts = place.reader().counts().unwrap();
        assert_eq!((counts.pending, counts.not_undone), (0, 0), "{name}");
        assert!(place.reader().verify().unwrap().is_ok(), "{name}");
    }
}

/// The caller takes an action of three steps back: what undoes them, the last one first.
fn taken_back() -> Write {
    let undo = |place: u32| OutboxRow {
        kind: format!("undo_{place}"),
        dedupe: format!("{UNDO}{place}"),
        undoes: Some(action(CALL, 1 + place)),
        ..row(action(CALL, 10 + place), "lead", false)
    };
    Write::Commit(Box::new(Commit {
        conversation: CALL,
        seq: Seq(2),
        entries: entry(2),
        record: record(action(CALL, 11), Verdict::Authorised),
        rows: [3, 2, 1].map(undo).into(),
        facts: Vec::new(),
        pages: Vec::new(),
    }))
}

#[test]
fn steps_that_are_taken_back_are_undone_in_reverse_order_as_far_as_they_went() {
    type Row = (usize, Option<bool>, &'static [(u32, bool)]);
    // So many were taken before; what becomes of the one that is on its way then.
    let rows: [Row; 7] = [
        (0, None, &[(2, true), (11, true)]),
        (1, None, &[(3, true), (12, true), (11, true)]),
        (2, None, &[(4, true), (13, true), (12, true), (11, true)]),
        (3, None, &[(13, true), (12, true), (11, true)]),
        (0, Some(true), &[(2, false)]),
        (1, Some(true), &[(3, false), (11, true)]),
        // Given up: perhaps it took effect.
        (1, Some(false), &[(3, false), (12, true), (11, true)]),
    ];
    for (taken, bad, expected) in rows {
        let place = Place::new();
        let (store, _, _answers) = place.open();
        write_all(&store, [birth(CALL), three_steps(3)]);
        for _ in 0..taken {
            let due = || place.reader().heads_of_line(9).unwrap().pop();
            let due = std::iter::repeat_with(due).flatten().next().unwrap();
            marked(&store, due.seq, Progress::Delivered);
        }
        write_all(&store, [taken_back()]);
        store.close();
        let sent = deliver_and_die(&place, |number| match bad {
            Some(refused) if number == 2 + taken as u32 => Progress::Dead {
                error: "422".into(),
                refused,
            },
            _ => Progress::Delivered,
        });
        assert_eq!(sent, expected, "{taken} {bad:?}");
        let counts = place.reader().counts().unwrap();
        assert_eq!((counts.pending, counts.held, counts.not_undone), (0, 0, 0));
        assert!(place.reader().verify().unwrap().is_ok(), "{taken} {bad:?}");
    }
}

#[test]
fn what_could_not_be_undone_stays_visible() {
    let place = Place::new();
    let (store, _, _answers) = place.open();
    write_all(&store, [birth(CALL), three_steps(2)]);
    store.close();
    let sent = deliver_and_die(&place, |number| match number {
        3 | 11 => Progress::Dead {
            error: "422".into(),
            refused: true,
        },
        _ => Progress::Delivered,
    });
    assert_eq!(sent, [(2, true), (3, false), (11, false)]);
    let reader = place.reader();
    assert_eq!(reader.counts().unwrap().not_undone, 1);
    let dead = reader.outbox(Some(RowState::Dead), 9).unwrap();
    let dead: Vec<(&str, bool)> = dead
        .iter()
        .map(|it| (it.kind.as_str(), it.undoes))
        .collect();
    assert_eq!(dead, [("schedule", false), ("undo_1", true)]);
}

#[test]
fn only_the_oldest_open_row_of_a_lead_is_due() {
    let place = Place::new();
    let (store, _, _answers) = place.open();
    write_all(
        &store,
        [
            commit(CALL, 1, "a", true),
            commit(CALL, 2, "a", false),
            commit(CALL, 3, "b", false),
            commit(CALL, 4, "b", false),
            Write::Hasten,
        ],
    );
    let due = |expected: &[u32]| {
        let heads = place.reader().heads_of_line(9).unwrap();
        let numbers: Vec<u32> = heads.iter().map(|due| due.action.unwrap().number).collect();
        assert_eq!(numbers, expected);
        heads.last().unwrap().seq
    };
    let (done, told) = oneshot::channel();
    let forget = Write::Forget {
        conversation: CALL,
        done,
    };
    store.write(forget).unwrap();
    assert_eq!(told.blocking_recv().unwrap(), Forgotten::Open(4));
    let third = due(&[3]);
    marked(&store, third, Progress::Delivered);
    store.write(Write::Release(action(CALL, 1))).unwrap();
    let dead = Progress::Dead {
        error: "422".into(),
        refused: true,
    };
    marked(&store, third, dead); // it is delivered: nothing changes
    let fourth = due(&[1, 4]);
    let retry = Progress::Retry {
        next_ms: u64::MAX / 4,
        strike: true,
        error: "503".into(),
    };
    marked(&store, fourth, retry);
    let heads = place.reader().heads_of_line(9).unwrap();
    assert_eq!((heads[1].strikes, heads[1].next_ms), (1, u64::MAX / 4));
    store.write(Write::Hasten).unwrap();
    store.close();
    assert_eq!(place.reader().heads_of_line(9).unwrap()[1].next_ms, 0);
}

#[test]
fn the_same_commit_again_is_durable_and_one_row() {
    let place = Place::new();
    let (store, _, answers) = place.open();
    write_all(
        &store,
        [commit(CALL, 1, "a", false), commit(CALL, 1, "a", false)],
    );
    assert!(answers.recv_timeout(SOON).unwrap().durable);
    assert!(answers.recv_timeout(SOON).unwrap().durable);
    store.close();
    assert_eq!(states(&place).len(), 1);
}

#[test]
fn a_full_queue_hands_the_write_back_and_counts_it() {
    let place = Place::new();
    let (blocked, gate) = (channel::<()>(), channel::<()>());
    let answer = move |_| {
        blocked.0.send(()).unwrap_or_default();
        gate.1.recv().unwrap_or_default();
    };
    let options = Options {
        queue: 2,
        ..Options::default()
    };
    let (store, _) = Store::open(&place.file(), &options, answer).unwrap();
    store.write(commit(CALL, 1, "a", false)).unwrap();
    blocked.1.recv_timeout(SOON).unwrap();
    write_all(&store, [birth(CALL), birth(CALL)]);
    assert!(matches!(store.write(birth(CALL)), Err(NotTaken::Full(_))));
    assert_eq!(store.health().refused, 1);
    drop(gate.0);
    store.close();
    assert!(matches!(store.write(birth(CALL)), Err(NotTaken::Closed(_))));
}

#[test]
fn forgetting_deletes_words_and_numbers_and_keeps_the_chain_whole() {
    let place = Place::new();
    let (store, _, answers) = place.open();
    half_a_call(&store, &answers);
    write_all(&store, [birth(ConversationId(78)), over(CALL)]);
    store.write(Write::Hasten).unwrap();
    let (sync, synced) = oneshot::channel();
    store
        .write(Write::Forget {
            conversation: ConversationId(78),
            done: sync,
        })
        .unwrap();
    assert_eq!(synced.blocking_recv().unwrap(), Forgotten::Open(0));
    for _ in 0..2 {
        let head = place.reader().heads_of_line(9).unwrap()[0].seq;
        marked(&store, head, Progress::Delivered);
    }
    let (done, told) = oneshot::channel();
    let forget = Write::Forget {
        conversation: CALL,
        done,
    };
    store.write(forget).unwrap();
    assert_eq!(told.blocking_recv().unwrap(), Forgotten::Done);
    // What comes late for a forgotten conversation is chained and not kept.
    let late = Write::Log {
        conversation: CALL,
        entries: entry(100),
    };
    store.write(late).unwrap();
    store.close();
    let reader = place.reader();
    let verified = reader.verify().unwrap().unwrap();
    assert_eq!(verified.forgotten, 7 + 1);
    let items = reader.items(CALL).unwrap();
    assert!(
        items
            .iter()
            .all(|item| matches!(item.what, What::Forgotten))
    );
    let call = reader.call(CALL).unwrap().unwrap();
    assert!(call.caller.is_empty());
    let bytes = std::fs::read(place.file()).unwrap();
    let holds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(!holds("lead/schedule") && !holds("tuesday"));
    assert!(holds("+15550100"), "the other call is still there");
}

#[test]
fn the_rows_of_a_call_are_asked_for_by_a_statement_compiled_once() {
    let place = Place::new();
    drop(place.open());
    let db = place.raw();
    let mut statement = db.prepare(super::rows::ROWS_OF).unwrap();
    for conversation in 0..10 {
        let rows = statement.query_map([conversation], |_| Ok(())).unwrap();
        assert_eq!(rows.count(), 0);
    }
    let again = statement.get_status(rusqlite::StatementStatus::RePrepare);
    assert_eq!(again, 0);
}
