//! The BTF reader, on BTF made here and on that of the running kernel.

use super::*;

/// Writes raw BTF.
#[derive(Default)]
struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Writer {
    fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).expect("small");
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        self.types
            .extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    fn ty(&mut self, name: &str, kind: u32, vlen: u32, flag: bool, size_or_type: u32, rest: &[u32]) -> u32 {
        let name = self.string(name);
        self.words(&[name, kind << 24 | vlen | u32::from(flag) << 31, size_or_type]);
        self.words(rest);
        self.count += 1;
        self.count
    }

    fn structure(&mut self, name: &str, flag: bool, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let rest: Vec<u32> = members
            .iter()
            .flat_map(|(name, ty, offset)| [self.string(name), *ty, *offset])
            .collect();
        let vlen = u32::try_from(members.len()).expect("small");
        self.ty(name, kind::STRUCT, vlen, flag, size, &rest)
    }

    fn finish(&self) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small");
        let mut data = Vec::new();
        data.extend(0xeb9f_u16.to_ne_bytes());
        data.extend([1, 0]);
        for word in [
            24,
            0,
            length(&self.types),
            length(&self.types),
            length(&self.strings),
        ] {
            data.extend(word.to_ne_bytes());
        }
        data.extend(&self.types);
        data.extend(&self.strings);
        data
    }
}

/// `struct folio { unsigned flags; union { struct { u32 pad; u32 memcg_data; }; }; css { ptr } ; bits }`.
fn sample() -> Vec<u8> {
    let mut w = Writer::new();
    let int = w.ty("unsigned int", kind::INT, 0, false, 4, &[32]);
    let inner = w.structure("", false, 8, &[("pad", int, 0), ("memcg_data", int, 32)]);
    let css = w.structure("css_t", false, 8, &[("first", int, 0), ("cgroup", int, 32)]);
    let alias = w.ty("css_alias", kind::TYPEDEF, 0, false, css, &[]);
    // With the kind flag, the upper byte of an offset is the width of a bit field.
    let folio = w.structure(
        "folio",
        true,
        32,
        &[
            ("flags", int, 0),
            ("", inner, 64),
            ("css", alias, 128),
            ("proactive", int, 1 << 24 | 201),
        ],
    );
    let constant = w.ty("", kind::CONST, 0, false, folio, &[]);
    let pointer = w.ty("", kind::PTR, 0, false, constant, &[]);
    let number = w.string("number");
    let page = w.string("page");
    let proto = w.ty("", kind::FUNC_PROTO, 2, false, int, &[number, int, page, pointer]);
    w.ty("__swap_writepage", kind::FUNC, 0, false, proto, &[]);
    let head = w.string("PG_head");
    let backed = w.string("PG_swapbacked");
    w.ty("pageflags", kind::ENUM, 2, false, 4, &[head, 6, backed, 17]);
    w.ty(
        "btf_trace_mm_vmscan_write_folio",
        kind::TYPEDEF,
        0,
        false,
        pointer,
        &[],
    );
    w.finish()
}

#[test]
fn members_are_found_in_anonymous_ones_and_along_paths() {
    let btf = Btf::parse(sample()).expect("well formed");
    let offset = |path| btf.member("folio", path).map(Member::byte_offset);
    assert_eq!(offset("flags"), Some(0));
    assert_eq!(offset("memcg_data"), Some(12));
    assert_eq!(offset("css.cgroup"), Some(20));
    assert_eq!(offset("css.nothing"), None);
    assert_eq!(offset("nothing"), None);
    let bit = btf.member("folio", "proactive").expect("there");
    assert_eq!((bit.byte_offset(), bit.bit_offset % 8, bit.bits), (25, 1, 1));
    assert_eq!(btf.size_of("folio"), Some(32));
}

#[test]
fn functions_enumerators_and_tracepoints_are_found() {
    let btf = Btf::parse(sample()).expect("well formed");
    assert_eq!(
        btf.parameter_pointing_at("__swap_writepage", &["folio", "page"]),
        Some(1)
    );
    assert_eq!(btf.parameter_pointing_at("__swap_writepage", &["inode"]), None);
    assert_eq!(btf.parameters("__swap_writepage"), Some(2));
    assert!(!btf.has_function("swap_writepage"));
    assert_eq!(btf.enumerator("pageflags", "PG_swapbacked"), Some(17));
    assert_eq!(btf.enumerator("pageflags", "PG_nothing"), None);
    assert!(btf.has_typedef("btf_trace_mm_vmscan_write_folio"));
    assert!(!btf.has_typedef("btf_trace_mm_vmscan_writepage"));
}

#[test]
fn what_is_not_btf_is_refused() {
    assert!(matches!(
        Btf::parse(b"\x7fELF and more than a header of it".to_vec()),
        Err(BtfError::Magic(_))
    ));
    let mut unknown = Writer::new();
    unknown.ty("new", 31, 0, false, 0, &[]);
    assert_eq!(
        Btf::parse(unknown.finish()).err(),
        Some(BtfError::UnknownKind { kind: 31, id: 1 })
    );
}

#[test]
fn btf_cut_short_anywhere_is_an_error_and_never_a_panic() {
    let whole = sample();
    for length in 0..whole.len() {
        assert!(
            Btf::parse(whole[..length].to_vec()).is_err(),
            "{length} of {} bytes",
            whole.len()
        );
    }
}

#[test]
fn damaged_btf_is_never_a_panic() {
    let whole = sample();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        if let Ok(btf) = Btf::parse(damaged) {
            let _ = (
                btf.member("folio", "css.cgroup"),
                btf.parameter_pointing_at("__swap_writepage", &["folio"]),
            );
        }
    }
}
