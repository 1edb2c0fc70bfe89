//! What outlives the process: enough of a dialog to send its BYE.
//!
//! Written by the daemon when a call is answered, read back after a crash.

use core::fmt;

use crate::dialog::Dialog;
use crate::transport::{Flow, Transport};

/// A dialog on paper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDialog {
    /// The path it used.
    pub flow: Flow,
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag.
    pub remote_tag: String,
    /// Our address.
    pub local_uri: String,
    /// The peer's address.
    pub remote_uri: String,
    /// The peer's Contact.
    pub target: String,
    /// Route set.
    pub routes: Vec<String>,
    /// Number of our last request.
    pub local_cseq: u32,
}

/// A text that is no stored dialog: the line that could not be read, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadStoredDialog {
    /// Line number.
    pub line: usize,
}

impl fmt::Display for BadStoredDialog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "stored dialog: line {} is wrong", self.line)
    }
}

impl core::error::Error for BadStoredDialog {}

/// First line of the format.
const HEADING: &str = "dialog 1";

impl StoredDialog {
    pub(crate) fn new(flow: Flow, dialog: &Dialog) -> Self {
        Self {
            flow,
            call_id: dialog.call_id.to_string(),
            local_tag: dialog.local_tag.to_string(),
            remote_tag: dialog.remote_tag.to_string(),
            local_uri: dialog.local_uri.to_string(),
            remote_uri: dialog.remote_uri.to_string(),
            target: dialog.target.to_string(),
            routes: dialog.routes.iter().map(ToString::to_string).collect(),
            local_cseq: dialog.local_cseq,
        }
    }

    pub(crate) fn to_dialog(&self) -> Dialog {
        Dialog {
            call_id: self.call_id.as_str().into(),
            local_tag: self.local_tag.as_str().into(),
            remote_tag: self.remote_tag.as_str().into(),
            local_uri: self.local_uri.as_str().into(),
            remote_uri: self.remote_uri.as_str().into(),
            target: self.target.as_str().into(),
            has_contact: true,
            routes: self
                .routes
                .iter()
                .map(|route| route.as_str().into())
                .collect(),
            local_cseq: self.local_cseq,
            remote_cseq: None,
            // For a BYE, which has no Contact.
            secure: false,
        }
    }

    /// One value a line; no value can hold a line end.
    pub fn to_text(&self) -> String {
        let flow = &self.flow;
        let mut text = format!(
            "{HEADING}\n{} {} {}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n",
            flow.transport.parameter(),
            flow.local,
            flow.remote,
            self.call_id,
            self.local_tag,
            self.remote_tag,
            self.local_uri,
            self.remote_uri,
            self.target,
            self.local_cseq,
        );
        for route in &self.routes {
            text.push_str(route);
            text.push('\n');
        }
        text
    }

    /// Reads [`StoredDialog::to_text`].
    ///
    /// # Errors
    /// The number of the first line that is wrong.
    pub fn from_text(text: &str) -> Result<Self, BadStoredDialog> {
        let mut lines = Lines {
            lines: text.lines(),
            number: 0,
        };
        if lines.take()? != HEADING {
            return Err(lines.wrong());
        }
        let flow = lines.take()?;
        let flow = read_flow(flow).ok_or_else(|| lines.wrong())?;
        let mut fields = [const { String::new() }; 6];
        for field in &mut fields {
            lines.take()?.clone_into(field);
        }
        let [
            call_id,
            local_tag,
            remote_tag,
            local_uri,
            remote_uri,
            target,
        ] = fields;
        let cseq = lines.take()?;
        let local_cseq = cseq.parse().map_err(|_| lines.wrong())?;
        Ok(Self {
            flow,
            call_id,
            local_tag,
            remote_tag,
            local_uri,
            remote_uri,
            target,
            routes: lines.lines.map(str::to_owned).collect(),
            local_cseq,
        })
    }
}

struct Lines<'a> {
    lines: core::str::Lines<'a>,
    number: usize,
}

impl<'a> Lines<'a> {
    fn take(&mut self) -> Result<&'a str, BadStoredDialog> {
        self.number += 1;
        self.lines.next().ok_or(self.wrong())
    }

    fn wrong(&self) -> BadStoredDialog {
        BadStoredDialog { line: self.number }
    }
}

fn read_flow(line: &str) -> Option<Flow> {
    let mut words = line.split(' ');
    let transport = match words.next()? {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls,
        _ => return None,
    };
    Some(Flow {
        transport,
        local: words.next()?.parse().ok()?,
        remote: words.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialog() -> StoredDialog {
        StoredDialog {
            flow: Flow {
                transport: Transport::Udp,
                local: "192.0.2.1:5060".parse().expect("address"),
                remote: "[2001:db8::1]:5062".parse().expect("address"),
            },
            call_id: "abc@host".into(),
            local_tag: "l".into(),
            remote_tag: String::new(),
            local_uri: "sip:me@192.0.2.1".into(),
            remote_uri: "tel:+4930".into(),
            target: "sip:x@198.51.100.1:5070;transport=udp".into(),
            routes: vec!["<sip:p1;lr>".into(), "\"x\" <sip:p2;lr>".into()],
            local_cseq: 77,
        }
    }

    #[test]
    fn a_stored_dialog_comes_back_as_it_was() {
        assert_eq!(StoredDialog::from_text(&dialog().to_text()), Ok(dialog()));
    }

    #[test]
    fn a_damaged_text_names_its_line() {
        let text = dialog().to_text().replace("udp ", "dccp ");
        let found = StoredDialog::from_text(&text);
        assert_eq!(found, Err(BadStoredDialog { line: 2 }));
        assert_eq!(
            StoredDialog::from_text("dialog 1\n"),
            Err(BadStoredDialog { line: 2 })
        );
    }
}
