//! What the compiler must not have put into the eBPF object.

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSymbol};

/// Part of the mangled name of everything below `core::panicking`.
const PANICKING: &str = "9panicking";

/// Refuses an object with a panic in it, of a division by something that may be zero or an index out of bounds:
/// a panic never returns, and no verifier loads the program that can come to it. Programs this machine's kernel
/// cannot load at all (fentry) would otherwise be found out on somebody else's.
///
/// # Errors
/// If there is one, or the bytes are no ELF object.
pub(crate) fn refuse_panics(bytes: &[u8]) -> Result<()> {
    let file = object::File::parse(bytes).context("reading the eBPF object")?;
    let names = file.symbols().filter_map(|symbol| symbol.name().ok());
    let panics = panics(names);
    if !panics.is_empty() {
        bail!(
            "the eBPF object contains a panic, which no verifier accepts: {} (look for a division, an index or a \
             slice in what was changed: use checked_div, get and the like)",
            panics.join(", ")
        );
    }
    Ok(())
}

fn panics<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.filter(|name| name.contains(PANICKING)).collect()
}

#[cfg(test)]
mod tests {
    use super::panics;

    #[test]
    fn a_panic_is_found_by_its_name() {
        let division = "_RNvNtNtCs1NpfdXmxSul_4core9panicking11panic_const23panic_const_div_by_zero";
        assert_eq!(panics(["swap_out", division].into_iter()), [division]);
        assert!(panics(["swap_out", "memcpy"].into_iter()).is_empty());
    }
}
