// What the migration tool has reported of slices: an event says how new it is, and what is newer is read.

import { get } from "./api.js";

export class Reports {
  /** `changed` is called when something newer is here. */
  constructor(changed) {
    this.changed = changed;
    this.kept = new Map();
  }

  tick(slices) {
    for (const slice of slices) {
      for (const [about, { at }] of Object.entries(slice.reports)) this.#read(slice.name, about, at);
    }
  }

  #read(slice, about, at) {
    const key = JSON.stringify([slice, about]);
    const before = this.kept.get(key);
    if (before?.at === at) return;
    // Not asked for twice while it comes; shown as it was until then.
    this.kept.set(key, { at, report: before?.report ?? null });
    get(`/api/v1/slices/${encodeURIComponent(slice)}/reports/${about}`).then((found) => {
      this.kept.set(key, { at: found.at, report: found.report });
      this.changed();
    }, () => this.kept.delete(key));
  }

  /** `{report, age, by}`, or null when nobody has reported it. */
  of(slice, about) {
    const known = slice.reports[about];
    const report = this.kept.get(JSON.stringify([slice.name, about]))?.report;
    return known && report ? { report, age: known.age_seconds, by: known.by } : null;
  }
}
