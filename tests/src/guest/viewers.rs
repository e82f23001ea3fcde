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

/// They look until this is dropped or [`Self::end`] is called.
#[derive(Debug)]
pub struct Viewers {
    over: Arc<AtomicBool>,
    seen: Vec<Arc<AtomicUsize>>,
    scraped: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Result<()>>>,
    top: Terminal,
}

impl Viewers {
    /// So many pages, one scrape per second and one terminal; returns when all of them have seen something.
    ///
    /// # Errors
    /// If one of them sees nothing.
    pub fn begin(ctx: &Ctx, port: u16, pages: usize) -> Result<Self> {
        let top = ctx.terminal("memmon top")?;
        let mut viewers = Self {
            over: Arc::default(),
            seen: Vec::new(),
            scraped: Arc::default(),
            threads: Vec::new(),
            top,
        };
        for _ in 0..pages {
            let (over, seen) = (Arc::clone(&viewers.over), Arc::<AtomicUsize>::default());
            viewers.seen.push(Arc::clone(&seen));
            viewers
                .threads
                .push(thread::spawn(move || follow(port, &over, &seen)));
        }
        let (over, scraped) = (Arc::clone(&viewers.over), Arc::clone(&viewers.scraped));
        viewers
            .threads
            .push(thread::spawn(move || scrape(port, &over, &scraped)));
        ctx.wait("every viewer has seen something", || {
            let pages = viewers.seen.iter().all(|seen| seen.load(Ordering::Relaxed) > 0);
            let all = pages
                && viewers.scraped.load(Ordering::Relaxed) > 0
                && viewers.top.shown()?.contains("swapped out");
            Ok(all.then_some(()))
        })?;
        Ok(viewers)
    }

    /// They stop looking; all of them have to have looked until now.
    ///
    /// # Errors
    /// If one of them was turned away meanwhile.
    pub fn end(mut self) -> Result<()> {
        self.top.close()?;
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let joined = thread.join();
            joined.map_err(|_| anyhow::anyhow!("a viewer's thread panicked"))??;
        }
        Ok(())
    }
}

impl Drop for Viewers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
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
