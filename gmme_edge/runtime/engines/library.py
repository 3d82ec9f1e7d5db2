"""The TensorRT library itself: its two flavours, its one logger, and the GPUs it can serve.

TensorRT (Jetson, servers) and TensorRT-RTX (desktop GPUs) share one Python API and differ in
the import name; what is said of "the library" below holds for both.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Protocol, TypeVar

from gmme_edge.errors import EngineError, PlatformError, UsageError, require

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
FLAVOURS = tuple(MODULES)

_Made = TypeVar("_Made")

JETSON_SMS = {72: "Xavier", 87: "Orin", 101: "Thor", 110: "Thor"}
"""Compute capabilities of boards; Thor's was renamed from one TensorRT to the next."""


def load_library(flavour: str, purpose: str) -> ModuleType:
    """Import a flavour's module; `purpose` completes "… is needed to …".

    Raises:
        UsageError: no such flavour.
        MissingDependencyError: it is not installed, with the command that installs it.
    """
    if flavour not in MODULES:
        raise UsageError(f"Unknown engine flavour {flavour!r}.", f"one of {', '.join(FLAVOURS)}.")
    return require(MODULES[flavour], purpose)


@dataclass(eq=False)
class EngineLog:
    """The errors and warnings that the library logged while this was listening."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def reason(self) -> str:
        """What the library said went wrong, on one line: its errors, or else its warnings.

        Each is given once, however often it was logged.
        """
        lines = dict.fromkeys(" ".join(line.split()) for line in self.errors or self.warnings)
        return " ".join(line for line in lines if line) or "the library gave no reason"


class _Logger(Protocol):
    """The library's ``ILogger``, as it is made here."""

    listeners: list[EngineLog]


@functools.lru_cache(maxsize=None)  # noqa: UP033 - Python 3.8
def shared_logger(library: ModuleType) -> _Logger:
    """The process's one logger for `library`.

    The library keeps the first logger it is given for as long as any builder or runtime lives
    and ignores all others, so every object must share one, and it must outlive them all.
    """

    class Logger(library.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.listeners: list[EngineLog] = []

        def log(self, severity: object, message: str) -> None:
            # Called from the library's own threads; an exception here would end the process.
            for listener in tuple(self.listeners):
                if severity in (library.ILogger.ERROR, library.ILogger.INTERNAL_ERROR):
                    listener.errors.append(message)
                elif severity == library.ILogger.WARNING:
                    listener.warnings.append(message)

    return Logger()


@contextlib.contextmanager
def captured_log(library: ModuleType) -> Iterator[EngineLog]:
    """Collect what `library` logs inside the block, also from builds on other threads."""
    logger, log = shared_logger(library), EngineLog()
    logger.listeners.append(log)
    try:
        yield log
    finally:
        logger.listeners.remove(log)


def supported_sms(library: ModuleType) -> tuple[int, ...]:
    """The compute capabilities (89 for 8.9) that TensorRT-RTX names as build targets."""
    members = library.ComputeCapability.__members__
    return tuple(sorted(int(name[2:]) for name in members if name[:2] == "SM"))


def check_sm(library: ModuleType, sm: int) -> None:
    """Refuse a GPU generation that TensorRT-RTX does not serve.

    Raises:
        PlatformError: names the supported ones, and what to use instead.
    """
    sms = supported_sms(library)
    if sm in sms:
        return
    board = JETSON_SMS.get(sm)
    raise PlatformError(
        f"TensorRT-RTX {library.__version__} has no target SM{sm}"
        + (f" (Jetson {board})." if board else "."),
        f"one of {', '.join(f'SM{known}' for known in sms)}.",
        "build on the Jetson with its own TensorRT: --engine tensorrt."
        if board
        else "build with TensorRT on a machine that has this GPU (--engine tensorrt), "
        "or choose a supported one.",
    )


def create_object(
    library: ModuleType,
    factory: Callable[[_Logger], _Made],
    log: EngineLog,
) -> _Made:
    """A `Builder` or `Runtime`, with the process's logger.

    Raises:
        EngineError: the library cannot start, for example for want of a driver.
    """
    try:
        return factory(shared_logger(library))
    except TypeError as error:  # what the bindings make of a null pointer
        raise EngineError(
            f"{library.__name__} {library.__version__} cannot start: {log.reason()}",
            "a library that finds its GPU and driver.",
        ) from error
