-- Answers of the two sides that differed, as the gateways kept them: redacted, and removed when there are
-- too many, too much or too old ones.
CREATE TABLE shadow_mismatches (
    id       uuid PRIMARY KEY,
    at       timestamptz NOT NULL,
    route    text NOT NULL,
    bytes    bigint NOT NULL CHECK (bytes > 0),
    -- json and not jsonb: answers may have texts with \u0000 in them, which jsonb refuses.
    mismatch json NOT NULL
);

CREATE INDEX shadow_mismatches_latest ON shadow_mismatches (at DESC, id DESC);
CREATE INDEX shadow_mismatches_latest_of_route ON shadow_mismatches (route, at DESC, id DESC);

-- How often each sort of difference was seen, also in mismatches that are gone or were never kept.
CREATE TABLE shadow_clusters (
    route    text NOT NULL,
    path     text NOT NULL,
    kind     text NOT NULL CHECK (kind ~ '^[a-z_]{1,32}$'),
    count    bigint NOT NULL CHECK (count > 0),
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL,
    example  uuid NOT NULL,
    PRIMARY KEY (route, path, kind)
);
