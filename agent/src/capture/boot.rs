//! Which run of the machine this is, from `/proc/sys`.

use std::fs;

/// The kernel's name for the time since the machine started: monotonic times of two processes can be compared when it is the same.
/// `None` where `/proc` does not say.
#[must_use]
pub fn id() -> Option<[u8; 16]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    uuid::Uuid::try_parse(text.trim())
        .ok()
        .map(uuid::Uuid::into_bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_same_each_time() {
        assert!(super::id().is_some());
        assert_eq!(super::id(), super::id());
    }
}
