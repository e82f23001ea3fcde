//! A small reader of raw BTF (`/sys/kernel/btf/vmlinux`): members, enumerators, function parameters.
//!
//! Source: Documentation/bpf/btf.rst in the kernel tree. Only what memmon asks for is decoded, straight
//! from the bytes, so that the several megabytes of BTF are read once and given back.

/// Why BTF could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// Not BTF, or of another byte order.
    #[error("not BTF of this machine's byte order: magic is {0:#06x}, expected 0xeb9f")]
    Magic(u16),
    /// A length or offset points outside the data.
    #[error("BTF is cut short or damaged at byte {0}")]
    Damaged(usize),
    /// A kind this reader has never heard of: its length is unknown, so reading cannot go on.
    #[error("BTF has a type of unknown kind {kind} (type {id}): this memmon is too old for this kernel")]
    UnknownKind {
        /// The kind.
        kind: u32,
        /// The type's number.
        id: usize,
    },
}

/// `BTF_KIND_*` numbers of include/uapi/linux/btf.h.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// Parsed far enough to find any type by number.
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    /// Byte offset of each type; index 0 is void.
    types: Vec<u32>,
}

/// A member of a structure, however deep in anonymous ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Distance from the start of the structure, bits.
    pub bit_offset: u32,
    /// Width of a bit field, bits; 0 for an ordinary member.
    pub bits: u32,
    /// The member's type.
    pub type_id: u32,
}

impl Member {
    /// Distance from the start of the structure, bytes.
    pub const fn byte_offset(self) -> u32 {
        self.bit_offset / 8
    }
}

#[derive(Clone, Copy)]
struct Type {
    id: usize,
    name: u32,
    kind: u32,
    vlen: usize,
    kind_flag: bool,
    size_or_type: u32,
    /// Byte offset of what follows the common part.
    rest: usize,
}

