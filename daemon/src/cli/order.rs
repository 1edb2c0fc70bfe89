//! `offhook originate`, `hangup`: orders to the daemon.

use super::ask::asking;
use super::{Common, OK, print, print_json};
use crate::control::client::path_step;
use crate::control::{Order, Placed};

/// Let the daemon call somebody; prints the call's id.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct OriginateArgs {
    /// Number or SIP URI, as the trunk takes it.
    to: String,
    /// What the conversation goes by; the config's when left out.
    #[arg(long, value_name = "NAME")]
    playbook: Option<String>,
    /// By which trunk; the config's when left out.
    #[arg(long, value_name = "NAME")]
    trunk: Option<String>,
    /// The basis on which the lead has agreed to be called ("web form of 3 May");
    /// it is kept with the call. Without one the default policy does not dial.
    #[arg(long, value_name = "BASIS")]
    consent: Option<String>,
}

/// End a call.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct HangupArgs {
    /// Its id, the beginning or end of it, or `last`.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: String,
}

pub(super) fn originate(common: &Common, arguments: &OriginateArgs) -> u8 {
    asking(common, async |client| {
        let order = Order {
            to: arguments.to.clone(),
            playbook: arguments.playbook.clone(),
            trunk: arguments.trunk.clone(),
            consent: arguments.consent.clone(),
        };
        let placed: Placed = client.post("/v1/calls", &order).await?;
        show(common, &placed);
        Ok(OK)
    })
}

pub(super) fn hangup(common: &Common, arguments: &HangupArgs) -> u8 {
    asking(common, async |client| {
        let path = format!("/v1/calls/{}", path_step(&arguments.id));
        let ended: Placed = client.delete(&path).await?;
        show(common, &ended);
        Ok(OK)
    })
}

fn show(common: &Common, placed: &Placed) {
    if common.json {
        print_json(placed);
    } else {
        print(&format!("{}\n", placed.id));
    }
}
