//! `offhook dial`, `answer`: a telephone for tests and field techs, made of the
//! daemon's own signalling and media. It needs no daemon.
//!
//! This file reads the arguments; [`super::agent`] makes the call.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use offhook_sip::sdp::{Codec, LocalSrtp};

use crate::settings::name_server;
use crate::switchboard::random_octets;

use super::agent::{Agent, Ending, Line, Plan, Teller};
use super::ask::{Trouble, tell};
use super::{COULD_NOT, Common, NO, OK};

/// Call somebody, play a recording into the call and record what is heard.
/// Exit code 0: answered; 1: busy, refused, not answered; 2: it could not call,
/// or nothing listens there.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DialArgs {
    /// Whom: `sip:100@192.0.2.1:5060`.
    uri: String,
    /// User part of our own address: who calls.
    #[arg(long, value_name = "USER", default_value = "offhook")]
    caller: String,
    /// Display name of our own address.
    #[arg(long, value_name = "NAME")]
    display: Option<String>,
    #[command(flatten)]
    plan: PlanArgs,
}

/// Take one call, play a recording into it and record what is heard.
/// Exit code 0: answered; 1: the caller gave up; 2: it could not listen.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct AnswerArgs {
    /// Where: `127.0.0.1:5070`; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// Ring for so long before answering.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    after_ring: Option<Duration>,
    /// Refuse the call with this status instead, e.g. 486.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(300..=699))]
    refuse: Option<u16>,
    #[command(flatten)]
    plan: PlanArgs,
}

/// What to do in the call.
#[derive(Clone, Debug, clap::Args)]
struct PlanArgs {
    /// Play this from the answer on; once it is over and 3 s are quiet, hang up.
    #[arg(long, value_name = "FILE.wav")]
    play: Option<PathBuf>,
    /// Begin so far into the file.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "play")]
    from: Option<Duration>,
    /// Record what is heard, from the answer to the end: 8 kHz mono.
    #[arg(long, value_name = "OUT.wav")]
    record: Option<PathBuf>,
    /// Keys to press, with seconds since the answer: "1@3.5,2@8".
    #[arg(long, value_name = "KEYS", value_parser = keys)]
    dtmf: Option<Keys>,
    /// Code sound only like this; several, best first: pcmu,pcma,g722,opus.
    #[arg(long, value_name = "CODECS", value_delimiter = ',', value_parser = codec)]
    codec: Vec<Codec>,
    /// Encrypt sound, or make no call (SRTP with keys in SDP).
    #[arg(long)]
    srtp: bool,
    /// Send the other side on to a number or a SIP URI (REFER), so long after the answer.
    #[arg(long, value_name = "TO@SECONDS", value_parser = transfer)]
    transfer: Option<(String, Duration)>,
    /// Hang up so long after the answer, whatever else.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    hangup_after: Option<Duration>,
    /// Ask this name server where names lead, instead of the system's; may be given again.
    #[arg(long, value_name = "ADDR", value_parser = server)]
    name_server: Vec<SocketAddr>,
}

/// Keys in ASCII and when to press them, since the answer.
type Keys = Vec<(u8, Duration)>;

fn transfer(text: &str) -> Result<(String, Duration), String> {
    let (number, at) = text
        .rsplit_once('@')
        .ok_or("say to whom and when: TO@SECONDS")?;
    Ok((number.to_owned(), seconds(at)?))
}

fn server(text: &str) -> Result<SocketAddr, String> {
    name_server(text).ok_or_else(|| format!("`{text}` is not an IP address"))
}

