//! A call that comes in, as a trunk's test sees it: whose it is taken for, where its
//! number leads, who is shown as calling, and what of its sound we take; or why it
//! would not be taken. It is refused as busy, nothing is said on it.
//!
//! A trunk at which we are registered calls on the connection of the test; any other
//! calls where the daemon listens, which must not run meanwhile.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use offhook_sip::sdp::{LocalMedia, SdpSession};
use offhook_sip::{CallKey, Command, EndpointConfig, Event, Flow, Incoming, StatusCode, Transport};

use super::probe::Probe;
use super::report::Report;
use super::wire::Wire;
use super::{Tester, complain};
use crate::clock;
use crate::identity;
use crate::settings::Destination;
use crate::switchboard::local_srtp;

/// A call that came, and from where.
struct Came {
    key: CallKey,
    flow: Flow,
    invite: Box<Incoming>,
}

/// Waits on the connection by which we are registered.
pub(super) fn on_connection(
    tester: &Tester<'_>,
    report: &mut Report,
    probe: &mut Probe,
    limit: Duration,
) {
    ask_for_a_call(tester, limit);
    let remote = probe.wire.flow.remote;
    match next_call(probe, limit) {
        Some(came) => match taken_elsewhere(tester, remote.ip()) {
            None => judge(tester, report, probe, &came),
            Some((whose, advice)) => {
                refuse(probe, came.key, StatusCode::FORBIDDEN);
                let called = called(&came.invite);
                let shown = format!("INVITE for {called} from {remote}: {whose}");
                report.fail("inbound", shown, advice);
            }
        },
        None => report.fail(
            "inbound",
            format!("no INVITE from {remote} in {} s", limit.as_secs()),
            "did you call a number of this trunk? Then ask the carrier whether that number \
             is routed to our registration, and whether its calls come from another address \
             than the registrar's",
        ),
    }
}

/// Whom the daemon takes a call of the registrar for, if not for this trunk's, and what
/// to change: a `source` goes before what the registration says.
fn taken_elsewhere(tester: &Tester<'_>, from: IpAddr) -> Option<(String, String)> {
    let trunk = tester.trunk;
    match tester.settings.trunk_of(from) {
        Some(other) if other.name != trunk.name => Some((
            format!("it is taken for trunk `{}`", other.name),
            format!(
                "the `source` of [[trunk]] {} has \"{from}\", where we are registered with {}: \
                 take it out there",
                other.name, trunk.name
            ),
        )),
        None if !trunk.sources.is_empty() => Some((
            "no trunk's `source` has it".to_owned(),
            format!(
                "leave out `source` of [[trunk]] {}: its calls then come from where we are \
                 registered; or add \"{from}\" to it",
                trunk.name
            ),
        )),
        Some(_) | None => None,
    }
}

/// A certificate is shown on TLS alone, to the daemon, where it asks for one.
fn by_certificate(tester: &Tester<'_>, report: &mut Report) {
    let names = tester.trunk.identities.join(", ");
    let known = format!("the trunk is known by its certificate, for {names}");
    let mut listens = tester.settings.sip.listen.iter();
    let listen = listens.find(|listen| listen.transport == Transport::Tls);
    let tls = tester.settings.tls.as_ref();
    let authorities = tls.and_then(|tls| tls.authorities.as_ref());
    match (listen, authorities) {
        (None, _) => report.fail(
            "inbound",
            format!("{known}, and no listener of ours is one of TLS"),
            "add a tls: address to [sip] listen, or say by `source` where its calls come from",
        ),
        (Some(_), None) => report.fail(
            "inbound",
            format!("{known}, and callers are asked for none"),
            "name who vouches for the trunk's certificate: [tls] authorities",
        ),
        (Some(listen), Some(authorities)) => report.skip(
            "inbound",
            format!(
                "{known}, vouched for in {}, that it shows at tls:{}: look at `offhook calls` \
                 while somebody calls",
                authorities.display(),
                listen.address
            ),
        ),
    }
}

/// Waits where the daemon would.
pub(super) fn on_listener(tester: &Tester<'_>, report: &mut Report, limit: Duration) {
    if !tester.trunk.identities.is_empty() {
        return by_certificate(tester, report);
    }
    let mut listens = tester.settings.sip.listen.iter();
    let listen = listens.find(|listen| listen.transport == Transport::Udp);
    let Some(listen) = listen else {
        return report.skip("inbound", "[sip] listen has no UDP address to wait at");
    };
    let mut probe = match listen_at(listen.address, tester) {
        Ok(probe) => probe,
        Err(why) => {
            let shown = format!("udp:{}: {why}", listen.address);
            let advice = "offhookd sits there: stop it for this test, or look at `offhook calls` while somebody calls";
            return report.fail("inbound", shown, advice);
        }
    };
    ask_for_a_call(tester, limit);
    let here = probe.wire.flow.local;
    let (end, mut others) = (clock::now() + limit, Vec::new());
    while let Some(came) = next_call(&mut probe, end.saturating_sub(clock::now())) {
        let from = came.flow.remote.ip();
        let taken_for = tester.settings.trunk_of(from);
        if taken_for.is_some_and(|trunk| trunk.name == tester.trunk.name) {
            return judge(tester, report, &mut probe, &came);
        }
        refuse(&mut probe, came.key, StatusCode::FORBIDDEN);
        let called = called(&came.invite);
        let whose = taken_for.map_or_else(
            || "no trunk's `source` has it".to_owned(),
            |trunk| format!("it is taken for trunk `{}`", trunk.name),
        );
        others.push((from, format!("INVITE for {called} from {from}: {whose}")));
    }
    match others.pop() {
        Some((from, shown)) => report.fail(
            "inbound",
            shown,
            format!(
                "if that is the carrier, add \"{from}\" to `source` of [[trunk]] {}",
                tester.trunk.name
            ),
        ),
        None => report.fail(
            "inbound",
            format!("no INVITE at udp:{here} in {} s", limit.as_secs()),
            "did you call a number of this trunk? Then ask the carrier where it sends its \
             calls, and whether a firewall or NAT on the way lets UDP through to us",
        ),
    }
}

