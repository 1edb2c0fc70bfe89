//! Callers with whom no conversation can be had: sent elsewhere, connected with a
//! person, or told so by an apology that takes a number; a refusal where neither can be. Which of these, the
//! route says (`fallback`).
//!
//! It decides nothing else about a call: what is said and noted, the playbook of the
//! apology and the gate decide as ever. Called where calls come in.

use std::sync::Arc;

use offhook_core::input::Cause;
use offhook_core::{Book, Program};

use super::Decision;
use crate::house::{House, Unfit};
use crate::settings::{APOLOGY, Destination, Fallback};

/// Why no conversation can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inability {
    /// We are to stop.
    Draining,
    /// As many calls as there may be.
    Full,
    /// The store keeps nothing, so nothing can be promised.
    Store,
    /// The playbook is wrong, or its prompts cannot be spoken.
    Playbook,
    /// The playbook lives by words, and no engine is there to hear them.
    Engine,
}

impl Inability {
    /// For logs and timelines.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Full => "no room",
            Self::Store => "the store keeps nothing",
            Self::Playbook => "the playbook is broken",
            Self::Engine => "no engine hears words",
        }
    }
}

/// Instead of the conversation that was wanted.
pub(super) struct Apology {
    pub(super) why: Inability,
    /// Whom to call for them first; empty, when nobody.
    pub(super) person: String,
}

/// What becomes of a call that comes in.
pub(super) enum Reception {
    /// A conversation by this book; an apology, where there is a reason for one.
    Seat(Arc<Book>, Option<Apology>),
    /// Sent there.
    Elsewhere(String, Inability),
    /// Refused.
    Refuse(Cause, &'static str),
}

impl Decision {
    /// What becomes of a call to that user.
    pub(super) fn receive(&self, called: &str) -> Reception {
        let settings = &self.house.settings;
        let Some(to) = settings.destination(called) else {
            return Reception::Refuse(Cause::NoRoute, "no route");
        };
        let fit = self.house.fit(&to);
        let conversation = matches!(to, Destination::Playbook(_));
        let told = settings.fallback(called);
        let why = match &fit {
            _ if self.stopping => Inability::Draining,
            _ if !self.board.has_room() => Inability::Full,
            Err(Unfit::Broken) => Inability::Playbook,
            Err(Unfit::Deaf) => Inability::Engine,
            // Who cannot be served otherwise hears in the conversation that it could
            // not be saved.
            Ok(_) if conversation && !self.store_works && told.is_some() => Inability::Store,
            Ok(book) => return Reception::Seat(Arc::clone(book), None),
        };
        match told.filter(|_| conversation) {
            Some(Fallback::Elsewhere(uri)) => Reception::Elsewhere(uri.clone(), why),
            Some(Fallback::Person(number)) => self.apologise(why, number),
            Some(Fallback::Message) => self.apologise(why, ""),
            // Where we have no room, another box may: a refusal lets the caller's side try.
            None if matches!(why, Inability::Draining | Inability::Full) => {
                Reception::Refuse(Cause::Overload, why.name())
            }
            None => self.apologise(why, ""),
        }
    }

    fn apologise(&self, why: Inability, person: &str) -> Reception {
        let apology = Destination::Playbook(APOLOGY.to_owned());
        match self.house.fit(&apology) {
            Ok(book) if self.board.has_spare() => {
                let person = person.to_owned();
                Reception::Seat(book, Some(Apology { why, person }))
            }
            Ok(_) | Err(_) => Reception::Refuse(Cause::Overload, why.name()),
        }
    }
}

impl House {
    /// What a conversation that goes there goes by, if it can be had now.
    fn fit(&self, to: &Destination) -> Result<Arc<Book>, Unfit> {
        let book = self.book(to).ok_or(Unfit::Broken)?;
        match &book.program {
            Program::Playbook(it) if it.needs_words && !self.is_listening() => Err(Unfit::Deaf),
            Program::Playbook(_) | Program::Test(_) => Ok(Arc::new(book)),
        }
    }
}
