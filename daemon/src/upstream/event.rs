//! A row of the outbox as a CloudEvents 1.0 event in structured JSON. The body
//! depends on the row alone: it is the same, byte for byte, on every attempt.

use std::fmt::Write as _;

use offhook_core::ConversationId;
use offhook_core::output::{Attempt, OutboxRow, Outcome, Stay};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::store::reader::{Due, DueContent, event_id};

/// Media type of the body (CloudEvents HTTP binding §3.2).
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// An event ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// CloudEvents id = webhook-id = Idempotency-Key.
    pub id: String,
    /// JSON.
    pub body: Vec<u8>,
}

#[derive(Serialize)]
struct Envelope<'a, D> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: String,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    /// CloudEvents extension "sequence": grows with the order of commit, and
    /// sorts as text.
    sequence: String,
    partitionkey: &'a str,
    /// The chain's hash at this row: kept elsewhere, it pins the history before it.
    chainhash: String,
    data: D,
}

#[derive(Serialize)]
struct ActionData<'a> {
    conversation: String,
    kind: &'a str,
    dedupe: &'a str,
    fields: Pairs<'a>,
}

#[derive(Serialize)]
struct OutcomeData<'a> {
    conversation: String,
    cause: &'static str,
    result: &'a str,
    role: &'a str,
    stage: &'a str,
    answered_by: Option<&'a str>,
    talk_ms: u64,
    turns: u32,
    barge_ins: u32,
    authorised: u32,
    refused: u32,
    intent: i64,
    cost: i64,
    collected: Pairs<'a>,
    stages: Vec<StayData<'a>>,
    persons: &'a [Attempt],
    origin: Vec<Arrived<'a>>,
}

/// A signature or a detour by which the call came.
#[derive(Serialize)]
struct Arrived<'a> {
    event: &'a str,
    detail: &'a str,
}

#[derive(Serialize)]
struct StayData<'a> {
    role: &'a str,
    stage: &'a str,
    ms: u64,
    turns: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a str>,
    answers: Pairs<'a>,
}

/// Names and values as a JSON object, in their order.
struct Pairs<'a>(&'a [(String, String)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The event of a row; `source` names this box, e.g. `/offhook/edge-7`.
/// `None` when the row's content is damaged.
pub fn event(due: &Due, source: &str) -> Option<Event> {
    let id = event_id(due.conversation, due.action);
    let body = match due.content()? {
        DueContent::Action(row) => body(due, &id, source, action_data(&row)),
        DueContent::Outcome(outcome) => {
            body(due, &id, source, outcome_data(due.conversation, &outcome))
        }
    };
    Some(Event { id, body })
}

fn action_data(row: &OutboxRow) -> ActionData<'_> {
    ActionData {
        conversation: row.id.conversation.to_string(),
        kind: &row.kind,
        dedupe: &row.dedupe,
        fields: Pairs(&row.fields),
    }
}

fn outcome_data(conversation: ConversationId, outcome: &Outcome) -> OutcomeData<'_> {
    OutcomeData {
        conversation: conversation.to_string(),
        cause: outcome.cause.name(),
        result: &outcome.result,
        role: &outcome.role,
        stage: &outcome.stage,
        answered_by: outcome.answered_by.as_deref(),
        talk_ms: u64::try_from(outcome.talk.as_millis()).unwrap_or(u64::MAX),
        turns: outcome.turns,
        barge_ins: outcome.barge_ins,
        authorised: outcome.authorised,
        refused: outcome.refused,
        intent: outcome.intent,
        cost: outcome.cost,
        collected: Pairs(&outcome.collected),
        stages: outcome.stages.iter().map(stay_data).collect(),
        persons: &outcome.persons,
        origin: outcome.origin.iter().map(arrived).collect(),
    }
}

fn arrived((event, detail): &(String, String)) -> Arrived<'_> {
    Arrived { event, detail }
}

fn stay_data(stay: &Stay) -> StayData<'_> {
    StayData {
        role: &stay.role,
        stage: &stay.stage,
        ms: stay.ms,
        turns: stay.turns,
        result: stay.result.as_deref(),
        answers: Pairs(&stay.answers),
    }
}

fn body(due: &Due, id: &str, source: &str, data: impl Serialize) -> Vec<u8> {
    let envelope = Envelope {
        specversion: "1.0",
        id,
        source,
        kind: event_type(due),
        subject: &due.lead,
        time: rfc3339(due.created_ms),
        datacontenttype: "application/json",
        sequence: format!("{:020}", due.seq),
        partitionkey: &due.lead,
        chainhash: due.hash.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes all text");
            text
        }),
        data,
    };
    serde_json::to_vec(&envelope).expect("text and numbers have a JSON form")
}

/// `offhook.outcome` or `offhook.action.<kind>`.
fn event_type(due: &Due) -> String {
    match due.action {
        None => "offhook.outcome".into(),
        Some(_) => format!("offhook.action.{}", due.kind),
    }
}

/// `2026-11-21T13:05:00.250Z` from ms since 1970 (RFC 3339 §5.6).
pub fn rfc3339(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian
/// calendar. Years are counted from March, so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    /// Days from 0000-03-01 to 1970-01-01.
    const TO_1970: u64 = 719_468;
    const IN_400_YEARS: u64 = 146_097;
    let days = days + TO_1970;
    let (era, day_of_era) = (days / IN_400_YEARS, days % IN_400_YEARS);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use offhook_core::ActionId;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_250, "2024-03-01T00:00:00.250Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
    }

    #[test]
    fn an_action_is_an_event_that_a_receiver_can_order_and_dedupe() {
        let conversation = ConversationId(77);
        let id = ActionId {
            conversation,
            number: 3,
        };
        let row = OutboxRow {
            id,
            kind: "schedule".into(),
            lead: "+1555".into(),
            dedupe: "+1555/schedule/tue".into(),
            held: false,
            fields: vec![("slot".into(), "tue".into()), ("by".into(), "a".into())],
            step: None,
            undoes: None,
        };
        let due = Due {
            seq: 12,
            conversation,
            action: Some(id),
            lead: "+1555".into(),
            kind: "schedule".into(),
            strikes: 0,
            next_ms: 0,
            created_ms: 1_709_251_200_250,
            payload: Some(serde_json::to_vec(&row).unwrap()),
            hash: [0xab; 32],
        };
        let sent = event(&due, "/offhook/box").unwrap();
        assert_eq!(sent.id, "000000000002d-3");
        let expected = format!(
            concat!(
                r#"{{"specversion":"1.0","id":"000000000002d-3","source":"/offhook/box","#,
                r#""type":"offhook.action.schedule","subject":"+1555","#,
                r#""time":"2024-03-01T00:00:00.250Z","datacontenttype":"application/json","#,
                r#""sequence":"00000000000000000012","partitionkey":"+1555","chainhash":"{}","#,
                r#""data":{{"conversation":"000000000002d","kind":"schedule","#,
                r#""dedupe":"+1555/schedule/tue","fields":{{"slot":"tue","by":"a"}}}}}}"#
            ),
            "ab".repeat(32)
        );
        assert_eq!(String::from_utf8(sent.body).unwrap(), expected);
        let damaged = Due {
            payload: None,
            ..due
        };
        assert_eq!(event(&damaged, "/offhook/box"), None);
    }
}
