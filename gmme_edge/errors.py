"""Every error that the toolkit raises on purpose, and the exit code that a shell sees.

    GmmeEdgeError
    ├── UsageError                 2   options that contradict each other, an unknown name
    ├── InputError                 3   a file or folder that cannot be used as it is
    │   ├── AudioError                 … a recording
    │   │   └── AudioLengthError       … … that is longer than allowed
    │   ├── DatasetError               … a data set's folder, table or split
    │   ├── CheckpointError            … a checkpoint, or weights that do not fit the network
    │   ├── BundleError                … a bundle: schema, hash, missing file
    │   └── DiskFullError              … a disk, quota or file size limit without room
    ├── MissingDependencyError     4   an optional package, with the command that installs it
    ├── ParityError                5   an exported graph that disagrees with its reference
    ├── GateError                      a measured figure on the wrong side of a limit
    │   ├── AccuracyGateError      6   … of --min-accuracy
    │   ├── LatencyGateError       8   … of --max-latency-p90-ms
    │   └── RegressionGateError   10   … of compare --fail-if
    ├── PartialError               9   some inputs failed; the others were done
    └── PlatformError              7   this machine, board or library version cannot do it
        ├── EngineError                … an engine that does not fit this machine
        └── OutputError                … a network that gave NaN, or rows of another width

Each message says what was got, what was expected and how to fix it.
"""

from __future__ import annotations

import errno
import importlib
from types import ModuleType


class GmmeEdgeError(Exception):
    """Base of the tree; `got`, `expected` and `fix` are joined into one message."""

    exit_code = 1

    def __init__(self, got: str, expected: str = "", fix: str = "") -> None:
        self.got, self.expected, self.fix = got, expected, fix
        parts = [got, f"Expected: {expected}" if expected else "", f"Fix: {fix}" if fix else ""]
        super().__init__("\n".join(part for part in parts if part))


class UsageError(GmmeEdgeError):
    exit_code = 2


class InputError(GmmeEdgeError):
    exit_code = 3


class AudioError(InputError):
    pass


class AudioLengthError(AudioError):
    pass


class DatasetError(InputError):
    pass


class CheckpointError(InputError):
    pass


class BundleError(InputError):
    pass


class DiskFullError(InputError, OSError):
    """Also an `OSError`, so whoever handles failed writes handles this one."""


class MissingDependencyError(GmmeEdgeError):
    exit_code = 4


class ParityError(GmmeEdgeError):
    exit_code = 5


class GateError(GmmeEdgeError):
    """Base of the gates, each of which has an exit code of its own."""


class AccuracyGateError(GateError):
    exit_code = 6


class LatencyGateError(GateError):
    exit_code = 8


class RegressionGateError(GateError):
    exit_code = 10


class PartialError(GmmeEdgeError):
    exit_code = 9


class PlatformError(GmmeEdgeError):
    exit_code = 7


class EngineError(PlatformError):
    pass


class OutputError(PlatformError):
    pass


INTERRUPTED_EXIT_CODE = 130
CLOSED_PIPE_EXIT_CODE = 141

_EXPECTED = {
    errno.ENOENT: "a file or folder that exists.",
    errno.EEXIST: "a folder, or a name that is still free.",
    errno.ENOTDIR: "a folder.",
    errno.EISDIR: "a file.",
    errno.EACCES: "what this user may read, and write where it is an output.",
    errno.EROFS: "a place that can be written to.",
    errno.ENOSPC: "room on its disk.",
}
_OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "failed to allocate memory")


def translate(error: BaseException) -> GmmeEdgeError | None:
    """The project's own error for one that any code may raise; None for what must be a bug."""
    if isinstance(error, GmmeEdgeError):
        return error
    text = str(error) or type(error).__name__
    if _is_out_of_memory(error):
        return PlatformError(
            f"The memory does not suffice: {text.splitlines()[0]}",
            "enough for what was asked.",
            "take a smaller batch, fewer threads or shorter recordings, or raise the limit.",
        )
    if isinstance(error, OverflowError):
        return InputError(f"A number is too large: {text}", "one that the machine can count with.")
    if isinstance(error, RecursionError):
        return InputError(f"An input is nested too deeply: {text}", "a file in its own format.")
    if isinstance(error, UnicodeError):
        return InputError(f"A text cannot be encoded: {text}", "names and labels in UTF-8.")
    if isinstance(error, ValueError) and "integer string conversion" in text:
        return InputError("A number has thousands of digits.", "one that the machine counts with.")
    if isinstance(error, ValueError) and "embedded null" in text:
        return InputError(f"A name holds a NUL: {text}", "names that a file can have.")
    if isinstance(error, OSError):
        return _name_file(error)
    if type(error).__module__ == "sqlite3":
        return InputError(f"A data base cannot be used: {text}", "an intact file, and room for it.")
    return None


def _name_file(error: OSError) -> InputError:
    """What a system call says of a file: its name first, without the number of the error."""
    fix = "check the path, its permissions and the room on its disk."
    if error.filename is None or error.strerror is None:
        return InputError(str(error) or type(error).__name__, "", fix)
    name = error.filename
    told = f"{name if isinstance(name, str) else repr(name)}: {error.strerror}."
    return InputError(told, _EXPECTED.get(error.errno or 0, ""), fix)


def reason(error: BaseException) -> str:
    """Why something failed, for a message that names the file already: without number and name."""
    told = error.strerror if isinstance(error, OSError) else None
    return (told or str(error) or type(error).__name__).rstrip(".")


def fault(error: BaseException) -> str:
    """What is wrong with a file, for a message that names it: one sentence, however nested."""
    return error.got if isinstance(error, GmmeEdgeError) else f"{type(error).__name__}: {error}."


def shorten(value: object, most: int = 60) -> str:
    """`value` for a message, whatever its class does when it is asked for a text."""
    try:
        text = repr(value)
        return text if len(text) <= most else f"{text[: most - 1]}…"
    except Exception:  # a number of thousands of digits, or a fault of the class
        return f"of type {type(value).__name__}"


def _is_out_of_memory(error: BaseException) -> bool:
    """Also torch's and ONNX Runtime's, which are plain `RuntimeError`s on a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    told = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in told for words in _OUT_OF_MEMORY)


def require(module: str, purpose: str, extra: str = "") -> ModuleType:
    """Import `module`, or say which command installs it.

    Args:
        module: the import name, for example ``"tensorrt_rtx"``.
        purpose: what it is needed for, as it completes "… is needed to …".
        extra: the optional part that brings it, where it is not the smallest one that does.

    Raises:
        MissingDependencyError: it is not installed, or is installed and cannot be loaded.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        top = module.partition(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and error.name == top
        from gmme_edge.installation import find_extra, install_command, pip_command

        extra = extra or find_extra(top)
        command = install_command(extra) if extra else pip_command("install", top)
        got = "is not installed" if absent else f"is installed but does not load ({error})"
        raise MissingDependencyError(
            f"{top} {got}.", f"{top} is needed to {purpose}.", command
        ) from error
