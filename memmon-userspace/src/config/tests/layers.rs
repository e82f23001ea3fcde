//! Which file wins.

use std::{fs, os::unix::fs::symlink};

use tempfile::TempDir;

use crate::config::{Config, ConfigErrors, Layers, LogLevel, Priority};

const RUN: &str = "run/memmon/memmon.toml.d";
const ETC: &str = "etc/memmon/memmon.toml";
const ETC_D: &str = "etc/memmon/memmon.toml.d";
const VENDOR: &str = "usr/lib/memmon/memmon.toml";

struct Host(TempDir);

impl Host {
    fn new(files: &[(&str, &str)]) -> Self {
        let host = Self(TempDir::new().unwrap());
        for (path, text) in files {
            let path = host.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        host
    }

    fn path(&self, relative: &str) -> std::path::PathBuf {
        self.0.path().join(relative)
    }

    fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&Layers::under(self.0.path()))
    }
}

#[test]
fn nothing_installed_gives_the_shipped_defaults() {
    let config = Host::new(&[]).load().unwrap();
    assert_eq!(config.priority("omnimind.service"), Priority::Critical);
    assert_eq!(config.priority("omnimind-frontend.service"), Priority::Medium);
    assert_eq!(config.priority("ssh.service"), Priority::Observe);
    assert_eq!(config.listen.to_string(), "127.0.0.1:9757");
    assert_eq!(config.reaction.hold.as_secs(), 600);
    assert_eq!(
        (config.log.level, config.log.bpf_level),
        (LogLevel::Info, LogLevel::Off)
    );
}

#[test]
fn later_layers_override_key_by_key() {
    let level = |word: &str| format!("[log]\nlevel = '{word}'\n");
    let host = Host::new(&[
        (
            VENDOR,
            &(level("off") + "[units]\n'v.service' = 'low'\n'*' = 'observe'"),
        ),
        (
            &format!("{RUN}/90.toml"),
            &(level("error") + "[units]\n'r.service' = 'low'\n'v.service' = 'high'"),
        ),
        (ETC, &level("warn")),
        (
            &format!("{ETC_D}/10.toml"),
            &(level("debug") + "bpf_level = 'error'"),
        ),
        (&format!("{ETC_D}/20.toml"), &level("trace")),
    ]);
    let config = host.load().unwrap();
    assert_eq!(config.log.level, LogLevel::Trace);
    assert_eq!(config.log.bpf_level, LogLevel::Error);
    assert_eq!(config.priority("v.service"), Priority::High);
    assert_eq!(config.priority("r.service"), Priority::Low);

    // Taking the files away one by one uncovers the layer below.
    for (file, below) in [
        (format!("{ETC_D}/20.toml"), LogLevel::Debug),
        (format!("{ETC_D}/10.toml"), LogLevel::Warn),
        (ETC.to_owned(), LogLevel::Error),
        (format!("{RUN}/90.toml"), LogLevel::Off),
        (VENDOR.to_owned(), LogLevel::Info),
    ] {
        fs::remove_file(host.path(&file)).unwrap();
        assert_eq!(host.load().unwrap().log.level, below, "without {file}");
    }
}

#[test]
fn the_vendor_file_says_which_units_there_are() {
    let config = Host::new(&[(VENDOR, "[units]\n'v.service' = 'low'")])
        .load()
        .unwrap();
    assert_eq!(config.priority("omnimind.service"), Priority::Observe);
    assert_eq!(config.thresholds, Config::default().thresholds);
}

#[test]
fn files_of_one_name_are_both_read() {
    let config = Host::new(&[
        (
            &format!("{RUN}/50.toml"),
            "[units]\n'a.service' = 'low'\n'b.service' = 'low'",
        ),
        (&format!("{ETC_D}/50.toml"), "[units]\n'a.service' = 'high'"),
    ])
    .load()
    .unwrap();
    assert_eq!(config.priority("a.service"), Priority::High);
    assert_eq!(config.priority("b.service"), Priority::Low);
}

