//! SIPp scenarios in short: `tests/sipp/NAME.sipp`, written out as SIPp's XML when
//! they are played. What a line means is all here; what a peer does is all there.
//!
//! ```text
//! # What the peer does, and what must come of it.
//! calls tone                       whom SIPp calls, or `trunk KEY = VALUE`: it is called
//! invite sdp                       a request, with a body; its CSeq counts by itself
//!   Require: 100rel                with these header lines and these lines of SDP
//!   a=sendonly
//! expect 200                       an answer or a request that must come (`?`: may)
//!   Require: timer                 in which this header has this expression
//!   rseq = RSeq: [0-9]+            which is `[$rseq]` from then on
//!   !Require: 100rel               and does not have this one
//!   a=recvonly                     the same for a line of its body
//! ack
//! answer 200 OK sdp                to the last request, or `answer invite …`: to the first
//! pause 50                         ms
//! hangup                           BYE and its 200
//! then busy                        the daemon's account of the call says so
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::process::checkout;

/// A scenario, written out.
#[derive(Debug, Default)]
pub struct Script {
    /// SIPp's own form.
    pub xml: String,
    /// Whom SIPp calls; it is called, when nobody.
    pub calls: Option<String>,
    /// Lines of its trunk.
    pub trunk: String,
    /// `udp`, `tcp`.
    pub transport: String,
    /// It is a registrar, and nobody calls it.
    pub registrar: bool,
    /// Over IPv6.
    pub six: bool,
    /// The line `connect` is there, with this `[stage.transfer]`.
    pub transfer: Option<String>,
    /// What the daemon's account of the call has to contain.
    pub then: Vec<String>,
    /// SIPp's elements so far: it counts them to name a branch.
    elements: usize,
    /// Where the last INVITE stands among them.
    invite_at: usize,
    cseq: u32,
    invite_cseq: u32,
    sdp_version: u32,
    checks: u32,
    established: bool,
    tagged: bool,
    variables: BTreeSet<String>,
}

/// One line of a scenario and the lines below it.
struct Step<'a> {
    words: Vec<&'a str>,
    more: Vec<&'a str>,
}

impl Script {
    /// Reads `tests/sipp/NAME.sipp`.
    ///
    /// # Panics
    /// When it is not there or has a line that means nothing.
    pub fn read(name: &str) -> Self {
        let file = checkout().join(format!("tests/sipp/{name}.sipp"));
        let text = std::fs::read_to_string(&file);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut script = Self {
            transport: "udp".to_owned(),
            ..Self::default()
        };
        for step in &steps(&text) {
            script.step(step);
        }
        let names: Vec<_> = script.variables.iter().map(String::as_str).collect();
        let reference = match names.is_empty() {
            true => String::new(),
            false => format!("<Reference variables=\"{}\"/>\n", names.join(",")),
        };
        script.xml = format!(
            "<?xml version=\"1.0\" encoding=\"ISO-8859-1\" ?>\n<scenario name=\"{name}\">\n{}{reference}</scenario>\n",
            script.xml
        );
        script
    }

    fn step(&mut self, step: &Step<'_>) {
        let rest = || step.words[1..].join(" ");
        match step.words[0] {
            "calls" => self.calls = Some(rest()),
            "trunk" => self.trunk += &format!("{}\n", rest()),
            "transport" => self.transport = rest(),
            "registrar" => self.registrar = true,
            "ip6" => self.six = true,
            "transfer" => self.transfer = Some(rest()),
            "then" => self.then.push(rest()),
            "pause" => self.element(&format!("<pause milliseconds=\"{}\"/>", rest())),
            "invite" => self.invite(step),
            "ack" => self.ack(step),
            "cancel" => self.cancel(step),
            "request" => {
                self.cseq += 1;
                self.request(step.words[1], self.cseq, "[branch]", step);
            }
            "again" => self.request("INVITE", self.invite_cseq, "[branch]", step),
            "hangup" => {
                self.cseq += 1;
                self.request("BYE", self.cseq, "[branch]", step);
                self.element("<recv response=\"200\"/>");
            }
            "expect" => self.expect(step),
            "answer" => self.answer(step),
            other => panic!("`{other}` means nothing in a scenario"),
        }
    }

    fn element(&mut self, text: &str) {
        self.elements += 1;
        let _ = writeln!(self.xml, "  {text}");
    }

    fn invite(&mut self, step: &Step<'_>) {
        self.cseq += 1;
        self.invite_cseq = self.cseq;
        self.invite_at = self.elements;
        self.request("INVITE", self.cseq, "[branch]", step);
    }

    /// Of the INVITE's own transaction where that was refused (RFC 3261 §17.1.1.3).
    fn ack(&mut self, step: &Step<'_>) {
        let branch = match step.words.contains(&"refused") {
            true => format!("[branch-{}]", self.elements - self.invite_at),
            false => "[branch]".to_owned(),
        };
        self.request("ACK", self.invite_cseq, &branch, step);
    }

