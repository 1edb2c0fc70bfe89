//! What the media and RTCP threads ask of Linux: epoll, timerfd, recvmmsg,
//! real-time scheduling, random numbers.
//!
//! Thin and without policy; all unsafe code of the media path but the tape's
//! allocation is here. After they are made, nothing here allocates or waits
//! except [`Epoll::wait`].

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::sieve::Sieve;

/// Events taken in one wait.
const EVENTS: usize = 256;
/// Datagrams taken in one call.
pub const BATCH: usize = 16;
/// Octets of a datagram that are read: more than any packet of sound (200 ms of G.711).
const DATAGRAM: usize = 2_048;
/// Room for one `SO_RXQ_OVFL` message.
const CONTROL: usize = 64;
/// Above ordinary threads, below those of the kernel (50).
const PRIORITY: libc::c_int = 10;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(fd)?;
    // SAFETY: the system call just made `fd`; it belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits for descriptors to become readable.
pub struct Epoll {
    fd: OwnedFd,
    events: Box<[libc::epoll_event; EVENTS]>,
    count: usize,
}

impl Epoll {
    /// A new one.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer; the result is checked.
        let fd = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self {
            fd,
            events: Box::new([libc::epoll_event { events: 0, u64: 0 }; EVENTS]),
            count: 0,
        })
    }

    /// Watches a descriptor; `token` comes back when it is readable.
    ///
    /// # Errors
    /// The descriptor cannot be watched.
    pub fn add(&self, fd: &impl AsRawFd, token: u64) -> io::Result<()> {
        self.control(
            libc::EPOLL_CTL_ADD,
            fd.as_raw_fd(),
            libc::EPOLLIN as u32,
            token,
        )
    }

    /// Watches it no longer.
    ///
    /// # Errors
    /// It was not watched.
    pub fn remove(&self, fd: &impl AsRawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd.as_raw_fd(), 0, 0)
    }

    /// Keeps a descriptor but is not woken by it while `deaf`.
    ///
    /// # Errors
    /// It was not watched.
    pub fn set_deaf(&self, fd: &impl AsRawFd, token: u64, deaf: bool) -> io::Result<()> {
        let interest = if deaf { 0 } else { libc::EPOLLIN as u32 };
        self.control(libc::EPOLL_CTL_MOD, fd.as_raw_fd(), interest, token)
    }

    fn control(
        &self,
        operation: libc::c_int,
        fd: RawFd,
        events: u32,
        token: u64,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: `event` is valid across the call; a bad descriptor is an error.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &raw mut event) })?;
        Ok(())
    }

    /// Sleeps until something is readable, or for `at_most`.
    pub fn wait(&mut self, at_most: Option<Duration>) {
        let timeout = at_most.map_or(-1, |time| {
            i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        let events = self.events.as_mut_ptr();
        // SAFETY: `events` has room for EVENTS entries and lives across the call.
        let count =
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events, EVENTS as i32, timeout) };
        // Interrupted (EINTR) is nothing readable.
        self.count = usize::try_from(count).unwrap_or(0);
    }

    /// The token of the `index`th descriptor that became readable.
    pub fn ready(&self, index: usize) -> Option<u64> {
        self.events[..self.count].get(index).map(|event| event.u64)
    }
}

/// Ticks at a steady pace.
pub struct Timer(OwnedFd);

