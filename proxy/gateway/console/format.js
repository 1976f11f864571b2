// Numbers as people read them, with their units.

export const percent = (value) => (value === null || value === undefined ? "–" : `${trimmed(value, 2)} %`);

export const share = (value) => (value === null || value === undefined ? "–" : `${trimmed(value * 100, 2)} %`);

export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 0.001) return `${trimmed(seconds * 1e6, 0)} µs`;
  if (seconds < 1) return `${trimmed(seconds * 1000, 1)} ms`;
  if (seconds < 120) return `${trimmed(seconds, 1)} s`;
  return `${trimmed(seconds / 60, 0)} min`;
}

export const rate = (value) => (value === null || value === undefined ? "–" : `${trimmed(value, 1)}/s`);

export const ratio = (value) => (value === null || value === undefined ? "–" : `${trimmed(value, 2)} ×`);

export const when = (text) => (text ? String(text).slice(0, 19).replace("T", " ") : "–");

function trimmed(value, digits) {
  return Number(value).toFixed(digits).replace(/\.?0+$/, (zeros) => (digits > 0 ? "" : zeros));
}
