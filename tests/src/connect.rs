//! A line on which callers ask for a person: what the tests of transfers share.

use crate::daemon::Daemon;
use crate::place::Place;

/// The caller asks for a person by pressing 5, and is back in `waiting` when nobody
/// takes the call.
const PLAYBOOK: &str = r#"
name = "connect"
language = "en-US"
start = "waiting"

[prompts]
back = "Press five for a colleague."
connecting = "One moment."
hold_music = "(music)"
brief = "A caller. Press one to take the call."
nobody = "Nobody is there."
goodbye = "Goodbye."

[[stage]]
name = "waiting"
role = "transfer"
say = ["back"]
silence_ms = 60000

[[stage.on]]
when = ["5"]
go = "connect"

[[stage.on]]
when = ["silence"]
go = "goodbye"

[[stage]]
name = "connect"
role = "transfer"
say = ["connecting"]
transfer = { TRANSFER }

[[stage.on]]
when = ["transferred"]
go = "with_a_person"

[[stage.on]]
when = ["transfer_failed"]
say = ["nobody"]
go = "waiting"

[[stage]]
name = "with_a_person"
role = "transfer"
result = "transferred"
handed_over = true

[[stage]]
name = "goodbye"
role = "transfer"
say = ["goodbye"]
end = true
"#;

/// A daemon with that line under `connect`; `transfer` is what `[stage.transfer]` says.
///
/// # Panics
/// When its directory cannot be written.
pub fn daemon(scene: &str, transfer: &str) -> Daemon {
    let place = Place::new();
    std::fs::create_dir(place.file("books")).expect("a directory of the test");
    place.write("books/connect.toml", PLAYBOOK.replace("TRANSFER", transfer));
    let text = format!(
        "playbooks = \"{{dir}}/books\"\n{scene}[[route]]\ncalled = \"connect\"\nplaybook = \"connect\"\n"
    );
    Daemon::start_in(place, &text)
}
