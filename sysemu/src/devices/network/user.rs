//! A network with one other host, which lives inside fits (its stack is smoltcp's): it gives the guest its address by DHCP, answers pings, and passes TCP
//! connections to its ports on to the same ports of this computer's loopback. Nothing else can be reached.
//!
//! | | |
//! |---|---|
//! | guest | 10.0.2.15/24 |
//! | the host, gateway and DHCP server | 10.0.2.2 |
//!
//! Its time is the machine's: without connections, a run repeats exactly.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpMessageType,
    DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    HardwareAddress, IpAddress, IpCidr, IpProtocol, Ipv4Packet, TcpPacket,
};

use super::Network;

const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
const HOST_MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 0x0a, 0x00, 0x02, 0x02]);
/// Seconds that the guest may keep its address.
const LEASE: u32 = 86_400;
/// Bytes of the buffers of a connection, each way.
const BUFFER: usize = 1 << 16;
/// Most connections at a time.
const CONNECTIONS: usize = 256;
/// How long this computer may take to accept a connection to itself.
const PATIENCE: Duration = Duration::from_millis(500);

/// The cable between the card and the stack.
#[derive(Debug, Default)]
struct Cable {
    to_stack: VecDeque<Vec<u8>>,
    to_card: VecDeque<Vec<u8>>,
}

struct Received(Vec<u8>);

struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl phy::Device for Cable {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.to_stack.pop_front()?;
        Some((Received(frame), Sending(&mut self.to_card)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.to_card))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// A connection of the guest, and its continuation on this computer.
#[derive(Debug)]
struct Connection {
    guest: SocketHandle,
    outside: TcpStream,
    /// From the guest, not yet taken by the outside.
    pending: Vec<u8>,
    /// The outside has said all.
    outside_done: bool,
    /// The guest has said all, and the outside knows.
    guest_done: bool,
}

/// The network.
pub struct User {
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    dhcp: SocketHandle,
    connections: Vec<Connection>,
    /// When the stack wants to act, in virtual nanoseconds.
    stack_at: Option<u64>,
    /// Connections are refused: nothing comes from outside.
    closed: bool,
    /// Whom the stack knows by its address.
    known: Option<(EthernetAddress, Ipv4Addr)>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

fn instant(now: u64) -> Instant {
    Instant::from_micros((now / 1000) as i64)
}

impl Default for User {
    fn default() -> Self {
        let mut cable = Cable::default();
        let config = Config::new(HardwareAddress::Ethernet(HOST_MAC));
        let mut interface = Interface::new(config, &mut cable, instant(0));
        interface.update_ip_addrs(|addresses| {
            // There is room for one.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(HOST), 24));
        });
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
        let mut server = udp::Socket::new(buffer(), buffer());
        let bound = server.bind(DHCP_SERVER_PORT);
        debug_assert!(bound.is_ok(), "a new socket can be bound");
        let mut sockets = SocketSet::new(Vec::new());
        let dhcp = sockets.add(server);
        User {
            cable,
            interface,
            sockets,
            dhcp,
            connections: Vec::new(),
            stack_at: None,
            closed: false,
            known: None,
        }
    }
}

impl User {
    /// The same without this computer behind it: connections are refused, so that every run repeats.
    #[must_use]
    pub fn closed() -> Self {
        User {
            closed: true,
            ..User::default()
        }
    }

    /// Where a frame begins a TCP connection to the host, a socket is made ready for it, if this computer accepts it, too.
    fn prepare(&mut self, frame: &[u8]) {
        let Some(port) = connection_begins(frame) else {
            return;
        };
        let waits = |connection: &Connection| {
            let socket = self.sockets.get::<tcp::Socket<'_>>(connection.guest);
            // The first segment may come twice.
            socket.listen_endpoint().port == port && socket.state() != tcp::State::Established
        };
        if self.closed
            || self.connections.len() >= CONNECTIONS
            || self.connections.iter().any(waits)
        {
            return;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let Ok(outside) = TcpStream::connect_timeout(&address, PATIENCE) else {
            // The stack refuses.
            return;
        };
        if outside.set_nonblocking(true).is_err() || outside.set_nodelay(true).is_err() {
            return;
        }
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        if socket.listen((HOST, port)).is_ok() {
            self.connections.push(Connection {
                guest: self.sockets.add(socket),
                outside,
                pending: Vec::new(),
                outside_done: false,
                guest_done: false,
            });
        }
    }

    /// Tells the stack whose frame this is, as if it had asked: a guest that knows the host from before a snapshot does not introduce itself again, and
    /// its first packet would be lost.
    fn introduce(&mut self, now: u64, frame: &[u8]) {
        let sender = sender(frame);
        if sender.is_none() || sender == self.known {
            return;
        }
        self.known = sender;
        self.cable.to_stack.extend(sender.map(introduction));
        let before = self.cable.to_card.len();
        let at = instant(now);
        self.interface.poll(at, &mut self.cable, &mut self.sockets);
        // Nobody has asked for the answer.
        self.cable.to_card.truncate(before);
    }

    /// Lets everything act that can.
    fn act(&mut self, now: u64) {
        let at = instant(now);
        self.interface.poll(at, &mut self.cable, &mut self.sockets);
        self.serve_dhcp();
        let sockets = &mut self.sockets;
        self.connections.retain_mut(|connection| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(connection.guest);
            let open = connection.carry(socket);
            if !open {
                sockets.remove(connection.guest);
            }
            open
        });
        self.interface.poll(at, &mut self.cable, &mut self.sockets);
        let next = self.interface.poll_at(at, &self.sockets);
        self.stack_at = next.map(|at| at.total_micros().max(0) as u64 * 1000);
    }

    fn serve_dhcp(&mut self) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.dhcp);
        while let Ok((request, _)) = socket.recv() {
            let Some(reply) = answer(request) else {
                continue;
            };
            // Where the queue is full the answer is lost, and the guest asks again.
            let _ = socket.send_slice(&reply, (Ipv4Addr::BROADCAST, DHCP_CLIENT_PORT));
        }
    }
}

