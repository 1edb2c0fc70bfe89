//! The user agent of a trunk's test: the daemon's endpoint on one connection,
//! with all messages kept as they were, so that a report can show them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use offhook_sip::{Command, Endpoint, EndpointConfig, Event, Flow, Input, Output};

use super::super::hosts::Hosts;
use super::sound::Sound;
use super::wire::Wire;
use crate::clock;
use crate::media::system::random;

/// Messages that are kept.
const TAPE_MAX: usize = 2000;

/// A message as it was sent or came.
pub(super) struct Message {
    pub(super) sent: bool,
    pub(super) text: String,
}

impl Message {
    pub(super) fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The first value of a header, by its long name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known
                .trim()
                .eq_ignore_ascii_case(name)
                .then(|| value.trim())
        })
    }

    pub(super) fn body(&self) -> &str {
        self.text
            .split_once("\r\n\r\n")
            .map_or("", |(_, body)| body)
    }

    fn is_answer_to(&self, method: &str) -> bool {
        let cseq = self.header("CSeq").unwrap_or_default();
        !self.sent && self.text.starts_with("SIP/2.0 ") && cseq.ends_with(method)
    }
}

/// The agent.
pub(super) struct Probe {
    pub(super) endpoint: Endpoint,
    pub(super) wire: Wire,
    hosts: Hosts,
    pub(super) sound: Option<Sound>,
    pub(super) tape: Vec<Message>,
    events: VecDeque<Event>,
}

impl Probe {
    /// # Errors
    /// The system gives no randomness.
    pub(super) fn new(
        wire: Wire,
        mut config: EndpointConfig,
        name_servers: &[SocketAddr],
    ) -> Result<Self, String> {
        let seed = random().map_err(|error| error.to_string())?;
        config.session_expires = 1800;
        Ok(Self {
            endpoint: Endpoint::new(config, seed),
            wire,
            hosts: Hosts::new(name_servers.to_vec(), None),
            sound: None,
            tape: Vec::new(),
            events: VecDeque::new(),
        })
    }

    pub(super) fn command(&mut self, command: Command) {
        self.endpoint.handle(clock::now(), Input::Command(command));
        self.drain();
    }

    /// One look at all that may have happened.
    pub(super) fn step(&mut self) {
        if let Some(located) = self.hosts.next() {
            self.endpoint.handle(clock::now(), located);
        }
        if let Some((remote, bytes)) = self.wire.next() {
            self.keep(false, &bytes);
            let bytes = &bytes;
            let flow = Flow {
                remote,
                ..self.wire.flow
            };
            self.endpoint
                .handle(clock::now(), Input::Packet { flow, bytes });
        } else {
            self.endpoint.handle(clock::now(), Input::Wake);
        }
        self.drain();
        if let Some(sound) = &mut self.sound {
            sound.step(clock::now());
        }
    }

    fn drain(&mut self) {
        loop {
            match self.endpoint.poll() {
                Output::Transmit { flow, bytes, .. } => {
                    self.keep(true, &bytes);
                    self.wire.send(flow.remote, &bytes);
                }
                Output::Event(event) => self.events.push_back(event),
                Output::Locate(name) => self.hosts.ask(name),
                Output::Wait(_) => return,
            }
        }
    }

    fn keep(&mut self, sent: bool, bytes: &[u8]) {
        if self.tape.len() < TAPE_MAX {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.tape.push(Message { sent, text });
        }
    }

    /// Waits for an event that means something; the others are dropped.
    pub(super) fn wait<T>(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(Event) -> Option<T>,
    ) -> Option<T> {
        let end = clock::now() + limit;
        loop {
            while let Some(event) = self.events.pop_front() {
                if let Some(found) = wanted(event) {
                    return Some(found);
                }
            }
            if clock::now() >= end {
                return None;
            }
            self.step();
        }
    }

    /// The last answer to a method.
    pub(super) fn answer_to(&self, method: &str) -> Option<&Message> {
        let mut found = self.tape.iter().rev();
        found.find(|message| message.is_answer_to(method))
    }

    /// The last answer to a method as a report shows it.
    pub(super) fn shown(&self, method: &str) -> String {
        match self.answer_to(method) {
            Some(message) => message.first_line().to_owned(),
            None => match &self.wire.gone {
                Some(why) => format!("no answer to {method}: {why}"),
                None => format!("no answer to {method}"),
            },
        }
    }
}