impl Timer {
    /// The first tick is one `period` from now.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new(period: Duration) -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: takes no pointer; the result is checked.
        let timer = Self(owned(unsafe {
            libc::timerfd_create(libc::CLOCK_MONOTONIC, flags)
        })?);
        let time = libc::timespec {
            tv_sec: period.as_secs().cast_signed(),
            tv_nsec: period.subsec_nanos().into(),
        };
        let setting = libc::itimerspec {
            it_interval: time,
            it_value: time,
        };
        // SAFETY: `setting` is valid across the call; the old one is not asked for.
        check(unsafe {
            libc::timerfd_settime(
                timer.0.as_raw_fd(),
                0,
                &raw const setting,
                std::ptr::null_mut(),
            )
        })?;
        Ok(timer)
    }

    /// Ticks since the last call.
    pub fn ticks(&self) -> u64 {
        let mut count = [0; 8];
        // SAFETY: eight writable bytes; the descriptor does not block.
        let read =
            unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        if read == 8 {
            u64::from_ne_bytes(count)
        } else {
            0
        }
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Room for one call's worth of datagrams.
pub struct Batch {
    messages: Box<[libc::mmsghdr; BATCH]>,
    rooms: Box<[Room; BATCH]>,
    vectors: Box<[libc::iovec; BATCH]>,
}

/// What one datagram is read into. Aligned as `cmsghdr` asks.
#[repr(C, align(8))]
struct Room {
    control: [u8; CONTROL],
    name: libc::sockaddr_storage,
    bytes: [u8; DATAGRAM],
}

// SAFETY: the raw pointers inside point into the boxes of the same value, which
// move with it.
unsafe impl Send for Batch {}

/// One datagram.
pub struct Datagram<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// What it holds.
    pub bytes: &'a mut [u8],
    /// Datagrams dropped by the system on this socket, ever, where it says so.
    pub dropped: Option<u32>,
}

impl Batch {
    /// Room that is used again and again.
    pub fn new() -> Self {
        // SAFETY: all-zero bytes are valid values of these plain C structures.
        let (rooms, vectors, messages) = unsafe {
            (
                Box::<[Room; BATCH]>::new_zeroed().assume_init(),
                Box::<[libc::iovec; BATCH]>::new_zeroed().assume_init(),
                Box::<[libc::mmsghdr; BATCH]>::new_zeroed().assume_init(),
            )
        };
        let mut batch = Self {
            messages,
            rooms,
            vectors,
        };
        batch.prepare(BATCH);
        batch
    }

    /// Points the first `count` headers at their rooms again.
    fn prepare(&mut self, count: usize) {
        for index in 0..count {
            let room = &mut self.rooms[index];
            self.vectors[index] = libc::iovec {
                iov_base: room.bytes.as_mut_ptr().cast(),
                iov_len: DATAGRAM,
            };
            let header = &mut self.messages[index].msg_hdr;
            header.msg_name = (&raw mut room.name).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut self.vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = room.control.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
    }

    /// Reads up to `at_most` datagrams that have come; gives how many. Does not wait.
    pub fn receive(&mut self, socket: &impl AsRawFd, at_most: usize) -> usize {
        let at_most = at_most.min(BATCH) as libc::c_uint;
        let messages = self.messages.as_mut_ptr();
        // SAFETY: at most BATCH headers, each pointing at its own room in boxes
        // that live as long as `self`; no timeout.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages,
                at_most,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(count).unwrap_or(0)
    }

    /// Hands each of the `count` datagrams received to `take`, and makes room for the next.
    pub fn drain(&mut self, count: usize, mut take: impl FnMut(Datagram<'_>)) {
        for index in 0..count {
            if let Some(datagram) = self.datagram(index) {
                take(datagram);
            }
        }
        self.prepare(count);
    }

    /// `None` for an address that is not of the Internet. One that did not fit
    /// is cut; as a packet it would be malformed, so it is given as empty.
    fn datagram(&mut self, index: usize) -> Option<Datagram<'_>> {
        let message = &self.messages[index];
        let room = &mut self.rooms[index];
        let from = address(&room.name)?;
        let cut = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let length = if cut { 0 } else { message.msg_len as usize };
        Some(Datagram {
            from,
            bytes: &mut room.bytes[..length],
            dropped: dropped(&message.msg_hdr),
        })
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in, which is smaller
            // and not more strictly aligned.
            let v4 = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, with sockaddr_in6.
            let v6 = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn dropped(header: &libc::msghdr) -> Option<u32> {
    // SAFETY: the kernel filled `msg_control` of this header up to
    // `msg_controllen`; CMSG_FIRSTHDR checks that a whole cmsghdr is there.
    unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        if control.is_null() || (*control).cmsg_type != libc::SO_RXQ_OVFL {
            return None;
        }
        Some(libc::CMSG_DATA(control).cast::<u32>().read_unaligned())
    }
}

/// Asks the system to say how many datagrams it dropped on a socket, and how
/// much it may keep.
///
/// # Errors
/// The socket does not take the option.
pub fn set_receive_options(socket: &impl AsRawFd, octets: libc::c_int) -> io::Result<()> {
    set_option(socket, libc::SO_RXQ_OVFL, 1)?;
    set_option(socket, libc::SO_RCVBUF, octets)
}

/// Lets through what a program takes, or everything again. Takes no time and no memory
/// of ours.
///
/// # Errors
/// The socket does not take it.
pub fn set_sieve(socket: &impl AsRawFd, sieve: Option<&Sieve>) -> io::Result<()> {
    let Some(sieve) = sieve else {
        // Takes an integer and does not look at it.
        return set_option(socket, libc::SO_DETACH_FILTER, 0);
    };
    let program = libc::sock_fprog {
        len: sieve.len() as u16,
        filter: sieve.as_ptr().cast_mut(),
    };
    let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: `program` is a readable sock_fprog that points at `len` steps, which the
    // kernel copies and does not change.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length,
        )
    })?;
    Ok(())
}

