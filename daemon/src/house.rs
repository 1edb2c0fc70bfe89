//! What a start made ready and nobody changes while it runs: settings, books,
//! prompts, ways out; and the channel of those who look on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, PoisonError};

use offhook_core::input::{Text, Texts};
use offhook_core::{Book, Policy, Program};
use tokio::sync::{broadcast, watch};

use crate::control::{Order, Told};
use crate::courier::Courier;
use crate::prompts::Prompts;
use crate::settings::{CheckedPolicy, Destination, Page, Settings, Sources, read_barred};
use crate::signalling;
use crate::trunks::Trunks;
use crate::zones::Zones;

/// Everything that is ready before the first call.
pub struct House {
    /// The config, with policy, actions and playbooks.
    pub settings: Settings,
    /// Prompts by playbook.
    pub prompts: BTreeMap<String, Arc<Prompts>>,
    /// Ways out.
    pub trunks: Trunks,
    /// The SIP sockets' counters.
    pub sip: Arc<signalling::Counters>,
    /// Carries secrets to their sinks.
    pub courier: Courier,
    /// Calls whose two callers heard each other too late.
    pub playout_over_bound: AtomicU64,
    /// Packets of sound that came from somewhere else than their call's peer.
    pub rtp_foreign: AtomicU64,
    /// And those whose seal was wrong (SRTP).
    pub rtp_forged: AtomicU64,
    /// Playbooks that cannot be used, and why.
    pub broken: BTreeMap<String, String>,
    /// Engines that are connected.
    pub engines: AtomicUsize,
    /// Those who look on.
    pub events: broadcast::Sender<Arc<Told>>,
    /// The policy that holds; the one thing here that changes.
    pub governing: watch::Sender<Governing>,
}

/// Why a conversation cannot be had by a playbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is wrong, or its prompts cannot be spoken.
    Broken,
    /// It lives by words, and nobody hears any.
    Deaf,
}

/// What the gate's facts come from beside the daemon's own books: read at the start,
/// and again with the policy.
#[derive(Debug)]
pub struct Rules {
    /// Numbers that must not be called.
    pub barred: BTreeSet<String>,
    /// Where numbers are, and what time it is there.
    pub zones: Zones,
}

impl Rules {
    /// Reads them anew.
    ///
    /// # Errors
    /// What is wrong, one line each; the old ones stay.
    pub fn read(settings: &Settings) -> Result<Self, String> {
        let barred = settings.outbound.barred.as_deref().map(read_barred);
        let barred = barred.transpose().map_err(|faults| faults.join("\n"))?;
        Ok(Self {
            barred: barred.unwrap_or_default(),
            zones: Zones::load(),
        })
    }
}

/// A policy that passed its cases, with the text it was made from.
#[derive(Clone, Debug)]
pub struct Governing {
    /// What the gate goes by.
    pub policy: Arc<Policy>,
    /// Its name and the hash of its text.
    pub text: Text,
    content: Option<Arc<str>>,
}

impl Governing {
    /// The policy that the config named at the start.
    pub fn at_start(settings: &Settings) -> Self {
        Self {
            policy: Arc::clone(&settings.books.policy),
            text: settings.books.sources.policy.clone(),
            content: None,
        }
    }

    /// One that came later.
    pub fn later(checked: CheckedPolicy) -> Self {
        let mut sources = Sources::default();
        let text = sources.add(checked.policy.name(), checked.page.text());
        Self {
            policy: Arc::new(checked.policy),
            text,
            content: Some(checked.page.text().into()),
        }
    }

    /// The text, where it is not among those of the start.
    pub fn texts(&self) -> Option<(&str, &str)> {
        Some((&self.text.hash, self.content.as_deref()?))
    }
}

impl House {
    /// An engine is there that hears words.
    pub fn is_listening(&self) -> bool {
        // Relaxed: a number that is looked at, it orders nothing.
        self.engines.load(Ordering::Relaxed) > 0
    }

    /// What a conversation that goes there goes by, under the policy that holds; none
    /// where the playbook is broken.
    pub fn book(&self, destination: &Destination) -> Option<Book> {
        let policy = self.policy();
        let book = self.settings.books.book(destination)?;
        Some(Book { policy, ..book })
    }

