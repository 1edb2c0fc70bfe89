//! `offhook trunk test`: the acceptance test of a trunk, as a field tech runs it.
//! It needs no daemon: it reads the config and is a user agent of its own, on
//! ports of its own, with the trunk's account.
//!
//! This file finds the trunk, reaches it and registers; `trunk/call.rs` calls, and
//! `trunk/inbound.rs` is called.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use offhook_sip::{
    Command, EndpointConfig, Event, Outage, Probing, Registration, Standing, Transport, TrunkKey,
    Uri,
};

use super::{COULD_NOT, Common, NO, OK, complain, print, print_json};
use crate::settings::{INSTALLED, Listen, Settings, Trunk};
use crate::trunks::{Trunks, own_address};

mod call;
mod inbound;
mod probe;
mod report;
mod sound;
mod wire;

use probe::Probe;
use report::Report;
use wire::Wire;

/// Trunks.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum TrunkVerb {
    /// Try a trunk out, check by check: DNS, TLS, registration, a call with its
    /// codecs, keys, hold and both ways of audio. Each line says pass or fail, the
    /// header that shows it, and what to change. Exit code 1: something failed.
    Test(TestArgs),
}

/// What to test.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TestArgs {
    /// The trunk, as the config names it.
    name: String,
    /// Call this: an echo of theirs, or a number of ours that comes back to us.
    /// Without it nothing is called.
    #[arg(long, value_name = "NUMBER")]
    call: Option<String>,
    /// In that call, have them send us on to this number (REFER): whether it rings
    /// there is what tells that transfers by their side work.
    #[arg(long, value_name = "NUMBER", requires = "call")]
    transfer: Option<String>,
    /// Wait so long for a call from the trunk: somebody dials one of its numbers
    /// meanwhile. Says which number came, by which headers, and where it leads; or why
    /// it would not be taken. The caller hears that it is busy.
    #[arg(long, value_name = "SECONDS", value_parser = super::dial::seconds)]
    inbound: Option<Duration>,
    /// Write the report to this file too, as one page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// How long each answer is waited for.
    #[arg(long, value_name = "SECONDS", value_parser = super::dial::seconds, default_value = "10")]
    patience: Duration,
}

/// The endpoint's names for the two errands.
const HEALTH: TrunkKey = TrunkKey(1);
const ACCOUNT: TrunkKey = TrunkKey(2);

/// Addresses of a trunk that are tried: DNS may name many.
const ADDRESSES_MAX: usize = 16;

const ADVICE_ON_CONNECTING: &str = "is the port right, and does a firewall let us through? \
     Of several addresses calls go to the next one, after its time: have the carrier take \
     this one out of DNS";
const ADVICE_ON_SILENCE: &str = "nobody answers there: is host and port right, are we known \
     to the carrier by this address, does a firewall drop us? Of several addresses calls go \
     to the next one, after 32 s: have the carrier take this one out of DNS";

pub(super) fn run(common: &Common, verb: &TrunkVerb) -> u8 {
    let TrunkVerb::Test(arguments) = verb;
    let report = match test(common, arguments) {
        Ok(report) => report,
        Err(reason) => {
            complain(&reason);
            return COULD_NOT;
        }
    };
    if let Some(file) = &arguments.html
        && let Err(error) = std::fs::write(file, report.html())
    {
        complain(&format!("{}: {error}", file.display()));
        return COULD_NOT;
    }
    if common.json {
        print_json(&report.json());
    } else {
        print(&report.text());
    }
    if report.is_good() { OK } else { NO }
}

fn test(common: &Common, arguments: &TestArgs) -> Result<Report, String> {
    let file = common.config.clone();
    let file = file.unwrap_or_else(|| PathBuf::from(INSTALLED));
    let settings = Settings::load(&file).map_err(|error| error.to_string())?;
    let trunk = settings.trunk(&arguments.name);
    let names: Vec<_> = settings.trunks.iter().map(|it| it.name.as_str()).collect();
    let trunk = trunk.ok_or_else(|| {
        let names = names.join(", ");
        format!("there is no trunk `{}`, only: {names}", arguments.name)
    })?;
    let mut report = Report {
        trunk: trunk.name.clone(),
        ..Report::default()
    };
    let tester = Tester {
        settings: &settings,
        trunk,
        arguments,
    };
    tester.run(&mut report)?;
    Ok(report)
}

