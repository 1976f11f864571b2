// Has Node itself check a file's syntax, and looks for a name in its text. Nothing of the file is run.
const { execFile } = require('node:child_process');
const fs = require('node:fs');

// With one of these a file exports names that do not occur in it.
const PASSES_ON = [
  /export\s*\*/,
  /module\s*\.\s*exports\s*=(?!\s*\{)/,
  /module\s*\.\s*exports\s*=\s*\{[^;]*\.\.\./,
  /exports\s*\[/,
  /Object\s*\.\s*(assign|defineProperty|defineProperties)/,
  /__export|__reExport/,
];

function firstError(text) {
  const lines = text.split('\n');
  const error = lines.find((line) => /^\w*Error\b/.test(line)) || lines[0];
  const place = /:(\d+)$/.exec(lines[0]);
  return place ? `${error} (line ${place[1]})` : error;
}

function occurs(text, name) {
  return name.split('.').every((part) => {
    const escaped = part.replace(/\$/g, '\\$');
    return new RegExp(`(?<![\\p{ID_Continue}$])${escaped}(?![\\p{ID_Continue}$])`, 'u').test(text);
  });
}

function handler(event) {
  const text = fs.readFileSync(event.file, 'utf8');
  return new Promise((resolve, reject) => {
    execFile(process.execPath, ['--check', event.file], { env: {} }, (error, _output, messages) => {
      if (error && error.code === 1) resolve({ syntax: firstError(messages), defined: false });
      else if (error) reject(new Error(`node --check ended by ${error.signal || error.code}`));
      else resolve({ syntax: null, defined: occurs(text, event.name) || PASSES_ON.some((way) => way.test(text)) });
    });
  });
}
