//! Puts the OpenSSL probes on one process and takes them off again.
//!
//! In: a plan (which file, which function at which points). Out: links, and a report of what could not be probed.
//! Deliberately absent: finding the library and its symbols (`libraries`), and choosing the points (`placement`, `choice`).

pub mod choice;
pub mod self_test;
pub mod state;

use std::collections::BTreeMap;
use std::path::PathBuf;

use aya::Ebpf;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use aya::programs::{ProgramError, UProbe};
use kongtap_common::tls as cookie;

use super::links::UprobeLinks;
use super::placement::{Leave, Placement, Strategy};
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
/// handshake call, so a plan for a gateway that is known to use `SSL_set_fd` (every nginx) leaves it out. `SSL_accept` and
/// `SSL_connect` end in a jump to `SSL_do_handshake`, so its probes see theirs; what `SSL_shutdown` writes tells nothing that
/// the end of the socket does not.
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
    /// The functions to probe, and where.
    pub placements: BTreeMap<TlsFunction, Placement>,
}

/// What became of a plan.
#[derive(Debug)]
pub struct TlsAttachment {
    /// Functions that are probed now.
    pub probed: Vec<TlsFunction>,
    /// Functions that are not, with the reason: none when the plan had no place.
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
        let Some(placement) = plan.placements.get(function) else {
            attachment.missing.push((*function, None));
            continue;
        };
        match attach_one(ebpf, scope, plan, &role, placement, &mut links)? {
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
    placement: &Placement,
    links: &mut UprobeLinks,
) -> Result<Result<(), ProgramError>, CaptureError> {
    for (name, offset, cookie) in probes(role, placement) {
        let point = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(offset),
            cookie: Some(cookie),
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

/// Program, file offset and cookie of each probe. The one at the end comes first, so that every call which is seen to begin is
/// seen to end.
fn probes(role: &Role, placement: &Placement) -> Vec<(&'static str, u64, u64)> {
    let at = placement.enter.offset;
    match *role {
        _ if matches!(placement.strategy, Strategy::Shared(_)) => Vec::new(),
        Role::SetFd { cookie } => vec![("tls_set_fd", at, cookie)],
        Role::Free => vec![("tls_free", at, 0)],
        Role::Call { cookie } => {
            let cookie = match (cookie, placement.strategy) {
                // What both forms call tells the end from a failure, as the public function without `_ex` does.
                (cookie::READ_EX, Strategy::Inner) => cookie::READ,
                (cookie, _) => cookie,
            } | placement.count.cookie();
            match &placement.leave {
                Leave::Nothing => vec![],
                Leave::Return => vec![("tls_return", at, cookie), ("tls_call", at, cookie)],
                Leave::At(point) => vec![("tls_settled", point.offset, cookie), ("tls_call", at, cookie)],
            }
        }
    }
}
