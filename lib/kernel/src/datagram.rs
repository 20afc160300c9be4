//! Many datagrams with one system call: `recvmmsg` and `sendmmsg` on UDP sockets.

use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::sys;

/// Room for the datagrams of one call.
pub struct Inbox {
    buffers: Vec<u8>,
    size: usize,
    names: Vec<libc::sockaddr_storage>,
    lengths: Vec<usize>,
}

impl Inbox {
    /// Room for `count` datagrams of up to `size` bytes; what is longer is cut.
    pub fn new(count: usize, size: usize) -> Self {
        // SAFETY: a sockaddr_storage of zeros is one of family AF_UNSPEC.
        let name: libc::sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
        Self {
            buffers: vec![0; count * size],
            size,
            names: vec![name; count],
            lengths: vec![0; count],
        }
    }

    /// Takes what is there, never waiting: how many datagrams.
    pub fn receive(&mut self, socket: impl AsFd) -> Result<usize, Errno> {
        let buffers = self.buffers.chunks_exact_mut(self.size);
        let mut vectors: Vec<libc::iovec> = buffers
            .map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() })
            .collect();
        let mut headers: Vec<libc::mmsghdr> = vectors
            .iter_mut()
            .zip(&mut self.names)
            .map(|(vector, name)| header(vector, name, size_of::<libc::sockaddr_storage>()))
            .collect();
        let fd = socket.as_fd().as_raw_fd();
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: every header points to one vector and one address that live through the call,
        // every vector to a buffer of its length; the kernel writes within these bounds.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                headers.as_mut_ptr(),
                headers.len() as u32,
                flags,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| sys::last_errno())?;
        for (length, header) in self.lengths.iter_mut().zip(&headers).take(count) {
            *length = header.msg_len as usize;
        }
        Ok(count)
    }

    /// The datagrams of the last call, as many as it said, with their senders.
    pub fn datagrams(&self, count: usize) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let all = self.buffers.chunks_exact(self.size).zip(&self.lengths).zip(&self.names);
        all.take(count).filter_map(|((buffer, length), name)| {
            Some((buffer.get(..(*length).min(self.size))?, address_of(name)?))
        })
    }
}

/// Sends each to its address; how many the socket took. What it has no room for is not sent.
pub fn send_all(socket: impl AsFd, datagrams: &[(Vec<u8>, SocketAddr)]) -> Result<usize, Errno> {
    let mut names: Vec<(libc::sockaddr_storage, usize)> =
        datagrams.iter().map(|(_, to)| storage_of(to)).collect();
    let mut vectors: Vec<libc::iovec> = datagrams
        .iter()
        .map(|(bytes, _)| libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = vectors
        .iter_mut()
        .zip(&mut names)
        .map(|(vector, (name, length))| header(vector, name, *length))
        .collect();
    let fd = socket.as_fd().as_raw_fd();
    let mut sent = 0;
    while let Some(rest) = headers.get_mut(sent..).filter(|rest| !rest.is_empty()) {
        // SAFETY: as above; the kernel only reads what the vectors point to.
        let count =
            unsafe { libc::sendmmsg(fd, rest.as_mut_ptr(), rest.len() as u32, libc::MSG_DONTWAIT) };
        match usize::try_from(count) {
            Ok(count) => sent += count.max(1),
            // One that cannot be delivered does not keep the others.
            Err(_) if sys::last_errno() == Errno::WOULDBLOCK => return Ok(sent),
            Err(_) => sent += 1,
        }
    }
    Ok(sent)
}

fn header(
    vector: &mut libc::iovec,
    name: &mut libc::sockaddr_storage,
    name_length: usize,
) -> libc::mmsghdr {
    // SAFETY: a msghdr of zeros is an empty message.
    let mut header: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_hdr.msg_name = (&raw mut *name).cast();
    header.msg_hdr.msg_namelen = name_length as libc::socklen_t;
    header.msg_hdr.msg_iov = &raw mut *vector;
    header.msg_hdr.msg_iovlen = 1;
    header
}

fn address_of(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: of this family the storage holds a sockaddr_in, which is smaller.
            let v4 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: likewise a sockaddr_in6.
            let v6 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn storage_of(address: &SocketAddr) -> (libc::sockaddr_storage, usize) {
    // SAFETY: zeros, as above; then the fields of the family that is said.
    let mut name: libc::sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
    let length = match address {
        SocketAddr::V4(v4) => {
            // SAFETY: the storage is large enough and aligned for any address.
            let to = unsafe { &mut *(&raw mut name).cast::<libc::sockaddr_in>() };
            to.sin_family = libc::AF_INET as libc::sa_family_t;
            to.sin_port = v4.port().to_be();
            to.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let to = unsafe { &mut *(&raw mut name).cast::<libc::sockaddr_in6>() };
            to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            to.sin6_port = v6.port().to_be();
            to.sin6_addr.s6_addr = v6.ip().octets();
            to.sin6_flowinfo = v6.flowinfo();
            to.sin6_scope_id = v6.scope_id();
            size_of::<libc::sockaddr_in6>()
        }
    };
    (name, length)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn many_go_and_many_come_with_their_senders() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let (a, b) = (UdpSocket::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
            let to = b.local_addr().unwrap();
            let letters: Vec<_> = (0..5_u8).map(|n| (vec![n; 3], to)).collect();
            assert_eq!(send_all(&a, &letters), Ok(5));
            let mut inbox = Inbox::new(3, 2);
            assert_eq!(inbox.receive(&b), Ok(3));
            let from = a.local_addr().unwrap();
            let found: Vec<_> = inbox.datagrams(3).map(|(b, f)| (b.to_vec(), f)).collect();
            // Cut to the room there is.
            assert_eq!(found, [0, 1, 2].map(|n| (vec![n; 2], from)));
            assert_eq!(inbox.receive(&b), Ok(2));
            assert_eq!(inbox.receive(&b), Err(Errno::WOULDBLOCK));
        }
    }
}
