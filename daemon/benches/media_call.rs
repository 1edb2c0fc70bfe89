//! What one call costs a media thread: instructions per 20 ms, counted by callgrind.
//!
//! ```text
//! cargo bench -p offhook --bench media_call --no-run
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*media_step*' \
//!     target/release/deps/media_call-* prompt
//! ```
//!
//! divided by the number of steps that it prints. The scene is `prompt` (we
//! speak, the caller is silent), `caller` (the caller speaks, we do not) or
//! `both`. Without valgrind it says the CPU time instead. `idle` says what an
//! idle pool of 4,000 slots keeps in memory.

#[path = "../tests/world/mod.rs"]
mod world;

use std::net::{IpAddr, Ipv4Addr};

use offhook::bell::Bell;
use offhook::clock;
use offhook::media::{Media, Settings};
use world::{World, script, speech};

/// 60 s.
const STEPS: u64 = 3_000;

/// All that the media thread does for one leg in 20 ms: a packet and two ticks.
#[inline(never)]
fn media_step(world: &mut World, packet: &[u8]) {
    world.datagram(world::PEER, packet);
    world.ms += 7;
    world.tick();
    world.ms += 10;
    world.tick();
    world.ms += 3;
}

fn main() {
    let scene = std::env::args().nth(1).unwrap_or_default();
    if scene == "idle" {
        return print_idle_pool();
    }
    let mut world = World::connected();
    if scene != "caller" {
        world.play_notice(script(70_000, 3_000));
    }
    if scene != "prompt" {
        world.say(&speech(65_000));
    }
    world.run(1_003);
    world.forget();
    let cpu = clock::cpu();
    for _ in 0..STEPS {
        let packet = world.next_packet();
        media_step(&mut world, &packet);
        world.forget();
    }
    let nanoseconds = (clock::cpu() - cpu).as_nanos() / u128::from(STEPS);
    println!("{STEPS} steps of 20 ms, {nanoseconds} ns each, packets and all");
}

fn print_idle_pool() {
    let before = resident_kilobytes();
    let settings = Settings {
        threads: 1,
        max_calls: 4_000,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ports: 20_000..=39_999,
        realtime: false,
        sensitivity: offhook_dsp::Sensitivity::DEFAULT,
        recordings: None,
        reserve: 0,
        cname: String::new(),
    };
    let media = Media::start(settings, Bell::new().expect("a descriptor")).expect("a pool");
    let after = resident_kilobytes();
    println!("4000 idle slots: {} kB resident", after - before);
    drop(media);
}

/// What Linux counts as resident (proc(5), `VmRSS`).
fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .expect("a number of kB")
}