/// One run.
struct Tester<'a> {
    settings: &'a Settings,
    trunk: &'a Trunk,
    arguments: &'a TestArgs,
}

impl Tester<'_> {
    fn run(&self, report: &mut Report) -> Result<(), String> {
        self.reach_out(report)?;
        let registers = self.registers();
        if let Some(limit) = self.arguments.inbound.filter(|_| !registers) {
            inbound::on_listener(self, report, limit);
        }
        Ok(())
    }

    /// What we ask of the trunk, and what comes on the same connection.
    fn reach_out(&self, report: &mut Report) -> Result<(), String> {
        let Some(proxy) = self.trunk.next_hop() else {
            report.skip(
                "dns",
                "the trunk has no `proxy`: it calls us, we do not call it",
            );
            return Ok(());
        };
        let found = Trunks::find(self.trunk, &self.settings.sip.name_servers)?;
        if found.is_empty() {
            report.fail(
                "dns",
                format!("{} has no address", proxy.host),
                "name the trunk's `proxy` as the carrier does, or set [sip] name_servers",
            );
            return Ok(());
        }
        let shown: Vec<String> = found
            .iter()
            .map(|(transport, remote)| at(*transport, *remote))
            .collect();
        report.pass("dns", shown.join(" "));
        let Some(mut probe) = self.first_that_answers(report, &found, &proxy.host)? else {
            return Ok(());
        };
        self.nat(report, &probe);
        let registered = self.register(report, &mut probe);
        match &self.arguments.call {
            Some(_) if !registered => report.skip("call", "not registered"),
            Some(number) => call::run(self, report, &mut probe, number)?,
            None => report.skip(
                "call",
                "say whom: --call NUMBER (an echo, or a number of ours)",
            ),
        }
        let registers = self.registers();
        match self.arguments.inbound {
            Some(_) if registers && !registered => report.skip("inbound", "not registered"),
            Some(limit) if registers => inbound::on_connection(self, report, &mut probe, limit),
            Some(_) | None => {}
        }
        self.leave(&mut probe);
        Ok(())
    }

    fn registers(&self) -> bool {
        let account = self.trunk.account.as_ref();
        account.is_some_and(|account| account.register.is_some())
    }

    /// Tries every address, in the order in which calls do; the first that is well
    /// serves for all else, or else the first that says anything.
    fn first_that_answers(
        &self,
        report: &mut Report,
        found: &[(Transport, SocketAddr)],
        name: &str,
    ) -> Result<Option<Probe>, String> {
        let (mut well, mut ill) = (None, None);
        for (transport, remote) in found.iter().take(ADDRESSES_MAX) {
            let Some(mut probe) = self.reach(report, *transport, *remote, name)? else {
                continue;
            };
            let good = self.ask(report, &mut probe);
            if good {
                well = well.or(Some(probe));
            } else if probe.answer_to("OPTIONS").is_some() {
                ill = ill.or(Some(probe));
            }
        }
        if found.len() > ADDRESSES_MAX {
            let more = found.len() - ADDRESSES_MAX;
            report.skip("reach", format!("{more} more addresses were not tried"));
        }
        let best = well.or(ill);
        if let Some(probe) = best.as_ref().filter(|_| found.len() > 1) {
            let flow = probe.wire.flow;
            let at = at(flow.transport, flow.remote);
            report.pass("address", format!("all that follows goes by {at}"));
        }
        Ok(best)
    }

    /// The connection, and who proved to be there.
    fn reach(
        &self,
        report: &mut Report,
        transport: Transport,
        remote: SocketAddr,
        name: &str,
    ) -> Result<Option<Probe>, String> {
        let local = self.local(transport, remote);
        let tls = self.settings.tls.as_ref();
        let wire = match Wire::open(transport, local, remote, name, tls) {
            Ok(wire) => wire,
            Err(why) if transport == Transport::Tls && is_about_trust(&why) => {
                let advice = advice_on_trust(&why, name);
                report.fail("tls", format!("{}: {why}", at(transport, remote)), advice);
                return Ok(None);
            }
            Err(why) => {
                let shown = format!("{}: {why}", at(transport, remote));
                report.fail("reach", shown, ADVICE_ON_CONNECTING);
                return Ok(None);
            }
        };
        match &wire.secured {
            Some(secured) => report.pass(
                "tls",
                format!(
                    "{}: {name} proved by its certificate, {secured}",
                    at(transport, remote)
                ),
            ),
            None => report.skip("tls", format!("{}: no TLS", at(transport, remote))),
        }
        let config = EndpointConfig {
            trace: false,
            ..EndpointConfig::default()
        };
        Probe::new(wire, config, &self.settings.sip.name_servers).map(Some)
    }

    /// The listener by which calls to the trunk leave.
    fn listen(&self, transport: Transport, remote: SocketAddr) -> Option<&Listen> {
        let reaches = |listen: &&Listen| {
            let ip = listen.address.ip();
            listen.transport == transport
                && ip.is_ipv4() == remote.is_ipv4()
                && (!ip.is_loopback() || remote.ip().is_loopback())
        };
        let listens = self.settings.sip.listen.iter().filter(reaches);
        let routed = own_address(remote.ip());
        let mut routed = listens.clone().filter(|it| Some(it.address.ip()) == routed);
        routed.next().or(listens.clone().next())
    }

    /// Our address towards the trunk: the listener's, if it has one.
    fn local(&self, transport: Transport, remote: SocketAddr) -> IpAddr {
        let listen = self.listen(transport, remote);
        let ip = listen.map(|listen| listen.address.ip());
        let specified = ip.filter(|ip| !ip.is_unspecified());
        specified
            .or_else(|| own_address(remote.ip()))
            .unwrap_or(remote.ip())
    }

    fn upkeep(&self, key: TrunkKey, probe: &Probe) -> Option<offhook_sip::Trunk> {
        let flow = probe.wire.flow;
        let domain = match (&self.trunk.account, &self.trunk.proxy) {
            (Some(account), _) => account.domain.clone(),
            (None, Some(proxy)) => proxy.host_port(),
            (None, None) => flow.remote.to_string(),
        };
        Some(offhook_sip::Trunk {
            key,
            flow,
            target: Uri::parse(&format!("sip:{domain}")).ok()?,
            routes: Vec::new(),
            credentials: self.trunk.account.as_ref().map(|it| it.credentials()),
            registration: None,
            probing: None,
        })
    }

    /// Whether it answers OPTIONS as a trunk does that works.
    fn ask(&self, report: &mut Report, probe: &mut Probe) -> bool {
        let Some(trunk) = self.upkeep(HEALTH, probe) else {
            return false;
        };
        let probing = Probing {
            every: Duration::from_secs(3600),
            down_after: 1,
            up_after: 1,
        };
        probe.command(Command::KeepTrunk(Box::new(offhook_sip::Trunk {
            probing: Some(probing),
            ..trunk
        })));
        let standing = probe.wait(self.arguments.patience, |event| match event {
            Event::Trunk {
                key: HEALTH,
                standing,
            } => Some(standing),
            _ => None,
        });
        probe.command(Command::DropTrunk(HEALTH));
        let flow = probe.wire.flow;
        let at = at(flow.transport, flow.remote);
        let shown = format!("{at}: {}", probe.shown("OPTIONS"));
        let Some(answer) = probe.answer_to("OPTIONS") else {
            report.fail("reach", shown, ADVICE_ON_SILENCE);
            return false;
        };
        let agent = answer.header("Server").or(answer.header("User-Agent"));
        let agent = agent.unwrap_or("no Server line");
        report.pass("reach", format!("{at}: {agent}"));
        let good = standing == Some(Standing::Up);
        let advice = "it answers and refuses: ask the carrier whether the trunk is switched on";
        report.judge("options", good, shown, advice);
        good
    }

    /// Which address the trunk sees, against the one that we tell it.
    fn nat(&self, report: &mut Report, probe: &Probe) {
        let via = probe.answer_to("OPTIONS").and_then(|it| it.header("Via"));
        let via = via.unwrap_or_default();
        let parameter = |name: &str| {
            let mut parts = via.split(';').skip(1);
            parts.find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let flow = probe.wire.flow;
        let listen = self.listen(flow.transport, flow.remote);
        let told = listen.and_then(|listen| listen.told?.to(flow.remote.ip()));
        let ours = told.unwrap_or(flow.local.ip());
        let seen = parameter("received").and_then(|ip| ip.parse::<IpAddr>().ok());
        match seen {
            Some(seen) if seen != ours => report.fail(
                "nat",
                format!("Via: {via}"),
                format!("the trunk sees {seen}, we say {ours}: write [sip] advertise = \"{seen}\" and [media] advertise"),
            ),
            Some(seen) => report.pass("nat", format!("the trunk sees {seen}")),
            None => report.skip("nat", format!("it does not say where we come from: Via: {via}")),
        }
    }

    /// Whether calls may be tried.
    fn register(&self, report: &mut Report, probe: &mut Probe) -> bool {
        let account = self.trunk.account.as_ref();
        let Some((account, expires)) = account.and_then(|it| Some((it, it.register?))) else {
            report.skip("register", "the config does not register there");
            self.know_account(probe);
            return true;
        };
        let uri = |text: String| Uri::parse(&text).ok();
        let registration = uri(format!("sip:{}", account.domain)).and_then(|registrar| {
            Some(Registration {
                registrar,
                address: uri(format!("sip:{}@{}", account.user, account.domain))?,
                contact_user: account.user.clone(),
                expires,
            })
        });
        let Some(trunk) = self.upkeep(ACCOUNT, probe) else {
            return false;
        };
        probe.command(Command::KeepTrunk(Box::new(offhook_sip::Trunk {
            registration,
            ..trunk
        })));
        let standing = probe.wait(self.arguments.patience, |event| match event {
            Event::Trunk {
                key: ACCOUNT,
                standing,
            } => Some(standing),
            _ => None,
        });
        let shown = probe.shown("REGISTER");
        match standing {
            Some(Standing::Up) => {
                let answer = probe.answer_to("REGISTER");
                let contact = answer.and_then(|it| it.header("Contact"));
                let contact = contact.unwrap_or("no Contact line");
                report.pass("register", format!("{shown}, Contact: {contact}"));
                true
            }
            Some(Standing::Down(outage)) => {
                report.fail("register", format!("{shown}: {outage}"), advice_on(&outage));
                false
            }
            Some(Standing::Unknown) | None => {
                report.fail("register", shown, advice_on(&Outage::RegistrarSilent));
                false
            }
        }
    }

    /// The password is used when a call is asked for it.
    fn know_account(&self, probe: &mut Probe) {
        if let Some(trunk) = self.upkeep(ACCOUNT, probe) {
            probe.command(Command::KeepTrunk(Box::new(trunk)));
        }
    }

    fn leave(&self, probe: &mut Probe) {
        probe.command(Command::DropTrunk(ACCOUNT));
        let end = crate::clock::now() + Duration::from_secs(1);
        while probe.endpoint.is_leaving_trunks() && crate::clock::now() < end {
            probe.step();
        }
    }
}

