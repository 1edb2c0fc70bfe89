//! Where a leg's doings go: the one door from the pure step of a leg to sockets, rings
//! and the other leg. A media thread implements it, and so does a test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use offhook_dsp::FRAME;

use super::board::Figures;
use super::playout::PlayoutFigures;
use super::ring::Mark;
use super::words::{Report, Script, SlotId};

/// What RTCP knows of the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// 0 when unknown.
    pub round_trip_us: u32,
    /// Packets of ours that it has lost.
    pub lost: i32,
}

/// Where a leg's doings go. Nothing here may wait.
pub trait Outlet {
    /// Sends a datagram; `false` if the system did not take it.
    fn send(&mut self, target: SocketAddr, packet: &[u8]) -> bool;
    /// Passes a copy of a report on; `false` if there is no room.
    fn report(&mut self, report: &Report) -> bool;
    /// Takes a script to be freed elsewhere.
    fn free(&mut self, script: Arc<Script>);
    /// Puts a frame on tape; `false` if it is full.
    fn tape(&mut self, mark: Mark, line: &[i16; FRAME], ours: &[i16; FRAME]) -> bool;
    /// A recording is so many frames long, and ends.
    fn end_tape(&mut self, recording: u32, frames: u32);
    /// Passes a frame of the line to whoever listens; `false` if they are too slow.
    fn heard(&mut self, frame: u32, near: &[i16; FRAME]) -> bool;
    /// Takes the next frame of a speech that streams in.
    fn voice(&mut self, speech: u32, frame: &mut [i16; FRAME]) -> Voice;
    /// No more of that speech is wanted.
    fn end_voice(&mut self, speech: u32);
    /// Puts a secret into the safe, or with none erases what is there.
    fn seal(&mut self, keys: &[u8]);
    /// Passes a frame of the line to the leg that this one is joined with, if any: its
    /// sound up to 4 kHz and above.
    fn pass(&mut self, low: &[i16; FRAME], high: &[i16; FRAME]);
    /// Passes a key to it.
    fn pass_key(&mut self, key: u8);
    /// Takes the next frame of the joined leg, up to 4 kHz and above; `false` if there
    /// is none, and the frame is as it was.
    fn joined(&mut self, low: &mut [i16; FRAME], high: &mut [i16; FRAME]) -> bool;
    /// Takes the next key of the joined leg.
    fn joined_key(&mut self) -> Option<u8>;
    /// How the joined leg's frames fared, if there ever was one.
    fn playout(&self) -> Option<PlayoutFigures>;
    /// RTCP of the peer came by the port of RTP.
    fn control(&mut self, slot: SlotId, now: Duration, from: SocketAddr, bytes: &[u8]);
    /// Puts figures on the board.
    fn publish(&mut self, figures: &Figures);
    /// What the board says of the other side.
    fn remote(&self) -> Remote;
}

/// What a speech that streams in has for the next 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// This.
    Sound,
    /// Nothing yet.
    Nothing,
    /// It is over.
    Over,
}
