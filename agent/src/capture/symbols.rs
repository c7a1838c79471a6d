//! Where OpenSSL's functions lie in an ELF file.
//!
//! In: the bytes of an executable or a shared library, which are untrusted. Out: file offsets of the functions that it
//! defines, its build id, and OpenSSL's version text if it holds one. Pure: no file is opened here. Offsets are computed
//! with checks, and a file that contradicts itself yields fewer functions or an [`ElfError`], never a panic.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use object::read::elf::{ElfFile, FileHeader, ProgramHeader as _};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, ReadRef as _, SymbolKind, elf};
use regex::bytes::Regex;

use super::placement::{Code, Machine};

/// Most bytes of a file that are read: the largest gateway executables with OpenSSL linked in and debug information
/// are about half of it.
pub const ELF_MAX_BYTES: u64 = 128 * 1024 * 1024;
/// Most bytes of read-only data that are searched for a version.
const VERSION_SEARCH_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Longest build id that is taken; linkers write 8 to 32 bytes.
const BUILD_ID_MAX_BYTES: usize = 64;

macro_rules! functions {
    ($($(#[$doc:meta])* $variant:ident = $symbol:literal,)*) => {
        /// A function of OpenSSL's that a probe may be placed on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum TlsFunction { $($(#[$doc])* $variant,)* }

        impl TlsFunction {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The one of that name.
            fn named(name: &[u8]) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.symbol().as_bytes() == name)
            }

            /// Its name in a symbol table.
            #[must_use]
            pub const fn symbol(self) -> &'static str {
                match self { $(Self::$variant => $symbol,)* }
            }
        }
    };
}

functions! {
    /// `int SSL_read(SSL *, void *, int)`.
    Read = "SSL_read",
    /// `int SSL_write(SSL *, const void *, int)`.
    Write = "SSL_write",
    /// `int SSL_read_ex(SSL *, void *, size_t, size_t *)`.
    ReadEx = "SSL_read_ex",
    /// `int SSL_write_ex(SSL *, const void *, size_t, size_t *)`.
    WriteEx = "SSL_write_ex",
    /// `int SSL_set_fd(SSL *, int)`.
    SetFd = "SSL_set_fd",
    /// `int SSL_set_rfd(SSL *, int)`.
    SetRfd = "SSL_set_rfd",
    /// `int SSL_set_wfd(SSL *, int)`.
    SetWfd = "SSL_set_wfd",
    /// `void SSL_free(SSL *)`.
    Free = "SSL_free",
    /// `int SSL_do_handshake(SSL *)`.
    DoHandshake = "SSL_do_handshake",
    /// `int SSL_accept(SSL *)`.
    Accept = "SSL_accept",
    /// `int SSL_connect(SSL *)`.
    Connect = "SSL_connect",
    /// `int SSL_shutdown(SSL *)`.
    Shutdown = "SSL_shutdown",
}

/// Position of a function's first instruction in its file, which is what a uprobe is placed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileOffset(pub u64);

/// What is known of one ELF file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElfFacts {
    /// The linker's note, in lower-case hex.
    pub build_id: Option<String>,
    /// The functions that it defines. Empty when it has no OpenSSL, or when its symbols were stripped.
    pub functions: BTreeMap<TlsFunction, FileOffset>,
}

impl ElfFacts {
    /// Whether bytes can be seen: a TLS library without a read or write function is of no use.
    #[must_use]
    pub fn carries_data(&self) -> bool {
        [
            TlsFunction::Read,
            TlsFunction::Write,
            TlsFunction::ReadEx,
            TlsFunction::WriteEx,
        ]
        .iter()
        .any(|function| self.functions.contains_key(function))
    }
}

/// Why nothing can be said of a file.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It is no ELF file, or a broken one.
    #[error("not a readable ELF file")]
    Malformed(#[source] object::Error),
}

/// Reads an ELF file of this machine's word size or the other.
///
/// # Errors
/// When its headers cannot be read.
pub fn read(file: &[u8]) -> Result<ElfFacts, ElfError> {
    if object::FileKind::parse(file).map_err(ElfError::Malformed)? == object::FileKind::Elf32 {
        return facts_of::<elf::FileHeader32<object::Endianness>>(file);
    }
    // Refuses what is neither.
    facts_of::<elf::FileHeader64<object::Endianness>>(file)
}

