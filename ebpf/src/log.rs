//! Debug lines, for builds that ask for them.

/// A line through the ring that aya-log reads; nothing at all in the shipped object.
macro_rules! debug {
    ($ctx:expr, $($line:tt)*) => {
        #[cfg(feature = "probe-log")]
        aya_log_ebpf::debug!($ctx, $($line)*);
    };
}
pub(crate) use debug;
