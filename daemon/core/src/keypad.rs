//! Collects keys. In a secret collection it learns how many, never which; the
//! media edge says when they are complete.

use crate::input::Digit;
use crate::playbook::Collect;

/// What a key did to the collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More are awaited.
    More,
    /// Complete, with the keys.
    Complete(String),
    /// Ended by the terminator before it was complete.
    Short,
}

#[derive(Debug)]
pub(crate) struct Keypad {
    wanted: Collect,
    keys: String,
    count: usize,
}

impl Keypad {
    pub(crate) fn new(wanted: Collect) -> Self {
        Self {
            wanted,
            keys: String::new(),
            count: 0,
        }
    }

    pub(crate) fn wanted(&self) -> &Collect {
        &self.wanted
    }

    /// Some keys have come, not all.
    pub(crate) fn is_begun(&self) -> bool {
        self.count > 0
    }

    pub(crate) fn press(&mut self, digit: Digit) -> Progress {
        self.count = self.count.saturating_add(1);
        let Digit::Key(key) = digit else {
            return Progress::More;
        };
        if self.wanted.secret.is_some() {
            // A key of before: what is secret comes masked.
            return Progress::More;
        }
        if Some(key) == self.wanted.terminator {
            self.count -= 1;
            return self.finish();
        }
        self.keys.push(key);
        match self.count >= self.wanted.digits {
            true => self.finish(),
            false => Progress::More,
        }
    }

    /// No more will come: with a terminator any number will do, without one all.
    pub(crate) fn finish(&mut self) -> Progress {
        let enough = match (&self.wanted.secret, self.wanted.terminator) {
            // The media edge has not sealed them.
            (Some(_), _) => false,
            (None, Some(_)) => self.count > 0,
            (None, None) => self.count >= self.wanted.digits,
        };
        let keys = core::mem::take(&mut self.keys);
        self.count = 0;
        match enough {
            true => Progress::Complete(keys),
            false => Progress::Short,
        }
    }
}
