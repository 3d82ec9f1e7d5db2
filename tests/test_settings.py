"""Groups of settings check the types of their values, however they are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from gmme_edge.errors import UsageError
from gmme_edge.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class Inner(Settings):
    n: int = setting(1, "A number.")


@dataclass(frozen=True, kw_only=True)
class Outer(Settings):
    n: int = setting(1, "A number.")
    ratio: float | None = setting(None, "Another.")
    on: bool = setting(False, "A switch.")
    name: str = setting("x", "A text.")
    place: Path | None = setting(None, "A path.")
    words: tuple[str, ...] = setting((), "Texts.")
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"n": "3"}, "a whole number."),
        ({"n": 0.5}, "a whole number."),
        ({"n": True}, "a whole number."),
        ({"n": None}, "a whole number."),
        ({"ratio": "half"}, "a number or None."),
        ({"ratio": True}, "a number or None."),
        ({"on": 1}, "True or False."),
        ({"on": "yes"}, "True or False."),
        ({"name": b"x"}, "a text."),
        ({"name": None}, "a text."),
        ({"place": 3}, "a path or None."),
        ({"place": b"x"}, "a path or None."),
        ({"place": "a\0b"}, "a path or None."),
        ({"words": "abc"}, "a tuple of texts."),
        ({"words": (1,)}, "a tuple of texts."),
        ({"inner": None}, "Inner."),
        ({"inner": {"n": 1}}, "Inner."),
    ],
)
def test_a_value_of_another_type_is_named(wrong: dict[str, Any], expected: str) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=rf"^(--)?{name} is .*, of type ") as caught:
        Outer(**wrong)
    assert caught.value.expected == expected


def test_what_stands_for_a_value_is_taken() -> None:
    made = Outer(
        n=np.int64(3),
        ratio=np.float32(0.5),
        place="a/b",
        words=["x"],  # type: ignore[arg-type]
    )
    assert made == Outer(n=3, ratio=0.5, place=Path("a/b"), words=("x",))
    assert (type(made.n), type(made.ratio)) == (int, float)
    assert Outer(place=PurePosixPath("a")).place == Path("a")  # type: ignore[arg-type]
    assert Outer(ratio=3).ratio == 3
