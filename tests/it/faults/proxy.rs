//! A TCP proxy between the program and its broker, which does what networks do: cuts, swallows, delays, trickles.
//!
//! Clients whose first request carries the client id [`CONTROL`] are let through whatever happens: tests write and read with them.
//! *Invariant*: what is forwarded is forwarded in order and unchanged; a fault only takes time or connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// The client id of those who are spared.
pub const CONTROL: &str = "control";

/// Bytes of a request up to its client id: length, key, version, correlation, length of the id.
const HEAD: usize = 4 + 2 + 2 + 4 + 2;
/// How long a pump waits for bytes before it looks whether the world has changed.
const LOOK: Duration = Duration::from_millis(20);
const CHUNK: usize = 16 << 10;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Its work.
    None,
    /// Connections end, and new ones end at once.
    Cut,
    /// Nothing passes in either direction, and nobody is told. Nothing is lost either: when it is over, what was sent arrives.
    Silent,
    /// Requests arrive, answers do not. When it is over they do.
    Deaf,
    /// What passes takes this time, and no more than so many bytes a second pass in a direction of a connection.
    Slow { delay: Duration, bytes_a_second: usize },
}

struct World {
    target: Option<SocketAddr>,
    fault: Fault,
    /// Connections made before this one are dead for ever, and nobody is told.
    dead_below: u64,
    made: u64,
    connections: Vec<Connection>,
    stopped: bool,
}

struct Connection {
    spared: bool,
    client: TcpStream,
    broker: TcpStream,
}

impl Connection {
    fn end(&self) {
        // one that has ended already is what is wanted
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.broker.shutdown(Shutdown::Both);
    }
}

type Shared = Arc<(Mutex<World>, Condvar)>;

/// See the module.
pub struct Proxy {
    address: SocketAddr,
    world: Shared,
}

impl Proxy {
    /// Listens; without a target connections end at once.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let world = World {
            target: None,
            fault: Fault::None,
            dead_below: 0,
            made: 0,
            connections: Vec::new(),
            stopped: false,
        };
        let world: Shared = Arc::new((Mutex::new(world), Condvar::new()));
        let shared = world.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.0.lock().expect("the world").stopped {
                    return;
                }
                let shared = shared.clone();
                std::thread::spawn(move || client.map(|client| serve(client, &shared)));
            }
        });
        Self { address, world }
    }

    /// `HOST:PORT` for clients.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Where connections go from now on.
    pub fn target(&self, broker: SocketAddr) {
        self.change(|world| world.target = Some(broker));
    }

    /// What the network does from now on.
    pub fn fault(&self, fault: Fault) {
        self.change(|world| {
            world.fault = fault;
            if fault == Fault::Cut {
                world.connections.iter().filter(|c| !c.spared).for_each(Connection::end);
                world.connections.retain(|connection| connection.spared);
            }
        });
    }

    /// All connections of now are dead, and nobody is told, as when the other machine has lost its power or a firewall its memory. New ones are well.
    pub fn forget_connections(&self) {
        self.change(|world| world.dead_below = world.made);
    }

    fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.0.lock().expect("the world"));
        self.world.1.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|world| {
            world.stopped = true;
            world.connections.iter().for_each(Connection::end);
        });
        // the listener hears of it by one more connection
        let _ = TcpStream::connect(self.address);
    }
}

/// Reads the first bytes of a connection: whether its client is spared.
fn greeting(client: &mut TcpStream) -> std::io::Result<(bool, Vec<u8>)> {
    let mut head = vec![0; HEAD];
    client.read_exact(&mut head)?;
    let length = i16::from_be_bytes([head[HEAD - 2], head[HEAD - 1]]);
    let mut id = vec![0; usize::try_from(length).unwrap_or(0)];
    client.read_exact(&mut id)?;
    let spared = id == CONTROL.as_bytes();
    head.extend(id);
    Ok((spared, head))
}

/// Holds a connection until it ends.
fn serve(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let (spared, greeting) = greeting(&mut client)?;
    let (mut broker, number) = {
        let mut world = pass(shared, spared, u64::MAX, &[Fault::Silent]);
        let refused = world.stopped || (world.fault == Fault::Cut && !spared);
        let Some(target) = world.target.filter(|_| !refused) else {
            return client.shutdown(Shutdown::Both);
        };
        let broker = TcpStream::connect(target)?;
        broker.set_nodelay(true)?;
        world.made += 1;
        let (client, broker_too) = (client.try_clone()?, broker.try_clone()?);
        world.connections.push(Connection {
            spared,
            client,
            broker: broker_too,
        });
        (broker, world.made)
    };
    broker.write_all(&greeting)?;
    let back = (broker.try_clone()?, client.try_clone()?, shared.clone());
    std::thread::spawn(move || {
        let (broker, client, shared) = back;
        pump(broker, client, &shared, (spared, number), &[Fault::Silent, Fault::Deaf])
    });
    pump(client, broker, shared, (spared, number), &[Fault::Silent])
}

/// Waits while the network holds this connection back.
fn pass<'a>(shared: &'a Shared, spared: bool, number: u64, holding: &[Fault]) -> MutexGuard<'a, World> {
    let (world, changed) = &**shared;
    let held = |world: &mut World| {
        let dead = number <= world.dead_below;
        !world.stopped && !spared && (dead || holding.contains(&world.fault))
    };
    changed
        .wait_while(world.lock().expect("the world"), held)
        .expect("the world")
}

/// Takes the time that a slow network does.
fn delay(shared: &Shared, spared: bool, bytes: usize) {
    let (world, changed) = &**shared;
    let world = world.lock().expect("the world");
    let Fault::Slow { delay, bytes_a_second } = world.fault else {
        return;
    };
    if !spared {
        let time = delay + Duration::from_secs_f64(bytes as f64 / bytes_a_second as f64);
        let slow = |world: &mut World| matches!(world.fault, Fault::Slow { .. });
        drop(changed.wait_timeout_while(world, time, slow).expect("the world"));
    }
}

/// Forwards one direction until one side ends.
fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    shared: &Shared,
    (spared, number): (bool, u64),
    holding: &[Fault],
) -> std::io::Result<()> {
    from.set_read_timeout(Some(LOOK))?;
    let mut chunk = vec![0; CHUNK];
    loop {
        drop(pass(shared, spared, number, holding));
        match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => {
                delay(shared, spared, n);
                drop(pass(shared, spared, number, holding));
                if to.write_all(&chunk[..n]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    // one side is gone: so is the other, unless nobody is to be told
    drop(pass(shared, spared, number, holding));
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
    Ok(())
}
