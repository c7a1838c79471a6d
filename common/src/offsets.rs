//! Where the running kernel keeps the fields that the probes read. User space finds them in the kernel's BTF and
//! passes them as the probes' global `OFFSETS` before they are loaded.

/// An offset that this kernel's BTF does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident = $strukt:literal . $member:literal;)*) => {
        /// Byte offsets of kernel fields; [`ABSENT`] where the kernel has no such field.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct KernelOffsets {
            $($(#[$doc])* pub $field: u32,)*
        }

        impl KernelOffsets {
            /// Nothing known.
            pub const ABSENT: Self = Self { $($field: ABSENT,)* };

            /// Fills each field with what `find(struct, member)` answers.
            pub fn resolve(mut find: impl FnMut(&str, &str) -> Option<u32>) -> Self {
                Self { $($field: match find($strukt, $member) {
                    Some(offset) => offset,
                    None => ABSENT,
                },)* }
            }
        }
    };
}

offsets! {
    /// IPv6 address of the other end.
    sock_v6_remote = "sock_common"."skc_v6_daddr";
    /// IPv6 address of the gateway's end.
    sock_v6_local = "sock_common"."skc_v6_rcv_saddr";
    /// Transport protocol number, 16 bits.
    sock_protocol = "sock"."sk_protocol";
    /// Local port in network order; unlike `skc_num` it outlives a reset.
    sock_local_port = "inet_sock"."inet_sport";
    /// Bytes received in order, read or not, 64 bits.
    tcp_bytes_received = "tcp_sock"."bytes_received";
    /// Bytes that the other end acknowledged, 64 bits.
    tcp_bytes_acked = "tcp_sock"."bytes_acked";
    /// Next sequence number expected, 32 bits.
    tcp_rcv_nxt = "tcp_sock"."rcv_nxt";
    /// First sequence number not yet read, 32 bits.
    tcp_copied_seq = "tcp_sock"."copied_seq";
    /// First sequence number not yet written, 32 bits.
    tcp_write_seq = "tcp_sock"."write_seq";
    /// First sequence number not yet acknowledged, 32 bits.
    tcp_snd_una = "tcp_sock"."snd_una";
    /// A task's open files.
    task_files = "task_struct"."files";
    /// Their table.
    files_fdt = "files_struct"."fdt";
    /// Slots in that table, 32 bits.
    fdtable_max_fds = "fdtable"."max_fds";
    /// The slots.
    fdtable_fd = "fdtable"."fd";
    /// A file's inode.
    file_inode = "file"."f_inode";
    /// What a socket's file points to.
    file_private_data = "file"."private_data";
    /// An inode's mode, 16 bits.
    inode_mode = "inode"."i_mode";
    /// The protocol's side of a socket.
    socket_sk = "socket"."sk";
    /// A socket's file, which points back to it.
    socket_file = "socket"."file";
    /// A task's process id, which user space calls its pid, 32 bits.
    task_tgid = "task_struct"."tgid";
    /// What a task shares with the other threads of its process.
    task_signal = "task_struct"."signal";
    /// Threads of a process that have not begun to exit, 32 bits.
    signal_live = "signal_struct"."live";
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "the loader copies it into the probes' read-only data")]
// SAFETY: `repr(C)` and made of `u32` alone: no padding, every bit pattern valid.
unsafe impl aya::Pod for KernelOffsets {}
