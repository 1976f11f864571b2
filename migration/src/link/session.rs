//! A connection that is asked one thing at a time.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, BytesMut};
use postgres_protocol::{
    authentication::{
        md5_hash,
        sasl::{self, ChannelBinding, ScramSha256},
    },
    message::{
        backend::{ErrorFields, Message},
        frontend,
    },
};
use rustls::pki_types::ServerName;
use sqlx::postgres::PgSslMode;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

use super::{
    address::{Address, Place},
    error::LinkError,
    tls,
};

/// Room for what one read of the socket brings.
const READ_BYTES: usize = 64 << 10;

/// One way to print a value, whatever the server's own settings are.
const OPTIONS: &str = "-c datestyle=ISO,YMD -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=3 \
                       -c bytea_output=hex -c lc_monetary=C -c statement_timeout=0 -c lock_timeout=0 \
                       -c idle_in_transaction_session_timeout=0";

/// The tag of the answer that begins `COPY BOTH`, which `postgres-protocol` does not know.
const COPY_BOTH: u8 = b'W';

/// That of a row of `COPY ... TO STDOUT`, or of some of `COPY ... FROM STDIN`.
const COPY_DATA: u8 = b'd';

/// Tag and length of a message.
const HEAD_BYTES: usize = 5;

/// The most that one message of rows holds. The server keeps as much memory, and refuses more than 1 GiB.
const MESSAGE_BYTES: usize = 1 << 20;

/// What a session may keep for what it receives when it has nothing: a large row is not paid for until its end.
const KEPT_BYTES: usize = 1 << 20;

trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// A connection that takes SQL and, in replication mode (`replication=database`), replication commands.
pub(crate) struct Session {
    transport: Box<dyn Transport>,
    received: BytesMut,
    to_send: BytesMut,
}

/// One row of an answer, as text.
pub(crate) type TextRow = Vec<Option<String>>;

impl Session {
    /// Connects in replication mode and authenticates.
    pub(crate) async fn connect(address: &Address) -> Result<Self, LinkError> {
        Self::start(address, "strangler", &[("replication", "database")]).await
    }

    /// Connects as anybody does, under this name.
    pub(crate) async fn plain(address: &Address, name: &str) -> Result<Self, LinkError> {
        Self::start(address, name, &[]).await
    }

    async fn start(address: &Address, name: &str, mode: &[(&str, &str)]) -> Result<Self, LinkError> {
        let transport = transport(address).await?;
        let mut session = Self { transport, received: BytesMut::new(), to_send: BytesMut::new() };
        // The last of two that set the same counts.
        let options = [address.options.as_deref().unwrap_or_default(), OPTIONS].join(" ");
        let parameters = [
            ("user", address.user.as_str()),
            ("database", &address.database),
            ("client_encoding", "UTF8"),
            ("application_name", name),
            ("options", options.trim_start()),
        ];
        frontend::startup_message(parameters.into_iter().chain(mode.iter().copied()), &mut session.to_send)?;
        session.flush().await?;
        session.authenticate(address).await?;
        session.until_ready().await?;
        Ok(session)
    }

