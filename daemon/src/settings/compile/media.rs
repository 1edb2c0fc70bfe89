//! The part of the compiler that reads `[media]`: addresses, ports, how many calls fit,
//! and what delay between two callers is still in order.

use super::*;
use crate::media::playout::BOUND;
use crate::media::thread::SLOTS;
use crate::settings::net::port_range;

/// RTP and RTCP.
const PORTS_PER_CALL: usize = 2;
/// Calls with audio that one box is built for; each holds its memory from the start.
pub(super) const MAX_CALLS: u32 = 20_000;
const MAX_CALLS_DEFAULT: u32 = 1_000;
const MAX_THREADS: u32 = 64;
const PORTS_DEFAULT: RangeInclusive<u16> = 20_000..=29_999;
/// One frame of 10 ms up to all that the playout holds.
const PLAYOUT_MS: RangeInclusive<u16> = 10..=BOUND as u16 * 10;
/// A steady line waits 40 ms at most, jitter of a packet or two costs the same again.
const PLAYOUT_MS_DEFAULT: u16 = 120;

impl Compiler<'_> {
    pub(super) fn media(&mut self, raw: &RawMedia, sip: &Sip) -> Media {
        let beside_sip = sip.listen.first().map(|listen| listen.address.ip());
        let address = raw.address.as_ref().and_then(|at| self.address(at));
        let ports = raw.ports.as_ref().and_then(|at| self.ports(at));
        let ports = ports.unwrap_or(PORTS_DEFAULT);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if let Some(at) = &raw.threads {
            self.in_range(at, &(1..=MAX_THREADS), "");
        }
        let threads = match &raw.threads {
            Some(at) => usize::try_from(*at.get_ref()).unwrap_or(1),
            None => cores.saturating_sub(1).max(1),
        };
        let address = address.or(beside_sip).unwrap_or(IpAddr::from([0, 0, 0, 0]));
        self.apart(raw.ports.as_ref(), &ports, address, sip);
        Media {
            address,
            told: raw
                .advertise
                .as_ref()
                .and_then(|at| self.reachable(at))
                .map(Told::to_all),
            max_calls: self.max_calls(raw, &ports, threads),
            ports,
            threads,
            realtime: raw.realtime.unwrap_or(true),
            sensitivity: Sensitivity::DEFAULT,
            playout: self.playout(raw),
        }
    }

    fn playout(&mut self, raw: &RawMedia) -> Duration {
        let ms = raw
            .playout_p95_ms
            .as_ref()
            .map_or(PLAYOUT_MS_DEFAULT, |at| {
                self.in_range(at, &PLAYOUT_MS, " ms");
                *at.get_ref()
            });
        Duration::from_millis(ms.into())
    }

    /// A SIP socket among the ports of the audio would be met by a call some day.
    fn apart(
        &mut self,
        at: Option<&At<String>>,
        ports: &RangeInclusive<u16>,
        address: IpAddr,
        sip: &Sip,
    ) {
        let overlaps = |listen: &&Listen| {
            let (ip, port) = (listen.address.ip(), listen.address.port());
            let same = ip == address || ip.is_unspecified() || address.is_unspecified();
            same && ports.contains(&port)
        };
        let Some(listen) = sip.listen.iter().find(overlaps) else {
            return;
        };
        let reason = format!(
            "{}-{} holds the SIP port of `{listen}`: write ports beside it",
            ports.start(),
            ports.end()
        );
        match at {
            Some(at) => self.fault(at, reason),
            None => self
                .faults
                .push(self.source.whole(format!("media.ports: {reason}"))),
        }
    }

    fn ports(&mut self, at: &At<String>) -> Option<RangeInclusive<u16>> {
        port_range(at.get_ref())
            .map_err(|reason| self.fault(at, reason))
            .ok()
    }

    fn max_calls(&mut self, raw: &RawMedia, ports: &RangeInclusive<u16>, threads: usize) -> usize {
        let room = room(ports);
        let Some(at) = &raw.max_calls else {
            return room.min(usize::try_from(MAX_CALLS_DEFAULT).unwrap_or(room));
        };
        self.in_range(at, &(1..=MAX_CALLS), "");
        let wanted = usize::try_from(*at.get_ref()).unwrap_or(usize::MAX);
        let slots = threads.saturating_mul(SLOTS);
        if wanted > slots {
            let needed = wanted.div_ceil(SLOTS);
            let reason = format!(
                "with threads = {threads} it can be {slots} at most: write threads = {needed}, or max_calls = {slots}"
            );
            self.fault(at, reason);
        }
        if wanted > room && (1..=MAX_CALLS).contains(at.get_ref()) {
            let (low, high) = (ports.start(), ports.end());
            let needed = (wanted * PORTS_PER_CALL).saturating_sub(1);
            let last = usize::from(*low) + usize::from(low % 2) + needed;
            let remedy = match u16::try_from(last) {
                Ok(last) => format!("write ports = \"{low}-{last}\", or max_calls = {room}"),
                Err(_) => format!("write max_calls = {room}, or begin the ports lower"),
            };
            self.fault(
                at,
                format!("{wanted} calls need {PORTS_PER_CALL} ports each, {low}-{high} has room for {room}: {remedy}"),
            );
        }
        wanted
    }
}

fn room(ports: &RangeInclusive<u16>) -> usize {
    let first = usize::from(*ports.start()).next_multiple_of(PORTS_PER_CALL);
    let end = usize::from(*ports.end()) + 1;
    end.saturating_sub(first) / PORTS_PER_CALL
}
