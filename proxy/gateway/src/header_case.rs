//! In which letters names of headers are passed on.
//!
//! They mean the same in any (RFC 9110, section 5.1), and HTTP/2 knows small ones only. pingora keeps a second
//! map with the letters that came, which costs a twentieth of a small request: `http.preserve_header_case` says
//! whether it is kept for those who read names letter by letter. Without it `Host`, `Content-Type` and the like
//! are written so, and all others in small letters.

use std::mem;

use http::{request, response};
use pingora::{
    Result,
    http::{RequestHeader, ResponseHeader},
};

/// Forgets the letters of a request's names.
pub(crate) fn forget_in_request(request: &mut RequestHeader) -> Result<()> {
    if !request.has_case() {
        return Ok(());
    }
    let origin_form =
        request.uri.path_and_query().is_some_and(|target| target.as_str().as_bytes() == request.raw_path());
    let target = (!origin_form).then(|| request.raw_path().to_vec());
    let nothing = RequestHeader::from(http::Request::new(()).into_parts().0);
    *request = RequestHeader::from(request::Parts::from(mem::replace(request, nothing)));
    target.map_or(Ok(()), |target| request.set_raw_path(&target))
}

/// Forgets the letters of an answer's names.
pub(crate) fn forget_in_answer(answer: &mut ResponseHeader) -> Result<()> {
    if !answer.has_case() {
        return Ok(());
    }
    let usual = answer.status.canonical_reason();
    let reason = answer.get_reason_phrase().filter(|reason| Some(*reason) != usual).map(ToOwned::to_owned);
    let nothing = ResponseHeader::from(http::Response::new(()).into_parts().0);
    *answer = ResponseHeader::from(response::Parts::from(mem::replace(answer, nothing)));
    reason.map_or(Ok(()), |reason| answer.set_reason_phrase(Some(&reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_letters_stays() {
        for target in [&b"/a?b=c"[..], b"*", b"http://elsewhere/a", b"/\xff"] {
            let mut request = RequestHeader::build("PATCH", target, None).expect("a good request");
            for (name, value) in [("X-One", "1"), ("Content-Type", "text/plain"), ("x-ONE", "2")] {
                request.append_header(name, value).expect("a good header");
            }
            let before = request.clone();
            forget_in_request(&mut request).expect("the target was read before");
            assert_eq!(request.raw_path(), before.raw_path());
            assert_eq!((&request.method, &request.uri, request.version), (&before.method, &before.uri, before.version));
            let mut written = Vec::new();
            request.header_to_h1_wire(&mut written);
            assert_eq!(str::from_utf8(&written), Ok("x-one: 1\r\nx-one: 2\r\nContent-Type: text/plain\r\n"));
        }
    }

    #[test]
    fn a_reason_of_an_answers_own_stays() {
        for reason in ["OK", "Fine By Me"] {
            let mut answer = ResponseHeader::build(200, None).expect("a good answer");
            answer.set_reason_phrase(Some(reason)).expect("a good reason");
            answer.append_header("X-One", "1").expect("a good header");
            forget_in_answer(&mut answer).expect("the reason was read before");
            assert_eq!(
                (answer.get_reason_phrase(), &answer.headers["x-one"]),
                (Some(reason), &"1".parse().expect("text"))
            );
            assert!(!answer.has_case());
        }
    }
}
