-- Where in a trace a build was asked for (W3C traceparent), so that what follows from it later, in other processes,
-- is part of that trace. Null when nobody said.
ALTER TABLE build_jobs ADD COLUMN traceparent text;
