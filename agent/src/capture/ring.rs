//! The kernel's ring buffer, read in place.
//!
//! In: the ring map. Out: each record's bytes, in the order in which their room was reserved. The kernel is told of
//! consumed records once in a while rather than each time, which halves the reader's cost per record. Deliberately
//! absent: waiting. The probes never wake anybody, so whoever reads comes back by itself.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use aya::maps::MapData;

/// Before each record: its length and two flags, and a field of the kernel's own (`BPF_RINGBUF_HDR_SZ`).
const HEADER_BYTES: usize = 8;
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
/// Consumed bytes after which the kernel gets their room back.
const PUBLISH_BYTES: usize = 64 * 1024;

/// The reading end of the ring.
#[derive(Debug)]
pub struct Ring {
    /// One page, writable: how far we have read.
    consumer: Mapping,
    /// One page, then the data twice over, so that a record that wraps around is contiguous.
    producer: Mapping,
    page_bytes: usize,
    /// The data's size less one; the size is a power of two.
    mask: usize,
    position: usize,
    published: usize,
    map: MapData,
}

impl Ring {
    pub(super) fn new(map: MapData) -> io::Result<Self> {
        let info = map.info().map_err(io::Error::other)?;
        let size = usize::try_from(info.max_entries()).map_err(io::Error::other)?;
        if !size.is_power_of_two() {
            return Err(io::Error::other("the ring's size is no power of two"));
        }
        let page_bytes = page_bytes()?;
        let fd = map.fd().as_fd().as_raw_fd();
        let consumer = Mapping::new(fd, 0, page_bytes, libc::PROT_READ | libc::PROT_WRITE)?;
        let producer = Mapping::new(fd, page_bytes, page_bytes + 2 * size, libc::PROT_READ)?;
        let position = consumer.position().load(Ordering::Acquire);
        Ok(Self {
            consumer,
            producer,
            page_bytes,
            mask: size - 1,
            position,
            published: position,
            map,
        })
    }

    /// Bytes of the ring.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.mask + 1
    }

    /// How far the probes have written: a count of bytes that only grows, and wraps around.
    #[must_use]
    pub fn written(&self) -> usize {
        self.producer.position().load(Ordering::Acquire)
    }

    /// Whether everything was read that was written when [`Ring::written`] gave `mark`.
    #[must_use]
    pub const fn has_read(&self, mark: usize) -> bool {
        // Both only grow, and are never a ring's size apart.
        self.position.wrapping_sub(mark) <= usize::MAX / 2
    }

    /// Bytes that wait to be read, their headers included.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.written().wrapping_sub(self.position)
    }

    /// Hands the records that are there to `each`, until there is none left or `limit_bytes` were read. Answers how many
    /// bytes of the ring were read.
    pub fn drain(&mut self, limit_bytes: usize, mut each: impl FnMut(&[u8])) -> usize {
        let begin = self.position;
        let end = self.written();
        while self.position != end && self.position.wrapping_sub(begin) < limit_bytes {
            let at = self.page_bytes + (self.position & self.mask);
            let Some(head) = self.producer.header(at) else {
                break;
            };
            let head = head.load(Ordering::Acquire);
            if head & BUSY != 0 {
                break; // still being written; what follows comes after it
            }
            let length = usize::try_from(head & !DISCARDED).unwrap_or(usize::MAX);
            if head & DISCARDED == 0 {
                let Some(record) = self.producer.bytes(at + HEADER_BYTES, length) else {
                    break;
                };
                each(record);
            }
            self.position = self
                .position
                .wrapping_add((HEADER_BYTES + length).next_multiple_of(8));
            if self.position.wrapping_sub(self.published) >= PUBLISH_BYTES {
                self.publish();
            }
        }
        self.publish();
        self.position.wrapping_sub(begin)
    }

    /// Becomes readable when a probe that wakes its reader has submitted a record.
    #[must_use]
    pub fn readiness(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }

    fn publish(&mut self) {
        if self.published != self.position {
            self.consumer.position().store(self.position, Ordering::Release);
            self.published = self.position;
        }
    }
}

fn page_bytes() -> io::Result<usize> {
    #[expect(unsafe_code, reason = "a question to libc")]
    // SAFETY: takes and returns plain numbers.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).map_err(|_negative| io::Error::last_os_error())
}

/// Shared memory of a map, unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

#[expect(unsafe_code, reason = "memory that the kernel shares has no safe type")]
// SAFETY: the mapping belongs to this value alone, and is valid on whichever thread it is.
unsafe impl Send for Mapping {}

#[expect(unsafe_code, reason = "memory that the kernel shares has no safe type")]
impl Mapping {
    pub(super) fn new(fd: i32, offset: usize, length: usize, protection: i32) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: asks for a new mapping; `fd` is open.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd,
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { start, length })
    }

    /// The word at `index` of a map whose values are words that the probes change atomically.
    pub(super) fn word(&self, index: usize) -> Option<&AtomicU64> {
        let word: NonNull<AtomicU64> = self.at(index.checked_mul(8)?, 8)?.cast();
        // SAFETY: inside the mapping, which begins at a page and so is aligned; both sides access it atomically.
        Some(unsafe { word.as_ref() })
    }

    /// The position that the mapping's first page holds.
    const fn position(&self) -> &AtomicUsize {
        // SAFETY: the mapping has at least a page, is aligned to one, lives as long as `self`, and the kernel accesses
        // its first word atomically.
        unsafe { self.start.cast().as_ref() }
    }

    /// The first half of the record header at `at`.
    fn header(&self, at: usize) -> Option<&AtomicU32> {
        let header: NonNull<AtomicU32> = self.at(at, HEADER_BYTES)?.cast();
        if !header.is_aligned() {
            return None;
        }
        // SAFETY: inside the mapping, aligned, and the kernel accesses it atomically.
        Some(unsafe { header.as_ref() })
    }

    /// A committed record's bytes.
    fn bytes(&self, at: usize, length: usize) -> Option<&[u8]> {
        let start = self.at(at, length)?;
        // SAFETY: inside the mapping; initialised by the probe, and nobody writes to it before its room is given back.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), length) })
    }

    /// Where `length` bytes from `at` on are, if they are inside the mapping.
    fn at(&self, at: usize, length: usize) -> Option<NonNull<u8>> {
        let inside = at.checked_add(length)? <= self.length;
        // SAFETY: inside the mapping.
        inside.then(|| unsafe { self.start.add(at) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "memory that the kernel shares has no safe type")]
        // SAFETY: `new` made this mapping, and nothing borrows from it any more.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.length);
        }
    }
}