/// An address as a report writes it.
fn at(transport: Transport, remote: SocketAddr) -> String {
    format!("{}:{remote}", transport.parameter())
}

fn is_about_trust(why: &str) -> bool {
    let why = why.to_lowercase();
    why.contains("certificate") || why.contains("alert") || why.contains("tls")
}

fn advice_on_trust(why: &str, name: &str) -> String {
    let why = why.to_lowercase();
    if why.contains("expired") {
        "its certificate is out of date: the carrier must renew it (is our clock right?)".to_owned()
    } else if why.contains("not valid for") {
        format!(
            "its certificate names somebody else: write the name that it holds in `proxy` instead of {name}"
        )
    } else if why.contains("unknownissuer") {
        "nobody whom we trust vouches for it: name its authority in [tls] authorities".to_owned()
    } else if ["required", "alert", "closed", "reset"]
        .iter()
        .any(|it| why.contains(it))
    {
        "it does not accept us: it may want a certificate of ours, see [tls] certificate".to_owned()
    } else {
        "TLS failed: is this its TLS port?".to_owned()
    }
}

fn advice_on(outage: &Outage) -> &'static str {
    match outage {
        Outage::WrongPassword => {
            "the password or the user is wrong: check `user` and `password_file`"
        }
        Outage::NoPassword => {
            "it asks for a password in a way that we cannot answer: check `user`, `password_file` and the realm"
        }
        Outage::Refused(..) => {
            "the registrar knows us and says no: check `user` and `domain` with the carrier"
        }
        Outage::RegistrarSilent | Outage::Silent => {
            "the registrar does not answer REGISTER: is it another host than the proxy?"
        }
        Outage::Failing(_) | Outage::Unreachable => "the registrar does not work: ask the carrier",
    }
}
