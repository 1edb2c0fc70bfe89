//! What the ear costs per 10 ms, beside detectors and a canceller that others use.
//!
//! `cargo bench -p offhook-dsp`: one line per condition, mean and worst frame in
//! instructions (counted by valgrind's callgrind, which gives the same number every
//! time, where it is installed) and nanoseconds. Sounds are generated. One word after `--`
//! runs the lines that contain it. Exits 1 when the ear costs more than it may.

#[path = "cost/peers.rs"]
mod peers;
#[path = "cost/scenes.rs"]
mod scenes;

use std::hint::black_box;
use std::process::{Command, ExitCode};

use offhook_dsp::{Ear, Events, Line, Source};
use scenes::{SCENES, Scene};

/// Frames that come before the measured ones.
const SETTLE: usize = 300;
/// Frames measured.
const MEASURED: usize = 400;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [run, name] = words.as_slice()
        && run == "--run"
    {
        run_one(name);
        return ExitCode::SUCCESS;
    }
    let wanted = words.iter().find(|word| !word.starts_with('-'));
    println!(
        "{:46} {:>12} {:>10} {:>8}",
        "", "instructions", "worst", "ns"
    );
    let names = SCENES.iter().map(|scene| scene.name);
    let (mut over, mut uncounted) = (0, 0);
    for name in names.chain(peers::NAMES) {
        if wanted.is_none_or(|word| name.contains(word.as_str())) {
            match print_line(name) {
                Cost::Within => {}
                Cost::Over => over += 1,
                Cost::Uncounted => uncounted += 1,
            }
        }
    }
    println!("per 10 ms of 8 kHz sound; ns: the best of five runs");
    println!("an ear takes {} bytes", size_of::<Ear>());
    if uncounted > 0 {
        println!("SKIPPED: {uncounted} lines were not counted: valgrind is not installed");
    }
    if over > 0 {
        println!("FAILED: {over} lines cost more than they may");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// How a line stands against its limit.
enum Cost {
    Within,
    Over,
    /// There is nothing that counts instructions.
    Uncounted,
}

fn print_line(name: &str) -> Cost {
    if let Some(reason) = peers::reason_to_skip(name) {
        println!("{name:46} skipped: {reason}");
        return Cost::Within;
    }
    let nanoseconds = time(name);
    let Some((mean, worst)) = instructions(name) else {
        println!("{name:46} {:>12} {:>10} {nanoseconds:>8.0}", "-", "-");
        return Cost::Uncounted;
    };
    let scene = SCENES.iter().find(|scene| scene.name == name);
    let limit = scene.map_or(u64::MAX, Scene::limit);
    let over = mean > limit || (scene.is_some() && worst > 3 * mean.min(limit));
    let word = if over { "  OVER" } else { "" };
    println!("{name:46} {mean:>12} {worst:>10} {nanoseconds:>8.0}{word}");
    if over { Cost::Over } else { Cost::Within }
}

/// Runs the measured frames once, as callgrind sees them.
fn run_one(name: &str) {
    let mut step = stepper(name);
    for frame in 0..SETTLE + MEASURED {
        if frame < SETTLE {
            step(frame);
        } else {
            measured_frame(&mut step, frame);
        }
    }
}

/// A frame that callgrind counts: it looks for this name.
#[inline(never)]
fn measured_frame(step: &mut dyn FnMut(usize), frame: usize) {
    step(frame);
    black_box(frame);
}

fn stepper(name: &str) -> Box<dyn FnMut(usize)> {
    match SCENES.iter().find(|scene| scene.name == name) {
        Some(scene) => ear(scene),
        None => peers::stepper(name),
    }
}

fn ear(scene: &'static Scene) -> Box<dyn FnMut(usize)> {
    let mut ear = Ear::new();
    let sound = scene.sound(SETTLE + MEASURED);
    Box::new(move |frame| {
        let (near, far) = &sound[frame];
        let line = Line {
            source: Source::Received,
            playout_shift: 0,
            answered: scene.answered,
            prompt: scene.prompt(),
        };
        let mut out = Events::new();
        ear.hear(black_box(near), far, line, &mut out);
        black_box(&out);
    })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark times")]
fn time(name: &str) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let mut step = stepper(name);
        (0..SETTLE).for_each(&mut step);
        let begun = std::time::Instant::now();
        (SETTLE..SETTLE + MEASURED).for_each(&mut step);
        best = best.min(begun.elapsed().as_nanos() as f64 / MEASURED as f64);
    }
    best
}

/// Instructions of the mean and of the worst frame; nothing without valgrind.
fn instructions(name: &str) -> Option<(u64, u64)> {
    let folder = std::env::temp_dir().join(format!("offhook-cost-{}", std::process::id()));
    std::fs::create_dir_all(&folder).ok()?;
    // A file a frame: what was counted since the file before.
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*measured_frame*"])
        .arg("--dump-after=cost::measured_frame*")
        .arg(format!("--callgrind-out-file={}/frame", folder.display()))
        .arg(std::env::current_exe().ok()?)
        .args(["--run", name])
        .output();
    let counts: Vec<u64> = std::fs::read_dir(&folder)
        .ok()?
        .filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok())
        .filter_map(|text| count_of(&text))
        .filter(|&count| count > 0)
        .collect();
    let _ = std::fs::remove_dir_all(&folder);
    ran.ok()?;
    let worst = *counts.iter().max()?;
    Some((counts.iter().sum::<u64>() / MEASURED as u64, worst))
}

fn count_of(dump: &str) -> Option<u64> {
    let totals = dump
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))?;
    totals.trim().parse().ok()
}