fn facts_of<Elf: FileHeader<Endian = object::Endianness>>(file: &[u8]) -> Result<ElfFacts, ElfError> {
    let parsed = ElfFile::<Elf>::parse(file).map_err(ElfError::Malformed)?;
    let segments: Vec<Segment> = parsed
        .elf_program_headers()
        .iter()
        .filter_map(|header| segment_of::<Elf>(header, parsed.endian()))
        .collect();
    let mut functions = BTreeMap::new();
    // The dynamic table first: it names what other objects really call.
    for symbol in parsed.dynamic_symbols().chain(parsed.symbols()) {
        if symbol.is_undefined() || symbol.kind() != SymbolKind::Text {
            continue;
        }
        let Ok(name) = symbol.name_bytes() else { continue };
        let Some(function) = TlsFunction::named(name) else {
            continue;
        };
        if let Some(offset) = file_offset(&segments, symbol.address(), file.len()) {
            functions.entry(function).or_insert(offset);
        }
    }
    let build_id = parsed.build_id().ok().flatten();
    Ok(ElfFacts {
        build_id: build_id.filter(|id| id.len() <= BUILD_ID_MAX_BYTES).map(hex),
        functions,
    })
}

/// The machine code of a file, and how long its OpenSSL functions are. Nothing for a processor that no placement is known for,
/// and for an executable that has grown past its own headers.
#[must_use]
pub fn code(file: &[u8]) -> Option<Code<'_>> {
    let parsed = ElfFile::<elf::FileHeader64<object::Endianness>>::parse(file).ok()?;
    let machine = match (parsed.architecture(), parsed.is_little_endian()) {
        (object::Architecture::X86_64, _) => Machine::X86_64,
        (object::Architecture::Aarch64, true) => Machine::Aarch64,
        _ => return None,
    };
    let segments = parsed
        .elf_program_headers()
        .iter()
        .filter_map(|header| segment_of::<elf::FileHeader64<object::Endianness>>(header, parsed.endian()))
        .filter_map(|segment| {
            let start = usize::try_from(segment.offset).ok()?;
            let length = usize::try_from(segment.file_bytes).ok()?;
            let rest = file.get(start..)?;
            Some((segment.offset, rest.get(..rest.len().min(length))?))
        })
        .collect();
    let mut sizes = BTreeMap::new();
    for symbol in parsed.dynamic_symbols().chain(parsed.symbols()) {
        if !symbol.is_undefined()
            && symbol.kind() == SymbolKind::Text
            && let Ok(name) = symbol.name_bytes()
            && let Some(function) = TlsFunction::named(name)
        {
            sizes.entry(function).or_insert_with(|| symbol.size());
        }
    }
    Some(Code {
        machine,
        segments,
        sizes,
    })
}

/// A loaded, executable part of a file.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    offset: u64,
    file_bytes: u64,
}

fn segment_of<Elf: FileHeader>(header: &Elf::ProgramHeader, endian: Elf::Endian) -> Option<Segment> {
    let executable = header.p_flags(endian) & elf::PF_X != 0;
    (header.p_type(endian) == elf::PT_LOAD && executable).then(|| Segment {
        address: header.p_vaddr(endian).into(),
        offset: header.p_offset(endian).into(),
        file_bytes: header.p_filesz(endian).into(),
    })
}

/// The place in the file of a virtual address, if executable bytes of the file are loaded there.
fn file_offset(segments: &[Segment], address: u64, file_bytes: usize) -> Option<FileOffset> {
    let file_bytes = u64::try_from(file_bytes).ok()?;
    segments.iter().find_map(|segment| {
        let within = address.checked_sub(segment.address)?;
        let offset = segment.offset.checked_add(within)?;
        (within < segment.file_bytes && offset < file_bytes).then_some(FileOffset(offset))
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// `OPENSSL_VERSION_TEXT` of `include/openssl/opensslv.h`, such as `OpenSSL 3.0.19 27 Jan 2026`; also BoringSSL's kin
/// when they keep the form.
static VERSION: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"OpenSSL [0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,3}[a-z]{0,2}(-[a-z0-9.+-]{1,32})? {1,2}[0-9]{1,2} [A-Z][a-z]{2} [0-9]{4}").ok()
});

/// The version that a library says it is, from its read-only data. In OpenSSL 3 that is libcrypto's.
#[must_use]
pub fn openssl_version(file: &[u8]) -> Option<String> {
    let parsed = object::File::parse(file).ok()?;
    let section = parsed.section_by_name(".rodata")?;
    let (offset, size) = section.file_range()?;
    let data = file.read_bytes_at(offset, size).ok()?;
    let data = data.get(..data.len().min(VERSION_SEARCH_MAX_BYTES))?;
    let found = VERSION.as_ref()?.find(data)?;
    String::from_utf8(found.as_bytes().to_vec()).ok()
}

#[cfg(test)]
pub mod made_elf;
#[cfg(test)]
mod tests;
