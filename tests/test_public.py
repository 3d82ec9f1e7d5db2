"""What a program calls: wrong arguments and foreign errors are the package's own."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import gmme_edge
from gmme_edge.errors import GmmeEdgeError, InputError, PlatformError, UsageError
from gmme_edge.public import own_errors, public
from gmme_edge.runtime.streaming.stream import Stream
from tests.artifacts import FakeSession
from tests.bundles import TINY, make_bundle


@dataclass
class Group:
    x: int = 0


@public
def called(
    name: str | Path, n: int | None = None, group: Group | None = None, several: Sequence[Path] = ()
) -> tuple[object, ...]:
    return name, n, group, several


@pytest.mark.parametrize("wrong", [None, 3, b"x", [], object()])
def test_an_argument_of_another_type_is_named(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"name is .* of type") as caught:
        called(wrong)  # type: ignore[arg-type]
    assert caught.value.expected == "a text or a path."
    with pytest.raises(UsageError, match="group is"):
        called("a", group="x" if wrong is None else wrong)  # type: ignore[arg-type]


def test_a_value_that_cannot_be_shown_is_still_named() -> None:
    class Unspeakable:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    with pytest.raises(UsageError, match="name is of type Unspeakable"):
        called(Unspeakable())  # type: ignore[arg-type]


def test_who_watches_is_checked() -> None:
    with pytest.raises(UsageError, match="observer is <built-in function print>"):
        gmme_edge.profile(["digits"], observer=print)  # type: ignore[arg-type]


def test_importing_the_package_is_enough_for_its_errors() -> None:
    code = "import gmme_edge as g; g.errors.UsageError, g.observer.Observer, g.testing"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_several_are_no_text_and_each_is_checked() -> None:
    assert called("a", np.int64(3), Group(), ["x", Path("y")]) == (  # type: ignore[list-item]
        "a", 3, Group(), [Path("x"), Path("y")],
    )  # fmt: skip
    for wrong in ("abc", Path("x"), 3, None):
        with pytest.raises(UsageError, match="several is "):
            called("a", several=wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"several\[1\] is 3"):
        called("a", several=["x", 3])  # type: ignore[list-item]


def test_python_tells_what_is_missing_or_too_much() -> None:
    with pytest.raises(TypeError, match="missing"):
        called()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected"):
        called("a", wrong=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError("x"), PlatformError),
        (RuntimeError("[enforce fail] not enough memory"), PlatformError),
        (OverflowError("too large"), InputError),
        (RecursionError("too deep"), InputError),
        (OSError(5, "Input/output error"), InputError),
        (ValueError("embedded null byte"), InputError),
        (UsageError("mine"), UsageError),
    ],
)
def test_what_any_code_may_raise_becomes_the_packages_own(
    error: Exception, kind: type[GmmeEdgeError]
) -> None:
    with pytest.raises(kind) as caught, own_errors():
        raise error
    assert type(caught.value) is kind
    assert caught.value is error or caught.value.__cause__ is error


@pytest.mark.parametrize("error", [ZeroDivisionError(), BrokenPipeError(), KeyboardInterrupt()])
def test_bugs_and_those_who_leave_are_not_translated(error: BaseException) -> None:
    with pytest.raises(type(error)), own_errors():
        raise error


def test_a_network_without_memory_is_an_error_of_the_package(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)

    def fail(_: np.ndarray) -> np.ndarray:
        raise MemoryError

    classifier = gmme_edge.Classifier(bundle, FakeSession(fail))
    sound = np.ones(TINY.n_samples, np.float32)
    for call in (
        lambda: classifier(sound, 8000),
        lambda: classifier.batch([sound], 8000),
        lambda: Stream(classifier, gate=None).push(sound, 8000),
    ):
        with pytest.raises(PlatformError, match="memory does not suffice"):
            call()


def test_every_function_of_the_package_is_such_a_one() -> None:
    functions = [n for n in gmme_edge.__all__ if inspect.isfunction(getattr(gmme_edge, n))]
    assert len(functions) >= 9
    for name in functions:
        assert hasattr(getattr(gmme_edge, name), "__wrapped__"), name
