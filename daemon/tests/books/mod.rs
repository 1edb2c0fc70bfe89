//! What the tests of store and forwarder put into the books: one call, one
//! action, one end, each with the particulars that the test cares for.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary includes this file and uses its part"
)]

use std::time::Duration;

use offhook::store::{Birth, Commit, Direction, Ended, Log, Write};
use offhook_core::input::Cause;
use offhook_core::output::{OutboxRow, Outcome};
use offhook_core::{ActionId, ConversationId, Record, Seq, Turn, Verdict};

/// A call of that caller began.
pub fn birth(conversation: ConversationId, caller: String) -> Write {
    Write::Born {
        birth: Birth {
            conversation,
            direction: Direction::Inbound,
            trunk: "demo".into(),
            caller,
            called: "100".into(),
            playbook: "booking".into(),
            started_ms: 1_700_000_000_000,
            born: Duration::from_secs(5),
        },
        entries: Log::default(),
    }
}

/// An authorised action, in the order of that lead.
pub fn commit(id: ActionId, lead: &str, held: bool, entries: Log) -> Write {
    Write::Commit(Box::new(Commit {
        conversation: id.conversation,
        seq: Seq(id.number),
        entries,
        record: Record {
            at: Duration::ZERO,
            action: id,
            kind: "schedule".into(),
            object: "tuesday".into(),
            role: "agent".into(),
            stage: "book".into(),
            turn: Turn(1),
            external: true,
            verdict: Verdict::Authorised,
            rules: ["consent".into(), "hours".into()].into_iter().collect(),
            values: [("intent".into(), Some(900)), ("hour".into(), Some(10))]
                .into_iter()
                .collect(),
            policy: "0123456789abcdef".into(),
            evidence: Vec::new(),
        },
        rows: vec![OutboxRow {
            id,
            kind: "schedule".into(),
            lead: lead.into(),
            dedupe: format!("{lead}/{id}"),
            held,
            fields: vec![("slot".into(), "tuesday".into())],
            step: None,
            undoes: None,
        }],
        facts: Vec::new(),
        pages: Vec::new(),
    }))
}

/// The call is over.
pub fn over(conversation: ConversationId, lead: String, entries: Log) -> Write {
    Write::Outcome(Box::new(Ended {
        conversation,
        lead,
        ended_ms: 1_700_000_003_000,
        outcome: Outcome {
            role: "agent".into(),
            stage: "close".into(),
            talk: Duration::from_millis(1500),
            turns: 1,
            authorised: 1,
            collected: vec![("slot".into(), "tuesday".into())],
            ..Outcome::of(Cause::FarHangup, "booked")
        },
        entries,
    }))
}
