use std::path::PathBuf;

use super::{CommandLine, KongMarks, Role, command_line, kind, role};
use crate::capture::gateways::facts::{ProcessFacts, Title};
use crate::capture::gateways::{GatewayKind, Pid, ProcessId, StartTime, WorkerState};

fn process(title: &str, comm: &str, executable: Option<&str>) -> ProcessFacts {
    ProcessFacts {
        id: ProcessId {
            pid: Pid(100),
            start_time: StartTime(1),
        },
        parent: Pid(1),
        comm: comm.to_owned(),
        title: Title(title.to_owned()),
        executable: executable.map(PathBuf::from),
    }
}

#[test]
fn titles_and_executables_tell_the_role() {
    let check = |title: &str, comm: &str, executable: Option<&str>, expected: Role| {
        assert_eq!(
            role(&process(title, comm, executable)),
            expected,
            "{title} {comm} {executable:?}"
        );
    };
    let nginx = Some("/usr/sbin/nginx");
    check(
        "nginx: master process /usr/sbin/nginx -g daemon on;",
        "nginx",
        nginx,
        Role::Master,
    );
    check(
        "nginx: master process openresty -p /srv",
        "openresty",
        Some("/usr/bin/openresty"),
        Role::Master,
    );
    check(
        "angie: master process v1.10.0 #1 [/usr/sbin/angie]",
        "angie",
        None,
        Role::Master,
    );
    check(
        "nginx: worker process",
        "nginx",
        nginx,
        Role::Worker(WorkerState::Serving),
    );
    // Seen from another user without CAP_SYS_PTRACE: the title is all there is.
    check(
        "nginx: worker process",
        "nginx",
        None,
        Role::Worker(WorkerState::Serving),
    );
    check(
        "nginx: worker process is shutting down",
        "nginx",
        nginx,
        Role::Worker(WorkerState::ShuttingDown),
    );
    check("nginx: cache manager process", "nginx", nginx, Role::Helper);
    check("nginx: cache loader process", "nginx", nginx, Role::Helper);
    check("nginx: privileged agent process", "nginx", nginx, Role::Helper);
    check(
        "/usr/sbin/nginx -g daemon off; master_process off;",
        "nginx",
        nginx,
        Role::Candidate,
    );
    check(
        "nginx",
        "nginx",
        Some("/usr/sbin/nginx (deleted)"),
        Role::Candidate,
    );
    check("nginx", "nginx", None, Role::Candidate);
    // Not ours.
    check(
        "php-fpm: master process (/etc/php/fpm.conf)",
        "php-fpm",
        Some("/usr/sbin/php-fpm"),
        Role::Foreign,
    );
    check(
        "gunicorn: worker process",
        "python3",
        Some("/usr/bin/python3"),
        Role::Foreign,
    );
    check(
        "vim nginx: master process",
        "vim",
        Some("/usr/bin/vim"),
        Role::Foreign,
    );
    check("tail -f nginx.log", "tail", Some("/usr/bin/tail"), Role::Foreign);
    check("", "kworker/0:1", None, Role::Foreign);
}

#[test]
fn a_command_line_names_prefix_configuration_and_error_log() {
    let check = |title: &str, expected: [Option<&str>; 4]| {
        let [program, prefix, config, error_log] = expected.map(|path| path.map(PathBuf::from));
        let expected = CommandLine {
            program,
            prefix,
            config,
            error_log,
        };
        assert_eq!(command_line(&Title(title.to_owned())), expected, "{title}");
    };
    check(
        "nginx: master process /usr/local/openresty/nginx/sbin/nginx -p /usr/local/kong -c nginx.conf",
        [
            Some("/usr/local/openresty/nginx/sbin/nginx"),
            Some("/usr/local/kong"),
            Some("nginx.conf"),
            None,
        ],
    );
    check(
        "nginx: master process nginx -p/srv -e stderr",
        [Some("nginx"), Some("/srv"), None, Some("stderr")],
    );
    check(
        "nginx: master process nginx -p /a -p /b",
        [Some("nginx"), Some("/b"), None, None],
    );
    check("nginx -p", [Some("nginx"), None, None, None]);
    check("nginx: master process", [None, None, None, None]);
    check("nginx - -- -é x -p /z", [Some("nginx"), Some("/z"), None, None]);
}

#[test]
fn kong_and_openresty_are_told_from_nginx() {
    let check = |title: &str, executable: &str, marks: KongMarks, expected: GatewayKind| {
        let process = process(title, "nginx", Some(executable));
        let found = kind(&process, &command_line(&process.title), marks);
        assert_eq!(found, expected, "{title} {executable} {marks:?}");
    };
    let none = KongMarks::default();
    let files = KongMarks {
        prefix_files: true,
        ..none
    };
    let environment = KongMarks {
        environment: true,
        ..none
    };
    let openresty = "/usr/local/openresty/nginx/sbin/nginx";
    let master = |arguments: &str| format!("nginx: master process {openresty} {arguments}");
    check(
        &master("-p /usr/local/kong -c nginx.conf"),
        openresty,
        none,
        GatewayKind::Kong,
    );
    check(
        &master("-p /srv/gateway -c nginx.conf"),
        openresty,
        files,
        GatewayKind::Kong,
    );
    check(
        &master("-p /srv/gateway -c nginx-kong.conf"),
        openresty,
        none,
        GatewayKind::Kong,
    );
    check("nginx -c x", openresty, environment, GatewayKind::Kong);
    check(
        &master("-p /usr/local/apisix -c conf/nginx.conf"),
        openresty,
        none,
        GatewayKind::OpenResty,
    );
    check(
        "nginx: master process openresty",
        "/usr/bin/openresty",
        none,
        GatewayKind::OpenResty,
    );
    check(
        "nginx: master process /usr/sbin/nginx",
        "/usr/sbin/nginx",
        none,
        GatewayKind::Nginx,
    );
    // A name that only resembles.
    check(
        "nginx: master process nginx -p /srv/kongfu",
        "/usr/sbin/nginx",
        none,
        GatewayKind::Nginx,
    );
    check(
        "haproxy -f /etc/kong",
        "/usr/sbin/haproxy",
        none,
        GatewayKind::Other,
    );
}
