//! Scenario files: see `scenarios.rs` for how they are written.

use core::time::Duration;

use super::stage::Stage;

/// When the speech ended that is told as over now, where the line says so.
fn happened(event: &str) -> Option<Duration> {
    let (word, at) = event.split_once(' ')?;
    let looks_back = ["quiet", "turn_over"].contains(&word);
    looks_back.then(|| Duration::from_secs_f64(at.parse().expect("seconds")))
}

/// The scenario with what really happens in the place of its `>` lines, and a digest of
/// every output, whole.
pub fn play(written: &str) -> (String, u64) {
    let mut stage: Option<Stage> = None;
    let mut text = String::new();
    for line in written.lines().filter(|line| !line.starts_with("> ")) {
        text.push_str(line);
        text.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (first, rest) = line.split_once(' ').expect("two words");
        if first == "book" {
            stage = Some(Stage::new(super::book(rest)));
            continue;
        }
        let stage = stage.as_mut().expect("`book` comes first");
        let now = Duration::from_secs_f64(first.parse().expect("seconds"));
        let said = if rest == "wait" {
            stage.wait_until(now)
        } else {
            let before = now.saturating_sub(Duration::from_millis(1));
            let early = stage.wait_until(before);
            if !early.is_empty() {
                // Not as written: it did something of itself before.
                let line = text.len() - line.len() - 1;
                let wait = format!("{} wait\n> {}\n", before.as_secs_f64(), early.join("\n> "));
                text.insert_str(line, &wait);
            }
            let event = stage.event(rest);
            stage.handle_of(happened(rest).unwrap_or(now), now, event)
        };
        for output in said {
            text.push_str("> ");
            text.push_str(&output);
            text.push('\n');
        }
    }
    let digest = stage.map_or(0, |stage| stage.digest);
    (text, digest)
}
