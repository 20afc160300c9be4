//! UDP datagrams on a link, beneath the kernel's own IP: for who has no address yet, or asks for
//! one. Headers are the caller's.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::link::Mac;
use crate::sys;

const ETH_P_IP: u16 = libc::ETH_P_IP as u16;
/// `PACKET_OUTGOING` (include/uapi/linux/if_packet.h): the socket's own, come back.
const OUTGOING: u8 = 4;

/// A socket on one link. Never waits.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    link: u32,
}

impl PacketSocket {
    /// On a link of the calling thread's namespace; of what arrives, IPv4 packets with a whole UDP
    /// datagram for this port. Needs CAP_NET_RAW.
    pub fn for_udp(link: u32, port: u16) -> Result<Self> {
        let failed = |op| move |errno| Error::kernel(op, format!("link {link}"), errno);
        // Of no protocol at first: nothing arrives before the filter stands.
        // SAFETY: no memory is involved; the descriptor is new and nobody else's.
        let fd = unsafe {
            match libc::socket(
                libc::AF_PACKET,
                libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                0,
            ) {
                -1 => return Err(failed("open packet socket on")(sys::last_errno())),
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        filter(fd.as_fd(), port).map_err(failed("filter packets of"))?;
        let address = address(link, None);
        // SAFETY: the kernel reads the address within its size; it lives through the call.
        let rc = unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if rc == 0 { Ok(Self { fd, link }) } else { Err(failed("bind to")(sys::last_errno())) }
    }

    /// Sends an IPv4 packet to a station on the link.
    pub fn send(&self, packet: &[u8], to: Mac) -> std::result::Result<(), Errno> {
        let address = address(self.link, Some(to));
        // SAFETY: the kernel reads packet and address within their sizes; both live on.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(sys::last_errno()) } else { Ok(()) }
    }

    /// The next packet and the station that sent it; [`Errno::WOULDBLOCK`] where there is none.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> std::result::Result<(&'b [u8], Mac), Errno> {
        loop {
            let mut from = address(0, None);
            let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            // SAFETY: the kernel writes within the buffer's and the address's sizes.
            let count = unsafe {
                libc::recvfrom(
                    self.fd.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                    (&raw mut from).cast(),
                    &raw mut length,
                )
            };
            let count = usize::try_from(count).map_err(|_| sys::last_errno())?;
            if from.sll_pkttype == OUTGOING {
                continue;
            }
            let [a, b, c, d, e, f, ..] = from.sll_addr;
            return Ok((buffer.get(..count).unwrap_or_default(), Mac([a, b, c, d, e, f])));
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

fn address(link: u32, to: Option<Mac>) -> libc::sockaddr_ll {
    // SAFETY: a sockaddr_ll of zeros names no link and no station.
    let mut address: libc::sockaddr_ll = unsafe { MaybeUninit::zeroed().assume_init() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETH_P_IP.to_be();
    address.sll_ifindex = link as i32;
    if let Some(Mac(bytes)) = to {
        address.sll_halen = 6;
        for (to, from) in address.sll_addr.iter_mut().zip(bytes) {
            *to = from;
        }
    }
    address
}

/// Classic BPF (linux/filter.h), over the packet from its IP header on.
fn filter(fd: BorrowedFd<'_>, port: u16) -> std::result::Result<(), Errno> {
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        // The protocol is UDP.
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 9),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 6, libc::IPPROTO_UDP as u32),
        // No fragment but a first one.
        op(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, 6),
        op(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 4, 0, 0x1fff),
        // The destination's port, behind the IP header.
        op(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0),
        op(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, 2),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, u32::from(port)),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program out of memory that lives through the call.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if rc == 0 { Ok(()) } else { Err(sys::last_errno()) }
}