fn set_option(socket: &impl AsRawFd, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is a readable int of `length` octets.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw const value).cast(),
            length,
        )
    })?;
    Ok(())
}

/// Puts the calling thread under SCHED_FIFO.
///
/// # Errors
/// It is not permitted; the thread goes on as an ordinary one.
pub fn become_real_time() -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid sched_param.
    let mut parameters: libc::sched_param = unsafe { zeroed() };
    parameters.sched_priority = PRIORITY;
    // SAFETY: 0 is the calling thread; `parameters` is valid across the call.
    check(unsafe {
        libc::sched_setscheduler(
            0,
            libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK,
            &raw const parameters,
        )
    })?;
    Ok(())
}

/// Random bits from the kernel, for SSRCs, sequence numbers and timestamps (RFC 3550 §8).
///
/// # Errors
/// The kernel has none.
pub fn random<const WORDS: usize>() -> io::Result<[u64; WORDS]> {
    let mut words = [0u64; WORDS];
    let length = size_of_val(&words);
    // SAFETY: `length` writable bytes, any of which are valid in a u64.
    let count = unsafe { libc::getrandom(words.as_mut_ptr().cast(), length, 0) };
    if usize::try_from(count) != Ok(length) {
        return Err(io::Error::last_os_error());
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_batch_gives_each_datagram_with_its_sender() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut batch = Batch::new();
        assert_eq!(batch.receive(&receiver, BATCH), 0);
        for round in 0..3u8 {
            for index in 0..20u8 {
                sender
                    .send_to(&[round, index], receiver.local_addr().unwrap())
                    .unwrap();
            }
            let mut seen = Vec::new();
            loop {
                let count = batch.receive(&receiver, BATCH);
                if count == 0 {
                    break;
                }
                batch.drain(count, |datagram| {
                    assert_eq!(datagram.from, sender.local_addr().unwrap());
                    seen.push((datagram.bytes[0], datagram.bytes[1]));
                });
            }
            assert_eq!(
                seen,
                (0..20).map(|index| (round, index)).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn what_the_system_dropped_is_told() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        set_receive_options(&receiver, 4_096).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = receiver.local_addr().unwrap();
        let mut batch = Batch::new();
        (0..200).for_each(|_| drop(sender.send_to(&[0; 500], target)));
        let mut read = 0;
        loop {
            let count = batch.receive(&receiver, BATCH);
            if count == 0 {
                break;
            }
            read += count as u32;
            batch.drain(count, |_| {});
        }
        sender.send_to(&[0; 5], target).unwrap();
        let count = batch.receive(&receiver, BATCH);
        let mut dropped = None;
        batch.drain(count, |datagram| dropped = datagram.dropped);
        assert_eq!(dropped, Some(200 - read));
    }

    #[test]
    fn an_oversized_datagram_is_no_packet() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver
            .send_to(&[0x80; DATAGRAM + 1], receiver.local_addr().unwrap())
            .unwrap();
        let mut batch = Batch::new();
        let count = batch.receive(&receiver, BATCH);
        assert_eq!(count, 1);
        batch.drain(count, |datagram| assert!(datagram.bytes.is_empty()));
    }
}