    /// Asks, and waits for the whole answer.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<TextRow>, LinkError> {
        frontend::query(sql, &mut self.to_send)?;
        self.flush().await?;
        self.until_ready().await
    }

    /// Asks for what is answered by rows of `COPY ... TO STDOUT`, which [`Self::copied`] then takes.
    pub(crate) async fn copy_out(&mut self, sql: &str) -> Result<(), LinkError> {
        self.copy(sql, |answer| matches!(answer, Message::CopyOutResponse(_)), "no rows of a COPY").await
    }

    /// Asks to send what a `COPY ... FROM STDIN` takes: by [`Self::copy_rows`], and then [`Self::copied_in`] or
    /// [`Self::give_up`].
    pub(crate) async fn copy_in(&mut self, sql: &str) -> Result<(), LinkError> {
        self.copy(sql, |answer| matches!(answer, Message::CopyInResponse(_)), "nothing that takes rows").await
    }

    /// Asks for what is answered by the beginning of a `COPY`; `instead` is what came when it was answered otherwise.
    async fn copy(&mut self, sql: &str, begins: fn(&Message) -> bool, instead: &str) -> Result<(), LinkError> {
        frontend::query(sql, &mut self.to_send)?;
        self.flush().await?;
        let mut refused = None;
        loop {
            match self.receive().await? {
                Some(answer) if begins(&answer) => return Ok(()),
                Some(Message::ErrorResponse(error)) => refused = Some(refusal(error.fields())),
                Some(Message::ReadyForQuery(_)) => {
                    return Err(refused.unwrap_or_else(|| LinkError::Protocol(instead.to_owned())));
                }
                _ => {}
            }
        }
    }

    /// Waits until rows have come, and hands over all that are there; true after the last. A row that is one of many costs
    /// no call, no allocation and no message of its own.
    pub(crate) async fn copied(&mut self, mut take: impl FnMut(&[u8])) -> Result<bool, LinkError> {
        let mut refused = None;
        loop {
            let mut at = 0;
            while let Some(row) = copy_data(&self.received[at..])? {
                take(row);
                at += HEAD_BYTES + row.len();
            }
            self.received.advance(at);
            self.give_room_back();
            if at > 0 {
                return Ok(false);
            }
            match self.receive().await? {
                Some(Message::CopyData(row)) => {
                    take(row.data());
                    return Ok(false);
                }
                Some(Message::ErrorResponse(error)) => refused = Some(refusal(error.fields())),
                Some(Message::ReadyForQuery(_)) => {
                    self.give_room_back();
                    return refused.map_or(Ok(true), Err);
                }
                _ => {}
            }
        }
    }

    /// Sends rows, or parts of them, without another copy of them. A server that has refused a row takes what comes after
    /// it, and says so in the end.
    #[expect(clippy::cast_possible_truncation, reason = "no part is longer than a message may be")]
    pub(crate) async fn copy_rows(&mut self, rows: &[u8]) -> Result<(), LinkError> {
        for part in rows.chunks(MESSAGE_BYTES) {
            self.to_send.put_u8(COPY_DATA);
            self.to_send.put_u32((part.len() + HEAD_BYTES - 1) as u32);
            let mut message = self.to_send.split().chain(part);
            self.transport.write_all_buf(&mut message).await?;
        }
        Ok(())
    }

    /// Says that this was all, and learns how many rows the server has taken.
    pub(crate) async fn copied_in(&mut self) -> Result<u64, LinkError> {
        frontend::copy_done(&mut self.to_send);
        self.flush().await?;
        let (mut refused, mut taken) = (None, None);
        loop {
            match self.receive().await? {
                Some(Message::CommandComplete(done)) => {
                    taken = done.tag()?.strip_prefix("COPY ").and_then(|count| count.parse().ok());
                }
                Some(Message::ErrorResponse(error)) => refused = Some(refusal(error.fields())),
                Some(Message::ReadyForQuery(_)) => {
                    let uncounted = || LinkError::Protocol("a COPY without a count".to_owned());
                    return refused.map_or_else(|| taken.ok_or_else(uncounted), Err);
                }
                _ => {}
            }
        }
    }

    /// Takes back what was sent, in words that the server's log has. A transaction has failed then.
    pub(crate) async fn give_up(&mut self, why: &str) -> Result<(), LinkError> {
        frontend::copy_fail(why, &mut self.to_send)?;
        self.flush().await?;
        match self.until_ready().await {
            Ok(_) | Err(LinkError::Server { .. }) => Ok(()),
            Err(broken) => Err(broken),
        }
    }

    /// What a large row needed.
    fn give_room_back(&mut self) {
        if self.received.is_empty() && self.received.capacity() > KEPT_BYTES {
            self.received = BytesMut::new();
        }
    }

    /// Says goodbye.
    pub(crate) async fn close(mut self) -> Result<(), LinkError> {
        frontend::terminate(&mut self.to_send);
        self.flush().await
    }

    /// Asks for what is answered by a stream both ways.
    pub(super) async fn copy_both(&mut self, sql: &str) -> Result<(), LinkError> {
        frontend::query(sql, &mut self.to_send)?;
        self.flush().await?;
        loop {
            match self.receive().await? {
                None => return Ok(()),
                Some(Message::ErrorResponse(error)) => return Err(refusal(error.fields())),
                Some(_notice) => {}
            }
        }
    }

    /// The next message; none for the one that begins `COPY BOTH`. Nothing is lost when it is dropped
    /// before it has answered.
    pub(super) async fn receive(&mut self) -> Result<Option<Message>, LinkError> {
        loop {
            if self.received.first() == Some(&COPY_BOTH) {
                if let Some(length) = self.received.get(1..5) {
                    let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
                    if self.received.len() > length {
                        let _ = self.received.split_to(length + 1);
                        return Ok(None);
                    }
                }
            } else if let Some(message) = Message::parse(&mut self.received)? {
                return Ok(Some(message));
            }
            self.received.reserve(READ_BYTES);
            if self.transport.read_buf(&mut self.received).await? == 0 {
                return Err(LinkError::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// A message that is there already, without waiting.
    pub(super) fn received(&mut self) -> Result<Option<Message>, LinkError> {
        Ok(Message::parse(&mut self.received)?)
    }

    /// Sends one message of a stream.
    pub(super) async fn send_copy_data(&mut self, data: &[u8]) -> Result<(), LinkError> {
        frontend::CopyData::new(data)?.write(&mut self.to_send);
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), LinkError> {
        // What was written is taken from the buffer at once, so that an abandoned call does not send
        // a half of a message and then all of it.
        while !self.to_send.is_empty() {
            self.transport.write_buf(&mut self.to_send).await?;
        }
        self.transport.flush().await?;
        Ok(())
    }

    async fn until_ready(&mut self) -> Result<Vec<TextRow>, LinkError> {
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            match self.receive().await? {
                Some(Message::ReadyForQuery(_)) => return refused.map_or(Ok(rows), Err),
                Some(Message::DataRow(row)) => rows.push(text_row(&row)?),
                // At the start a refusal ends the connection, and nothing follows.
                Some(Message::ErrorResponse(error)) => refused = Some(refusal(error.fields())),
                Some(_) => {}
                None => return Err(LinkError::Protocol("a stream that nobody asked for".to_owned())),
            }
        }
    }

    async fn authenticate(&mut self, address: &Address) -> Result<(), LinkError> {
        loop {
            match self.receive().await? {
                Some(Message::AuthenticationOk) => return Ok(()),
                Some(Message::AuthenticationCleartextPassword) => {
                    let password = password(address)?.as_bytes().to_vec();
                    frontend::password_message(&password, &mut self.to_send)?;
                    self.flush().await?;
                }
                Some(Message::AuthenticationMd5Password(asked)) => {
                    let hash = md5_hash(address.user.as_bytes(), password(address)?.as_bytes(), asked.salt());
                    frontend::password_message(hash.as_bytes(), &mut self.to_send)?;
                    self.flush().await?;
                }
                Some(Message::AuthenticationSasl(_)) => self.scram(password(address)?).await?,
                Some(Message::ErrorResponse(error)) => return Err(refusal(error.fields())),
                Some(Message::NoticeResponse(_)) => {}
                _ => return Err(LinkError::Authentication("the server wants Kerberos or the like; use a password")),
            }
        }
    }

    async fn scram(&mut self, password: &str) -> Result<(), LinkError> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        frontend::sasl_initial_response(sasl::SCRAM_SHA_256, scram.message(), &mut self.to_send)?;
        self.flush().await?;
        loop {
            match self.receive().await? {
                Some(Message::AuthenticationSaslContinue(body)) => {
                    scram.update(body.data())?;
                    frontend::sasl_response(scram.message(), &mut self.to_send)?;
                    self.flush().await?;
                }
                Some(Message::AuthenticationSaslFinal(body)) => {
                    scram.finish(body.data())?;
                    return Ok(());
                }
                Some(Message::ErrorResponse(error)) => return Err(refusal(error.fields())),
                _ => return Err(LinkError::Authentication("the server left the exchange")),
            }
        }
    }
}

/// The row that some bytes begin with, if all of it is there.
fn copy_data(bytes: &[u8]) -> Result<Option<&[u8]>, LinkError> {
    let Some([COPY_DATA, length @ ..]) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    // It counts itself.
    let end = (u32::from_be_bytes(*length) as usize)
        .checked_sub(HEAD_BYTES - 1)
        .ok_or_else(|| LinkError::Protocol("a row that is shorter than its length".to_owned()))?;
    Ok(bytes[HEAD_BYTES..].get(..end))
}

fn password(address: &Address) -> Result<&str, LinkError> {
    address.password.as_deref().ok_or(LinkError::Authentication("the server wants a password, and there is none"))
}

fn text_row(row: &postgres_protocol::message::backend::DataRowBody) -> Result<TextRow, LinkError> {
    use fallible_iterator::FallibleIterator;
    let mut values = Vec::new();
    let mut ranges = row.ranges();
    while let Some(range) = ranges.next()? {
        values.push(
            range.and_then(|range| row.buffer().get(range)).map(|value| String::from_utf8_lossy(value).into_owned()),
        );
    }
    Ok(values)
}

/// What a server refuses with.
pub(super) fn refusal(mut fields: ErrorFields<'_>) -> LinkError {
    use fallible_iterator::FallibleIterator;
    let (mut code, mut message, mut hint) = (String::new(), String::new(), None);
    while let Ok(Some(field)) = fields.next() {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => code = value,
            b'M' => message = value,
            b'H' => hint = Some(value),
            _ => {}
        }
    }
    LinkError::Server { code, message, hint }
}

