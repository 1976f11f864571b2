//! The vectors of Project Wycheproof through the modules that verify real tokens: [`Jws`] and [`KeySet`].
//! The payloads are no claims, so those are left out.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    jws::Jws,
    key::{Algorithm, VerificationKey},
    key_set::{KeySet, Origin},
};

/// Vectors marked valid that are refused. Each has a `?` within its base64url, and the signature of the
/// text without it: valid for a reader that drops what it does not know. RFC 4648, section 3.3, wants
/// such text refused, and RFC 7515 gives no leave to do otherwise.
const REFUSED_ALTHOUGH_VALID: [u32; 2] = [372, 373];

/// Vectors marked invalid that are accepted: the padding that their comments speak of is not in them,
/// so that they are, byte for byte, vector 357, which is valid.
const ACCEPTED_ALTHOUGH_INVALID: [u32; 2] = [367, 370];

const ALL: [Algorithm; 4] = [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

/// More than any token of the vectors has.
const LIMIT_BYTES: usize = 100_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vectors {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    key: Value,
    tests: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    tc_id: u32,
    comment: String,
    /// What is to be verified, by kind of vector.
    #[serde(default)]
    jws: String,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    sig: String,
    result: Outcome,
}

/// There are also `acceptable` ones, but none for these algorithms: a new one would fail to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Valid,
    Invalid,
}

fn read(file: &str) -> Vectors {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wycheproof").join(file);
    let text = fs::read(path).expect("the vectors are in the repository");
    serde_json::from_slice(&text).expect("the vectors have this shape")
}

/// Runs every vector of a file, and returns how many there were of each outcome. `refused` and `accepted`
/// are the vectors that are decided otherwise than marked.
fn run(
    file: &str,
    (refused, accepted): (&[u32], &[u32]),
    accepts: impl Fn(&Value, &Vector) -> bool,
) -> BTreeMap<Outcome, usize> {
    let vectors = read(file);
    let mut seen = BTreeMap::new();
    let mut wrong = Vec::new();
    for group in &vectors.test_groups {
        for vector in &group.tests {
            *seen.entry(vector.result).or_default() += 1;
            let expected = match vector.result {
                Outcome::Valid => !refused.contains(&vector.tc_id),
                Outcome::Invalid => accepted.contains(&vector.tc_id),
            };
            if accepts(&group.key, vector) != expected {
                wrong.push(format!("{file} {} ({})", vector.tc_id, vector.comment));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(seen.values().sum::<usize>(), vectors.number_of_tests);
    seen
}

fn verifies(set: &Value, jws: &str) -> bool {
    let read = KeySet::read(set.to_string().as_bytes(), Origin::File, &ALL);
    let jws = Jws::parse(jws, LIMIT_BYTES);
    read.is_ok_and(|read| jws.is_ok_and(|jws| read.set.verify(&jws).is_ok()))
}

#[test]
fn signed_documents() {
    let decided = (&REFUSED_ALTHOUGH_VALID[..], &ACCEPTED_ALTHOUGH_INVALID[..]);
    let accepts = |key: &Value, vector: &Vector| verifies(&json!({ "keys": [key] }), &vector.jws);
    let seen = run("json_web_signature_test.json", decided, accepts);
    assert_eq!(seen, BTreeMap::from([(Outcome::Valid, 20), (Outcome::Invalid, 296)]));
}

#[test]
fn what_is_accepted_although_invalid_is_a_valid_vector() {
    let vectors = read("json_web_signature_test.json");
    let find = |id: u32| vectors.test_groups.iter().flat_map(|group| &group.tests).find(|vector| vector.tc_id == id);
    let valid = find(357).expect("it is there");
    assert_eq!(valid.result, Outcome::Valid);
    for id in ACCEPTED_ALTHOUGH_INVALID {
        assert_eq!(find(id).expect("it is there").jws, valid.jws);
    }
}

#[test]
fn key_sets() {
    let seen = run("json_web_key_test.json", (&[], &[]), |set, vector| verifies(set, &vector.jws));
    assert_eq!(seen, BTreeMap::from([(Outcome::Valid, 3), (Outcome::Invalid, 17)]));
}

#[test]
fn bare_signatures_of_ed25519() {
    let seen = run("ed25519_test.json", (&[], &[]), |key, vector| {
        let key = VerificationKey::jwk(key.as_object().expect("a key is an object")).expect("the keys are good");
        let bytes = |text: &str| hex::decode(text).expect("hexadecimal digits");
        key.verifies(&bytes(&vector.msg), &super::jws::encode(&bytes(&vector.sig)))
    });
    assert_eq!(seen, BTreeMap::from([(Outcome::Valid, 88), (Outcome::Invalid, 63)]));
}
