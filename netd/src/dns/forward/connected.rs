//! Datagram sockets for questions to other servers that are connected to the server: that its port
//! is closed is told by the kernel (udp(7)), and not by silence alone. All else is hickory's.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hickory_net::runtime::{DnsUdpSocket, RuntimeProvider, TokioRuntimeProvider};
use tokio::io::{Interest, ReadBuf};
use tokio::net::UdpSocket;

type Made<'m, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'm>>;

/// Makes such sockets.
#[derive(Clone, Default)]
pub(super) struct Connecting(TokioRuntimeProvider);

impl RuntimeProvider for Connecting {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = Connected;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        own: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Made<'static, Self::Tcp> {
        self.0.connect_tcp(server, own, timeout)
    }

    fn bind_udp(&self, own: SocketAddr, server: SocketAddr) -> Made<'static, Self::Udp> {
        Box::pin(async move {
            let socket = UdpSocket::bind(own).await?;
            socket.connect(server).await?;
            Ok(Connected(socket))
        })
    }
}

/// A socket that knows one server.
pub(super) struct Connected(UdpSocket);

impl Connected {
    /// What came, or what the kernel was told of the server.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            // Who waits to read alone is not woken by an error.
            let ready = self.0.ready(Interest::READABLE | Interest::ERROR).await?;
            match self.0.try_recv_from(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
            if ready.is_error() {
                if let Some(error) = self.0.take_error()? {
                    return Err(error);
                }
                // Nothing is wrong any more; waited for anew.
                let _ = self
                    .0
                    .try_io(Interest::ERROR, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            }
        }
    }
}

impl DnsUdpSocket for Connected {
    type Time = <UdpSocket as DnsUdpSocket>::Time;

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        let from = ready!(self.0.poll_recv_from(cx, &mut buffer))?;
        Poll::Ready(Ok((buffer.filled().len(), from)))
    }

    fn recv_from<'s, 'b, 'm>(&'s self, buffer: &'b mut [u8]) -> Made<'m, (usize, SocketAddr)>
    where
        's: 'm,
        'b: 'm,
        Self: 'm,
    {
        Box::pin(self.receive(buffer))
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        _: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send(cx, bytes)
    }
}
