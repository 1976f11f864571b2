//! Webhook signatures: HMAC-SHA256 of the body under the webhook's secret, in hex.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What stands in front of the hex in the header of one sender or another. `sha1=` is only a
/// prefix here: the digest behind it is SHA-256 all the same (a quirk of the monolith).
const PREFIXES: [&str; 3] = ["sha256=", "sha1=", "v0="];

/// What a request's signature is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the signature of this body.
    Genuine,
    /// The webhook asks for none, or the request brings none: accepted, as the monolith always did
    /// (a defect of the contract; the candidate refuses the latter).
    Unsigned,
    /// It is not the signature of this body.
    Forged,
}

/// Checks the value of the signature header, when the request has one, against the body.
pub(crate) fn check(secret: &str, header: Option<&[u8]>, body: &[u8]) -> Verdict {
    if secret.is_empty() {
        return Verdict::Unsigned;
    }
    let Some(header) = header else { return Verdict::Unsigned };
    let digest = std::str::from_utf8(header).ok().map(without_prefix).and_then(|text| hex::decode(text).ok());
    let Some(digest) = digest else { return Verdict::Forged };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    // Compares in constant time, and the length first.
    if mac.verify_slice(&digest).is_ok() { Verdict::Genuine } else { Verdict::Forged }
}

fn without_prefix(text: &str) -> &str {
    PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HMAC-SHA256 of `what do ya want for nothing?` under `Jefe`: RFC 4231, test case 2.
    const GENUINE: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    const BODY: &[u8] = b"what do ya want for nothing?";

    fn verdict(header: &str) -> Verdict {
        check("Jefe", Some(header.as_bytes()), BODY)
    }

    #[test]
    fn the_genuine_signature_in_every_spelling() {
        let upper = GENUINE.to_uppercase();
        for header in
            [GENUINE, &upper, &format!("sha256={GENUINE}"), &format!("sha1={GENUINE}"), &format!("v0={GENUINE}")]
        {
            assert_eq!(verdict(header), Verdict::Genuine, "{header}");
        }
    }

    #[test]
    fn forgeries() {
        let flipped = GENUINE.replacen('5', "4", 1);
        let twice = format!("{GENUINE}{GENUINE}");
        let cases = [
            "",
            "sha256=",
            "sha256",
            "none",
            &GENUINE[..62],
            &GENUINE[..63],
            &flipped,
            &twice,
            &format!("sha256=sha256={GENUINE}"),
            &format!("sha512={GENUINE}"),
            &format!(" {GENUINE}"),
            &format!("{GENUINE} "),
            &format!("0x{GENUINE}"),
            &format!("SHA256={GENUINE}"),
            "0000000000000000000000000000000000000000000000000000000000000000",
            "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9", // SHA-1 of something
            "ｆｆ",
        ];
        for header in cases {
            assert_eq!(verdict(header), Verdict::Forged, "{header}");
        }
        assert_eq!(check("Jefe", Some(&[0xff, 0xfe]), BODY), Verdict::Forged, "not UTF-8");
        assert_eq!(check("jefe", Some(GENUINE.as_bytes()), BODY), Verdict::Forged, "another secret");
        assert_eq!(check("Jefe", Some(GENUINE.as_bytes()), b"another body"), Verdict::Forged);
        assert_eq!(check("Jefe", Some(GENUINE.as_bytes()), b""), Verdict::Forged, "an empty body");
    }

    #[test]
    fn what_is_not_signed_is_accepted() {
        assert_eq!(check("Jefe", None, BODY), Verdict::Unsigned, "the defect of the contract");
        assert_eq!(check("", Some(b"anything"), BODY), Verdict::Unsigned, "a webhook without a secret");
    }
}
