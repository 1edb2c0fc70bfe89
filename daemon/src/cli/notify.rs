//! `offhook notify`: one signed event to the daemon's endpoint for events, as
//! another channel or system would send it. For field techs and tests.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::ask::{Trouble, tell};
use super::{COULD_NOT, Common, NO, OK, print, print_json};
use crate::clock;
use crate::settings::{Secret, Tls};
use crate::upstream::client::{Client, Verdict};
use crate::upstream::event::{Event, rfc3339};

/// An answer is awaited so long.
const PATIENCE: Duration = Duration::from_secs(15);

/// Send one signed event, as another channel would. Exit code 1: it was refused.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct NotifyArgs {
    /// Where: `http://127.0.0.1:8089/v1/events`.
    #[arg(long, value_name = "URL")]
    to: String,
    /// Signing key, `whsec_…`
    #[arg(long)]
    secret: String,
    /// `message_delivered`, `reply_received`, `slot_taken`, `crm_changed`, `offers` or
    /// `approval`
    #[arg(long = "type", value_name = "TYPE")]
    kind: String,
    /// Whom it is about: a number or the id in another system; of an approval, the action.
    #[arg(long, value_name = "LEAD")]
    subject: Option<String>,
    /// What the person wrote.
    #[arg(long)]
    text: Option<String>,
    /// What is now known of them; may be given again.
    #[arg(long = "fact", value_name = "NAME=VALUE")]
    facts: Vec<String>,
    /// What is to be had, and for how long; may be given again.
    #[arg(long = "offer", value_name = "NAME=VALUE@SECONDS")]
    offers: Vec<String>,
    /// This person approves the action.
    #[arg(long, value_name = "NAME", conflicts_with = "decline")]
    approve: Option<String>,
    /// This person declines it.
    #[arg(long, value_name = "NAME")]
    decline: Option<String>,
    /// The event's id; the time when left out. The same id twice counts once.
    #[arg(long)]
    id: Option<String>,
}

pub(super) fn run(common: &Common, arguments: &NotifyArgs) -> u8 {
    match send(arguments) {
        Ok((id, Verdict::Delivered)) => {
            if common.json {
                print_json(&json!({ "id": id }));
            } else {
                print(&format!("taken as {id}\n"));
            }
            OK
        }
        Ok((_, Verdict::Refused(reason) | Verdict::Gone(reason))) => {
            tell(common, Trouble::No(reason))
        }
        Ok((_, Verdict::Failed { error, down, .. })) => {
            let code = if down { COULD_NOT } else { NO };
            tell(common, Trouble::No(error)).max(code)
        }
        Err(trouble) => tell(common, trouble),
    }
}

fn send(arguments: &NotifyArgs) -> Result<(String, Verdict), Trouble> {
    let wrong = |error: String| Trouble::CouldNot(error);
    let url = arguments.to.parse();
    let url = url.map_err(|error| wrong(format!("--to: {error}")))?;
    let secret = Secret::parse(&arguments.secret);
    let secret = secret.map_err(|error| wrong(format!("--secret: {error}")))?;
    let event = event(arguments).map_err(wrong)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    let tls = Tls::client(None).map_err(|error| wrong(error.to_string()))?;
    let client = Client::new(url, vec![secret], PATIENCE, &tls);
    let verdict = runtime.block_on(client.attempt(&event));
    Ok((event.id, verdict))
}

fn event(arguments: &NotifyArgs) -> Result<Event, String> {
    let now_ms = u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX);
    let id = arguments
        .id
        .clone()
        .unwrap_or_else(|| format!("notify-{now_ms}"));
    let mut facts = Map::new();
    for fact in &arguments.facts {
        let (name, value) = fact
            .split_once('=')
            .ok_or_else(|| format!("--fact {fact}: write NAME=VALUE"))?;
        facts.insert(name.to_owned(), Value::from(value));
    }
    let mut offers = Vec::new();
    for offer in &arguments.offers {
        offers.push(read_offer(offer).ok_or_else(|| {
            format!("--offer {offer}: write NAME=VALUE@SECONDS, like slot.tuesday=1@300")
        })?);
    }
    let by = arguments.approve.as_ref().or(arguments.decline.as_ref());
    let body = json!({
        "specversion": "1.0",
        "id": id,
        "source": "/offhook/notify",
        "type": arguments.kind,
        "subject": arguments.subject,
        "time": rfc3339(now_ms),
        "data": {
            "text": arguments.text, "facts": facts, "offers": offers,
            "approved": by.map(|_| arguments.approve.is_some()), "by": by,
        },
    });
    let body = serde_json::to_vec(&body).expect("text and numbers have a JSON form");
    Ok(Event { id, body })
}

fn read_offer(text: &str) -> Option<Value> {
    let (rest, seconds) = text.rsplit_once('@')?;
    let (name, value) = rest.split_once('=')?;
    let (value, seconds): (i64, u64) = (value.parse().ok()?, seconds.parse().ok()?);
    Some(json!({ "name": name, "value": value, "seconds": seconds }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_has_a_name_a_value_and_an_end() {
        let expected = json!({ "name": "slot.tuesday", "value": 1, "seconds": 300 });
        assert_eq!(read_offer("slot.tuesday=1@300"), Some(expected));
        for text in ["slot", "slot=1", "slot@3", "slot=x@3", "slot=1@x"] {
            assert_eq!(read_offer(text), None, "{text}");
        }
    }
}
