//! What a function cannot see or reach.

use std::{fs, net::TcpListener};

use crate::{call, node, python, run, start, summary};

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_network_not_even_the_hosts_loopback() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let function = python(
        "import socket\ndef handler(e, c):\n  try:\n    socket.create_connection(('127.0.0.1', e), 2)\n  \
         except OSError as error:\n    return [error.errno, [name for _, name in socket.if_nameindex()]]",
    );
    let outcome = run(&function, &port.to_string()).await;
    assert_eq!(summary(&outcome), ("success", r#"[111,["lo"]]"#));
    let function = node(
        "function handler(port) { return new Promise((resolve) => require('net').connect(port, '127.0.0.1')\
         .on('error', (e) => resolve(e.code)).on('connect', () => resolve('connected'))); }",
    );
    let outcome = run(&function, &port.to_string()).await;
    assert_eq!(summary(&outcome), ("success", "\"ECONNREFUSED\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tmp_can_be_written_and_little_else_be_seen() {
    let function = python(
        "import os\ndef handler(e, c):\n  found = []\n  for folder, _, _ in os.walk('/'):\n    \
         if folder.startswith('/proc'): continue\n    path = folder + '/probe'\n    try:\n      open(path, 'w').close()\n      found.append(folder)\n    \
         except OSError: pass\n  return [sorted(found), sorted(os.listdir('/'))]",
    );
    let outcome = run(&function, "{}").await;
    let (writable, top): (Vec<String>, Vec<String>) = serde_json::from_str(summary(&outcome).1).unwrap();
    assert_eq!(writable, ["/dev/shm", "/tmp"]);
    for entry in top {
        assert!(
            ["bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "tmp", "usr"]
                .contains(&entry.as_str()),
            "{entry} is in sight"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_nobody_and_can_become_nobody_else() {
    let function = python(
        "import ctypes, os, resource\ndef handler(e, c):\n  status = dict(l.split(':\\t', 1) for l in open('/proc/self/status').read().splitlines())\n  \
         libc = ctypes.CDLL(None)\n  \
         return {'caps': status['CapBnd'], 'no_new_privs': status['NoNewPrivs'].strip(), 'userns': libc.unshare(0x10000000), \
         'mount': libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), 'hostname': os.uname().nodename, \
         'core': resource.getrlimit(resource.RLIMIT_CORE)[1], 'root': os.getuid() == 0, \
         'fds': sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:5]}",
    );
    let outcome = run(&function, "{}").await;
    let expected = r#"{"caps":"0000000000000000","no_new_privs":"1","userns":-1,"mount":-1,"hostname":"worker","core":0,"root":false,"fds":[0,1,2,3,4]}"#;
    assert_eq!(summary(&outcome), ("success", expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_cannot_see_another_nor_the_host() {
    let mut secretive = python("def handler(e, c):\n  open('/tmp/secret', 'w').write('x')\n  return 1");
    secretive.environment.insert("SECRET".to_owned(), "hush-hush".to_owned());
    let mut neighbour = start(&secretive).await;
    assert_eq!(summary(&neighbour.invoke(&call("{}")).await).0, "success");
    let nosy = python(
        "import os, signal\ndef handler(e, c):\n  seen = []\n  for p in os.listdir('/proc'):\n    if not p.isdigit(): continue\n    \
         for f in ('environ', 'cmdline'):\n      try: seen.append(open(f'/proc/{p}/{f}').read())\n      except OSError: pass\n  \
         killed = []\n  for pid in range(3, 100000):\n    try: os.kill(pid, 0); killed.append(pid)\n    except OSError: pass\n  \
         return ['hush-hush' in ''.join(seen), killed, os.path.exists('/tmp/secret'), 'CARGO' in ''.join(seen) + str(dict(os.environ))]",
    );
    assert_eq!(summary(&run(&nosy, "{}").await), ("success", "[false,[],false,false]"));
    assert!(neighbour.is_alive());
    assert_eq!(summary(&neighbour.invoke(&call("{}")).await).0, "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_of_the_service_do_not_leak_into_a_function() {
    // Opened the old way, without close-on-exec, as a C library might.
    let secret = tempfile::NamedTempFile::new().unwrap();
    let leak = nix::unistd::dup(secret.as_file()).unwrap();
    nix::fcntl::fcntl(&leak, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let function = python(
        "import os\ndef handler(e, c):\n  links = []\n  for fd in os.listdir('/proc/self/fd'):\n    \
         try: links.append(os.readlink('/proc/self/fd/' + fd))\n    except OSError: pass\n  \
         return sorted(set(link.split(':')[0] for link in links))",
    );
    let outcome = run(&function, "{}").await;
    assert_eq!(summary(&outcome), ("success", r#"["/dev/null","pipe"]"#));
    drop(leak);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_keeps_no_trace_of_a_worker() {
    let outcome = run(&python("def handler(e, c):\n  open('/tmp/trace-of-a-worker', 'w').write('x')"), "{}").await;
    assert_eq!(summary(&outcome).0, "success");
    assert!(!fs::exists("/tmp/trace-of-a-worker").unwrap());
}
