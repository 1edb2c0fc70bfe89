//! `barge-in COUNT`: so many callers talk over the prompt, each at another
//! moment; prints how many packets of ours (20 ms) still came after each
//! caller's first packet with speech, as a distribution.

use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::{Heard, Peer};
use offhook_tests::scene::Scene;
use offhook_tests::speech::person;

/// Callers at a time: few enough for two cores.
const TOGETHER: usize = 5;

fn main() {
    let count: usize = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(50);
    let daemon = Scene::default().start();
    let mut packets = Vec::new();
    for batch in 0..count.div_ceil(TOGETHER) {
        let to = daemon.sip();
        let callers = (0..TOGETHER.min(count - batch * TOGETHER)).map(|place| {
            // Another moment of the prompt for each, 37 ms apart.
            let number = batch * TOGETHER + place;
            std::thread::spawn(move || talk_over(to, number))
        });
        for caller in callers.collect::<Vec<_>>() {
            packets.push(caller.join().expect("a caller does not panic"));
        }
    }
    packets.sort_unstable();
    let at = |share: f64| packets[((packets.len() - 1) as f64 * share) as usize];
    println!(
        "barge-in over {count} calls, in packets of 20 ms after the caller's first with speech: \
         min {} p50 {} p90 {} max {}; all: {packets:?}",
        packets[0],
        at(0.5),
        at(0.9),
        packets[packets.len() - 1],
    );
}

fn talk_over(to: std::net::SocketAddr, number: usize) -> usize {
    let call = Peer::new()
        .named(&format!("555{number:04}"))
        .call("booking", to);
    wait_for("the prompt", seconds(20), || {
        call.heard().iter().any(Heard::speaks).then_some(())
    });
    std::thread::sleep(ms(1000 + 37 * number as u64));
    call.say(&[person("hello"), person("pbx-invalid")].concat());
    std::thread::sleep(ms(3000));
    let packets = call
        .prompt_packets_after_speech()
        .expect("the caller spoke");
    call.hang_up();
    packets
}
