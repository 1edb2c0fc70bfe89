//! Which legs of one media thread are joined, and what is on its way between them:
//! frames in a [`Playout`] for each direction, and keys.
//!
//! It does not decide who is joined and knows no packets. Owned by the thread; the
//! legs reach it through their outlet. Does not allocate after [`Bridges::new`].

use heapless::Deque;
use offhook_dsp::FRAME;

use super::playout::{Playout, PlayoutFigures};

/// Keys on their way; further ones are dropped.
const KEYS: usize = 32;

#[derive(Default)]
struct End {
    partner: Option<u16>,
    playout: Playout,
    keys: Deque<u8, KEYS>,
}

/// One end for each slot of the thread.
pub struct Bridges(Vec<Option<End>>);

impl Bridges {
    /// Nobody is joined.
    pub fn new(slots: usize) -> Self {
        let mut ends = Vec::with_capacity(slots);
        // What is not joined costs no memory but its place.
        ends.resize_with(slots, || None);
        Self(ends)
    }

    /// A new call is on this slot.
    pub fn clear(&mut self, slot: usize) {
        self.part(slot);
        self.0[slot] = None;
    }

    /// These two hear each other from now on, and nobody else.
    pub fn join(&mut self, one: u16, other: u16) {
        for (slot, partner) in [(one, other), (other, one)] {
            self.clear(slot.into());
            self.0[usize::from(slot)] = Some(End {
                partner: Some(partner),
                ..End::default()
            });
        }
    }

    /// Whoever is on this slot is alone from now on.
    pub fn part(&mut self, slot: usize) {
        let partner = self.0[slot].as_mut().and_then(|end| end.partner.take());
        if let Some(end) = partner.and_then(|partner| self.0[usize::from(partner)].as_mut()) {
            end.partner = None;
        }
    }

    /// With whom a slot is joined.
    pub fn partner(&self, slot: usize) -> Option<usize> {
        self.0[slot].as_ref()?.partner.map(usize::from)
    }

    /// A frame that this slot's line brought.
    pub fn pass(&mut self, slot: usize, low: &[i16; FRAME], high: &[i16; FRAME]) {
        if let Some(end) = self.partner_end(slot) {
            end.playout.push(low, high);
        }
    }

    /// A key that this slot's peer has pressed.
    pub fn pass_key(&mut self, slot: usize, key: u8) {
        if let Some(end) = self.partner_end(slot) {
            // Full: who presses 32 keys faster than they can be sent is no person.
            let _ = end.keys.push_back(key);
        }
    }

    /// What this slot is to say next of the other; `false` if there is nothing.
    pub fn take(&mut self, slot: usize, low: &mut [i16; FRAME], high: &mut [i16; FRAME]) -> bool {
        let end = self.0[slot].as_mut().filter(|end| end.partner.is_some());
        end.is_some_and(|end| end.playout.pull(low, high))
    }

    /// The next key that this slot is to send.
    pub fn take_key(&mut self, slot: usize) -> Option<u8> {
        self.0[slot].as_mut()?.keys.pop_front()
    }

    /// How the playout of this slot fared, if it was ever joined.
    pub fn figures(&self, slot: usize) -> Option<PlayoutFigures> {
        self.0[slot].as_ref().map(|end| end.playout.figures())
    }

    fn partner_end(&mut self, slot: usize) -> Option<&mut End> {
        let partner = self.partner(slot)?;
        self.0[partner].as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_joined_anew_leaves_the_former_partner_alone() {
        let mut bridges = Bridges::new(3);
        bridges.join(0, 1);
        bridges.pass_key(0, b'5');
        assert_eq!(bridges.take_key(1), Some(b'5'));
        bridges.join(1, 2);
        assert_eq!(bridges.partner(0), None);
        assert_eq!((bridges.partner(1), bridges.partner(2)), (Some(2), Some(1)));
        bridges.pass(0, &[1; FRAME], &[0; FRAME]);
        bridges.part(2);
        assert_eq!(bridges.partner(1), None);
        assert!(bridges.figures(1).is_some());
        bridges.clear(1);
        assert_eq!(bridges.figures(1), None);
    }
}
