//! System calls that functions have no use for, tried by number.

use super::*;

/// Tries each of these with harmless arguments: what the kernel says.
const TRY: &str = "import ctypes, os, socket\nlibc = ctypes.CDLL(None, use_errno=True)\n\
def handler(e, c):\n  found = {}\n  for name, number, arguments in e:\n    ctypes.set_errno(0)\n    \
result = libc.syscall(number, *[ctypes.c_long(a) for a in arguments])\n    found[name] = ctypes.get_errno() if result == -1 else 'done'\n  \
for family in (40, 17, 38):\n    try: socket.socket(family, socket.SOCK_RAW if family == 17 else socket.SOCK_STREAM, 0).close(); found[str(family)] = 'done'\n    \
except OSError as error: found[str(family)] = error.errno\n  return found";

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn calls_that_change_the_machine_or_look_into_others_are_refused() {
    use nix::libc;
    const EPERM: i32 = libc::EPERM;
    const ENOSYS: i32 = libc::ENOSYS;
    let calls: &[(&str, i64, &[i64])] = &[
        ("mount", libc::SYS_mount, &[0, 0, 0, 0, 0]),
        ("umount2", libc::SYS_umount2, &[0, 0]),
        ("pivot_root", libc::SYS_pivot_root, &[0, 0]),
        ("open_tree", libc::SYS_open_tree, &[-100, 0, 1]),
        ("unshare", libc::SYS_unshare, &[0x1000_0000]),
        ("setns", libc::SYS_setns, &[0, 0]),
        ("clone of a user namespace", libc::SYS_clone, &[0x1000_0000 | 17, 0, 0, 0, 0]),
        ("ptrace", libc::SYS_ptrace, &[0, 0, 0, 0]),
        ("process_vm_readv", libc::SYS_process_vm_readv, &[1, 0, 0, 0, 0, 0]),
        ("keyctl", libc::SYS_keyctl, &[0, -3, 0]),
        ("add_key", libc::SYS_add_key, &[0, 0, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, &[0, 0, 0]),
        ("perf_event_open", libc::SYS_perf_event_open, &[0, 0, -1, -1, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, &[1]),
        ("io_uring_setup", libc::SYS_io_uring_setup, &[1, 0]),
        ("kexec_load", libc::SYS_kexec_load, &[0, 0, 0, 0]),
        ("init_module", libc::SYS_init_module, &[0, 0, 0]),
        ("finit_module", libc::SYS_finit_module, &[0, 0, 0]),
        ("delete_module", libc::SYS_delete_module, &[0, 0]),
        ("reboot", libc::SYS_reboot, &[0, 0, 0, 0]),
        ("swapon", libc::SYS_swapon, &[0, 0]),
        ("settimeofday", libc::SYS_settimeofday, &[0, 0]),
        ("syslog", libc::SYS_syslog, &[10, 0, 0]),
        ("typing into a terminal", libc::SYS_ioctl, &[0, 0x5412, 0]),
    ];
    let event =
        serde_json::json!(calls.iter().map(|(name, number, arguments)| (name, number, arguments)).collect::<Vec<_>>());
    let outcome = run(&python(TRY), &event.to_string()).await;
    let found: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(summary(&outcome).1).unwrap_or_else(|_| panic!("{outcome:?}"));
    for (name, ..) in calls {
        assert_eq!(found[*name], EPERM, "{name}: {found:?}");
    }
    for family in ["40", "17", "38"] {
        assert_eq!(found[family], ENOSYS, "sockets of family {family}: {found:?}");
    }
    let unknown = serde_json::json!([
        ("clone3", libc::SYS_clone3, [0, 0]),
        ("a call that no kernel has", 1000, [0, 0]),
        ("a call that came later", 467, [0, 0])
    ]);
    let outcome = run(&python(TRY), &unknown.to_string()).await;
    let found: serde_json::Map<String, serde_json::Value> = serde_json::from_str(summary(&outcome).1).unwrap();
    for name in ["clone3", "a call that no kernel has", "a call that came later"] {
        assert_eq!(found[name], ENOSYS, "{name}");
    }
}

#[tokio::test]
async fn what_programs_need_still_works() {
    let python = python(
        "import asyncio, ctypes, mmap, multiprocessing.shared_memory as sm, os, select, socket, sqlite3, subprocess, tempfile, threading\n\
         from concurrent.futures import ThreadPoolExecutor\n\
         def handler(e, c):\n  out = []\n  \
         out.append(subprocess.run(['/bin/sh', '-c', 'echo sub'], capture_output=True, text=True).stdout.strip())\n  \
         out.append(list(ThreadPoolExecutor(4).map(lambda n: n * n, range(3))))\n  \
         async def go():\n    p = await asyncio.create_subprocess_exec('/bin/echo', 'async', stdout=-1)\n    return (await p.communicate())[0].decode().strip()\n  \
         out.append(asyncio.run(go()))\n  \
         s = socket.create_server(('127.0.0.1', 0)); k = socket.create_connection(s.getsockname()); k.sendall(b'hi'); out.append(s.accept()[0].recv(2).decode())\n  \
         d = sqlite3.connect('/tmp/d'); d.execute('create table t(a)'); d.execute('insert into t values(1)'); d.commit(); out.append(d.execute('select a from t').fetchone()[0])\n  \
         m = sm.SharedMemory(create=True, size=64); m.buf[0] = 7; out.append(m.buf[0]); m.close(); m.unlink()\n  \
         r, w = os.pipe(); pid = os.fork()\n  if pid == 0: os.write(w, b'child'); os._exit(0)\n  os.waitpid(pid, 0); out.append(os.read(r, 5).decode())\n  \
         os.mkfifo('/tmp/fifo'); f, p = tempfile.mkstemp(); os.link(p, p + 'l'); os.chmod(p, 0o600); out.append(os.stat(p).st_nlink)\n  \
         return out",
    );
    let expected = r#"["sub",[0,1,4],"async","hi",1,7,"child",2]"#;
    let outcome = run(&python, "{}").await;
    assert_eq!(summary(&outcome), ("success", expected), "{}", outcome.logs);
    let node = node(
        "const {execFileSync} = require('child_process'); const {Worker} = require('worker_threads'); const net = require('net');\
         async function handler() { const out = [execFileSync('/bin/echo', ['sub']).toString().trim()];\
         out.push(await new Promise((ok, no) => new Worker(\"require('worker_threads').parentPort.postMessage('thread')\", {eval: true}).on('message', ok).on('error', no)));\
         out.push(await new Promise((ok) => { const s = net.createServer((c) => c.end('net')).listen(0, '127.0.0.1', () => net.connect(s.address().port, '127.0.0.1').on('data', (d) => { s.close(); ok(d.toString()); })); }));\
         await require('fs').promises.writeFile('/tmp/a', 'file'); out.push((await require('fs').promises.readFile('/tmp/a')).toString());\
         out.push(require('crypto').pbkdf2Sync('a', 'b', 1000, 8, 'sha256').length); return out; }",
    );
    let outcome = run(&node, "{}").await;
    assert_eq!(summary(&outcome), ("success", r#"["sub","thread","net","file",8]"#), "{}", outcome.logs);
}
