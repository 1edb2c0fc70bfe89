//! `offhook status`: how the box does, on one screen.

use super::ask::asking;
use super::text::{length, table, tame};
use super::{Common, NO, OK, print, print_json};
use crate::control::{Status, TrunkStatus};

pub(super) fn run(common: &Common) -> u8 {
    asking(common, async |client| {
        let status: Status = client.get("/v1/status").await?;
        if common.json {
            print_json(&status);
        } else {
            print(&text(&status));
        }
        Ok(if status.store.failing.is_none() {
            OK
        } else {
            NO
        })
    })
}

fn text(status: &Status) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let listen: Vec<&str> = status.sip.iter().map(|sip| sip.listen.as_str()).collect();
    let calls = status.calls;
    let mut rows = vec![
        row(
            "offhookd",
            format!(
                "{}, up {}, process {}",
                status.version,
                length(status.uptime_ms),
                status.pid
            ),
        ),
        row("sip", listen.join(" ")),
        row(
            "calls",
            format!(
                "{} ({} ringing, {} talking)",
                calls.active, calls.ringing, calls.talking
            ),
        ),
        row(
            "media",
            format!(
                "{} of {} slots, threads: {}",
                status.media.used, status.media.slots, status.media.threads
            ),
        ),
        row("store", store(status)),
        row("outbox", outbox(status)),
    ];
    let failing = status.receivers.iter();
    let failing = failing.filter_map(|it| Some((&it.name, it.failing.as_ref()?)));
    rows.extend(failing.map(|(name, why)| {
        let name = if name == "upstream" {
            name.clone()
        } else {
            format!("sink {name}")
        };
        row(&name, format!("FAILING: {}", tame(why)))
    }));
    if let Some(reason) = &status.not_recording {
        rows.push(row("recording", format!("STOPPED: {reason}")));
    }
    let broken = status.broken.iter();
    rows.extend(broken.map(|(name, why)| row("playbook", format!("{name} BROKEN: {}", tame(why)))));
    rows.extend(status.trunks.iter().map(|it| row("trunk", trunk(it))));
    let counters = status.counters.iter().filter(|(_, count)| **count > 0);
    rows.extend(counters.map(|(name, count)| row(name, count.to_string())));
    table(&rows, &[])
}

fn trunk(trunk: &TrunkStatus) -> String {
    let TrunkStatus { name, state, .. } = trunk;
    let mut text = match state.as_str() {
        "down" => format!("{name} DOWN"),
        _ => format!("{name} {state}"),
    };
    if let Some(ms) = trunk.for_ms {
        text.push_str(&format!(" for {}", length(ms)));
    }
    if let Some(reason) = &trunk.reason {
        text.push_str(&format!(": {reason}"));
    }
    if let Some(address) = &trunk.address {
        text.push_str(&format!(", {address}"));
    }
    text
}

fn store(status: &Status) -> String {
    let store = &status.store;
    let mut text = match &store.failing {
        None => format!("ok, {} writes, {}", store.writes, store.path.display()),
        Some(reason) => format!("FAILING: {reason}, {}", store.path.display()),
    };
    if store.lost > 0 {
        text.push_str(&format!(", LOST {}", store.lost));
    }
    if store.salvaged {
        text.push_str(", salvaged at start");
    }
    text
}

fn outbox(status: &Status) -> String {
    let outbox = status.outbox;
    let mut text = format!(
        "{} to be sent, {} held, {} delivered, {} withdrawn",
        outbox.pending, outbox.held, outbox.delivered, outbox.withdrawn
    );
    if outbox.pending > 0 {
        text.push_str(&format!(", oldest {}", length(outbox.oldest_ms)));
    }
    if outbox.dead > 0 {
        text.push_str(&format!(", DEAD {}", outbox.dead));
    }
    if outbox.not_undone > 0 {
        let count = outbox.not_undone;
        text.push_str(&format!(", NOT UNDONE {count}: offhook actions --failed"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_somebody_is_loud_and_zeros_are_not_shown() {
        let mut status = Status::default();
        status.counters.insert("sip_bad_messages".into(), 3);
        status.counters.insert("sip_retransmissions".into(), 0);
        let calm = text(&status);
        assert!(calm.contains("store             ok"), "{calm}");
        assert!(calm.contains("sip_bad_messages  3"), "{calm}");
        assert!(!calm.contains("sip_retransmissions"), "{calm}");
        status.store.failing = Some("disk full".into());
        status.outbox.dead = 2;
        status.outbox.not_undone = 1;
        status.not_recording = Some("4 MB free".into());
        status.trunks.push(TrunkStatus {
            name: "carrier".into(),
            state: "down".into(),
            for_ms: Some(61_000),
            reason: Some("does not answer OPTIONS".into()),
            address: None,
        });
        let loud = text(&status);
        assert!(loud.contains("FAILING: disk full"), "{loud}");
        assert!(loud.contains("DEAD 2, NOT UNDONE 1"), "{loud}");
        assert!(loud.contains("STOPPED: 4 MB free"), "{loud}");
        assert!(
            loud.contains("carrier DOWN for 1 min 01 s: does not answer OPTIONS"),
            "{loud}"
        );
    }
}