    fn cancel(&mut self, step: &Step<'_>) {
        let branch = format!("[branch-{}]", self.elements - self.invite_at);
        self.request("CANCEL", self.invite_cseq, &branch, step);
    }

    fn request(&mut self, method: &str, cseq: u32, branch: &str, step: &Step<'_>) {
        let by_us = self.calls.is_some();
        let target = match self.established && method != "CANCEL" {
            true => "[next_url]",
            false => "sip:[service]@[remote_ip]:[remote_port]",
        };
        let (from, to) = match by_us {
            true => (
                "\"SIPp\" <sip:sipp@[local_ip]:[local_port]>;tag=[pid]s[call_number]",
                "<sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]",
            ),
            false => ("[$local];tag=[pid]s[call_number]", "[$remote]"),
        };
        let to = if method == "CANCEL" {
            to.trim_end_matches("[peer_tag_param]")
        } else {
            to
        };
        let (lines, kind, body) = self.content(step);
        let given = |name: &str| lines.lines().any(|line| is_header(line, name));
        let mut text = format!("{method} {target} SIP/2.0\n");
        let usual = [
            (
                "Via",
                format!("SIP/2.0/[transport] [local_ip]:[local_port];branch={branch}"),
            ),
            ("Max-Forwards", "70".to_owned()),
            ("From", from.to_owned()),
            ("To", to.to_owned()),
            ("Call-ID", "[call_id]".to_owned()),
            ("CSeq", format!("{cseq} {method}")),
            (
                "Contact",
                "<sip:sipp@[local_ip]:[local_port];transport=[transport]>".to_owned(),
            ),
        ];
        for (name, value) in usual {
            if !given(name) {
                let _ = writeln!(text, "{name}: {value}");
            }
        }
        self.send(&text, &lines, &kind, &body, method != "ACK");
    }

    fn answer(&mut self, step: &Step<'_>) {
        let first = step.words[1] == "invite";
        let words = &step.words[if first { 2 } else { 1 }..];
        let phrase = words.iter().filter(|it| **it != "sdp");
        let status = phrase.copied().collect::<Vec<_>>().join(" ");
        let tag = match self.tagged && !first {
            true => "",
            false => ";tag=[pid]s[call_number]",
        };
        let (lines, kind, body) = self.content(step);
        let (via, from, to, id, cseq) = match first {
            true => (
                "Via:[$via]",
                "From:[$remote]",
                "To:[$local]",
                "Call-ID: [call_id]",
                "CSeq:[$cseq]",
            ),
            false => (
                "[last_Via:]",
                "[last_From:]",
                "[last_To:]",
                "[last_Call-ID:]",
                "[last_CSeq:]",
            ),
        };
        let mut text = format!("SIP/2.0 {status}\n{via}\n{from}\n");
        if !lines.lines().any(|line| is_header(line, "To")) {
            let _ = writeln!(text, "{to}{tag}");
        }
        let _ = writeln!(text, "{id}\n{cseq}");
        if !lines.lines().any(|line| is_header(line, "Contact")) && status.starts_with(['1', '2']) {
            text += "Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\n";
        }
        self.send(&text, &lines, &kind, &body, false);
    }

    fn send(&mut self, head: &str, lines: &str, kind: &str, body: &str, repeats: bool) {
        let repeats = if repeats && self.transport == "udp" {
            " retrans=\"500\""
        } else {
            ""
        };
        let text = format!("{head}{lines}{kind}");
        let length = match lines.contains("Content-Length:") || lines.contains("\nl:") {
            true => "",
            false => "Content-Length: [len]\n",
        };
        self.element(&format!(
            "<send{repeats}><![CDATA[\n{text}{length}\n{body}]]></send>"
        ));
    }

    /// Header lines, `Content-Type` and body.
    fn content(&mut self, step: &Step<'_>) -> (String, String, String) {
        let is_sdp = |line: &&&str| line.as_bytes().get(1) == Some(&b'=');
        let headers = step
            .more
            .iter()
            .filter(|line| !is_sdp(line) && !line.starts_with('|'));
        let lines: String = headers.map(|line| format!("{line}\n")).collect();
        let own: String = step
            .more
            .iter()
            .filter_map(|line| line.strip_prefix('|'))
            .map(|line| format!("{}\n", line.trim_start()))
            .collect();
        if !own.is_empty() {
            return (lines, String::new(), own);
        }
        if !step.words.contains(&"sdp") {
            return (lines, String::new(), String::new());
        }
        let sdp: Vec<&str> = step.more.iter().filter(is_sdp).copied().collect();
        let kind = match lines.contains("Content-Type:") || lines.contains("\nc:") {
            true => "",
            false => "Content-Type: application/sdp\n",
        };
        (lines, kind.to_owned(), self.sdp(&sdp))
    }

