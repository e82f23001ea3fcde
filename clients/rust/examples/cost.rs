//! What protecting and releasing cost beyond mlock and munlock themselves: medians, in turns, in microseconds.

use std::{
    error::Error,
    ffi::c_void,
    time::{Duration, Instant},
};

const ROUNDS: usize = 300;

fn main() -> Result<(), Box<dyn Error>> {
    for size in [1536, 1 << 20, 64 << 20] {
        let buffer = vec![0u8; size];
        let guard = memmon_client::protect(&buffer, "cost")?;
        guard.wait_tagged(Duration::from_secs(2));
        let ranges = guard.ranges().to_vec();
        drop(guard);
        let (mut bare, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            for range in &ranges {
                let start = range.start as *mut c_void;
                // SAFETY: locking and unlocking change no byte, and nobody else has locked this buffer.
                unsafe {
                    rustix::mm::mlock(start, range.len())?;
                    rustix::mm::munlock(start, range.len())?;
                }
            }
            bare.push(begin.elapsed());
            let begin = Instant::now();
            drop(memmon_client::protect(&buffer, "cost")?);
            whole.push(begin.elapsed());
        }
        bare.sort_unstable();
        whole.sort_unstable();
        let (alone, both) = (bare[ROUNDS / 2], whole[ROUNDS / 2]);
        println!(
            "{size:>9} bytes: mlock {alone:>9.1?}, protect {both:>9.1?}, beyond {:>9.1?}, longest protect {:>9.1?}",
            both.saturating_sub(alone),
            whole[ROUNDS - 1]
        );
    }
    Ok(())
}
