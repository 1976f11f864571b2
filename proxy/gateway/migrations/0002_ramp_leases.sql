-- Who conducts which ramp. A row is replaced with each renewal, and only by whoever knows the one
-- before: of two gateways that take over, one finds its condition false.
CREATE TABLE ramp_leases (
    route      text PRIMARY KEY,
    holder     bigint NOT NULL,
    number     bigint NOT NULL CHECK (number >= 1),
    renewed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