impl Btf {
    /// Indexes raw BTF.
    ///
    /// # Errors
    /// If the data is not BTF, is damaged, or has a kind of type that this reader does not know.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let magic = u16::from_ne_bytes(bytes(&data, 0)?);
        if magic != 0xeb9f {
            return Err(BtfError::Magic(magic));
        }
        let word =
            |at: usize| -> Result<usize, BtfError> { Ok(u32::from_ne_bytes(bytes(&data, at)?) as usize) };
        let (header, type_off, type_len, str_off, str_len) =
            (word(4)?, word(8)?, word(12)?, word(16)?, word(20)?);
        let start = header + type_off;
        let strings = header + str_off;
        if start + type_len > data.len() || strings + str_len > data.len() {
            return Err(BtfError::Damaged(data.len()));
        }
        let mut btf = Self {
            data,
            strings,
            types: vec![0],
        };
        let mut at = start;
        while at < start + type_len {
            let id = btf.types.len();
            btf.types
                .push(u32::try_from(at).map_err(|_| BtfError::Damaged(at))?);
            let ty = btf.at(id)?;
            at = ty.rest
                + match ty.kind {
                    kind::INT | kind::VAR | kind::DECL_TAG => 4,
                    kind::ARRAY => 12,
                    kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * ty.vlen,
                    kind::ENUM | kind::FUNC_PROTO => 8 * ty.vlen,
                    kind::PTR
                    | kind::FWD
                    | kind::TYPEDEF
                    | kind::VOLATILE
                    | kind::CONST
                    | kind::RESTRICT
                    | kind::FUNC
                    | kind::FLOAT
                    | kind::TYPE_TAG => 0,
                    kind => return Err(BtfError::UnknownKind { kind, id }),
                };
        }
        Ok(btf)
    }

    fn word(&self, at: usize) -> Option<u32> {
        bytes(&self.data, at).ok().map(u32::from_ne_bytes)
    }

    fn at(&self, id: usize) -> Result<Type, BtfError> {
        let at = *self.types.get(id).ok_or(BtfError::Damaged(0))? as usize;
        let damaged = || BtfError::Damaged(at);
        let info = self.word(at + 4).ok_or_else(damaged)?;
        Ok(Type {
            id,
            name: self.word(at).ok_or_else(damaged)?,
            kind: (info >> 24) & 0x1f,
            vlen: (info & 0xffff) as usize,
            kind_flag: info >> 31 != 0,
            size_or_type: self.word(at + 8).ok_or_else(damaged)?,
            rest: at + 12,
        })
    }

    fn name_is(&self, offset: u32, name: &str) -> bool {
        let start = self.strings + offset as usize;
        self.data.get(start..start + name.len() + 1).is_some_and(|found| {
            found
                .split_last()
                .is_some_and(|(&nul, found)| nul == 0 && found == name.as_bytes())
        })
    }

    fn find(&self, kinds: &[u32], name: &str) -> Option<Type> {
        (1..self.types.len())
            .filter_map(|id| self.at(id).ok())
            .find(|ty| kinds.contains(&ty.kind) && self.name_is(ty.name, name))
    }

    /// Whether there is a typedef of this name (`btf_trace_NAME` for each BTF tracepoint).
    pub fn has_typedef(&self, name: &str) -> bool {
        self.find(&[kind::TYPEDEF], name).is_some()
    }

    /// Number of a structure, for `bpf_rdonly_cast`.
    pub fn struct_id(&self, name: &str) -> Option<u32> {
        self.find(&[kind::STRUCT], name)
            .and_then(|ty| u32::try_from(ty.id).ok())
    }

    /// Number of a function, for calling it from a program.
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.find(&[kind::FUNC], name)
            .and_then(|ty| u32::try_from(ty.id).ok())
    }

    /// Size of a structure, bytes.
    pub fn size_of(&self, structure: &str) -> Option<u32> {
        self.find(&[kind::STRUCT, kind::UNION], structure)
            .map(|ty| ty.size_or_type)
    }

    /// Finds a member by a dotted path, such as `css.cgroup`, looking into anonymous members.
    pub fn member(&self, structure: &str, path: &str) -> Option<Member> {
        let mut ty = self.find(&[kind::STRUCT, kind::UNION], structure)?;
        let mut base = 0;
        let mut steps = path.split('.').peekable();
        loop {
            let member = self.member_of(ty, steps.next()?, base, 0)?;
            if steps.peek().is_none() {
                return Some(member);
            }
            base = member.bit_offset;
            ty = self.strip(member.type_id)?;
        }
    }

    fn member_of(&self, ty: Type, name: &str, base: u32, depth: u32) -> Option<Member> {
        if !matches!(ty.kind, kind::STRUCT | kind::UNION) || depth > 16 {
            return None;
        }
        for index in 0..ty.vlen {
            let at = ty.rest + 12 * index;
            let (name_off, type_id, offset) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
            let (bit_offset, bits) = if ty.kind_flag {
                (offset & 0x00ff_ffff, offset >> 24)
            } else {
                (offset, 0)
            };
            if self.name_is(name_off, name) {
                return Some(Member {
                    bit_offset: base + bit_offset,
                    bits,
                    type_id,
                });
            }
            if self.name_is(name_off, "")
                && let Some(inner) = self.strip(type_id)
                && let Some(found) = self.member_of(inner, name, base + bit_offset, depth + 1)
            {
                return Some(found);
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn strip(&self, id: u32) -> Option<Type> {
        let mut ty = self.at(id as usize).ok()?;
        for _ in 0..32 {
            match ty.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    ty = self.at(ty.size_or_type as usize).ok()?;
                }
                _ => return (ty.id != 0).then_some(ty),
            }
        }
        None
    }

    /// The value of an enumerator of the enumeration `of`.
    pub fn enumerator(&self, of: &str, name: &str) -> Option<u32> {
        let ty = self.find(&[kind::ENUM], of)?;
        (0..ty.vlen).map(|index| ty.rest + 8 * index).find_map(|at| {
            let name_off = self.word(at)?;
            self.name_is(name_off, name).then(|| self.word(at + 4))?
        })
    }

    /// Number of parameters of a function, `None` if there is no such function.
    pub fn parameters(&self, function: &str) -> Option<usize> {
        Some(self.prototype(function)?.vlen)
    }

    fn prototype(&self, function: &str) -> Option<Type> {
        let func = self.find(&[kind::FUNC], function)?;
        let proto = self.at(func.size_or_type as usize).ok()?;
        (proto.kind == kind::FUNC_PROTO).then_some(proto)
    }

    /// Index of the first parameter of `function` that is a pointer to one of `structures`.
    pub fn parameter_pointing_at(&self, function: &str, structures: &[&str]) -> Option<u32> {
        let proto = self.prototype(function)?;
        (0..proto.vlen).find_map(|index| {
            let pointer = self.strip(self.word(proto.rest + 8 * index + 4)?)?;
            let target = (pointer.kind == kind::PTR).then(|| self.strip(pointer.size_or_type))??;
            let hit =
                target.kind == kind::STRUCT && structures.iter().any(|name| self.name_is(target.name, name));
            hit.then(|| u32::try_from(index).ok())?
        })
    }

    /// Whether there is a per-CPU variable of this name.
    pub fn has_variable(&self, name: &str) -> bool {
        self.find(&[kind::VAR], name).is_some()
    }

    /// Whether `function` is one of the BTF functions.
    pub fn has_function(&self, function: &str) -> bool {
        self.find(&[kind::FUNC], function).is_some()
    }
}

fn bytes<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N], BtfError> {
    data.get(at..at + N)
        .and_then(|slice| slice.try_into().ok())
        .ok_or(BtfError::Damaged(at))
}

#[cfg(test)]
#[path = "btf_tests.rs"]
mod tests;
