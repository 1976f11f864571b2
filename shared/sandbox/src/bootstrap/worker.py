# The Python side of the worker protocol; the protocol is described in the crate's documentation.
# Heavy modules (asyncio, traceback) are imported when first needed: most functions never do.
import builtins, json, os, resource, struct, sys, threading, time, types

REQUESTS, ANSWERS = 3, 4
# A larger buffer is mapped and unmapped at each read, which costs more than the rest of a call.
READ_BYTES = 16 * 1024
ERROR_CHARACTERS = 8192
EXIT_AFTER_ANSWER = 70

for descriptor in (REQUESTS, ANSWERS):
    os.set_inheritable(descriptor, False)
# Line by line, so that both streams keep their order in the log and a killed function keeps its prints.
sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
# Thread stacks count against the data limit in full, although they are hardly ever used in full.
threading.stack_size(2 * 1024 * 1024)
# The site module, which is switched off to start faster, would have added these two.
builtins.exit = builtins.quit = sys.exit


def refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def refuse_value(value):
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


decoder = json.JSONDecoder(parse_constant=refuse_constant)
encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
quote = json.encoder.encode_basestring_ascii
# What JSONEncoder makes anew for each value, made once: a small result costs a quarter.
open_containers = {}
encode_parts = json.encoder.c_make_encoder(
    open_containers, refuse_value, json.encoder.encode_basestring, None, ":", ",", False, False, False
)


def encode(value):
    try:
        return "".join(encode_parts(value, 0))
    finally:
        open_containers.clear()  # an exception leaves its containers behind


def decode(text):
    try:
        value, end = decoder.scan_once(text, 0)
        if end == len(text):
            return value
    except StopIteration:
        pass
    return decoder.decode(text)  # there is space around the value, or a mistake that wants its own words


lengths = struct.Struct(">II")


def read_frame():
    data = os.read(REQUESTS, READ_BYTES)
    while len(data) < lengths.size:
        more = os.read(REQUESTS, READ_BYTES)
        if not more:
            flush()
            os._exit(0)
        data += more
    header_length, payload_length = lengths.unpack_from(data)
    header_end = lengths.size + header_length
    end = header_end + payload_length
    if len(data) < end:
        data = bytearray(data)
        while len(data) < end:
            more = os.read(REQUESTS, min(end - len(data), 1024 * 1024))
            if not more:
                os._exit(0)
            data += more
    return decode(data[lengths.size:header_end].decode()), data[header_end:end]


def write_frame(header, payload=b""):
    header = header.encode("utf-8", "backslashreplace")
    data = lengths.pack(len(header), len(payload)) + header + payload
    written = os.write(ANSWERS, data)
    while written < len(data):
        written += os.write(ANSWERS, data[written:written + 1024 * 1024])


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # closed or replaced by the function: there is nothing left to flush



def describe(error, memory_limit_mb):
    """The text of what a function raised, with the traceback written to the log."""
    if isinstance(error, MemoryError):
        return f"the function used more memory than its limit of {memory_limit_mb} MB"
    try:
        message = str(error)
    except Exception:
        message = "(its message cannot be shown)"
    name = type(error).__name__
    text = (f"{name}: {message}" if message else name)[:ERROR_CHARACTERS]
    try:
        import linecache, traceback

        if folder is None:
            linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename == "<string>":
            frames = frames.tb_next
        traceback.print_exception(type(error), error, frames)
    except Exception:
        print(text, file=sys.stderr)
    return text


def leave(error):
    """What sys.exit does, without waiting for the function's threads."""
    code = error.code
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    flush()
    os._exit((code or 0) & 0xFF)


class Context:
    __slots__ = (
        "function_id", "function_name", "memory_limit_mb", "execution_id", "aws_request_id", "deadline", "_end",
    )

    def __init__(self, execution_id, timeout_ms):
        self.function_id = function_id
        self.function_name = function_name
        self.memory_limit_mb = memory_limit_mb
        self.execution_id = self.aws_request_id = execution_id
        self.deadline = int(time.time() * 1000) + timeout_ms
        self._end = time.monotonic() + timeout_ms / 1000

    def get_remaining_time_in_millis(self):
        return max(0, int((self._end - time.monotonic()) * 1000))


