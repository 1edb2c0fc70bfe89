//! How much memory a conversation holds, and what an event allocates: a counting
//! allocator around whole conversations.

mod common;

use core::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use core::time::Duration;
use std::alloc::{GlobalAlloc, Layout, System};

use common::stage::Stage;
use offhook_core::input::{Cause, Digit, Fact, SilenceCause};
use offhook_core::{Conversation, ConversationId, Event, Input, LegEvent, LegId, Output};

/// Bytes now held, and allocations ever made.
static HELD: AtomicIsize = AtomicIsize::new(0);
static MADE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// Relaxed throughout: only sums are read, by the one test thread.
// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        MADE.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A conversation may hold this much (REQUIREMENTS: cost of the core).
const HELD_MAX: isize = 16 * 1024;

/// A conversation that has gone through everything up to the price.
const SCENARIO: &str = include_str!("scenarios/an_objection_drifts_over_four_turns.txt");

/// Plays the scenario up to its last answer, and looks at most held on the way.
fn most_held() -> isize {
    let book = common::book("sales");
    let mut most = 0;
    let before = HELD.load(Ordering::Relaxed);
    let mut stage = Stage::new(book);
    for line in SCENARIO
        .lines()
        .filter(|line| line.starts_with(|it: char| it.is_ascii_digit()))
    {
        let (at, input) = line.split_once(' ').expect("two words");
        if input.starts_with("ended") {
            break;
        }
        let now = Duration::from_secs_f64(at.parse().expect("seconds"));
        drop(stage.wait_until(now));
        if input != "wait" {
            let event = stage.event(input);
            drop(stage.handle(now, event));
        }
        most = most.max(HELD.load(Ordering::Relaxed) - before);
    }
    most
}

/// Events that decide nothing: speech, silence, a fact, a turn, a wakeup.
fn steady(n: u64) -> Event {
    let leg = |event| Event::Leg(LegId(0), event);
    match n % 6 {
        0 => leg(LegEvent::SpeechStart),
        1 => leg(LegEvent::SpeechPause),
        2 => leg(LegEvent::BargeInRetracted),
        3 => leg(LegEvent::Silence(SilenceCause::Quiet)),
        4 => leg(LegEvent::Digit(Digit::Masked)),
        _ => Event::Wake,
    }
}

fn allocations_per_thousand() -> usize {
    let book = common::book("sales");
    let mut conversation = Conversation::new(ConversationId(1), book);
    let mut give = |now: Duration, event| {
        conversation.handle(now, Input { at: now, event });
        while !matches!(conversation.poll(), Output::Wait(_)) {}
    };
    let offered = offhook_core::input::Offered {
        trunk: "main".to_owned(),
        caller: "+4930123456".to_owned(),
        called: "100".to_owned(),
        person: String::new(),
    };
    let store = Fact {
        name: "store_ok".to_owned(),
        value: Some(1),
    };
    give(Duration::ZERO, Event::Facts(vec![store]));
    give(Duration::ZERO, Event::Offered(offered));
    give(Duration::ZERO, Event::Leg(LegId(0), LegEvent::Answered));
    let hold = Event::Leg(LegId(0), LegEvent::Held(true));
    give(Duration::ZERO, hold);
    let made = MADE.load(Ordering::Relaxed);
    for n in 0..1_000 {
        give(Duration::from_millis(n), steady(n));
    }
    let made = MADE.load(Ordering::Relaxed) - made;
    let over = LegEvent::Ended(Cause::FarHangup);
    give(Duration::from_secs(2), Event::Leg(LegId(0), over));
    made
}

/// One test: the counters are of the whole process.
#[test]
fn a_conversation_is_small_and_an_event_that_decides_nothing_allocates_nothing() {
    let most = most_held();
    println!("a conversation holds {most} bytes at most");
    assert!(most <= HELD_MAX, "{most} bytes");
    let made = allocations_per_thousand();
    println!("{made} allocations in 1000 events that decide nothing");
    assert_eq!(made, 0);
}
