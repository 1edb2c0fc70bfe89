//! The demo: what is started, which calls are placed, what each must show.
//!
//! `stage` starts and stops things, `narrator` shows what happens, `callers`
//! makes what the callers say.

mod callers;
mod narrator;
mod stage;

use serde_json::Value;

use crate::patience::{seconds, watch};
use crate::place::free_port;
use crate::sound::{SPEECH_DB, Sound, level};
use narrator::{Narrator, say};
use stage::Stage;

/// Samples in a packet of ours (20 ms).
const PACKET: usize = 160;
/// One line of the table at the end.
struct Row {
    call: &'static str,
    id: String,
    events: Vec<String>,
    outcome: String,
    remark: String,
}

/// Runs it all.
///
/// # Errors
/// Why it could not be shown, or which call did not do what it should.
pub fn run() -> Result<(), String> {
    let stage = Stage::set()?;
    let narrator = Narrator::start(&stage);
    let (first, picture) = talk_over(&stage)?;
    let second = voicemail(&stage)?;
    let third = booking(&stage)?;
    narrator.stop();
    let trouble = delivered(&stage, &[&first, &second, &third]).err();
    table(&[first, second, third]);
    say(&format!(
        "\nRecordings, database and log: {}",
        stage.folder().display()
    ));
    println!("{picture}");
    trouble.map_or(Ok(()), Err)
}

/// Call (a): the caller talks over the prompt, the prompt stops.
fn talk_over(stage: &Stage) -> Result<(Row, String), String> {
    say("\n(a) A caller talks over the prompt. Watch how soon our prompt stops.");
    let speech = callers::impatient(stage.folder());
    let id = stage.dial(&speech, "call-a-heard.wav", &[])?;
    let detail = stage.finished(&id)?;
    let tape = tape(&detail)?;
    let packets =
        packets_after_onset(&tape).ok_or("(a): the caller cannot be heard in the recording")?;
    let remark = format!(
        "our prompt stopped {packets} packets ({} ms) after the first packet of speech",
        packets * 20
    );
    say(&format!("    => {remark}"));
    let row = row("a", &id, &detail, &["barge_in", "cut"], remark);
    require(&row, "a", &["barge_in", "cut"])?;
    if packets > 25 {
        return Err(format!("(a): the prompt went on for {packets} packets"));
    }
    Ok((row, stage.picture(&id, "call-a.svg")?))
}

/// Call (b): we call, a voicemail answers, we speak after its beep.
fn voicemail(stage: &Stage) -> Result<Row, String> {
    say("\n(b) We call out, and a voicemail answers. The message has to start after the beep.");
    let (greeting, beep_end) = callers::voicemail(stage.folder());
    let heard = stage.folder().join("call-b-heard.wav");
    let mut answering = stage.answer(&greeting, &heard)?;
    let id = stage.originate("5550100")?;
    let detail = stage.finished(&id)?;
    watch(seconds(10), || answering.ended());
    let spoken = first_speech(&heard)?;
    let remark = format!(
        "the beep ended {beep_end:.1} s into the greeting, our message began at {spoken:.1} s"
    );
    say(&format!("    => {remark}"));
    let row = row(
        "b",
        &id,
        &detail,
        &["machine", "beep", "message_left"],
        remark,
    );
    require(&row, "b", &["machine", "beep", "message_left"])?;
    if spoken + 0.1 < beep_end {
        return Err(format!(
            "(b): we spoke at {spoken:.1} s, before the beep ended at {beep_end:.1} s"
        ));
    }
    Ok(row)
}

/// Call (c): the caller books with keys; then asks for what policy refuses.
fn booking(stage: &Stage) -> Result<Row, String> {
    say(
        "\n(c) A caller books with the keypad: 1 for Tuesday, 1 for yes. Then 9, to pay, which policy refuses.",
    );
    let quiet = callers::booker(stage.folder());
    let id = stage.dial(&quiet, "call-c-heard.wav", &["--dtmf", callers::KEYS])?;
    let detail = stage.finished(&id)?;
    let explained = stage.json(&["explain", &id])?;
    let refused = external(&explained, "refused").ok_or("(c): nothing was refused")?;
    let booked = external(&explained, "authorised").ok_or("(c): nothing was authorised")?;
    let reason = reasons(refused);
    let remark = format!(
        "{} authorised; {} refused: {reason}",
        text(booked, "kind"),
        text(refused, "kind")
    );
    say(&format!("    => {remark}"));
    let row = row(
        "c",
        &id,
        &detail,
        &["authorised", "durable", "refused", "booked"],
        remark,
    );
    require(&row, "c", &["authorised", "durable", "refused", "booked"])?;
    Ok(row)
}

