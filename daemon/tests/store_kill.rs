//! Invariant 3: killing the process at any point loses no acknowledged action
//! and repeats none. A child writes and reports what it was told is durable; it
//! is killed with SIGKILL at a random moment, twenty times over one file.

mod books;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;

use books::{birth, commit};
use offhook::store::reader::{Reader, What};
use offhook::store::{Log, Options, Store};
use offhook_core::{ActionId, ConversationId};

const KILLS: u64 = 20;
const FILE: &str = "OFFHOOK_KILL_TEST_FILE";
const ROUND: &str = "OFFHOOK_KILL_TEST_ROUND";

/// The child's part; does nothing in an ordinary run.
#[test]
fn child_writes_until_killed() {
    let (Ok(file), Ok(round)) = (std::env::var(FILE), std::env::var(ROUND)) else {
        return;
    };
    let round: u64 = round.parse().unwrap();
    let (sender, answers) = sync_channel(64);
    let answer = move |answer| sender.send(answer).unwrap_or_default();
    let (store, _) = Store::open(Path::new(&file), &Options::default(), answer).unwrap();
    println!("open");
    let mut out = std::io::stdout();
    for call in 0.. {
        let conversation = ConversationId(round * 1_000_000 + call);
        let caller = "+15550100".to_owned();
        store.write(birth(conversation, caller)).unwrap();
        for number in 1..=4 {
            let id = ActionId {
                conversation,
                number,
            };
            let held = number.is_multiple_of(2);
            let lead = conversation.to_string();
            store
                .write(commit(id, &lead, held, Log::default()))
                .unwrap();
        }
        for _ in 1..=4 {
            let answer = answers.recv().unwrap();
            assert!(answer.durable);
            writeln!(out, "{}-{}", answer.conversation, answer.seq.0).unwrap();
        }
    }
}

/// Runs the child, kills it after it has acknowledged `enough`, and gives all
/// that it acknowledged.
fn acknowledged(file: &Path, round: u64, enough: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes_until_killed", "--nocapture"])
        .env(FILE, file)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut ids = Vec::new();
    let mut line = String::new();
    while ids.len() < enough && lines.read_line(&mut line).unwrap() > 0 {
        ids.extend(parse(&line));
        line.clear();
    }
    assert_eq!(ids.len(), enough, "the child ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had printed before it died was acknowledged as well; the last
    // line may be cut.
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let whole = rest.rfind('\n').map_or(0, |end| end + 1);
    ids.extend(rest[..whole].lines().filter_map(parse));
    ids
}

fn parse(line: &str) -> Option<String> {
    let id: ActionId = line.trim().parse().ok()?;
    Some(id.to_string())
}

fn file() -> PathBuf {
    let directory = std::env::temp_dir().join(format!("offhook-kill-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory.join("offhook.db")
}

#[test]
fn killed_twenty_times_it_keeps_every_acknowledged_action_once() {
    let file = file();
    let mut promised = Vec::new();
    for round in 1..=KILLS {
        // Moments spread over batches of all sizes, the same in every run.
        let enough = usize::try_from(round * 7919 % 97 + 1).unwrap();
        promised.extend(acknowledged(&file, round, enough));
    }
    let (store, recovery) = Store::open(&file, &Options::default(), |_| {}).unwrap();
    assert!(recovery.salvage.is_none(), "{:?}", recovery.salvage);
    store.close();

    let reader = Reader::open(&file).unwrap();
    reader.verify().unwrap().unwrap();
    let rows = reader.outbox(None, u32::MAX).unwrap();
    let ids: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), rows.len(), "no id twice");
    let lost: Vec<&String> = promised
        .iter()
        .filter(|id| !ids.contains(id.as_str()))
        .collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", promised.len());
    assert!(rows.iter().all(|row| row.state.name() == "pending"));
    every_call_has_one_outcome(&reader);
    println!(
        "{} acknowledged, {} rows, none lost",
        promised.len(),
        rows.len()
    );
    std::fs::remove_dir_all(file.parent().unwrap()).ok();
}

fn every_call_has_one_outcome(reader: &Reader) {
    for call in reader.calls(u32::MAX, None).unwrap() {
        let items = reader.items(call.conversation).unwrap();
        let outcomes = items
            .iter()
            .filter(|item| matches!(item.what, What::Outcome(_)))
            .count();
        assert_eq!(outcomes, 1, "{}", call.conversation);
        assert_eq!(call.cause.as_deref(), Some("interrupted"));
    }
}
