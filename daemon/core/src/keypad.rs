//! Collects keys. In a secret collection it learns how many, never which.

use crate::input::Digit;
use crate::playbook::Collect;

/// What a key did to the collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More are awaited.
    More,
    /// Complete, with the keys; none of a secret.
    Complete(Option<String>),
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
        if let (Digit::Key(key), false) = (digit, self.wanted.secret) {
            if Some(key) == self.wanted.terminator {
                return self.finish();
            }
            self.keys.push(key);
        }
        self.count = self.count.saturating_add(1);
        match self.count >= self.wanted.digits {
            true => self.finish(),
            false => Progress::More,
        }
    }

    /// No more will come: with a terminator any number will do, without one all.
    pub(crate) fn finish(&mut self) -> Progress {
        let enough = match self.wanted.terminator {
            Some(_) => self.count > 0,
            None => self.count >= self.wanted.digits,
        };
        let keys = core::mem::take(&mut self.keys);
        self.count = 0;
        match enough {
            true => Progress::Complete((!self.wanted.secret).then_some(keys)),
            false => Progress::Short,
        }
    }
}
