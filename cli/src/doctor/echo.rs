//! Echo requests (RFC 792, RFC 4443) to many addresses at once, each as a packet of a given size
//! that no router on the way may cut up (the kernel sets Don't Fragment on what fits its link).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto,
    socket_with,
};

const HEADER: usize = 8;
const TRIES: usize = 2;
const EACH: Duration = Duration::from_millis(700);

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Echo {
    pub(super) to: IpAddr,
    /// Of the whole packet, in bytes; raised to the smallest there is.
    pub(super) size: u32,
}

/// Which requests were answered, in their order.
pub(super) fn answered(echoes: &[Echo]) -> io::Result<Vec<bool>> {
    let mut found = vec![false; echoes.len()];
    for family in [Family::V4, Family::V6] {
        let wanted = |echo: &Echo| echo.to.is_ipv6() == (family == Family::V6);
        if echoes.iter().any(wanted) {
            family.ask(echoes, &mut found)?;
        }
    }
    Ok(found)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn socket(self) -> io::Result<OwnedFd> {
        let (family, protocol) = match self {
            Self::V4 => (AddressFamily::INET, ipproto::ICMP),
            Self::V6 => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(socket_with(family, SocketType::RAW, flags, Some(protocol))?)
    }

    /// Types of request and answer, and the length of the header before them.
    fn kinds(self) -> (u8, u8, usize) {
        match self {
            Self::V4 => (8, 0, 20),
            Self::V6 => (128, 129, 40),
        }
    }

    fn ask(self, echoes: &[Echo], found: &mut [bool]) -> io::Result<()> {
        let socket = self.socket()?;
        let id = u16::try_from(std::process::id() & 0xffff).unwrap_or_default();
        for _ in 0..TRIES {
            let mut open = 0;
            for (number, (echo, answered)) in (0_u16..).zip(echoes.iter().zip(&*found)) {
                if *answered || echo.to.is_ipv6() != (self == Self::V6) {
                    continue;
                }
                open += 1;
                // What cannot even be sent is not answered.
                let to = SocketAddr::new(echo.to, 0);
                let _ =
                    sendto(&socket, &self.request(id, number, echo.size), SendFlags::empty(), &to);
            }
            if open == 0 {
                break;
            }
            self.collect(&socket, id, open, found);
        }
        Ok(())
    }

    fn collect(self, socket: &OwnedFd, id: u16, mut open: usize, found: &mut [bool]) {
        let deadline = Instant::now() + EACH;
        let mut buffer = vec![0; 1 << 16];
        while open > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
            let ready = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
            if left.is_zero() || !matches!(ready, Ok(1..)) {
                return;
            }
            let Ok((length, _)) = recv(socket, &mut buffer[..], RecvFlags::empty()) else {
                continue;
            };
            let number = buffer.get(..length).and_then(|packet| self.answer(packet, id));
            if let Some(answered) = number.and_then(|n| found.get_mut(usize::from(n))) {
                open -= usize::from(!*answered);
                *answered = true;
            }
        }
    }

    fn request(self, id: u16, number: u16, size: u32) -> Vec<u8> {
        let (kind, _, header) = self.kinds();
        let payload = usize::try_from(size).unwrap_or_default().saturating_sub(header + HEADER);
        let mut packet = vec![0; HEADER + payload];
        if let Some(start) = packet.first_chunk_mut::<HEADER>() {
            let ([id_high, id_low], [high, low]) = (id.to_be_bytes(), number.to_be_bytes());
            *start = [kind, 0, 0, 0, id_high, id_low, high, low];
        }
        // The kernel fills in that of ICMPv6.
        if self == Self::V4 {
            let sum = checksum(&packet).to_be_bytes();
            if let Some(place) = packet.get_mut(2..4) {
                place.copy_from_slice(&sum);
            }
        }
        packet
    }

    /// The number of the request that a received packet answers.
    fn answer(self, packet: &[u8], id: u16) -> Option<u16> {
        let (_, kind, _) = self.kinds();
        // A raw socket is given the header of IPv4, and not that of IPv6.
        let skipped = match self {
            Self::V4 => usize::from(packet.first()? & 0xf) * 4,
            Self::V6 => 0,
        };
        let [found, _, _, _, a, b, high, low] = packet.get(skipped..)?.first_chunk::<HEADER>()?;
        let is_ours = *found == kind && u16::from_be_bytes([*a, *b]) == id;
        is_ours.then(|| u16::from_be_bytes([*high, *low]))
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_as_in_the_rfc() {
        // The example of RFC 1071, section 3.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        let request = Family::V4.request(7, 3, 100);
        assert_eq!((request.len(), checksum(&request)), (80, 0));
    }

    #[test]
    fn an_answer_is_told_from_others() {
        let mut packet = vec![0x45; 20];
        packet.extend([0, 0, 0, 0, 0, 7, 0, 3]);
        assert_eq!(Family::V4.answer(&packet, 7), Some(3));
        assert_eq!(Family::V4.answer(&packet, 8), None);
        assert_eq!(Family::V4.answer(&packet[..24], 7), None);
        assert_eq!(Family::V6.answer(&[129, 0, 0, 0, 0, 7, 0, 9], 7), Some(9));
    }
}