/// Who in the host's network sends a frame.
fn sender(frame: &[u8]) -> Option<(EthernetAddress, Ipv4Addr)> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    let address = packet.src_addr();
    let near = address.to_bits() & MASK.to_bits() == HOST.to_bits() & MASK.to_bits();
    (near && address != HOST && frame.src_addr().is_unicast()).then(|| (frame.src_addr(), address))
}

/// The frame by which that card would ask for the host.
fn introduction((card, address): (EthernetAddress, Ipv4Addr)) -> Vec<u8> {
    let question = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: card,
        source_protocol_addr: address,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: HOST,
    };
    let header = EthernetRepr {
        src_addr: card,
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Arp,
    };
    let mut bytes = vec![0; header.buffer_len() + question.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    header.emit(&mut frame);
    question.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

/// The port of the host to which a frame asks for a connection.
fn connection_begins(frame: &[u8]) -> Option<u16> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    if packet.next_header() != IpProtocol::Tcp || packet.dst_addr() != HOST {
        return None;
    }
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    (segment.syn() && !segment.ack()).then(|| segment.dst_port())
}

/// The answer to a DHCP message: there is one address.
fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let packet = DhcpPacket::new_checked(request).ok()?;
    let request = DhcpRepr::parse(&packet).ok()?;
    let message_type = match request.message_type {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        DhcpMessageType::Request => {
            let wanted = request.requested_ip.unwrap_or(request.client_ip);
            if wanted == GUEST {
                DhcpMessageType::Ack
            } else {
                DhcpMessageType::Nak
            }
        }
        _ => return None,
    };
    let reply = DhcpRepr {
        message_type,
        your_ip: GUEST,
        server_ip: HOST,
        router: Some(HOST),
        subnet_mask: Some(MASK),
        broadcast: true,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(HOST),
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: Some(LEASE),
        renew_duration: None,
        rebind_duration: None,
        ..request
    };
    let mut bytes = vec![0; reply.buffer_len()];
    reply
        .emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]))
        .ok()?;
    Some(bytes)
}

impl Connection {
    /// Carries bytes both ways; false where the connection is over.
    fn carry(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        if self.carry_outwards(socket).is_err() || self.carry_inwards(socket).is_err() {
            socket.abort();
        }
        socket.is_open()
    }

