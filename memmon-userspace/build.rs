//! Embeds the eBPF object that `cargo xtask build` made, or an empty one, which the agent refuses to load.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=MEMMON_BPF_OBJECT");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("memmon-ebpf.o");
    match env::var_os("MEMMON_BPF_OBJECT") {
        Some(object) => {
            println!("cargo::rerun-if-changed={}", object.to_string_lossy());
            fs::copy(&object, &out)
                .unwrap_or_else(|e| panic!("copying MEMMON_BPF_OBJECT={}: {e}", object.display()));
        }
        None => {
            println!(
                "cargo::warning=no eBPF object: this build cannot attribute pages; `cargo xtask build` makes a full one"
            );
            fs::write(&out, []).expect("writing the stub object");
        }
    }
}