#[test]
fn only_visible_toml_files_are_drop_ins() {
    let host = Host::new(&[
        (&format!("{ETC_D}/.50.toml"), "not toml"),
        (&format!("{ETC_D}/50.toml.bak"), "not toml"),
        (&format!("{ETC_D}/README"), "not toml"),
    ]);
    symlink("/dev/null", host.path(&format!("{ETC_D}/60.toml"))).unwrap();
    host.load().unwrap();
}

#[test]
fn a_given_file_replaces_run_and_etc() {
    let host = Host::new(&[
        (VENDOR, "[units]\n'v.service' = 'low'"),
        (&format!("{RUN}/1.toml"), "not toml"),
        (ETC, "not toml"),
        ("mine.toml", "[log]\nlevel = 'off'"),
    ]);
    let layers = Layers::under(host.0.path()).with_file(Some(host.path("mine.toml")));
    let config = Config::load(&layers).unwrap();
    assert_eq!(config.log.level, LogLevel::Off);
    assert_eq!(config.priority("v.service"), Priority::Low);

    let missing = Layers::under(host.0.path()).with_file(Some(host.path("missing.toml")));
    let error = Config::load(&missing).unwrap_err().to_string();
    assert!(
        error.contains("missing.toml: reading the configuration: No such file"),
        "{error}"
    );
}

#[test]
fn a_conflict_between_files_names_both() {
    let drop_in = format!("{ETC_D}/10.toml");
    let host = Host::new(&[
        (ETC, "[thresholds]\nram_critical = 0.7\nram_high = 0.6"),
        (&drop_in, "\n[thresholds]\nram_high = 0.75"),
    ]);
    let error = host.load().unwrap_err().to_string();
    let (here, there) = (host.path(&drop_in), host.path(ETC));
    let expected = format!(
        "{}:3:12: [thresholds] ram_high: value 0.75 is not below ram_critical = 0.7 ({}:2:16)",
        here.display(),
        there.display()
    );
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn errors_of_all_files_are_reported() {
    let host = Host::new(&[
        (&format!("{RUN}/1.toml"), "nonsense = 1"),
        (ETC, "listen = 1"),
        (&format!("{ETC_D}/1.toml"), "= 1"),
    ]);
    let errors = host.load().unwrap_err().0;
    let files: Vec<_> = errors
        .iter()
        .map(|e| e.location().unwrap().file.to_string())
        .collect();
    let expected = [format!("{RUN}/1.toml"), ETC.to_owned(), format!("{ETC_D}/1.toml")];
    assert_eq!(files, expected.map(|file| host.path(&file).display().to_string()));
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let host = Host::new(&[]);
    fs::create_dir_all(host.path(&format!("{ETC_D}/dir.toml"))).unwrap();
    symlink("nowhere", host.path(&format!("{ETC_D}/gone.toml"))).unwrap();
    let errors = host.load().unwrap_err();
    assert_eq!(errors.0.len(), 2, "{errors}");
    assert!(
        errors
            .to_string()
            .contains("dir.toml: reading the configuration: Is a directory"),
        "{errors}"
    );
    assert!(
        errors
            .to_string()
            .contains("gone.toml: reading the configuration: No such file"),
        "{errors}"
    );
    assert!(errors.0.iter().all(|e| e.location().is_none()));
}

#[test]
fn an_unreadable_directory_is_an_error() {
    // Root reads everything, so a file in the place of the directory stands in for a forbidden one.
    let host = Host::new(&[(ETC_D, "a file")]);
    let error = host.load().unwrap_err().to_string();
    assert!(
        error.contains("memmon.toml.d: reading the configuration: Not a directory"),
        "{error}"
    );
}

#[test]
fn what_is_not_utf8_is_an_error_with_a_place() {
    let host = Host::new(&[(ETC, "")]);
    fs::write(host.path(ETC), b"# \xc3\xa4\n[log]\n# \xff\n").unwrap();
    let error = host.load().unwrap_err().to_string();
    assert!(
        error.contains("memmon.toml:3:3: not valid TOML: byte 0xff is not UTF-8"),
        "{error}"
    );
}