    fn carry_outwards(&mut self, socket: &mut tcp::Socket<'_>) -> std::io::Result<()> {
        loop {
            if self.pending.is_empty() && socket.can_recv() {
                let taken = socket.recv(|data| (data.len(), data.to_vec()));
                self.pending = taken.unwrap_or_default();
            }
            if self.pending.is_empty() {
                break;
            }
            match self.outside.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let closed = matches!(
            socket.state(),
            tcp::State::CloseWait
                | tcp::State::LastAck
                | tcp::State::Closing
                | tcp::State::TimeWait
        );
        if closed && self.pending.is_empty() && !self.guest_done {
            self.guest_done = true;
            self.outside.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    fn carry_inwards(&mut self, socket: &mut tcp::Socket<'_>) -> std::io::Result<()> {
        while !self.outside_done && socket.can_send() {
            let room = socket.send_capacity() - socket.send_queue();
            let mut data = vec![0; room];
            match self.outside.read(&mut data) {
                Ok(0) => {
                    self.outside_done = true;
                    socket.close();
                }
                Ok(count) => {
                    let sent = socket.send_slice(&data[..count]);
                    debug_assert_eq!(sent.ok(), Some(count), "there was room");
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Network for User {
    fn send(&mut self, now: u64, frame: &[u8]) {
        self.introduce(now, frame);
        self.prepare(frame);
        self.cable.to_stack.push_back(frame.to_vec());
        self.act(now);
    }

    fn receive(&mut self, now: u64) -> Option<Vec<u8>> {
        if self.cable.to_card.is_empty() {
            self.act(now);
        }
        self.cable.to_card.pop_front()
    }

    fn next_event(&self, look_at: u64) -> Option<u64> {
        if self.connections.is_empty() && self.cable.to_card.is_empty() {
            self.stack_at.map(|at| at.max(look_at))
        } else {
            Some(look_at)
        }
    }

    fn wait(&mut self, limit: Duration) -> bool {
        if self.connections.is_empty() {
            return false;
        }
        std::thread::sleep(limit);
        true
    }

    fn reset(&mut self) {
        *self = User {
            closed: self.closed,
            ..User::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Ipv4Repr};
    use std::net::TcpListener;

    const MAC: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    /// A guest with the same stack, at the other end of the cable.
    struct Guest {
        cable: Cable,
        interface: Interface,
        sockets: SocketSet<'static>,
        network: User,
        now: u64,
    }

    impl Guest {
        fn new() -> Self {
            let mut cable = Cable::default();
            let config = Config::new(HardwareAddress::Ethernet(MAC));
            Guest {
                interface: Interface::new(config, &mut cable, instant(0)),
                cable,
                sockets: SocketSet::new(Vec::new()),
                network: User::default(),
                now: 0,
            }
        }

        /// Some virtual time passes.
        fn step(&mut self) {
            self.now += 1_000_000;
            self.interface
                .poll(instant(self.now), &mut self.cable, &mut self.sockets);
            for frame in std::mem::take(&mut self.cable.to_card) {
                self.network.send(self.now, &frame);
            }
            while let Some(frame) = self.network.receive(self.now) {
                self.cable.to_stack.push_back(frame);
            }
        }

        fn with_address() -> Self {
            let mut guest = Guest::new();
            guest.interface.update_ip_addrs(|addresses| {
                addresses
                    .push(IpCidr::new(IpAddress::Ipv4(GUEST), 24))
                    .expect("room");
            });
            guest
        }

        fn connect(&mut self, port: u16) -> SocketHandle {
            let buffer = || tcp::SocketBuffer::new(vec![0; 4096]);
            let handle = self.sockets.add(tcp::Socket::new(buffer(), buffer()));
            self.sockets
                .get_mut::<tcp::Socket<'_>>(handle)
                .connect(self.interface.context(), (HOST, port), 4000)
                .expect("a new socket");
            handle
        }
    }

    #[test]
    fn a_guest_gets_its_address() {
        let mut request = DhcpRepr {
            message_type: DhcpMessageType::Discover,
            transaction_id: 7,
            secs: 0,
            client_hardware_address: MAC,
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: None,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        for (kind, wanted, expected) in [
            (DhcpMessageType::Discover, None, DhcpMessageType::Offer),
            (DhcpMessageType::Request, Some(GUEST), DhcpMessageType::Ack),
            (DhcpMessageType::Request, Some(HOST), DhcpMessageType::Nak),
        ] {
            request.message_type = kind;
            request.requested_ip = wanted;
            let mut bytes = vec![0; request.buffer_len()];
            request
                .emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]))
                .expect("room");
            let reply = answer(&bytes).expect("an answer");
            let packet = DhcpPacket::new_checked(&reply[..]).expect("a packet");
            let reply = DhcpRepr::parse(&packet).expect("a message");
            assert_eq!(reply.message_type, expected);
            assert_eq!((reply.your_ip, reply.transaction_id), (GUEST, 7));
            assert_eq!(reply.router, Some(HOST));
        }
    }

    /// A ping of a guest that knows the card of the host.
    fn ping() -> Vec<u8> {
        let checksums = ChecksumCapabilities::default();
        let echo = Icmpv4Repr::EchoRequest {
            ident: 1,
            seq_no: 1,
            data: &[7; 20],
        };
        let packet = Ipv4Repr {
            src_addr: GUEST,
            dst_addr: HOST,
            next_header: IpProtocol::Icmp,
            payload_len: echo.buffer_len(),
            hop_limit: 64,
        };
        let header = EthernetRepr {
            src_addr: MAC,
            dst_addr: HOST_MAC,
            ethertype: EthernetProtocol::Ipv4,
        };
        let length = header.buffer_len() + packet.buffer_len() + echo.buffer_len();
        let mut bytes = vec![0; length];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        header.emit(&mut frame);
        let mut ip = Ipv4Packet::new_unchecked(frame.payload_mut());
        packet.emit(&mut ip, &checksums);
        let mut icmp = Icmpv4Packet::new_unchecked(ip.payload_mut());
        echo.emit(&mut icmp, &checksums);
        bytes
    }

    #[test]
    fn a_guest_that_goes_on_from_a_snapshot_is_known_by_its_first_frame() {
        let mut network = User::default();
        for now in [0, 1_000_000] {
            network.send(now, &ping());
            let reply = network.receive(now).expect("an answer at once");
            let frame = EthernetFrame::new_checked(&reply[..]).expect("a frame");
            assert_eq!(frame.dst_addr(), MAC);
            assert_eq!(frame.ethertype(), EthernetProtocol::Ipv4);
            assert_eq!(network.receive(now), None);
        }
        network.reset();
        network.send(2_000_000, &ping());
        assert!(network.receive(2_000_000).is_some());
    }

    #[test]
    fn connections_reach_this_computer_and_no_other() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).expect("readable");
            all.reverse();
            stream.write_all(&all).expect("writable");
        });
        let mut guest = Guest::with_address();
        let handle = guest.connect(port);
        let data: Vec<u8> = (0..100_000_u32).map(|index| index as u8).collect();
        let (mut sent, mut received) = (0, Vec::new());
        for _ in 0..100_000 {
            guest.step();
            let socket = guest.sockets.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_send() && sent < data.len() {
                sent += socket.send_slice(&data[sent..]).expect("open");
                if sent == data.len() {
                    socket.close();
                }
            }
            if socket.can_recv() {
                let more = socket.recv(|data| (data.len(), data.to_vec()));
                received.extend(more.expect("open"));
            }
            if received.len() == data.len() {
                break;
            }
            if sent == data.len() {
                guest.network.wait(Duration::from_micros(100));
            }
        }
        server.join().expect("the server ends");
        received.reverse();
        assert!(
            received == data,
            "{} of {} bytes",
            received.len(),
            data.len()
        );
    }

    #[test]
    fn a_closed_network_refuses_although_somebody_listens_and_a_reset_leaves_it_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("set");
        let port = listener.local_addr().expect("bound").port();
        let mut guest = Guest::with_address();
        guest.network = User::closed();
        guest.network.reset();
        let handle = guest.connect(port);
        for _ in 0..10 {
            guest.step();
        }
        let socket = guest.sockets.get::<tcp::Socket<'_>>(handle);
        assert_eq!(socket.state(), tcp::State::Closed);
        let nobody = listener.accept().expect_err("nobody has connected");
        assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn a_port_where_nobody_listens_refuses() {
        let unused = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = unused.local_addr().expect("bound").port();
        drop(unused);
        let mut guest = Guest::with_address();
        let handle = guest.connect(port);
        for _ in 0..10 {
            guest.step();
        }
        let socket = guest.sockets.get::<tcp::Socket<'_>>(handle);
        assert_eq!(socket.state(), tcp::State::Closed);
        assert_eq!(guest.network.next_event(5), None, "it is quiet");
    }
}
