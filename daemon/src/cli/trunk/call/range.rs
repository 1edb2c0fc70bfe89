//! The range of RTP ports, as the call of a trunk's test tries it: the call moves from
//! port to port by re-INVITE and listens at each. A firewall that lets only a part of
//! the range through costs every call whose port lies in the other part its sound.

use std::time::Duration;

use offhook_sip::sdp::Direction;

use super::Call;

/// So many ports of the range are tried: both ends, and some between.
const PORTS: u16 = 6;
/// How long is listened at each.
const LISTEN: Duration = Duration::from_millis(700);

impl Call<'_, '_> {
    /// Tries a spread of the configured ports.
    pub(super) fn range(&mut self) {
        let ports = &self.tester.settings.media.ports;
        let (first, last) = (*ports.start(), *ports.end());
        let mut found = Found::default();
        for part in parts(first, last) {
            let moved = self.probe.sound.as_mut().map(|it| it.move_to(part.clone()));
            let Some(port) = moved.flatten() else {
                let (first, last) = part.into_inner();
                found.taken.push(format!("{first}-{last}"));
                continue;
            };
            self.session.local.port = port;
            if self.change(Direction::SendRecv).is_none() {
                let shown = format!("port {port}: {}", self.probe.shown("INVITE"));
                return self.report.skip("rtp range", shown);
            }
            self.heard();
            self.wait(LISTEN, |_| None::<()>);
            let heard = self.heard().packets > 0;
            let list = if heard {
                &mut found.open
            } else {
                &mut found.shut
            };
            list.push(port.to_string());
        }
        let advice = format!(
            "a firewall or NAT lets only a part of [media] ports through: open and forward \
             UDP {first}-{last} to us, or write the part that is open"
        );
        let good = found.shut.is_empty();
        self.report.judge("rtp range", good, found.text(), &advice);
    }
}

/// Ports by what came to them.
#[derive(Debug, Default)]
struct Found {
    open: Vec<String>,
    shut: Vec<String>,
    /// Parts of the range without a free port.
    taken: Vec<String>,
}

impl Found {
    fn text(&self) -> String {
        let named = |words: &str, ports: &[String]| match ports {
            [] => None,
            ports => Some(format!("{words} {}", ports.join(", "))),
        };
        let all = [
            named("nothing came to", &self.shut),
            named("sound came to", &self.open),
            named("in use by others and not tried:", &self.taken),
        ];
        all.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// The range in so many parts of a like size; each is tried at its first free port, the
/// last one at its last, so that both ends are among them. The last port of a range
/// is of RTCP (RFC 3550 §11).
fn parts(first: u16, last: u16) -> Vec<std::ops::RangeInclusive<u16>> {
    let span = u32::from(last.saturating_sub(first));
    let at = |part: u16| {
        let offset = span * u32::from(part) / u32::from(PORTS - 1);
        first + u16::try_from(offset).expect("no further than the span, which is a u16")
    };
    let end = (last.saturating_sub(1) & !1).max(first);
    let parts = (0..PORTS - 1).map(|part| at(part)..=at(part + 1).min(end).saturating_sub(1));
    let all = parts.chain([end..=last]);
    all.filter(|part| part.clone().any(|port| port % 2 == 0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_range_and_ports_between_are_tried() {
        let starts = |first, last| -> Vec<u16> {
            parts(first, last)
                .iter()
                .map(|part| *part.start())
                .collect()
        };
        let wide = [20_000, 21_999, 23_999, 25_999, 27_999, 29_998];
        assert_eq!(starts(20_000, 29_999), wide);
        assert_eq!(starts(20_000, 20_001), [20_000]);
        assert_eq!(starts(65_000, 65_535).last(), Some(&65_534));
    }
}
