//! A stack of stand-ins for services, so that these tests need no other crate's binary.

use std::path::{Path, PathBuf};

use local_stack::{Stack, StackError, StackOptions, StackSource};

/// A service: answers 200 on its port, and on SIGTERM notes its name in a file and ends.
const SERVICE: &str = r#"
import http.server, signal, sys
name, port, notes = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def stop(*_):
    with open(notes, "a") as file:
        file.write(name + "\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()
"#;

/// Two services on both servers, the first waiting for the second.
const DOCUMENT: &str = r#"
name = "stand-in"
files = ["service.py"]
[postgres]
databases = ["things"]
[s3]
buckets = ["things"]
[[process]]
name = "front"
program = "python3"
args = ["{data}/service.py", "front", "{port:front}", "{data}/stopped"]
env = { TOKEN = "{secret:token}", DATABASE = "{postgres.url:things}" }
ready = "http://127.0.0.1:{port:front}/"
depends = ["back"]
[[process]]
name = "back"
program = "python3"
args = ["{data}/service.py", "back", "{port:back}", "{data}/stopped"]
ready = "http://127.0.0.1:{port:back}/"
[urls]
front = "http://127.0.0.1:{port:front}/"
back = "http://127.0.0.1:{port:back}/"
database = "{postgres.url:things}"
s3 = "{s3.endpoint}"
[restart]
first_delay = "20ms"
"#;

/// A folder for a stack document and for data, which PostgreSQL's account can pass.
pub struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Self {
        Self::with_document(DOCUMENT)
    }

    pub fn with_document(document: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("our own folder");
        std::fs::write(folder.path().join("stack.toml"), document).expect("our own folder");
        std::fs::write(folder.path().join("service.py"), SERVICE).expect("our own folder");
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn document(&self) -> PathBuf {
        self.path().join("stack.toml")
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub fn options(&self) -> Result<StackOptions, StackError> {
        Ok(StackOptions { data_folder: Some(self.data()), ..StackOptions::new(StackSource::read(&self.document())?) })
    }

    pub async fn start(&self) -> Result<local_stack::RunningStack, StackError> {
        Stack::start(self.options()?).await
    }
}
