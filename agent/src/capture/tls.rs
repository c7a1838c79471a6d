//! Puts the OpenSSL probes on one process and takes them off again.
//!
//! In: a plan (which file, which function at which offset). Out: links, and a report of what could not be probed.
//! Deliberately absent: finding the library and its symbols.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aya::Ebpf;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use aya::programs::{ProgramError, UProbe};
use kongtap_common::tls as cookie;

use super::links::UprobeLinks;
use super::probes::{CaptureError, program};
use super::symbols::TlsFunction;

/// What a function's probe does.
enum Role {
    Call { cookie: u64 },
    SetFd { cookie: u64 },
    Free,
}

/// What is probed in a function; `None`: nothing. `SSL_do_handshake` is only needed where objects are tied to their socket
/// by other means than `SSL_set_fd`: it saves taking the handshake for a plain stream, and costs two probe hits a
/// handshake call, so a plan for a gateway that is known to use `SSL_set_fd` (every nginx) leaves it out.
const fn role(function: TlsFunction) -> Option<Role> {
    match function {
        TlsFunction::Read => Some(Role::Call { cookie: cookie::READ }),
        TlsFunction::ReadEx => Some(Role::Call {
            cookie: cookie::READ_EX,
        }),
        TlsFunction::Write => Some(Role::Call {
            cookie: cookie::WRITE,
        }),
        TlsFunction::WriteEx => Some(Role::Call {
            cookie: cookie::WRITE_EX,
        }),
        TlsFunction::DoHandshake => Some(Role::Call {
            cookie: cookie::HANDSHAKE,
        }),
        TlsFunction::SetFd => Some(Role::SetFd {
            cookie: cookie::SET_BOTH,
        }),
        TlsFunction::SetRfd => Some(Role::SetFd {
            cookie: cookie::SET_READ,
        }),
        TlsFunction::SetWfd => Some(Role::SetFd {
            cookie: cookie::SET_WRITE,
        }),
        TlsFunction::Free => Some(Role::Free),
        TlsFunction::Accept | TlsFunction::Connect | TlsFunction::Shutdown => None,
    }
}

const fn moves_bytes(function: TlsFunction) -> bool {
    matches!(
        function,
        TlsFunction::Read | TlsFunction::ReadEx | TlsFunction::Write | TlsFunction::WriteEx
    )
}

/// Where a process's OpenSSL functions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProbePlan {
    /// The library or executable, by a path that the *agent* can open and that names the very file which the process maps
    /// (`/proc/PID/map_files/…`, `/proc/PID/root/…`).
    pub path: PathBuf,
    /// File offsets of the functions to probe.
    pub functions: BTreeMap<TlsFunction, u64>,
}

/// What became of a plan.
#[derive(Debug)]
pub struct TlsAttachment {
    /// Functions that are probed now.
    pub probed: Vec<TlsFunction>,
    /// Functions that are not, with the reason: none when the plan had no offset.
    pub missing: Vec<(TlsFunction, Option<ProgramError>)>,
}

/// What ties an object to its socket comes before what moves bytes, so that no call is seen of which nobody knows whose it is.
const ATTACH_ORDER: &[TlsFunction] = &[
    TlsFunction::SetFd,
    TlsFunction::SetRfd,
    TlsFunction::SetWfd,
    TlsFunction::Free,
    TlsFunction::DoHandshake,
    TlsFunction::Read,
    TlsFunction::ReadEx,
    TlsFunction::Write,
    TlsFunction::WriteEx,
];

/// Attaches what the plan names, in the processes of `scope`.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    scope: UProbeScope,
    plan: &TlsProbePlan,
) -> Result<(UprobeLinks, TlsAttachment), CaptureError> {
    let mut links = UprobeLinks::default();
    let mut attachment = TlsAttachment {
        probed: Vec::new(),
        missing: Vec::new(),
    };
    for function in ATTACH_ORDER {
        let Some(role) = role(*function) else {
            continue;
        };
        let Some(offset) = plan.functions.get(function) else {
            attachment.missing.push((*function, None));
            continue;
        };
        match attach_one(ebpf, scope, plan, &role, *offset, &mut links)? {
            Ok(()) => attachment.probed.push(*function),
            Err(error) => attachment.missing.push((*function, Some(error))),
        }
    }
    if attachment.probed.iter().any(|function| moves_bytes(*function)) {
        return Ok((links, attachment));
    }
    drop(links);
    let source = attachment.missing.into_iter().rev().find_map(|(_, error)| error);
    Err(CaptureError::NoTlsFunction {
        path: plan.path.clone(),
        source,
    })
}

fn attach_one(
    ebpf: &mut Ebpf,
    scope: UProbeScope,
    plan: &TlsProbePlan,
    role: &Role,
    offset: u64,
    links: &mut UprobeLinks,
) -> Result<Result<(), ProgramError>, CaptureError> {
    // The return probe first, so that every call which is seen to begin is seen to end.
    let programs: &[(&'static str, u64)] = match *role {
        Role::Call { cookie } => &[("tls_return", cookie), ("tls_call", cookie)],
        Role::SetFd { cookie } => &[("tls_set_fd", cookie)],
        Role::Free => &[("tls_free", 0)],
    };
    for (name, cookie) in programs {
        let point = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(offset),
            cookie: Some(*cookie),
        };
        let program: &mut UProbe = program(ebpf, name)?;
        match program.attach(point, &plan.path, scope) {
            Ok(link) => links
                .0
                .push(program.take_link(link).map_err(|source| CaptureError::Program {
                    action: "attach",
                    program: name,
                    source,
                })?),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}
