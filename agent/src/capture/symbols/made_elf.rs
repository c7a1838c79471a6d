//! Writes small ELF files for tests: with symbols, without, and (by whoever spoils the bytes) broken.

/// What a file made here holds.
#[derive(Debug)]
pub struct Elf<'a> {
    /// Functions by name and address.
    pub functions: &'a [(&'a str, u64)],
    /// The text of `.rodata`.
    pub rodata: &'a [u8],
    /// Whether there is a symbol table.
    pub has_symbols: bool,
}

/// Where the executable segment is loaded.
pub const TEXT_ADDRESS: u64 = 0x40_2000;
/// Its place in the file.
pub const TEXT_OFFSET: u64 = 0x1000;
/// Its length.
pub const TEXT_BYTES: u64 = 0x800;

impl Elf<'_> {
    /// A little-endian ELF64 file: header, one executable segment, and sections for symbols, their names and read-only
    /// data.
    ///
    /// # Panics
    /// When something in it is too long for its field.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut names = vec![0];
        let mut symbols = vec![0; 24];
        for (name, address) in self.functions {
            let name_at = u32::try_from(names.len()).expect("short");
            names.extend(name.as_bytes());
            names.push(0);
            symbols.extend(name_at.to_le_bytes());
            // STB_GLOBAL, STT_FUNC; default visibility; a section that is not SHN_UNDEF.
            symbols.extend([0x12, 0, 1, 0]);
            symbols.extend(address.to_le_bytes());
            symbols.extend(16_u64.to_le_bytes());
        }
        let section_names = b"\0.symtab\0.strtab\0.rodata\0.shstrtab\0";
        let mut file = vec![0; usize::try_from(TEXT_OFFSET + TEXT_BYTES).expect("small")];
        let mut sections: Vec<[u64; 10]> = vec![[0; 10]];
        let mut section = |name: u64, kind: u64, link: u64, entry: u64, data: &[u8]| {
            let offset = u64::try_from(file.len()).expect("small");
            let bytes = u64::try_from(data.len()).expect("small");
            file.extend(data);
            sections.push([name, kind, 0, 0, offset, bytes, link, 1, 1, entry]);
        };
        if self.has_symbols {
            section(1, 2, 2, 24, &symbols);
            section(9, 3, 0, 0, &names);
        }
        section(17, 1, 0, 0, self.rodata);
        section(25, 3, 0, 0, section_names);
        let table_at = u64::try_from(file.len()).expect("small");
        for [
            name,
            kind,
            flags,
            address,
            offset,
            bytes,
            link,
            info,
            align,
            entry,
        ] in &sections
        {
            for word in [name, kind] {
                file.extend(u32::try_from(*word).expect("small").to_le_bytes());
            }
            for word in [flags, address, offset, bytes] {
                file.extend(word.to_le_bytes());
            }
            for word in [link, info] {
                file.extend(u32::try_from(*word).expect("small").to_le_bytes());
            }
            for word in [align, entry] {
                file.extend(word.to_le_bytes());
            }
        }
        let count = u16::try_from(sections.len()).expect("few");
        let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        // ET_DYN, EM_X86_64, EV_CURRENT.
        header.extend([3, 0, 62, 0, 1, 0, 0, 0]);
        for word in [0, 64, table_at] {
            header.extend(word.to_le_bytes());
        }
        header.extend([0; 4]);
        for half in [64, 56, 1, 64, count, count - 1] {
            header.extend(half.to_le_bytes());
        }
        // PT_LOAD, PF_R | PF_X.
        header.extend([1, 0, 0, 0, 5, 0, 0, 0]);
        for word in [
            TEXT_OFFSET,
            TEXT_ADDRESS,
            TEXT_ADDRESS,
            TEXT_BYTES,
            TEXT_BYTES,
            0x1000,
        ] {
            header.extend(word.to_le_bytes());
        }
        file[..header.len()].copy_from_slice(&header);
        file
    }
}
