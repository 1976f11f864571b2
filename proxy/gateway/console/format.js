// Numbers as people read them, with their units.

export const percent = (value) => (value === null || value === undefined ? "–" : `${trimmed(value, 2)} %`);

export const share = (value) => (value === null || value === undefined ? "–" : `${trimmed(value * 100, 2)} %`);

export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 0.001) return `${trimmed(seconds * 1e6, 0)} µs`;
  if (seconds < 1) return `${trimmed(seconds * 1000, seconds < 0.1 ? 1 : 0)} ms`;
  if (seconds < 120) return `${trimmed(seconds, 1)} s`;
  if (seconds < 7200) return `${trimmed(seconds / 60, 0)} min`;
  return seconds < 172_800 ? `${trimmed(seconds / 3600, 0)} h` : `${trimmed(seconds / 86_400, 0)} days`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = value < 1 ? 0 : Math.min(Math.floor(Math.log2(value) / 10), units.length - 1);
  return `${trimmed(value / 1024 ** power, power > 0 ? 1 : 0)} ${units[power]}`;
}

export const count = (value) => (value === null || value === undefined ? "–" : Number(value).toLocaleString("en").replaceAll(",", " "));

export const ago = (seconds) => (seconds < 2 ? "just now" : `${duration(Math.round(seconds))} ago`);

export const rate = (value) => (value === null || value === undefined ? "–" : `${trimmed(value, 1)}/s`);

export const ratio = (value) => (value === null || value === undefined ? "–" : `${trimmed(value, 2)} ×`);

export const when = (text) => (text ? String(text).slice(0, 19).replace("T", " ") : "–");

/** A name of the API as people write it. */
export const spoken = (name) => name.replaceAll("_", " ");

function trimmed(value, digits) {
  return Number(value).toFixed(digits).replace(/\.?0+$/, (zeros) => (digits > 0 ? "" : zeros));
}
