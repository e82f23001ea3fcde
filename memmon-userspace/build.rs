//! Embeds what `cargo xtask build` made: the eBPF object, or an empty one, which the agent refuses to load; and the web
//! page, or one that says that there is none.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    ebpf(&out);
    web(&out);
}

fn ebpf(out: &Path) {
    println!("cargo::rerun-if-env-changed=MEMMON_BPF_OBJECT");
    let out = out.join("memmon-ebpf.o");
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

include!("src/export/web/files.rs");

const STUB: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>memmon</title>\n\
    <p>This build of memmon has no web page: <code>cargo xtask build</code> makes one that has.\n";

/// Writes `web_assets.rs`: the files as they are and compressed.
fn web(out: &Path) {
    println!("cargo::rerun-if-env-changed=MEMMON_WEB_DIST");
    let dir = env::var_os("MEMMON_WEB_DIST").map(PathBuf::from);
    let stub = out.join("no-page.html");
    fs::write(&stub, STUB).expect("writing the stub page");
    let mut source = String::from(
        "/// Path, media type, content, and the same compressed.\n\
         type Embedded = (&'static str, &'static str, &'static [u8], &'static [u8]);\n\
         static EMBEDDED: &[Embedded] = &[\n",
    );
    let mut add = |path: &str, kind: &str, plain: &Path, gzip: Option<&Path>| {
        let gzip = gzip.map_or("&[]".to_owned(), |file| format!("include_bytes!({file:?})"));
        let _ = writeln!(source, "({path:?}, {kind:?}, include_bytes!({plain:?}), {gzip}),");
    };
    match &dir {
        Some(dir) => {
            for (path, name, kind) in FILES {
                let (plain, gzip) = (dir.join(name), dir.join(format!("{name}.gz")));
                for file in [&plain, &gzip] {
                    println!("cargo::rerun-if-changed={}", file.display());
                    assert!(file.is_file(), "MEMMON_WEB_DIST has no {}", file.display());
                }
                add(path, kind, &plain, Some(&gzip));
            }
        }
        None => add("/", "text/html; charset=utf-8", &stub, None),
    }
    source.push_str("];\n");
    fs::write(out.join("web_assets.rs"), source).expect("writing the list of the page's files");
}