    /// µ-law and keys both ways, unless the lines have an `m=` of their own.
    fn sdp(&mut self, lines: &[&str]) -> String {
        self.sdp_version += 1;
        let has = |start: &str| lines.iter().any(|line| line.starts_with(start));
        let mut text = format!(
            "v=0\no=sipp 1 {} IN IP[local_ip_type] [local_ip]\ns=-\n",
            self.sdp_version
        );
        if !has("c=") {
            text += "c=IN IP[media_ip_type] [media_ip]\n";
        }
        text.extend(
            lines
                .iter()
                .filter(|line| line.starts_with("c="))
                .map(|line| format!("{line}\n")),
        );
        text += "t=0 0\n";
        if !has("m=") {
            text += "m=audio [media_port] RTP/AVP 0 101\na=rtpmap:0 PCMU/8000\n\
                     a=rtpmap:101 telephone-event/8000\n";
        }
        text.extend(
            lines
                .iter()
                .filter(|line| !line.starts_with("c="))
                .map(|line| format!("{line}\n")),
        );
        text
    }

    fn expect(&mut self, step: &Step<'_>) {
        let what = step.words[1].trim_end_matches('?');
        let optional = if step.words[1].ends_with('?') {
            " optional=\"true\""
        } else {
            ""
        };
        let is_status = what.chars().all(|letter| letter.is_ascii_digit());
        let mut actions = String::new();
        for check in &step.more {
            self.checks += 1;
            let named = check.split_once(" = ");
            let named = named.filter(|(name, _)| name.chars().all(char::is_alphanumeric));
            let (name, check) = match named {
                Some((name, check)) => (name.to_owned(), check),
                None => (format!("c{}", self.checks), *check),
            };
            actions += &action(check, &name);
            self.variables.insert(name);
        }
        if !is_status && what == "INVITE" && self.calls.is_none() && !self.established {
            for (name, header, regexp) in [
                ("remote", "From", "&lt;sip:[^&gt;]*&gt;;tag=[^;]*"),
                ("local", "To", "&lt;sip:[^&gt;]*&gt;"),
                ("via", "Via", ".*"),
                ("cseq", "CSeq", "[0-9]+ INVITE"),
            ] {
                let _ = write!(
                    actions,
                    "<ereg regexp=\"{regexp}\" search_in=\"hdr\" header=\"{header}:\" check_it=\"true\" assign_to=\"{name}\"/>"
                );
                self.variables.insert(name.to_owned());
            }
        }
        let routes = what == "INVITE" || (is_status && what.starts_with('2'));
        let routes = if routes { " rrs=\"true\"" } else { "" };
        let kind = if is_status { "response" } else { "request" };
        let actions = match actions.is_empty() {
            true => String::new(),
            false => format!("<action>{actions}</action>"),
        };
        self.element(&format!(
            "<recv {kind}=\"{what}\"{optional}{routes}>{actions}</recv>"
        ));
        self.tagged = !is_status && (self.established || self.calls.is_some());
        self.established |= (is_status && what.starts_with('2')) || what == "ACK";
        if !is_status && what == "INVITE" && self.calls.is_none() {
            // A dialog from our first answer with a tag on.
            self.established = true;
        }
    }
}

/// Whether a line is this header, in its long or its compact form.
fn is_header(line: &str, name: &str) -> bool {
    let compact = [
        ("Via", "v"),
        ("From", "f"),
        ("To", "t"),
        ("Call-ID", "i"),
        ("Contact", "m"),
    ];
    let given = line.split(':').next().unwrap_or_default().trim();
    let short = compact
        .iter()
        .any(|(long, short)| *long == name && *short == given);
    short || given.eq_ignore_ascii_case(name)
}

/// One check of what came.
fn action(check: &str, name: &str) -> String {
    let (check, inverse) = match check.strip_prefix('!') {
        Some(rest) => (rest, "check_it_inverse"),
        None => (check, "check_it"),
    };
    let escaped = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('"', "&quot;")
    };
    if check.as_bytes().get(1) == Some(&b'=') {
        let check = escaped(check);
        return format!(
            "<ereg regexp=\"{check}\" search_in=\"body\" {inverse}=\"true\" assign_to=\"{name}\"/>"
        );
    }
    let (header, value) = check.split_once(':').expect("a header and what it has");
    let value = escaped(value.trim());
    format!(
        "<ereg regexp=\"{value}\" search_in=\"hdr\" header=\"{header}:\" {inverse}=\"true\" assign_to=\"{name}\"/>"
    )
}

/// Lines with those indented below them; comments left out.
fn steps(text: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
    {
        match (line.starts_with(' '), steps.last_mut()) {
            (true, Some(last)) => last.more.push(line.trim()),
            _ => steps.push(Step {
                words: line.split_whitespace().collect(),
                more: Vec::new(),
            }),
        }
    }
    steps
}
