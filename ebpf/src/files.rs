//! From a file descriptor of the current process to its socket, through the process's own table of open files.

use aya_ebpf::helpers::bpf_get_current_task_btf;

use crate::kernel::{offset, read};

const TYPE_MASK: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;

/// The `struct sock *` behind `fd`, on which a call has just succeeded: a shorter way than [`sock_of`]. The table has the
/// slot, and a socket's file and the socket point to each other, which tells it from other files.
#[inline(always)]
pub fn sock_of_ended(fd: i32) -> Option<u64> {
    // SAFETY: the helper always answers in process context.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    let files: u64 = read(task, offset!(task_files))?;
    let table: u64 = read(files, offset!(files_fdt))?;
    let slots: u64 = read(table, offset!(fdtable_fd))?;
    let file: u64 = read(slots + 8 * u64::from(fd as u32), 0)?;
    let socket: u64 = read(file, offset!(file_private_data))?;
    let back: u64 = read(socket, offset!(socket_file))?;
    if back != file {
        return None;
    }
    read(socket, offset!(socket_sk)).filter(|sk| *sk != 0)
}

/// The `struct sock *` behind `fd`, if that is an open socket.
#[inline(always)]
pub fn sock_of(fd: i32) -> Option<u64> {
    // SAFETY: the helper always answers in process context.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    let files: u64 = read(task, offset!(task_files))?;
    let table: u64 = read(files, offset!(files_fdt))?;
    let slots: u32 = read(table, offset!(fdtable_max_fds))?;
    if fd < 0 || fd as u32 >= slots {
        return None;
    }
    let slot: u64 = read(table, offset!(fdtable_fd))?;
    let file: u64 = read(slot + 8 * u64::from(fd as u32), 0)?;
    if file == 0 {
        return None;
    }
    let inode: u64 = read(file, offset!(file_inode))?;
    let mode: u16 = read(inode, offset!(inode_mode))?;
    if mode & TYPE_MASK != SOCKET {
        return None;
    }
    let socket: u64 = read(file, offset!(file_private_data))?;
    read(socket, offset!(socket_sk)).filter(|sk| *sk != 0)
}
