#!/bin/sh
# Makes the files beside it from those in testvectors_v1 of a Wycheproof checkout: trim.sh CHECKOUT
set -eu
from=$1/testvectors_v1
to=$(dirname "$0")
# The key that verifies, and only that: public where there is one.
key='.testGroups |= map(.key = (.public // .private // .publicKeyJwk)
     | del(.public, .private, .publicKey, .publicKeyDer, .publicKeyPem, .publicKeyJwk))'
count='.numberOfTests = ([.testGroups[].tests | length] | add)'
jq --indent 1 "$key | .testGroups |= map(select(.key.alg // \"HS256\" | IN(\"HS256\", \"RS256\", \"ES256\"))) | $count" \
    "$from/json_web_signature_test.json" >"$to/json_web_signature_test.json"
jq --indent 1 "$key | .testGroups |= map(select(.comment | IN(\"HS384\", \"HS512\") | not)) | $count" \
    "$from/json_web_key_test.json" >"$to/json_web_key_test.json"
jq --indent 1 "$key | $count" "$from/ed25519_test.json" >"$to/ed25519_test.json"
