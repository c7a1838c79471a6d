//! Byte offsets of kernel structures' fields, from the kernel's own type information.
//!
//! In: the bytes of `/sys/kernel/btf/vmlinux` (format: the kernel's `Documentation/bpf/btf.rst`). Out: offsets.
//! Deliberately absent: everything else that BTF says; a general reader would keep the whole kernel's types in memory.

use kongtap_common::offsets::KernelOffsets;

const MAGIC: u16 = 0xeb9f;
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;
/// Structures within structures, without a name, that are looked into.
const MAX_DEPTH: u32 = 8;

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;

/// The bytes are not BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the kernel's type information: {what}")]
pub struct BtfError {
    what: &'static str,
}

/// Offsets of all fields that the probes read.
///
/// # Errors
/// [`BtfError`] when the bytes are not BTF. A field that is missing is marked absent instead.
pub(super) fn kernel_offsets(btf: &[u8]) -> Result<KernelOffsets, BtfError> {
    let btf = Btf::parse(btf)?;
    Ok(KernelOffsets::resolve(|structure, member| {
        btf.member_offset(structure, member)
    }))
}

struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type starts in `types`; type 1 is the first.
    starts: Vec<u32>,
    /// Ids of structures.
    structs: Vec<u32>,
}

impl<'a> Btf<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        if u16_at(bytes, 0) != Some(MAGIC) {
            return Err(BtfError {
                what: "wrong magic number",
            });
        }
        let field = |at| u32_at(bytes, at).ok_or(BtfError { what: "short header" });
        let body = slice(bytes, field(4)?, u32::MAX).ok_or(BtfError { what: "short header" })?;
        let types = slice(body, field(8)?, field(12)?).ok_or(BtfError {
            what: "types outside the file",
        })?;
        let strings = slice(body, field(16)?, field(20)?).ok_or(BtfError {
            what: "strings outside the file",
        })?;
        let mut btf = Self {
            types,
            strings,
            starts: Vec::new(),
            structs: Vec::new(),
        };
        let mut at = 0;
        let mut id = 1;
        while at < types.len() {
            let info = u32_at(types, at + 4).ok_or(BtfError { what: "type cut off" })?;
            let start = u32::try_from(at).map_err(|_too_large| BtfError {
                what: "more than 4 GiB of types",
            })?;
            btf.starts.push(start);
            if kind(info) == KIND_STRUCT {
                btf.structs.push(id);
            }
            at += TYPE_BYTES
                + tail_bytes(info).ok_or(BtfError {
                    what: "type of unknown kind",
                })?;
            id += 1;
        }
        Ok(btf)
    }

    /// Bytes from the start of structure `name` to its member `member`, looking into nameless members.
    fn member_offset(&self, name: &str, member: &str) -> Option<u32> {
        self.structs.iter().find_map(|id| {
            let at = self.start(*id)?;
            if !self.is_named(u32_at(self.types, at)?, name) {
                return None;
            }
            self.member_bits(at, member, 0)
                .filter(|bits| bits % 8 == 0)
                .map(|bits| bits / 8)
        })
    }

    fn member_bits(&self, at: usize, member: &str, depth: u32) -> Option<u32> {
        let info = u32_at(self.types, at + 4)?;
        if depth > MAX_DEPTH || !matches!(kind(info), KIND_STRUCT | KIND_UNION) {
            return None;
        }
        (0..members(info)).find_map(|index| {
            let entry = at + TYPE_BYTES + index * MEMBER_BYTES;
            let name = u32_at(self.types, entry)?;
            let offset = u32_at(self.types, entry + 8)?;
            // With the kind flag set the upper byte is a bit field's width.
            let bits = if info >> 31 == 1 {
                offset & 0x00ff_ffff
            } else {
                offset
            };
            if name == 0 {
                let inner = self.start(u32_at(self.types, entry + 4)?)?;
                self.member_bits(inner, member, depth + 1)?.checked_add(bits)
            } else {
                self.is_named(name, member).then_some(bits)
            }
        })
    }

    fn start(&self, id: u32) -> Option<usize> {
        let index = usize::try_from(id).ok()?.checked_sub(1)?;
        usize::try_from(*self.starts.get(index)?).ok()
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        slice(self.strings, offset, u32::MAX)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

const fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

fn members(info: u32) -> usize {
    usize::try_from(info & 0xffff).unwrap_or(0)
}

/// Bytes after a type's fixed part; `None` for a kind that is not known.
fn tail_bytes(info: u32) -> Option<usize> {
    const INT: u32 = 1;
    const ARRAY: u32 = 3;
    const ENUM: u32 = 6;
    const FUNC_PROTO: u32 = 13;
    const VAR: u32 = 14;
    const DATASEC: u32 = 15;
    const DECL_TAG: u32 = 17;
    const ENUM64: u32 = 19;
    let count = members(info);
    match kind(info) {
        INT | VAR | DECL_TAG => Some(4),
        ARRAY => Some(12),
        KIND_STRUCT | KIND_UNION => Some(count * MEMBER_BYTES),
        ENUM | FUNC_PROTO => Some(count * 8),
        DATASEC | ENUM64 => Some(count * 12),
        // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag: no tail.
        2 | 7..=12 | 16 | 18 => Some(0),
        _ => None,
    }
}

fn slice(bytes: &[u8], from: u32, length: u32) -> Option<&[u8]> {
    let rest = bytes.get(usize::try_from(from).ok()?..)?;
    if length == u32::MAX {
        Some(rest)
    } else {
        rest.get(..usize::try_from(length).ok()?)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|raw| u16::from_ne_bytes(*raw))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|raw| u32::from_ne_bytes(*raw))
}

#[cfg(test)]
mod tests;