loop = None


def run_coroutine(coroutine):
    """One event loop for the worker's life, so that a function may keep its connections."""
    global loop
    import asyncio

    if loop is None or loop.is_closed():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    return loop.run_until_complete(coroutine)


def output_of(result):
    if result is None:
        return b"null"
    text = encode(result)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can only carry escaped
        return encode_ascii(result).encode()


def answer(execution_id, timeout_ms, event):
    """Runs one call: (error or None, output, whether the worker may go on)."""
    try:
        event = decode(event.decode())
    except MemoryError as error:
        return describe(error, memory_limit_mb), b"", False
    except Exception as error:
        return f"the event cannot be read: {error}"[:ERROR_CHARACTERS], b"", True
    try:
        result = handler(event, Context(execution_id, timeout_ms))
        if isinstance(result, types.CoroutineType):
            result = run_coroutine(result)
    except SystemExit as error:
        leave(error)
    except BaseException as error:
        return describe(error, memory_limit_mb), b"", not isinstance(error, MemoryError)
    try:
        output = output_of(result)
    except MemoryError as error:
        return describe(error, memory_limit_mb), b"", False
    except BaseException as error:
        return f"the result cannot be written as JSON: {error}"[:ERROR_CHARACTERS], b"", True
    if len(output) > output_limit_bytes:
        return f"the result is {len(output)} bytes; the limit is {output_limit_bytes}", b"", True
    return None, output, True


def serve():
    while True:
        request, event = read_frame()
        execution_id = request["execution_id"]
        error, output, reusable = answer(execution_id, request["timeout_ms"], event)
        del event
        flush()
        status = '"success"' if error is None else f'"failed","error":{quote(error)}'
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        write_frame(
            f'{{"type":"result","execution_id":{quote(execution_id)},"status":{status},'
            f'"reusable":{"true" if reusable else "false"},"peak_memory_bytes":{peak}}}',
            output,
        )
        if not reusable:
            os._exit(EXIT_AFTER_ANSWER)


def refuse_load(error):
    flush()
    write_frame(f'{{"type":"load_failed","error":{quote(error)}}}')
    os._exit(EXIT_AFTER_ANSWER)


load, source = read_frame()
source = source.decode()
function_id, function_name = load["function_id"], load["function_name"]
memory_limit_mb, output_limit_bytes = load["memory_limit_mb"], load["output_limit_bytes"]
folder = load.get("folder")
module_name, _, handler_name = load["handler"].rpartition(".")
module_name = module_name.replace("/", ".") or "index"
if folder is None:
    module_name = module_name.rpartition(".")[2] or "index"
filename = module_name + ".py"
os.environ.update(load["environment"])
if "TZ" in os.environ:
    time.tzset()


def run_source():
    module = types.ModuleType(module_name)
    module.__file__ = filename
    sys.modules[module_name] = module
    sys.argv = [filename]
    exec(compile(source, filename, "exec", dont_inherit=True), module.__dict__)
    return module


def import_from_folder():
    os.environ["LAMBDA_TASK_ROOT"] = folder
    os.chdir(folder)  # it may have been mounted after this program began
    sys.path.insert(0, folder)
    sys.argv = [f"{folder}/{module_name.replace('.', '/')}.py"]
    __import__(module_name)
    return sys.modules[module_name]


try:
    module = run_source() if folder is None else import_from_folder()
except SystemExit as error:
    leave(error)
except BaseException as error:
    refuse_load(describe(error, memory_limit_mb))
handler = getattr(module, handler_name, None)
if not callable(handler):
    refuse_load(f"the code has no function named {handler_name}")
flush()
write_frame('{"type":"loaded"}')
serve()
