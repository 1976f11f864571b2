use gateway::{PathParameters, RequestPath};

/// A path that is accepted is read alike by programs that decode before they split, that decode after,
/// that resolve dots, that merge slashes, that take a backslash for a slash, that decode twice, and by
/// servlet containers, which cut parameters off.
pub fn path_reading(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(read) = RequestPath::parse(text) else { return };
    let expected: Vec<&[u8]> = read.segments().iter().map(|segment| segment.as_bytes()).collect();
    let raw: Vec<Vec<u8>> = resolve(text.as_bytes());
    let after: Vec<Vec<u8>> = raw.iter().map(|segment| decode(segment)).collect();
    assert_eq!(after, expected, "split, then decode {text:?}");
    let before = resolve(&decode(text.as_bytes()));
    assert_eq!(before, expected, "decode, then split {text:?}");
    let cut: Vec<Vec<u8>> = raw.iter().map(|segment| decode(before_semicolon(segment))).collect();
    assert_eq!(cut, expected, "cut, then decode {text:?}");
    let cut: Vec<&[u8]> = before.iter().map(|segment| before_semicolon(segment)).collect();
    assert_eq!(cut, expected, "decode, then cut {text:?}");
    let twice = decode(&decode(text.as_bytes()));
    assert_eq!(resolve(&twice), expected, "decode twice {text:?}");
    for parameters in [PathParameters::Ignore, PathParameters::Keep] {
        assert_eq!(RequestPath::parse_with(text, parameters).as_ref(), Ok(&read), "{text:?} has none");
    }
}

/// The segments, with backslashes as slashes, empty segments and dots resolved.
fn resolve(path: &[u8]) -> Vec<Vec<u8>> {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    for segment in path.split(|byte| *byte == b'/' || *byte == b'\\') {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            plain => segments.push(plain.to_vec()),
        }
    }
    segments
}

fn before_semicolon(segment: &[u8]) -> &[u8] {
    segment.split(|byte| *byte == b';').next().unwrap_or_default()
}

/// Escapes decoded; what is no escape stays.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        let plain = |two: &&str| two.bytes().all(|byte| byte.is_ascii_hexdigit());
        let escaped = digits.filter(plain).and_then(|two| u8::from_str_radix(two, 16).ok());
        match escaped.filter(|_| text[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}
