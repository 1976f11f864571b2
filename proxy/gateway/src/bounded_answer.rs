//! What another server answers to a question of the gateway's own: the whole body, up to a limit.

use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode, redirect};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerProblem {
    /// The cause does not name the address.
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    #[error("the answer was {0}")]
    Status(StatusCode),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl From<reqwest::Error> for AnswerProblem {
    fn from(error: reqwest::Error) -> Self {
        // The address may hold a password, and reqwest's errors show it.
        Self::Request(error.without_url())
    }
}

/// A client that asks where the operator said, and nowhere else.
pub(crate) fn client() -> ClientBuilder {
    Client::builder().redirect(redirect::Policy::none()).user_agent(concat!("gateway/", env!("CARGO_PKG_VERSION")))
}

/// The body of an answer whose status is accepted.
pub(crate) async fn ask(
    question: RequestBuilder,
    is_accepted: impl FnOnce(StatusCode) -> bool,
    limit_bytes: usize,
) -> Result<Vec<u8>, AnswerProblem> {
    let mut answer = question.send().await?;
    if !is_accepted(answer.status()) {
        return Err(AnswerProblem::Status(answer.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > limit_bytes {
            return Err(AnswerProblem::TooLong(limit_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::control::chain;

    /// What is made of a server's answer to one question with a password in its address.
    async fn answered(answer: &'static str, limit_bytes: usize) -> Result<Vec<u8>, String> {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = format!("http://user:password@{}/", server.local_addr().expect("it is bound"));
        let serving = async {
            let (mut connection, _) = server.accept().await.expect("the client comes");
            let mut asked = [0; 4096];
            assert!(connection.read(&mut asked).await.expect("the client is there") > 0, "it asks");
            connection.write_all(answer.as_bytes()).await.expect("the client listens");
        };
        let client = client().no_proxy().build().expect("the settings are sound");
        let asking = ask(client.get(address), |status| status == StatusCode::OK, limit_bytes);
        let ((), answered) = tokio::join!(serving, asking);
        answered.map_err(|problem| chain(&problem))
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_the_limit() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfour";
        assert_eq!(answered(answer, 4).await, Ok(b"four".to_vec()));
        assert_eq!(answered(answer, 3).await, Err("the answer is longer than 3 bytes".to_owned()));
    }

    #[tokio::test]
    async fn a_redirection_is_not_followed() {
        let answer = "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(answered(answer, 10).await, Err("the answer was 302 Found".to_owned()));
    }

    #[tokio::test]
    async fn what_went_wrong_is_told_without_the_address() {
        for broken in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfour"] {
            let problem = answered(broken, 10).await.expect_err("it broke off");
            assert!(problem.starts_with("the request failed: "), "{problem}");
            assert!(!problem.contains("password") && !problem.contains("127.0.0.1"), "{problem}");
        }
    }
}
