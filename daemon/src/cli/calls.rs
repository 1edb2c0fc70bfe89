//! `offhook calls`, `call`, `tail`: what happens and what happened.

use std::path::PathBuf;

use super::ask::{Trouble, asking};
use super::text::{length, moment, or_dash, table, tame};
use super::{Common, OK, picture, print, print_json};
use crate::control::client::path_step;
use crate::control::{CallDetail, CallRow, CallState, TimelineEntry, Told};

/// Calls that live and calls that are over, the newest first.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CallsArgs {
    /// How many at most.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Only those that live.
    #[arg(long)]
    active: bool,
}

/// One call: what happened, with ms since its INVITE.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CallArgs {
    /// Its id, the beginning or end of it, or `last`.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: String,
    /// Draw it: both audio tracks, speech, decisions on one time axis.
    #[arg(long, value_name = "OUT.svg")]
    picture: Option<PathBuf>,
}

/// What happens from now on, of one call or of all.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TailArgs {
    /// A live call's id, the beginning or end of it, or `last`: until it is over.
    /// All calls when left out.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: Option<String>,
}

pub(super) fn list(common: &Common, arguments: &CallsArgs) -> u8 {
    asking(common, async |client| {
        let path = format!("/v1/calls?limit={}", arguments.limit);
        let mut rows: Vec<CallRow> = client.get(&path).await?;
        if arguments.active {
            rows.retain(|row| row.state != CallState::Ended);
        }
        if common.json {
            print_json(&rows);
        } else {
            print(&list_text(&rows));
        }
        Ok(OK)
    })
}

fn list_text(rows: &[CallRow]) -> String {
    if rows.is_empty() {
        return "no calls\n".to_owned();
    }
    let head = [
        "ID",
        "STARTED",
        "LENGTH",
        "DIRECTION",
        "TRUNK",
        "CALLER",
        "CALLED",
        "PLAYBOOK",
        "STATE",
        "HOW",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(|row| {
        vec![
            row.id.clone(),
            moment(row.started_ms),
            length(row.duration_ms),
            row.direction.name().to_owned(),
            tame(&row.trunk),
            or_dash(&tame(&row.caller)),
            or_dash(&tame(&row.called)),
            tame(&row.playbook),
            row.state.name().to_owned(),
            how(row),
        ]
    }));
    table(&lines, &[2])
}

/// Where a live call stands, or what became of it.
fn how(row: &CallRow) -> String {
    let parts = [&row.result, &row.cause, &row.role, &row.stage];
    let parts: Vec<String> = parts
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .map(|part| tame(part))
        .collect();
    or_dash(&parts.join(", "))
}

pub(super) fn one(common: &Common, arguments: &CallArgs) -> u8 {
    asking(common, async |client| {
        let path = format!("/v1/calls/{}", path_step(&arguments.id));
        let detail: CallDetail = client.get(&path).await?;
        if let Some(out) = &arguments.picture {
            picture::write(&detail, out).map_err(Trouble::CouldNot)?;
        }
        match (&arguments.picture, common.json) {
            (_, true) => print_json(&detail),
            (Some(out), false) => print(&format!("{}\n", out.display())),
            (None, false) => print(&detail_text(&detail)),
        }
        Ok(OK)
    })
}

fn detail_text(detail: &CallDetail) -> String {
    let call = &detail.call;
    let mut text = format!(
        "{} {}: {} -> {} by {}, {}\n{}, began {}, {}: {}\n",
        call.direction.name(),
        call.id,
        or_dash(&tame(&call.caller)),
        or_dash(&tame(&call.called)),
        tame(&call.trunk),
        tame(&call.playbook),
        call.state.name(),
        moment(call.started_ms),
        length(call.duration_ms),
        how(call),
    );
    if let Some(recording) = &detail.recording {
        text.push_str(&format!("recording {}\n", recording.file.display()));
    }
    text.push('\n');
    let head = ["MS", "LANE", "EVENT", "DETAIL"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines.extend(detail.timeline.iter().map(line));
    text.push_str(&table(&lines, &[0]));
    text
}

fn line(entry: &TimelineEntry) -> Vec<String> {
    vec![
        entry.ms.to_string(),
        entry.lane.name().to_owned(),
        tame(&entry.event),
        tame(&entry.detail),
    ]
}

pub(super) fn tail(common: &Common, arguments: &TailArgs) -> u8 {
    asking(common, async |client| {
        let path = match &arguments.id {
            Some(id) => format!("/v1/events?call={}", path_step(id)),
            None => "/v1/events".to_owned(),
        };
        let reading = client.lines(&path, |text| {
            match serde_json::from_str::<Told>(text) {
                Ok(_) if common.json => print(&format!("{text}\n")),
                Ok(told) => print(&told_text(&told)),
                // A newer daemon may say things that this version does not know.
                Err(_) => print(&format!("{}\n", tame(text))),
            }
            true
        });
        reading.await?;
        match arguments.id {
            Some(_) => Ok(OK),
            None => Err(Trouble::CouldNot("the daemon has ended".to_owned())),
        }
    })
}

/// Fixed widths: the lines come one by one.
fn told_text(told: &Told) -> String {
    let entry = &told.entry;
    let line = format!(
        "{:13}  {:>8}  {:10}  {:18}  {}",
        told.call,
        entry.ms,
        entry.lane.name(),
        tame(&entry.event),
        tame(&entry.detail)
    );
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Lane;
    use crate::store::Direction;
    use std::collections::BTreeMap;

    fn row() -> CallRow {
        CallRow {
            id: "0000000000abc".into(),
            direction: Direction::Inbound,
            trunk: "loopback".into(),
            caller: String::new(),
            called: "100".into(),
            playbook: "booking".into(),
            state: CallState::Ended,
            started_ms: 0,
            duration_ms: 12_345,
            stage: None,
            role: None,
            cause: Some("far_hangup".into()),
            result: Some("booked".into()),
        }
    }

    fn entry(ms: u64, event: &str) -> TimelineEntry {
        TimelineEntry {
            ms,
            lane: Lane::Perception,
            event: event.into(),
            detail: String::new(),
            data: BTreeMap::new(),
        }
    }

    #[test]
    fn a_list_has_a_line_per_call_and_says_what_became_of_it() {
        let text = list_text(&[row()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("ID             STARTED"), "{text}");
        assert!(
            lines[1].ends_with("booking   ended  booked, far_hangup"),
            "{text}"
        );
        assert_eq!(list_text(&[]), "no calls\n");
    }

    #[test]
    fn a_timeline_has_a_line_per_event_with_its_milliseconds() {
        let detail = CallDetail {
            call: row(),
            timeline: vec![entry(5, "answered"), entry(1_234, "barge_in")],
            recording: None,
        };
        let text = detail_text(&detail);
        assert!(text.contains("\n   5  perception  answered\n"), "{text}");
        assert!(text.contains("\n1234  perception  barge_in\n"), "{text}");
    }

    #[test]
    fn a_live_line_is_of_fixed_width() {
        let told = Told {
            call: "0000000000abc".into(),
            entry: entry(1_234, "barge_in"),
        };
        let text = told_text(&told);
        assert_eq!(text, "0000000000abc      1234  perception  barge_in\n");
    }
}
