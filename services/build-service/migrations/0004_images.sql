-- 'image' is built from a Dockerfile; its artifact's digest is the SHA-256 by which Docker knows it.
ALTER TABLE build_jobs DROP CONSTRAINT build_jobs_kind_check;
ALTER TABLE build_jobs ADD CONSTRAINT build_jobs_kind_check CHECK (kind IN ('archive', 'source', 'image'));