fn listen_at(address: SocketAddr, tester: &Tester<'_>) -> Result<Probe, String> {
    let wire = Wire::listen(address)?;
    let config = EndpointConfig {
        trace: false,
        ..EndpointConfig::default()
    };
    Probe::new(wire, config, &tester.settings.sip.name_servers)
}

fn ask_for_a_call(tester: &Tester<'_>, limit: Duration) {
    complain(&format!(
        "call a number of trunk `{}` now; waiting {} s",
        tester.trunk.name,
        limit.as_secs()
    ));
}

fn next_call(probe: &mut Probe, limit: Duration) -> Option<Came> {
    probe.wait(limit, |event| match event {
        Event::Incoming { key, flow, invite } => Some(Came { key, flow, invite }),
        _ => None,
    })
}

fn refuse(probe: &mut Probe, key: CallKey, status: StatusCode) {
    probe.command(Command::Reject {
        key,
        status,
        phrase: None,
        retry_after: None,
        headers: Vec::new(),
    });
}

/// The trunk's call: would it be taken?
fn judge(tester: &Tester<'_>, report: &mut Report, probe: &mut Probe, came: &Came) {
    refuse(probe, came.key, StatusCode::BUSY_HERE);
    number(tester, report, came);
    caller(tester, report, &came.invite);
    sound(tester, report, came);
}

fn called(invite: &Incoming) -> String {
    invite.request_uri.user().unwrap_or_default()
}

fn number(tester: &Tester<'_>, report: &mut Report, came: &Came) {
    let invite = &came.invite;
    let (called, to) = (called(invite), &invite.to.uri);
    let shown = format!(
        "INVITE {} from {}, To: {to}",
        invite.request_uri, came.flow.remote
    );
    let where_to = match tester.settings.destination(&called) {
        Some(Destination::Playbook(name)) => format!("playbook `{name}`"),
        Some(Destination::Test(_)) => "a test line".to_owned(),
        None => {
            let elsewhere = to.user().filter(|user| *user != called);
            let hint = elsewhere.map_or_else(String::new, |user| {
                format!(" (To says {user}: the carrier can send that in the Request-URI)")
            });
            let advice = format!("no [[route]] takes `{called}`: write one that does{hint}");
            return report.fail("inbound", shown, advice);
        }
    };
    report.pass("inbound", format!("{shown}: leads to {where_to}"));
}

fn caller(tester: &Tester<'_>, report: &mut Report, invite: &Incoming) {
    let told = identity::caller(invite, &tester.trunk.numbering);
    let asserted = invite.asserted_identity.first();
    let source = match asserted {
        Some(party) => format!("P-Asserted-Identity: {}", party.uri),
        None => format!("From: {}", invite.from.uri),
    };
    let withheld = invite.private || told.shown.is_empty() || told.shown == "anonymous";
    match told.number {
        Some(number) => report.pass("inbound caller", format!("{number} by {source}")),
        None if withheld => report.pass("inbound caller", format!("withheld, {source}")),
        None => report.fail(
            "inbound caller",
            source,
            "that is no number by the trunk's rules: check `country` and `inbound`",
        ),
    }
}

fn sound(tester: &Tester<'_>, report: &mut Report, came: &Came) {
    let Some(offer) = &came.invite.offer else {
        return report.skip(
            "inbound codecs",
            "the INVITE has no offer: ours would decide",
        );
    };
    let local = LocalMedia {
        session_id: 3,
        version: 1,
        address: came.flow.local.ip(),
        port: 4000,
        codecs: tester.trunk.sound.codecs.clone(),
        telephone_event: true,
        comfort_noise: true,
        rtcp_mux: true,
        ptime_ms: 20,
        srtp: local_srtp(tester.trunk.sound.srtp).unwrap_or(None),
    };
    let offered = String::from_utf8_lossy(offer);
    let line = offered.lines().find(|line| line.starts_with("m=audio"));
    let line = line.unwrap_or("no m=audio line").trim().to_owned();
    match SdpSession::new(local).answer(offer) {
        Ok((_, agreed)) => {
            let codec = agreed.codec.name();
            report.pass("inbound codecs", format!("{line}: {codec}"));
        }
        Err(fault) => report.fail(
            "inbound codecs",
            format!("{line}: {fault}"),
            "such a call is refused (488): have the carrier offer what `codecs` names",
        ),
    }
}
