// Rates and quantiles from two readings of cumulative counters. Pure.

/** What a side did between two readings, or null when nothing can be said. */
export function between(before, after, seconds) {
  if (!before || !after || seconds <= 0) return null;
  const requests = after.requests - before.requests;
  // Counters that fall belong to a gateway that was started again.
  if (requests < 0) return null;
  const errors = after.errors - before.errors;
  const counts = after.latency.counts.map((count, at) => count - (before.latency.counts[at] ?? 0));
  return {
    requests,
    rate: requests / seconds,
    success: requests > 0 ? 1 - errors / requests : null,
    p50: quantile(0.5, after.latency.le_seconds, counts, requests),
    p99: quantile(0.99, after.latency.le_seconds, counts, requests),
  };
}

/** As Prometheus' histogram_quantile: linear within the bucket; the last bound for what is above it. */
export function quantile(q, bounds, cumulative, total) {
  if (total <= 0) return null;
  const rank = q * total;
  const at = cumulative.findIndex((count) => count >= rank);
  if (at < 0) return bounds[bounds.length - 1];
  const [low, below] = at === 0 ? [0, 0] : [bounds[at - 1], cumulative[at - 1]];
  const inside = cumulative[at] - below;
  return inside > 0 ? low + (bounds[at] - low) * ((rank - below) / inside) : bounds[at];
}

/** New ÷ old, where both are known. */
export const compared = (candidate, legacy) => (candidate !== null && legacy ? candidate / legacy : null);

/** Whether compared answers of this outcome differ, agree, or were not compared. */
export function mismatchShare(route) {
  return route?.mismatch_rate ?? null;
}

/**
 * The last minutes of every route, a point a second, from readings of the status.
 */
export class Series {
  constructor(most = 180) {
    this.most = most;
    this.readings = [];
  }

  add(status) {
    const last = this.readings.at(-1);
    if (last && status.uptime_seconds < last.uptime_seconds) this.readings = [];
    this.readings.push(status);
    if (this.readings.length > this.most) this.readings.shift();
  }

  /** A side of a route over the last `window` readings. */
  recent(name, side, window = 10) {
    const after = this.readings.at(-1);
    const before = this.readings.at(-1 - window) ?? this.readings[0];
    return after === before ? null : measured(before, after, name, side);
  }

  /** One point for each pair of readings, `window` apart. */
  points(name, window = 5) {
    const points = [];
    for (let at = window; at < this.readings.length; at += 1) {
      const [before, after] = [this.readings[at - window], this.readings[at]];
      points.push({
        ago: this.readings.at(-1).uptime_seconds - after.uptime_seconds,
        legacy: measured(before, after, name, "legacy"),
        candidate: measured(before, after, name, "candidate"),
      });
    }
    return points;
  }
}

function measured(before, after, name, side) {
  // Nothing where the gateway does not count requests.
  const of = (status) => status.routes.find((route) => route.name === name)?.sides?.[side];
  return between(of(before), of(after), after.uptime_seconds - before.uptime_seconds);
}
