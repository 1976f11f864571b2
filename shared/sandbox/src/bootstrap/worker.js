// The JavaScript side of the worker protocol; the protocol is described in the crate's documentation.
'use strict';
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const vm = require('node:vm');
const { createRequire } = require('node:module');
const { Writable } = require('node:stream');
const { pathToFileURL } = require('node:url');

const REQUESTS = 3;
const ANSWERS = 4;
const LOG = 2;
const LENGTHS_BYTES = 8;
const ERROR_CHARACTERS = 8192;
const EXIT_AFTER_ANSWER = 70;

function writeFully(descriptor, data) {
  for (let written = 0; written < data.length;) {
    written += fs.writeSync(descriptor, data, written, data.length - written);
  }
}

// Node's own streams for pipes may hold text back when the process is killed or exits. These write at once,
// and both to the log, so that the order of what was printed is kept.
class LogStream extends Writable {
  constructor() {
    super({ decodeStrings: true });
    this.fd = LOG;
  }

  _write(chunk, _encoding, done) {
    writeFully(LOG, chunk);
    done();
  }
}
for (const name of ['stdout', 'stderr']) {
  const stream = new LogStream();
  Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => stream });
}

let send = (frame) => writeFully(ANSWERS, frame);
let loaded = null; // what the load frame said, once it has
let handler = null;
let current = null; // the call that runs, if one does

function frameOf(header, payload = Buffer.alloc(0)) {
  const text = Buffer.from(JSON.stringify(header));
  const frame = Buffer.allocUnsafe(LENGTHS_BYTES + text.length + payload.length);
  frame.writeUInt32BE(text.length, 0);
  frame.writeUInt32BE(payload.length, 4);
  text.copy(frame, LENGTHS_BYTES);
  payload.copy(frame, LENGTHS_BYTES + text.length);
  return frame;
}

function writeFrame(header, payload) {
  send(frameOf(header, payload));
}

function isOutOfMemory(error) {
  return error instanceof RangeError && /allocation failed/i.test(error.message);
}

// The text of what a function threw, with the stack written to the log.
function describe(error) {
  if (isOutOfMemory(error)) {
    return `the function used more memory than its limit of ${loaded.memory_limit_mb} MB`;
  }
  let text;
  let stack;
  try {
    const isError = error instanceof Error;
    text = isError ? (error.message ? `${error.name}: ${error.message}` : `${error.name}`) : `Error: ${String(error)}`;
    stack = isError && typeof error.stack === 'string' ? ownFrames(error.stack) : text;
  } catch {
    text = stack = 'Error: (its message cannot be shown)';
  }
  writeFully(LOG, Buffer.from(`${stack}\n`));
  return text.slice(0, ERROR_CHARACTERS);
}

// The stack without this program's own frames.
function ownFrames(stack) {
  return stack.split('\n').filter((line) => !/^ {4}at .*(\[eval\]|node:|<anonymous>\)?$)/.test(line)).join('\n');
}

class Context {
  #end;

  constructor(executionId, timeoutMs) {
    this.#end = performance.now() + timeoutMs;
    this.function_id = this.functionId = loaded.function_id;
    this.function_name = this.functionName = loaded.function_name;
    this.memory_limit_mb = this.memoryLimitMb = loaded.memory_limit_mb;
    this.execution_id = this.executionId = executionId;
    this.aws_request_id = this.awsRequestId = executionId;
    this.deadline = Date.now() + timeoutMs;
  }

