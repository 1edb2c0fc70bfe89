//! What a start made ready and nobody changes while it runs: settings, books,
//! prompts, ways out; and the channel of those who look on.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use offhook_core::{Book, Program};
use tokio::sync::broadcast;

use crate::control::{Order, Told};
use crate::prompts::Prompts;
use crate::settings::{Destination, Settings};
use crate::signalling;
use crate::trunks::Trunks;

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
    /// Those who look on.
    pub events: broadcast::Sender<Arc<Told>>,
}

impl House {
    /// What a call to this user goes by.
    pub fn book_for(&self, called: &str) -> Option<Arc<Book>> {
        let destination = self.settings.destination(called)?;
        self.settings.books.book(&destination).map(Arc::new)
    }

    /// Whether a call that goes there is listened to: by the ear, and by the tape
    /// where calls are recorded.
    pub fn listens(&self, program: &Program) -> bool {
        match program {
            Program::Playbook(_) => true,
            Program::Test(_) => self.settings.tests_heard,
        }
    }

    /// What is said in a conversation by this book; nothing on a test line.
    pub fn prompts_of(&self, book: &Book) -> Arc<Prompts> {
        match &book.program {
            Program::Playbook(playbook) => self.prompts.get(&playbook.name).cloned(),
            Program::Test(_) => None,
        }
        .unwrap_or_default()
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
        let book = self
            .settings
            .books
            .book(&Destination::Playbook(playbook.clone()));
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
        ];
        let endpoint = [
            ("sip_malformed", endpoint.malformed_total()),
            ("sip_strangers", endpoint.refused_strangers),
            ("sip_retransmitted", endpoint.retransmitted),
            ("sip_over_limit", endpoint.refused_by_limit),
            ("sip_unknown_dialog", endpoint.unknown_dialog),
            ("sip_timeouts", endpoint.timeouts),
        ];
        let sockets = sockets.map(|(name, counter)| (name, counter.load(Ordering::Relaxed)));
        let all = sockets.into_iter().chain(endpoint);
        all.map(|(name, count)| (name.to_owned(), count)).collect()
    }
}
