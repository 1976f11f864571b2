use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::harness::Setup;

/// Sends bytes on a connection of their own and returns the whole answer.
fn send_raw(setup: &Setup, request: &str) -> String {
    let mut stream = TcpStream::connect(setup.gateway.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_say_who_they_are_under_the_gateways_names() {
    let setup = Setup::start();
    let forged = "x-auth-subject: admin\r\nX_Auth_Subject: admin\r\nX-Auth.Issuer: https://evil.example\r\n\
                  x-auth-scopes: all\r\nx-auth-scopes: all\r\nX-AUTH-METHOD: jwt\r\nx-auth-token: theirs\r\n";
    for rest in [
        "connection: close\r\n\r\n".to_owned(),
        "connection: close, x-auth-subject, x-auth-token\r\n\r\n".to_owned(),
        "connection: close\r\ntransfer-encoding: chunked\r\ntrailer: x-auth-subject\r\n\r\n2\r\n{}\r\n0\r\n\
         x-auth-subject: admin\r\nx_auth_subject: admin\r\n\r\n"
            .to_owned(),
    ] {
        let answer = send_raw(&setup, &format!("POST /f/k/invoke HTTP/1.1\r\nhost: a\r\n{forged}{rest}"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let seen = setup.legacy.seen().pop().unwrap();
        let said: Vec<_> = seen.headers.iter().filter(|(_, value)| *value != "theirs").collect();
        for (name, value) in said {
            let bare: String = name.as_str().chars().filter(char::is_ascii_alphanumeric).collect();
            assert!(!bare.starts_with("xauth"), "{name}: {value:?} arrived after {rest:?}");
        }
    }
}
