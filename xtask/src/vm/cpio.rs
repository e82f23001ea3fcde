//! The archive format of an initramfs ("newc", Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::Write as _;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive being put together in memory; every file belongs to root.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    /// Adds a directory; parents come before what is in them.
    pub(crate) fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, &[]);
    }

    /// Adds a file with its permission bits.
    pub(crate) fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.entry(name, FILE | permissions, content);
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.inode += 1;
        let size = u32::try_from(content.len()).expect("a file of an initramfs is below 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("a name is short");
        self.bytes.extend_from_slice(b"070701");
        // inode, mode, uid, gid, links, mtime, size, device numbers ×4, length of the name, checksum
        for field in [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            write!(self.bytes, "{field:08x}").expect("a vector takes every write");
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
#[path = "cpio_tests.rs"]
mod tests;
