//! What we say: one utterance after the other, each judged at the moment it
//! begins, and what of it was really heard. It does not decide what to say.

use std::collections::VecDeque;

use crate::desk::{Desk, Scene};
use crate::id::{ActionId, Name, Turn};
use crate::objection::Doubt;
use crate::output::{Command, Play, Prompts, joined};

/// Utterances that wait; a further one is dropped.
const QUEUE_MAX: usize = 16;
/// An utterance that came too late this often is given up.
const TRIES_MAX: u8 = 4;
/// Utterances of which it is kept how much was heard.
const HEARD_MAX: usize = 32;

/// Why something is said, hence what follows when it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nothing follows.
    Plain,
    /// It is what a stage says, by its epoch.
    Stage(u32),
    /// It tells the caller that an action stands.
    Confirm(ActionId),
    /// It keeps the caller company while a person is called: nobody waits for its end.
    Company,
    /// It answers an objection.
    Answer(Doubt),
    /// The call ends after it.
    Last,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Utterance {
    pub(crate) prompts: Prompts,
    pub(crate) interruptible: bool,
    pub(crate) say_as: Name,
    pub(crate) purpose: Purpose,
    /// Which notice of the playbook it is, where it is one.
    pub(crate) notice: Option<usize>,
    /// How often it came too late.
    pub(crate) tries: u8,
}

impl Utterance {
    /// A notice that was cut before: nothing stops it now.
    fn is_firm_notice(&self) -> bool {
        self.notice.is_some() && !self.interruptible
    }

    fn over(self, finished: bool) -> Spoken {
        Spoken {
            purpose: self.purpose,
            notice: self.notice,
            finished,
        }
    }
}

#[derive(Clone, Debug)]
struct Playing {
    play: u32,
    turn: Turn,
    utterance: Utterance,
}

/// How much of an utterance was sent to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Number of the play.
    pub play: u32,
    /// Its prompts.
    pub prompts: Prompts,
    /// How much of it was sent, in ms.
    pub sent_ms: u32,
    /// To its end.
    pub finished: bool,
}

/// An utterance is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spoken {
    pub(crate) purpose: Purpose,
    pub(crate) notice: Option<usize>,
    pub(crate) finished: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Mouth {
    queue: VecDeque<Utterance>,
    playing: Option<Playing>,
    /// Cut by the caller; goes on if the caller did not mean it.
    cut: Option<Playing>,
    /// Stopped by us, until the media edge says how far it came.
    stopped: Option<Playing>,
    heard: VecDeque<Heard>,
    /// Notices that were begun, a bit each.
    begun: u32,
}

impl Mouth {
    pub(crate) fn say(&mut self, utterance: Utterance) {
        if !utterance.prompts.is_empty() && self.queue.len() < QUEUE_MAX {
            self.queue.push_back(utterance);
        }
    }

    /// Nothing is said and nothing waits to be said.
    pub(crate) fn is_idle(&self) -> bool {
        self.playing.is_none() && (self.queue.is_empty() || self.cut.is_some())
    }

    /// The notice was begun, and is neither being said nor waits to be.
    pub(crate) fn has_dropped(&self, notice: usize) -> bool {
        let playing = self.playing.iter().map(|playing| &playing.utterance);
        let mut all = playing.chain(&self.queue);
        self.begun & (1 << notice) != 0 && !all.any(|it| it.notice == Some(notice))
    }

    /// The caller may not interrupt what is being said.
    pub(crate) fn holds_the_floor(&self) -> bool {
        self.playing
            .as_ref()
            .is_some_and(|playing| !playing.utterance.interruptible)
    }

    /// A notice that was cut before is being said to its end.
    pub(crate) fn says_firm_notice(&self) -> bool {
        self.playing
            .as_ref()
            .is_some_and(|playing| playing.utterance.is_firm_notice())
    }

    /// The last words of the call are said or wait to be.
    pub(crate) fn has_last(&self) -> bool {
        let playing = self.playing.iter().map(|playing| &playing.utterance);
        playing
            .chain(&self.queue)
            .any(|utterance| utterance.purpose == Purpose::Last)
    }

    pub(crate) fn heard(&self) -> impl Iterator<Item = &Heard> {
        self.heard.iter()
    }

    /// Something waits to be said, and nothing stands in its way.
    pub(crate) fn may_begin(&self) -> bool {
        self.playing.is_none() && self.cut.is_none() && !self.queue.is_empty()
    }

    /// Begins the next utterance if none is under way, as who we are now; gives
    /// back one that the gate refused.
    pub(crate) fn begin(&mut self, desk: &mut Desk, scene: &Scene) -> Option<Spoken> {
        if !self.may_begin() {
            return None;
        }
        let utterance = self.queue.pop_front()?;
        let object = joined(&utterance.prompts);
        if !desk.allows(scene, &utterance.say_as, object) {
            return Some(utterance.over(false));
        }
        if let Some(notice) = utterance.notice {
            self.begun |= 1 << notice;
        }
        let play = desk.next_play();
        desk.command(Command::Play(Play {
            turn: desk.turn,
            play,
            prompts: utterance.prompts.clone(),
            interruptible: utterance.interruptible,
        }));
        let turn = desk.turn;
        self.playing = Some(Playing {
            play,
            turn,
            utterance,
        });
        None
    }