    /// The policy that holds.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.governing.borrow().policy)
    }

    /// Another one holds from now on.
    pub fn govern(&self, governing: Governing) {
        self.governing.send_replace(governing);
    }

    /// What a conversation by that program is replayed with.
    pub fn texts(&self, program: &Program) -> Texts {
        Texts {
            policy: self.governing.borrow().text.clone(),
            ..self.settings.books.sources.of(program)
        }
    }

    /// A policy compiled against this house's actions, its cases run.
    ///
    /// # Errors
    /// All that is wrong with it, one line each.
    pub fn check(&self, page: Page) -> Result<CheckedPolicy, String> {
        CheckedPolicy::of(page, &self.settings.books.catalogue).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })
    }

    /// What is said in a conversation by this book; nothing on a test line.
    pub fn prompts_of(&self, book: &Book) -> Arc<Prompts> {
        static NONE: LazyLock<Arc<Prompts>> = LazyLock::new(Arc::default);
        match &book.program {
            Program::Playbook(playbook) => self.prompts.get(&playbook.name).cloned(),
            Program::Test(_) => None,
        }
        .unwrap_or_else(|| Arc::clone(&NONE))
    }

    /// Book and trunk of an outbound call, by the order or else by the config.
    ///
    /// # Errors
    /// What is missing, and what to say.
    pub fn outbound(&self, order: &Order) -> Result<(Arc<Book>, String), String> {
        let outbound = &self.settings.outbound;
        let playbook = order.playbook.clone().or_else(|| outbound.playbook.clone());
        let playbook = playbook
            .ok_or("no playbook: name one, or set `playbook` under [outbound] in the config")?;
        let book = self.book(&Destination::Playbook(playbook.clone()));
        let book = book.ok_or_else(|| format!("there is no playbook `{playbook}`"))?;
        let trunk = order.trunk.clone().or_else(|| outbound.trunk.clone());
        let trunk =
            trunk.ok_or("no trunk: name one, or set `trunk` under [outbound] in the config")?;
        if self.settings.trunk(&trunk).is_none() {
            return Err(format!("there is no trunk `{trunk}`"));
        }
        Ok((Arc::new(book), trunk))
    }

    /// Counters by name, for `offhook status`.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let sip = &self.sip;
        let endpoint = sip.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let sockets = [
            ("sip_received", &sip.received),
            ("sip_sent", &sip.sent),
            ("sip_send_failed", &sip.send_failed),
            ("sip_inbox_full", &sip.inbox_full),
            ("sip_streams_refused", &sip.streams_refused),
            ("sip_streams_slow", &sip.streams_slow),
            ("sip_streams_stalled", &sip.streams_stalled),
            ("sip_streams_unreadable", &sip.streams_unreadable),
            ("sip_tls_failed", &sip.tls_failed),
            ("calls_refused", &sip.calls_refused),
            ("rtp_foreign", &self.rtp_foreign),
            ("rtp_forged", &self.rtp_forged),
            ("playout_over_bound", &self.playout_over_bound),
        ];
        let endpoint = [
            ("sip_malformed", endpoint.malformed_total()),
            ("sip_strangers", endpoint.refused_strangers),
            ("sip_retransmitted", endpoint.retransmitted),
            ("sip_over_limit", endpoint.refused_by_limit),
            ("sip_unknown_dialog", endpoint.unknown_dialog),
            ("sip_timeouts", endpoint.timeouts),
            ("sip_unreachable", endpoint.unreachable),
            ("sip_challenged", endpoint.challenged),
            ("sip_strangers_ignored", endpoint.ignored_strangers),
            ("sip_asked", endpoint.asked),
            ("sip_wrong_passwords", endpoint.wrong_passwords),
            ("sip_long_requests", endpoint.long_requests),
            ("sip_rerouted", endpoint.rerouted),
            ("sip_redirected", endpoint.redirected),
            ("calls_not_placed", self.trunks.refused_calls()),
        ];
        let sockets = sockets.map(|(name, counter)| (name, counter.load(Ordering::Relaxed)));
        let all = sockets.into_iter().chain(endpoint);
        all.map(|(name, count)| (name.to_owned(), count)).collect()
    }
}
