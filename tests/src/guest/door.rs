//! A door from the host's loopback into the machine: what listens on this machine's loopback can be reached through it.
//!
//! The host's end is a forwarded port (xtask/src/vm/qemu.rs), which leads to this machine's one network card and no
//! further. A forward cannot reach the loopback of the guest, so that bytes are carried over here.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result};

use super::{Ctx, shell};

/// Where QEMU's forward leads to.
const INSIDE: ([u8; 4], u16) = ([10, 0, 2, 15], 8080);
const DRIVER: &str = "virtio_net";
/// Gives the card its address and switches it on (netdevice(7)), for want of a program that does.
const CONFIGURE: &str = "\
import fcntl, socket, struct, sys
card, address = sys.argv[1].encode(), socket.inet_aton(sys.argv[2])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8916, struct.pack('16sH2x4s8x', card, socket.AF_INET, address))
    fcntl.ioctl(any_socket, 0x8914, struct.pack('16sH14x', card, 0x41))
";
/// What the page asks for as long as somebody looks at it.
const LIVE: &[u8] = b"GET /api/live";

/// An open door.
#[derive(Clone, Debug)]
pub struct Door {
    watching: Arc<AtomicUsize>,
}

impl Ctx {
    /// Opens the door to a port of this machine's loopback, for as long as the case runs.
    ///
    /// # Errors
    /// If the machine has no network card, or it cannot be used.
    pub fn door(&self, port: u16) -> Result<Door> {
        shell::run("modprobe", &[DRIVER])?;
        let (address, _) = INSIDE;
        let text = address.map(|byte| byte.to_string()).join(".");
        self.wait("the network card has its address", || {
            let Some(card) = card()? else { return Ok(None) };
            // udev may be about to give it another name.
            Ok(shell::run("python3", &["-c", CONFIGURE, &card, &text]).ok())
        })?;
        let listener =
            TcpListener::bind(SocketAddr::from(INSIDE)).context("listening on the network card")?;
        let watching = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&watching);
        thread::spawn(move || {
            for outside in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                // Whoever is on either side notices when it fails.
                thread::spawn(move || carry(&outside, port, &counter));
            }
        });
        Ok(Door { watching })
    }
}

impl Door {
    /// How many pages follow what happens.
    pub fn watching(&self) -> usize {
        self.watching.load(Ordering::SeqCst)
    }
}

/// The name of the one card that is not the loopback.
fn card() -> Result<Option<String>> {
    let cards = fs::read_dir("/sys/class/net").context("reading /sys/class/net")?;
    for card in cards {
        let name = card.context("reading /sys/class/net")?.file_name();
        if name != "lo" {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn carry(outside: &TcpStream, port: u16, watching: &AtomicUsize) -> io::Result<()> {
    let inside = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
    let (mut from_inside, mut to_outside) = (inside.try_clone()?, outside.try_clone()?);
    let back = thread::spawn(move || {
        let copied = io::copy(&mut from_inside, &mut to_outside);
        let _ = to_outside.shutdown(Shutdown::Both);
        copied
    });
    let live = forward(outside, &inside, watching);
    let _ = inside.shutdown(Shutdown::Both);
    let _ = back.join();
    if live? {
        watching.fetch_sub(1, Ordering::SeqCst);
    }
    Ok(())
}

/// Carries requests inwards until there are no more; whether one of them was a page's that follows what happens.
fn forward(mut outside: &TcpStream, mut inside: &TcpStream, watching: &AtomicUsize) -> io::Result<bool> {
    let mut live = false;
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = match outside.read(&mut buffer) {
            Ok(0) | Err(_) => return Ok(live),
            Ok(length) => length,
        };
        if !live && buffer[..length].starts_with(LIVE) {
            live = true;
            watching.fetch_add(1, Ordering::SeqCst);
        }
        if inside.write_all(&buffer[..length]).is_err() {
            return Ok(live);
        }
    }
}