    /// We take the word back: the prompt fades, what waited is dropped.
    pub(crate) fn stop(&mut self, desk: &mut Desk) {
        let stops = |it: &mut Playing| !it.utterance.is_firm_notice();
        if let Some(playing) = self.playing.take_if(stops) {
            desk.command(Command::Stop { turn: desk.turn });
            // The media edge raises the turn at each stop; what follows is of that turn.
            desk.turn = Turn(desk.turn.0.saturating_add(1));
            self.stopped = Some(playing);
        }
        self.forget();
    }

    /// What only kept the caller company ends, for there is something to say.
    pub(crate) fn stop_company(&mut self, desk: &mut Desk) {
        let company = |it: &Playing| it.utterance.purpose == Purpose::Company;
        if self.playing.as_ref().is_some_and(company) {
            return self.stop(desk);
        }
        self.cut.take_if(|it| company(it));
    }

    /// What was cut is not taken up again, what waited is dropped, except the
    /// news that an action stands: it is owed to the caller.
    pub(crate) fn forget(&mut self) {
        self.cut = None;
        self.queue
            .retain(|utterance| matches!(utterance.purpose, Purpose::Confirm(_)));
    }

    /// What a notice says holds no more: who hears the rest of one that was begun has
    /// not heard what holds now. Gives whether one was.
    pub(crate) fn outdate(&mut self, notice: usize) -> bool {
        let slots = [&mut self.playing, &mut self.cut, &mut self.stopped];
        let begun = slots.into_iter().flatten();
        let mut was = false;
        for it in begun.filter(|it| it.utterance.notice == Some(notice)) {
            it.utterance.notice = None;
            was = true;
        }
        was
    }

    /// The action does not stand any more: nothing of it is said.
    pub(crate) fn unsay(&mut self, id: ActionId) {
        self.queue
            .retain(|utterance| utterance.purpose != Purpose::Confirm(id));
    }

    /// The caller took the word; the media edge has cut us.
    pub(crate) fn cut(&mut self) {
        if let Some(playing) = self.playing.take() {
            self.cut = Some(playing);
        }
    }

    /// The caller did not mean it: go on from the last word boundary.
    pub(crate) fn resume(&mut self, desk: &mut Desk, scene: &Scene) {
        let Some(cut) = self.cut.take() else { return };
        let object = joined(&cut.utterance.prompts);
        if !desk.allows(scene, &cut.utterance.say_as, object) {
            return;
        }
        let play = desk.next_play();
        desk.command(Command::Resume {
            turn: desk.turn,
            play,
        });
        let turn = desk.turn;
        self.playing = Some(Playing { play, turn, ..cut });
    }

    /// The media edge says how far a play came. `Some` when it was the one under way.
    pub(crate) fn played(&mut self, play: u32, sent_ms: u32, finished: bool) -> Option<Spoken> {
        let slots = [&self.playing, &self.cut, &self.stopped];
        let found = slots.into_iter().flatten().find(|it| it.play == play)?;
        let heard = Heard {
            play,
            prompts: found.utterance.prompts.clone(),
            sent_ms,
            finished,
        };
        if self.heard.len() == HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(heard);
        if let Some(playing) = self.playing.take_if(|it| it.play == play) {
            let spoken = playing.utterance.clone().over(finished);
            // Cut for a reason that is still on its way: a barge-in, or a stale turn.
            if !finished && spoken.purpose != Purpose::Last {
                self.cut = Some(playing);
            }
            return Some(spoken);
        }
        self.finished_after_all(play, finished)
    }

    /// The end of a prompt crossed the order to stop it.
    fn finished_after_all(&mut self, play: u32, finished: bool) -> Option<Spoken> {
        let ended = |it: &mut Playing| finished && it.play == play;
        let cut = self.cut.take_if(ended);
        let stopped = self.stopped.take_if(|it| it.play == play);
        let counts = |it: &Playing| {
            matches!(it.utterance.purpose, Purpose::Confirm(_)) || it.utterance.notice.is_some()
        };
        cut.or_else(|| stopped.filter(|it| finished && counts(it)))
            .map(|it| it.utterance.over(finished))
    }

    /// The prompt decided on that turn came too late: nothing of it was said. It
    /// waits until the caller is heard out, but is not tried for ever.
    pub(crate) fn stale(&mut self, turn: Turn) -> Option<Spoken> {
        let of_turn = |it: &mut Playing| it.turn == turn;
        let late = self.playing.take_if(of_turn);
        let late = late.or_else(|| self.cut.take_if(of_turn))?;
        let mut utterance = late.utterance;
        utterance.tries = utterance.tries.saturating_add(1);
        if utterance.tries >= TRIES_MAX {
            return Some(utterance.over(false));
        }
        self.queue.push_front(utterance);
        None
    }
}
