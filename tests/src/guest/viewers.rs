//! Who looks at the agent: pages that follow what happens, a scraper, `memmon top` in a terminal.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{Ctx, http, terminal::Terminal};

/// What each page asks for as long as it is open.
const LIVE: &[u8] = b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// Open pages and a scraper; they look until this is dropped or [`Self::end`] is called.
#[derive(Debug)]
pub struct Pages {
    over: Arc<AtomicBool>,
    seen: Vec<Arc<AtomicUsize>>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Pages {
    /// So many pages, and one scrape per second.
    pub fn open(port: u16, pages: usize) -> Self {
        let over = Arc::<AtomicBool>::default();
        let (mut seen, mut threads) = (Vec::new(), Vec::new());
        for number in 0..=pages {
            let (over, count) = (Arc::clone(&over), Arc::<AtomicUsize>::default());
            seen.push(Arc::clone(&count));
            threads.push(thread::spawn(move || {
                if number == pages {
                    scrape(port, &over, &count)
                } else {
                    follow(port, &over, &count)
                }
            }));
        }
        Self { over, seen, threads }
    }

    /// Each of them has seen something.
    pub fn all_see(&self) -> bool {
        self.seen.iter().all(|seen| seen.load(Ordering::Relaxed) > 0)
    }

    /// They stop looking; all of them have to have looked until now.
    ///
    /// # Errors
    /// If one of them was turned away meanwhile.
    pub fn end(mut self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let joined = thread.join();
            joined.map_err(|_| anyhow::anyhow!("a viewer's thread panicked"))??;
        }
        Ok(())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The same, and `memmon top` in a terminal.
#[derive(Debug)]
pub struct Viewers {
    pages: Pages,
    top: Terminal,
}

impl Viewers {
    /// Returns when all of them have seen something.
    ///
    /// # Errors
    /// If one of them sees nothing.
    pub fn begin(ctx: &Ctx, port: u16, pages: usize) -> Result<Self> {
        let viewers = Self {
            top: ctx.terminal("memmon top")?,
            pages: Pages::open(port, pages),
        };
        ctx.wait("every viewer has seen something", || {
            let top = viewers.top.shown()?.contains("swapped out");
            Ok((top && viewers.pages.all_see()).then_some(()))
        })?;
        Ok(viewers)
    }

    /// As [`Pages::end`].
    ///
    /// # Errors
    /// If one of them has ended by itself.
    pub fn end(self) -> Result<()> {
        self.top.shown().context("memmon top")?;
        self.top.close()?;
        self.pages.end()
    }
}

fn follow(port: u16, over: &AtomicBool, seen: &AtomicUsize) -> Result<()> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(LIVE)?;
    let mut buffer = [0; 16 * 1024];
    while !over.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(length) => {
                ensure!(length > 0, "the agent has hung up");
                ensure!(
                    seen.load(Ordering::Relaxed) > 0 || buffer.starts_with(b"HTTP/1.1 200"),
                    "not served: {}",
                    String::from_utf8_lossy(&buffer[..length])
                );
                seen.fetch_add(length, Ordering::Relaxed);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("following the page"),
        }
    }
    Ok(())
}

fn scrape(port: u16, over: &AtomicBool, scraped: &AtomicUsize) -> Result<()> {
    while !over.load(Ordering::Relaxed) {
        let (status, _) = http::get(port, "/metrics")?.context("nobody serves metrics")?;
        ensure!(status == 200, "a scrape was answered {status}");
        scraped.fetch_add(1, Ordering::Relaxed);
        // Passing time is what a scraper does.
        thread::sleep(SCRAPE_INTERVAL);
    }
    Ok(())
}
