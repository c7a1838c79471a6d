//! Slots of the kernel's per-CPU counter array, by name.
//!
//! The byte counters obey the ledger: `seen = copied + left + lost`, where *left* is every `LEFT_*` slot and *lost*
//! every `LOST_*` slot. They count the streams that the agent reads (plaintext), not the ciphertext beneath a TLS
//! connection, which has a slot of its own outside the sum.

macro_rules! counters {
    ($($(#[$doc:meta])* $slot:ident = $index:literal, $name:literal;)*) => {
        $($(#[$doc])* pub const $slot: u32 = $index;)*
        /// Every slot with the name that metrics and `/status` print, in slot order.
        pub const NAMES: &[(u32, &str)] = &[$(($slot, $name)),*];
        const _: () = {
            let mut rest = NAMES;
            let mut next = 0;
            while let [(slot, _), tail @ ..] = rest {
                assert!(*slot == next, "slots are numbered from 0 without a hole");
                next += 1;
                rest = tail;
            }
            assert!(next == COUNT, "COUNT is the number of slots");
        };
    };
}

counters! {
    /// Bytes that moved on watched streams.
    SEEN_BYTES = 0, "seen_bytes";
    /// Bytes that were copied into the ring.
    COPIED_BYTES = 1, "copied_bytes";
    /// Bytes without user memory to copy from (`sendfile`, `splice`), or that moved by no call that is probed.
    LEFT_NO_PAYLOAD_BYTES = 2, "left_no_payload_bytes";
    /// Bytes lost because the ring was full.
    LOST_RING_FULL_BYTES = 3, "lost_ring_full_bytes";
    /// Bytes lost because the gateway's memory could not be read (page not resident, bad pointer).
    LOST_FAULT_BYTES = 4, "lost_fault_bytes";
    /// Bytes lost because a call had more pieces than one probe run may copy.
    LOST_CALL_TOO_LONG_BYTES = 5, "lost_call_too_long_bytes";
    /// Bytes lost because the connection table was full.
    LOST_CONN_TABLE_FULL_BYTES = 6, "lost_conn_table_full_bytes";
    /// Bytes lost because the call's arguments were not understood.
    LOST_UNKNOWN_CALL_BYTES = 7, "lost_unknown_call_bytes";
    /// Bytes lost because a TLS call could not be tied to a connection.
    LOST_TLS_UNBOUND_BYTES = 8, "lost_tls_unbound_bytes";
    /// Ciphertext beneath TLS connections; outside the sum.
    CIPHERTEXT_BYTES = 9, "ciphertext_bytes";
    /// Open, end and close records lost because the ring was full.
    LOST_LIFECYCLE_RECORDS = 10, "lost_lifecycle_records";
    /// TLS objects whose `SSL_set_fd` and nested system call named different connections.
    TLS_BINDING_DISAGREEMENTS = 11, "tls_binding_disagreements";
    /// Records submitted.
    RECORDS = 12, "records";
    /// Failures of a map update.
    MAP_UPDATE_FAILURES = 13, "map_update_failures";
    /// Bytes of a message past what is wanted of it; see [`crate::budget`].
    LEFT_OVER_BUDGET_BYTES = 14, "left_over_budget_bytes";
    /// Bytes that user space asked to be passed over.
    LEFT_SKIPPED_BYTES = 15, "left_skipped_bytes";
    /// TLS calls whose byte count cannot be what a probe found: the probe is in a wrong place.
    TLS_PLACEMENT_DISAGREEMENTS = 16, "tls_placement_disagreements";
    /// Bytes lost because of that: as many as the calls asked for.
    LOST_TLS_PLACEMENT_BYTES = 17, "lost_tls_placement_bytes";
}

/// Slots in the array.
pub const COUNT: u32 = 18;