/// Every call has one outcome at the upstream, and the booking arrived.
fn delivered(stage: &Stage, rows: &[&Row]) -> Result<(), String> {
    say("\nWhat the upstream (offhook sink) has received:");
    let all = watch(seconds(15), || {
        let taken = stage.taken();
        let count = |id: &str| taken.iter().filter(|line| mentions(line, id)).count();
        (rows.iter().all(|row| count(&row.id) >= 1) && count(&rows[2].id) >= 2).then_some(taken)
    });
    let taken = all.clone().unwrap_or_else(|| stage.taken());
    for line in &taken {
        let verified = if line["verified"] == true {
            "signature verified"
        } else {
            "NOT verified"
        };
        say(&format!(
            "    {:<32} {}  {verified}",
            text(line, "type"),
            text(line, "id")
        ));
    }
    all.map(|_| ())
        .ok_or_else(|| "not everything was delivered to the sink in 15 s".to_owned())
}

fn mentions(line: &Value, id: &str) -> bool {
    line["data"]["conversation"] == id && line["status"] == 204
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or("?")
}

fn tape(detail: &Value) -> Result<Sound, String> {
    let file = detail["recording"]["file"]
        .as_str()
        .ok_or("the call was not recorded")?;
    let sound = Sound::read(std::path::Path::new(file));
    if sound.channels.len() == 2 {
        Ok(sound)
    } else {
        Err(format!("{file} is not stereo"))
    }
}

/// Packets of ours with speech, from the caller's first packet with speech on
/// to our last one before the caller stops.
fn packets_after_onset(tape: &Sound) -> Option<usize> {
    let speech = |channel: &[i16]| -> Vec<bool> {
        channel
            .chunks(PACKET)
            .map(|packet| level(packet) > SPEECH_DB)
            .collect()
    };
    let (caller, ours) = (speech(&tape.channels[0]), speech(&tape.channels[1]));
    let onset = caller.iter().position(|speaks| *speaks)?;
    // Half a second of silence ends what the caller says.
    let quiet = caller[onset..]
        .windows(25)
        .position(|window| !window.contains(&true));
    let end = onset + quiet.unwrap_or(caller.len() - onset);
    let last = ours[onset..end.min(ours.len())]
        .iter()
        .rposition(|speaks| *speaks);
    Some(last.map_or(0, |last| last + 1))
}

/// When speech begins in what the far end heard, in seconds.
fn first_speech(heard: &std::path::Path) -> Result<f64, String> {
    let sound = Sound::read(heard);
    let mut packets = sound.channels[0].chunks(PACKET);
    let first = packets.position(|packet| level(packet) > SPEECH_DB);
    first
        .map(|first| first as f64 * 0.02)
        .ok_or_else(|| "(b): the far end heard nothing".to_owned())
}

/// The external decision of that verdict.
fn external<'v>(explained: &'v Value, verdict: &str) -> Option<&'v Value> {
    let decisions = explained["decisions"].as_array()?;
    decisions
        .iter()
        .find(|d| d["external"] == true && d["verdict"] == verdict)
}

fn reasons(decision: &Value) -> String {
    let empty = Vec::new();
    let rules = decision["rules"].as_array().unwrap_or(&empty).iter();
    let named = rules.map(|rule| match rule["why"].as_str() {
        Some(why) => format!("{} ({why})", text(rule, "id")),
        None if rule["id"] == "role.authority" => {
            "role.authority (this role may not do it)".to_owned()
        }
        None => text(rule, "id").to_owned(),
    });
    named.collect::<Vec<_>>().join(", ")
}

/// The row of a call: those of the wanted names that happened in it.
fn row(call: &'static str, id: &str, detail: &Value, wanted: &[&str], remark: String) -> Row {
    let empty = Vec::new();
    let timeline = detail["timeline"].as_array().unwrap_or(&empty);
    let result = detail["call"]["result"].as_str().unwrap_or("");
    let happened = |name: &&&str| {
        let named = |event: &Value| {
            event["event"] == **name
                || event["event"] == "answer" && text(event, "detail").starts_with(**name)
        };
        result == **name || timeline.iter().any(named)
    };
    let events = wanted
        .iter()
        .filter(happened)
        .map(ToString::to_string)
        .collect();
    let outcome = format!(
        "{result} ({})",
        detail["call"]["cause"].as_str().unwrap_or("?")
    );
    Row {
        call,
        id: id.to_owned(),
        events,
        outcome,
        remark,
    }
}

fn require(row: &Row, call: &str, wanted: &[&str]) -> Result<(), String> {
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| !row.events.iter().any(|e| e == *name))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "({call}): {missing:?} did not happen in call {}",
            row.id
        ))
    }
}

fn table(rows: &[Row]) {
    say("\ncall  id             events                                    outcome");
    for Row {
        call,
        id,
        events,
        outcome,
        remark,
    } in rows
    {
        say(&format!(
            "({call})   {id:<13}  {:<40}  {outcome}",
            events.join(", ")
        ));
        say(&format!("                     {remark}"));
    }
}

/// A port that is wanted, or a free one when somebody has it.
fn port_or_free(wanted: u16, taken: bool) -> u16 {
    if taken { free_port() } else { wanted }
}