  getRemainingTimeInMillis() {
    return Math.max(0, Math.trunc(this.#end - performance.now()));
  }

  get_remaining_time_in_millis() {
    return this.getRemainingTimeInMillis();
  }
}

function refuseInfinite(_key, value) {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw new RangeError(`${value} is not JSON`);
  }
  return value;
}

function textOf(result) {
  if (result === undefined) return 'null';
  let text = JSON.stringify(result);
  // NaN and the infinities are written as null: only a text with a null in it can hide one.
  if (text !== undefined && text.includes('null')) text = JSON.stringify(result, refuseInfinite);
  if (text === undefined) throw new TypeError(`a ${typeof result} is not JSON`);
  return text;
}

function finish(call, error, output, reusable = true) {
  if (current !== call) return; // it has been answered: by an exception that nobody caught, for one
  current = null;
  const header = {
    type: 'result',
    execution_id: call.execution_id,
    status: error === null ? 'success' : 'failed',
    error: error === null ? undefined : error,
    reusable,
    peak_memory_bytes: process.resourceUsage().maxRSS * 1024,
  };
  writeFrame(header, output);
  if (!reusable) process.reallyExit(EXIT_AFTER_ANSWER);
}

function succeed(call, result) {
  let output;
  try {
    output = Buffer.from(textOf(result));
  } catch (error) {
    if (isOutOfMemory(error)) return finish(call, describe(error), undefined, false);
    const reason = String(error && error.message).split('\n')[0];
    return finish(call, `the result cannot be written as JSON: ${reason}`.slice(0, ERROR_CHARACTERS));
  }
  const limit = loaded.output_limit_bytes;
  if (output.length > limit) return finish(call, `the result is ${output.length} bytes; the limit is ${limit}`);
  return finish(call, null, output);
}

function fail(call, error) {
  finish(call, describe(error), undefined, !isOutOfMemory(error));
}

function invoke(call, payload) {
  current = call;
  let event;
  try {
    event = JSON.parse(payload.toString());
  } catch (error) {
    return finish(call, `the event cannot be read: ${error.message}`.slice(0, ERROR_CHARACTERS));
  }
  try {
    const result = handler(event, new Context(call.execution_id, call.timeout_ms));
    if (result !== null && typeof result === 'object' && typeof result.then === 'function') {
      result.then((value) => succeed(call, value), (error) => fail(call, error));
    } else {
      succeed(call, result);
    }
  } catch (error) {
    fail(call, error);
  }
  return undefined;
}

function refuseLoad(error) {
  writeFrame({ type: 'load_failed', error });
  process.reallyExit(EXIT_AFTER_ANSWER);
}

function serveWith(found, name) {
  if (typeof found !== 'function') return refuseLoad(`the code has no function named ${name}`);
  handler = found;
  writeFrame({ type: 'loaded' });
  return undefined;
}

// Whether the nearest package.json makes `.js` files ECMAScript modules.
function isModulePackage(file, root) {
  for (let folder = path.dirname(file); folder.startsWith(root); folder = path.dirname(folder)) {
    const description = path.join(folder, 'package.json');
    if (fs.existsSync(description)) return JSON.parse(fs.readFileSync(description, 'utf8')).type === 'module';
  }
  return false;
}

// `pkg/mod.handler` is `handler` of `pkg/mod.js`, and `mod.group.handler` is `handler` of `group` of `mod.js`.
async function importFromFolder(request) {
  process.env.LAMBDA_TASK_ROOT = request.folder;
  process.chdir(request.folder); // it may have been mounted after this program began
  const [, place, moduleName, names] = /^(.*\/)?(?:([^./]*)\.)?([^/]*)$/s.exec(request.handler);
  const base = path.join(request.folder, place || '', moduleName || 'index');
  const file = ['.js', '.mjs', '.cjs'].map((ending) => base + ending).find((candidate) => fs.existsSync(candidate));
  if (file === undefined) return refuseLoad(`the code has no file ${path.relative(request.folder, base)}.js`);
  process.argv = [process.argv[0], file];
  const isModule = file.endsWith('.mjs') || (file.endsWith('.js') && isModulePackage(file, request.folder));
  const exported = isModule ? await import(pathToFileURL(file).href) : createRequire(file)(file);
  return serveWith(names.split('.').reduce((from, name) => from?.[name], exported), names);
}

function runSource(request, source) {
  const dot = request.handler.lastIndexOf('.');
  const name = request.handler.slice(dot + 1);
  const filename = `/tmp/${(dot > 0 && request.handler.slice(0, dot).split(/[./]/).pop()) || 'index'}.js`;
  process.argv = [process.argv[0], filename];
  const module = { exports: {}, filename, id: filename, loaded: false, children: [], paths: [] };
  // The source becomes a function's body whose last line hands out the handler that it declared.
  const declared = /^[A-Za-z_$][\w$]*$/.test(name) ? `\n;return typeof ${name} === 'undefined' ? undefined : ${name};` : '';
  const parameters = ['exports', 'require', 'module', '__filename', '__dirname'];
  const body = vm.compileFunction(source + declared, parameters, { filename });
  const found = body.call(module.exports, module.exports, createRequire(filename), module, filename, '/tmp');
  const exported = module.exports === null || module.exports === undefined ? undefined : module.exports[name];
  serveWith(typeof exported === 'function' ? exported : found, name);
}

function load(request, source) {
  loaded = request;
  Object.assign(process.env, request.environment);
  const refuse = (error) => refuseLoad(describe(error));
  try {
    if (request.folder === undefined) runSource(request, source);
    else importFromFolder(request).catch(refuse);
  } catch (error) {
    refuse(error);
  }
}

// An exception that nobody caught ends the worker, and answers the call that runs.
process.on('uncaughtException', (error) => {
  const text = describe(error);
  if (loaded !== null && handler === null) refuseLoad(text);
  if (current !== null) finish(current, text, undefined, false);
  process.reallyExit(1);
});

let chunks = [];
let received = 0;

function takeFrames() {
  while (received >= LENGTHS_BYTES) {
    let data = chunks[0];
    if (data.length < LENGTHS_BYTES) data = (chunks = [Buffer.concat(chunks)])[0];
    const headerEnd = LENGTHS_BYTES + data.readUInt32BE(0);
    const end = headerEnd + data.readUInt32BE(4);
    if (received < end) return;
    if (chunks.length > 1) data = Buffer.concat(chunks);
    const header = JSON.parse(data.subarray(LENGTHS_BYTES, headerEnd).toString());
    const payload = data.subarray(headerEnd, end);
    received -= end;
    chunks = received > 0 ? [data.subarray(end)] : [];
    if (header.type === 'load') load(header, payload.toString());
    else invoke(header, payload);
  }
}

function take(chunk) {
  chunks.push(chunk);
  received += chunk.length;
  takeFrames();
}

// What Node and V8 put off until it is used for the first time takes milliseconds. A worker that waits for its function
// has that behind it: it has loaded one and called it, and written nothing of its answers.
function rehearse() {
  const [inEarnest, { argv }] = [send, process];
  send = (frame) => fs.writeSync(ANSWERS, frame, 0, 0);
  const source = 'const handler = (event, context) => ({ event, left: context.getRemainingTimeInMillis() });';
  const request = { handler: 'index.handler', environment: {}, output_limit_bytes: ERROR_CHARACTERS };
  take(frameOf({ type: 'load', ...request }, Buffer.from(source)));
  take(frameOf({ type: 'invoke', execution_id: '', timeout_ms: 1 }, Buffer.from('{"rehearsal": [1, null]}')));
  [send, process.argv, loaded, handler] = [inEarnest, argv, null, null];
}
rehearse();

const requests = new net.Socket({ fd: REQUESTS, readable: true, writable: false });
requests.on('data', take);
requests.on('end', () => process.reallyExit(0));
requests.on('error', () => process.reallyExit(1));
