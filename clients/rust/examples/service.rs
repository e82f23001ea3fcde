//! An embedding service that keeps what matters in RAM: the worked example of docs/service-authors.md.
//!
//! `service SOCKET [MIB] [IDLE_SECONDS]` answers one request per line: `embed TEXT`, `clear`, `status`, `verify`, `quit`.

use std::{
    collections::HashMap,
    env,
    error::Error,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{BufRead, BufReader, ErrorKind, Write},
    num::NonZeroUsize,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
    },
    process,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use memmon_client::{Guard, History, InUse, Protected, Unusable};
use serde_json::{Value, json};

/// Numbers in an embedding: 1.5 KiB.
const WIDTH: usize = 384;

type Cache = Arc<Mutex<HashMap<String, Box<[f32]>>>>;

/// The service proper. Only what comes from `memmon_client` would be missing without it.
struct Embedder {
    /// Always needed: protected for as long as the service lives.
    index: Protected<f32>,
    /// Needed while requests come in.
    model: InUse<Vec<u64>>,
    checksum: u64,
    /// The last hundred cycles.
    history: Mutex<History<f32>>,
    /// Not needed at all: gone when memory is short.
    cache: Cache,
    released: Arc<Mutex<u64>>,
    _hook: memmon_client::ReleaseHook,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn checksum(weights: &[u64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    weights.hash(&mut hasher);
    hasher.finish()
}

/// Numbers that do not compress, as a model's do not.
fn weights(mib: usize) -> Vec<u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(next).take(mib << 17).collect()
}

impl Embedder {
    fn new(mib: usize, idle: Duration) -> Result<Self, Unusable> {
        let weights = weights(mib);
        let checksum = checksum(&weights);
        let most = NonZeroUsize::MIN.saturating_add(99);
        let (cache, released) = (Cache::default(), Arc::<Mutex<u64>>::default());
        let hook = {
            let (cache, released) = (Arc::clone(&cache), Arc::clone(&released));
            memmon_client::on_release(move |_bytes| {
                lock(&cache).clear();
                *lock(&released) += 1;
            })
        };
        Ok(Self {
            index: Protected::new(vec![0.0; 1000 * WIDTH], "index")?,
            model: InUse::new(weights, "model", idle)?,
            checksum,
            history: Mutex::new(History::new(most, "history").cold()),
            cache,
            released,
            _hook: hook,
        })
    }

    /// One inference.
    fn embed(&self, text: &str) -> Result<f32, Unusable> {
        if let Some(vector) = lock(&self.cache).get(text) {
            return Ok(vector[0]);
        }
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let vector: Box<[f32]> = {
            let weights = self.model.enter();
            weights[..WIDTH].hash(&mut hasher);
            let seed = hasher.finish().to_le_bytes();
            (0..WIDTH).map(|i| f32::from(seed[i % 8]) / 255.0).collect()
        };
        let first = vector[0];
        lock(&self.history).push(vector.clone())?;
        lock(&self.cache).insert(text.to_owned(), vector);
        Ok(first)
    }

    /// What a monitoring page of the service would show.
    fn status(&self) -> Value {
        let history = lock(&self.history);
        let of_history = history.iter().map(|cycle| describe(cycle.guard()));
        let mut guards: Vec<Value> = [describe(self.index.guard())]
            .into_iter()
            .chain(of_history)
            .collect();
        if let Some(status) = self.model.status() {
            guards.push(described(&self.model.ranges(), &status));
        }
        json!({
            "pid": process::id(),
            "cached": lock(&self.cache).len(),
            "released": *lock(&self.released),
            "guards": guards,
        })
    }

    fn answer(&self, request: &str) -> Result<String, Box<dyn Error>> {
        let (command, rest) = request.split_once(' ').unwrap_or((request, ""));
        match command {
            "embed" => Ok(format!("{:.6}", self.embed(rest)?)),
            "clear" => {
                lock(&self.cache).clear();
                lock(&self.history).clear();
                self.model.release();
                Ok("cleared".to_owned())
            }
            "status" => Ok(self.status().to_string()),
            "verify" => {
                let same = checksum(self.model.model()) == self.checksum;
                Ok(if same { "intact" } else { "damaged" }.to_owned())
            }
            _ => Err(format!("{command:?}: give embed TEXT, clear, status, verify or quit").into()),
        }
    }
}

fn describe(guard: &Guard<'_>) -> Value {
    described(guard.ranges(), &guard.status())
}

fn described(ranges: &[memmon_client::PageRange], status: &memmon_client::Status) -> Value {
    let ranges: Vec<[usize; 2]> = ranges.iter().map(|range| [range.start, range.end]).collect();
    json!({
        "label": status.label,
        "ranges": ranges,
        "locked": status.locked,
        "tagged": status.tagged,
        "refused": status.refused,
    })
}

fn serve(embedder: &Embedder, stream: UnixStream) -> Result<(), Box<dyn Error>> {
    let mut answers = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        match line?.trim() {
            "quit" => {
                answers.write_all(b"ok\n")?;
                process::exit(0);
            }
            request => match embedder.answer(request) {
                Ok(answer) => writeln!(answers, "ok {answer}")?,
                Err(error) => writeln!(answers, "error {error}")?,
            },
        }
    }
    Ok(())
}

/// Type=notify.
fn notify_ready() -> Result<(), Box<dyn Error>> {
    if let Ok(path) = env::var("NOTIFY_SOCKET") {
        let address = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(path)?,
        };
        UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let socket = arguments
        .next()
        .ok_or("usage: service SOCKET [MIB] [IDLE_SECONDS]")?;
    let mib = arguments.next().map_or(Ok(8), |text| text.parse())?;
    let idle = arguments.next().map_or(Ok(60.0), |text| text.parse())?;
    let embedder = Arc::new(Embedder::new(mib, Duration::try_from_secs_f64(idle)?)?);
    if let Err(error) = fs::remove_file(&socket)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error.into());
    }
    let listener = UnixListener::bind(&socket)?;
    notify_ready()?;
    for stream in listener.incoming() {
        let (stream, embedder) = (stream?, Arc::clone(&embedder));
        thread::spawn(move || {
            if let Err(error) = serve(&embedder, stream) {
                eprintln!("a connection ended: {error}");
            }
        });
    }
    Ok(())
}