/// A day; nothing here lasts longer.
const SECONDS_MAX: f64 = 86_400.0;

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    if !(0.0..=SECONDS_MAX).contains(&value) {
        return Err("must be from 0 to 86400 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(value))
}

fn codec(text: &str) -> Result<Codec, String> {
    let mut all = Codec::ALL.into_iter();
    all.find(|codec| codec.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| format!("`{text}` is no codec: pcmu, pcma, g722 or opus"))
}

fn keys(text: &str) -> Result<Keys, String> {
    let mut keys = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (key, at) = part
            .split_once('@')
            .ok_or_else(|| format!("`{part}`: write KEY@SECONDS, like 1@3.5"))?;
        let key = key.to_ascii_uppercase();
        match key.as_bytes() {
            [key @ (b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D')] => keys.push((*key, seconds(at)?)),
            _ => return Err(format!("`{key}` is no key: 0 to 9, *, #, A to D")),
        }
    }
    keys.sort_by_key(|(_, at)| *at);
    Ok(keys)
}

impl PlanArgs {
    fn srtp(&self) -> Result<Option<LocalSrtp>, String> {
        if !self.srtp {
            return Ok(None);
        }
        let random = random_octets().map_err(|error| format!("no random bits: {error}"))?;
        Ok(Some(LocalSrtp::new(true, &random)))
    }

    fn plan(&self) -> Result<Plan, Trouble> {
        let from = self.from.unwrap_or_default();
        let sound = self.play.as_ref().map(|file| Plan::sound(file, from));
        Ok(Plan {
            sound: sound.transpose().map_err(Trouble::CouldNot)?,
            record: self.record.clone(),
            codecs: match self.codec.is_empty() {
                true => Codec::ALL.to_vec(),
                false => self.codec.clone(),
            },
            srtp: self.srtp().map_err(Trouble::CouldNot)?,
            keys: self.dtmf.clone().unwrap_or_default(),
            transfer: self.transfer.clone(),
            hang_up_after: self.hangup_after,
            name_servers: self.name_server.clone(),
        })
    }
}

pub(super) fn dial(common: &Common, arguments: &DialArgs) -> u8 {
    let done = arguments.plan.plan().and_then(|plan| {
        let teller = Teller::new(common.json);
        let caller = (arguments.caller.as_str(), arguments.display.as_deref());
        Agent::call(&arguments.uri, caller, plan, teller).map_err(Trouble::CouldNot)
    });
    exit(common, done)
}

pub(super) fn answer(common: &Common, arguments: &AnswerArgs) -> u8 {
    let listen = arguments.listen.trim_start_matches("udp:");
    let line = Line {
        ring: arguments.after_ring.unwrap_or_default(),
        refuse: arguments.refuse,
    };
    let done = listen
        .parse::<SocketAddr>()
        .map_err(|_| {
            let reason = format!("`{listen}` is no address and port: write it like 127.0.0.1:5070");
            Trouble::CouldNot(reason)
        })
        .and_then(|listen| {
            let plan = arguments.plan.plan()?;
            let teller = Teller::new(common.json);
            let agent = Agent::listening(listen, plan, teller).map_err(Trouble::CouldNot)?;
            agent.wait(line).map_err(Trouble::CouldNot)
        });
    exit(common, done)
}

fn exit(common: &Common, done: Result<Ending, Trouble>) -> u8 {
    match done {
        Ok(Ending::Talked) => OK,
        Ok(Ending::NotAnswered) => NO,
        Ok(Ending::Unreachable) => COULD_NOT,
        Err(trouble) => tell(common, trouble),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_with_their_times_and_put_in_order() {
        let rows = [
            ("1@3.5,#@1", Some(vec![(b'#', 1000), (b'1', 3500)])),
            ("a@0", Some(vec![(b'A', 0)])),
            ("", Some(vec![])),
            ("12@1", None),
            ("1", None),
            ("x@1", None),
            ("1@-1", None),
            ("1@never", None),
        ];
        for (text, expected) in rows {
            let found = keys(text).ok().map(|keys| {
                let ms = |at: Duration| u64::try_from(at.as_millis()).unwrap();
                keys.into_iter()
                    .map(|(key, at)| (key, ms(at)))
                    .collect::<Vec<_>>()
            });
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_listen_address_that_is_none_could_not_be_listened_at() {
        let arguments = AnswerArgs {
            listen: "here".into(),
            after_ring: None,
            refuse: None,
            plan: PlanArgs {
                codec: Vec::new(),
                srtp: false,
                play: None,
                from: None,
                record: None,
                dtmf: None,
                transfer: None,
                hangup_after: None,
                name_server: Vec::new(),
            },
        };
        assert_eq!(answer(&Common::default(), &arguments), COULD_NOT);
    }
}