async fn transport(address: &Address) -> Result<Box<dyn Transport>, LinkError> {
    let (host, port) = match &address.place {
        Place::Socket(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        Place::Tcp { host, port } => (host.as_str(), *port),
    };
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    if matches!(address.ssl_mode, PgSslMode::Disable | PgSslMode::Allow) {
        return Ok(Box::new(stream));
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    match stream.read_u8().await? {
        b'S' => {}
        b'N' if matches!(address.ssl_mode, PgSslMode::Prefer) => return Ok(Box::new(stream)),
        b'N' => return Err(LinkError::Tls("the server has no TLS, and the address asks for it".to_owned())),
        _ => return Err(LinkError::Protocol("an answer to the request for TLS that is none".to_owned())),
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| LinkError::Tls(error.to_string()))?;
    let connector = TlsConnector::from(Arc::new(tls::config(address)?));
    Ok(Box::new(connector.connect(name, stream).await?))
}

#[cfg(test)]
mod tests {
    use std::{fs, net::IpAddr, path::Path};

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
    use tempfile::TempDir;
    use testkit::PrivatePostgres;

    use super::*;

    /// An authority, and a pair that it has issued for this machine: `NAME.pem`, `server.pem`, `server.key`.
    fn issue(folder: &Path, name: &str) {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(authority, key).expect("an authority");
        let mut server = CertificateParams::default();
        server.subject_alt_names = vec![rcgen::SanType::IpAddress(IpAddr::from([127, 0, 0, 1]))];
        let key = KeyPair::generate().expect("a key");
        let certificate = server.signed_by(&key, &issuer).expect("a certificate");
        for (file, text) in [(name, issuer.pem()), ("server", certificate.pem()), ("server.key", key.serialize_pem())] {
            let file = if file.contains('.') { file.to_owned() } else { format!("{file}.pem") };
            fs::write(folder.join(file), text).expect("a file");
        }
    }

    async fn connect(url: &str) -> Result<Session, LinkError> {
        Session::connect(&Address::of(&url.parse().expect("a URL"))).await
    }

    async fn is_encrypted(session: &mut Session) -> bool {
        let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        session.query(sql).await.expect("an answer")[0][0].as_deref() == Some("t")
    }

    #[tokio::test]
    async fn a_connection_is_as_secret_as_its_address_asks_and_trusts_only_whom_it_should() {
        let (folder, postgres) = (TempDir::new().expect("a folder"), PrivatePostgres::start().await);
        issue(folder.path(), "stranger");
        issue(folder.path(), "authority");
        let plain = postgres.url("postgres");
        let url = |options: &str| plain.replace("sslmode=disable", options);
        let refused = connect(&url("sslmode=require")).await.err().expect("the server has no TLS yet");
        assert!(matches!(refused, LinkError::Tls(_)), "{refused}");
        assert!(!is_encrypted(&mut connect(&url("sslmode=prefer")).await.expect("it has no preference")).await);

        let mut superuser = PgConnection::connect(&plain).await.expect("a connection");
        for file in ["server.pem", "server.key"] {
            // The server itself writes them: they must be its own, and nobody else may read the key.
            let lines = fs::read_to_string(folder.path().join(file)).expect("a file").replace('\n', "','");
            let copy = format!("COPY (SELECT unnest(ARRAY['{lines}'])) TO PROGRAM 'umask 077; cat > {file}'");
            superuser.execute(AssertSqlSafe(copy)).await.expect("a superuser may");
        }
        for setting in ["ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.key'", "ssl = on"] {
            superuser.execute(AssertSqlSafe(format!("ALTER SYSTEM SET {setting}"))).await.expect("a superuser may");
        }
        superuser.execute("SELECT pg_reload_conf()").await.expect("a superuser may");
        testkit::eventually(std::time::Duration::from_secs(30), async || {
            connect(&url("sslmode=require")).await.is_ok()
        })
        .await;
        let trusted = |mode: &str, authority: &str| {
            url(&format!("sslmode={mode}&sslrootcert={}", folder.path().join(authority).display()))
        };
        for mode in ["require", "verify-ca", "verify-full"] {
            let mut session =
                connect(&trusted(mode, "authority.pem")).await.unwrap_or_else(|error| panic!("{mode}: {error}"));
            assert!(is_encrypted(&mut session).await, "{mode}");
        }
        for mode in ["verify-ca", "verify-full"] {
            let refused = connect(&trusted(mode, "stranger.pem")).await;
            assert!(refused.is_err(), "{mode}: another authority's server is not believed");
        }
        // The certificate is for an address, not for a name.
        let by_name = |mode: &str| trusted(mode, "authority.pem").replace("127.0.0.1", "localhost");
        assert!(connect(&by_name("verify-full")).await.is_err());
        connect(&by_name("verify-ca")).await.expect("any name will do");
    }

    #[tokio::test]
    async fn a_refusal_has_its_code_and_no_password() {
        let database = testkit::postgres().await;
        let wrong = database.url.replacen("postgres:", "nobody:", 2).replacen("nobody:", "postgres:", 1);
        let error = connect(&wrong).await.err().expect("there is no such role");
        assert_eq!(error.code(), Some("28P01"), "{error}");
        let mut session = connect(&database.url).await.expect("a connection");
        let error = session.query("DROP_REPLICATION_SLOT nothing").await.expect_err("there is none");
        assert_eq!(error.code(), Some("42704"), "{error}");
        assert_eq!(session.query("select 'x', null").await.expect("it goes on"), [[Some("x".to_owned()), None]]);
    }

    #[tokio::test]
    async fn rows_of_a_copy_come_whole_and_a_refusal_among_them_leaves_the_session_as_it_was() {
        let database = testkit::postgres().await;
        let options: sqlx::postgres::PgConnectOptions = database.url.parse().expect("a URL");
        let address = Address::of(&options.options([("work_mem", "5MB"), ("DateStyle", "German")]));
        let mut session = Session::plain(&address, "rows").await.expect("a connection");
        let settings = "select current_setting('work_mem'), current_setting('DateStyle')";
        let [work_mem, style] = ["5MB", "ISO, YMD"].map(|value| Some(value.to_owned()));
        assert_eq!(session.query(settings).await.expect("an answer"), [[work_mem, style]]);
        let name = "select application_name from pg_stat_activity where pid = pg_backend_pid()";
        assert_eq!(session.query(name).await.expect("an answer"), [[Some("rows".to_owned())]]);
        let rows = "COPY (SELECT repeat('x', n * n) FROM generate_series(0, 1500, 50) n) TO STDOUT";
        for _again in 0..2 {
            session.copy_out(rows).await.expect("rows");
            let mut lengths = Vec::new();
            while !session.copied(|row| lengths.push(row.len())).await.expect("rows") {}
            // With the end of the line.
            assert_eq!(lengths, (0..=1_500_usize).step_by(50).map(|n| n * n + 1).collect::<Vec<_>>());
            assert!(session.received.capacity() <= KEPT_BYTES, "{} bytes", session.received.capacity());
        }
        session.copy_out("COPY (SELECT 1 / (3 - n) FROM generate_series(1, 5) n) TO STDOUT").await.expect("rows");
        let refused = loop {
            match session.copied(|_| {}).await {
                Ok(ended) => assert!(!ended, "a row cannot be computed"),
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused.code(), Some("22012"), "{refused}");
        let refused = session.copy_out("COPY nothing TO STDOUT").await.expect_err("there is none");
        assert_eq!(refused.code(), Some("42P01"), "{refused}");
        let refused = session.copy_out("SELECT 1").await.expect_err("it is no COPY");
        assert!(matches!(refused, LinkError::Protocol(_)), "{refused}");
        assert_eq!(session.query("select 'x', null").await.expect("it goes on"), [[Some("x".to_owned()), None]]);
        session.close().await.expect("a goodbye");
    }

    #[tokio::test]
    async fn rows_are_taken_whole_and_a_refused_one_leaves_nothing_of_them_and_the_session_as_it_was() {
        let database = testkit::postgres().await;
        let mut session = connect(&database.url).await.expect("a connection");
        session.query("CREATE TABLE lengths (n int, text text)").await.expect("a table");
        let longest = "x".repeat(3 * MESSAGE_BYTES);
        let rows = format!("1\ta\n2\t{longest}\n3\t\\N\n");
        for _again in 0..2 {
            session.copy_in("COPY lengths FROM STDIN").await.expect("it takes rows");
            // Nothing, and rows that are cut anywhere.
            for part in [&rows[..3], "", &rows[3..9], &rows[9..]] {
                session.copy_rows(part.as_bytes()).await.expect("they are sent");
            }
            assert_eq!(session.copied_in().await.expect("they are taken"), 3);
        }
        session.copy_in("COPY lengths FROM STDIN").await.expect("it takes rows");
        assert_eq!(session.copied_in().await.expect("none is fine"), 0);

        for rows in ["4\td\n", "4\td\nfive\te\n", "4\td"] {
            session.query("BEGIN").await.expect("a transaction");
            session.copy_in("COPY lengths FROM STDIN").await.expect("it takes rows");
            session.copy_rows(rows.as_bytes()).await.expect("they are sent");
            // A server that has refused a row already takes the rest without a word.
            session.copy_rows(longest.as_bytes()).await.expect("they are sent");
            if rows.contains("five") {
                let refused = session.copied_in().await.expect_err("it is no number");
                assert_eq!(refused.code(), Some("22P02"), "{refused}");
            } else {
                session.give_up("it shall not be").await.expect("it can be taken back");
            }
            session.query("ROLLBACK").await.expect("it goes on");
        }
        let refused = session.copy_in("COPY nothing FROM STDIN").await.expect_err("there is none");
        assert_eq!(refused.code(), Some("42P01"), "{refused}");
        let refused = session.copy_in("SELECT 1").await.expect_err("it takes no rows");
        assert!(matches!(refused, LinkError::Protocol(_)), "{refused}");
        let found = session.query("SELECT n, length(text) FROM lengths ORDER BY n, 2").await.expect("an answer");
        let row = |n: &str, length: Option<usize>| vec![Some(n.to_owned()), length.map(|length| length.to_string())];
        let each = [row("1", Some(1)), row("2", Some(longest.len())), row("3", None)];
        assert_eq!(found, each.iter().flat_map(|row| [row.clone(), row.clone()]).collect::<Vec<_>>());
    }

    #[test]
    fn a_row_that_is_cut_off_is_waited_for_and_a_length_that_cannot_be_is_refused() {
        assert_eq!(copy_data(b"d\0\0\0\x06xyZ").expect("a row"), Some(&b"xy"[..]));
        assert_eq!(copy_data(b"d\0\0\0\x04").expect("a row of nothing"), Some(&b""[..]));
        for begun in [&b""[..], b"d", b"d\0\0\0", b"d\0\0\0\x06x", b"c\0\0\0\x04"] {
            assert_eq!(copy_data(begun).expect("nothing yet"), None);
        }
        assert!(matches!(copy_data(b"d\0\0\0\x03xyz"), Err(LinkError::Protocol(_))));
    }
}
