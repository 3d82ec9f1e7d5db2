"""The Python API with values of the wrong type, shape or size: each is told, or does no harm."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import pkgutil
import random
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.engine import Case

SEED = 2609
RATE_HZ = 8000
PER_FIELD = 6


class Hostile:
    """Raises whatever is asked of it."""

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("no array")

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __len__(self) -> int:
        raise RuntimeError("no length")


WRONG: dict[str, Callable[[], object]] = {
    "None": lambda: None, "True": lambda: True, "0": lambda: 0, "-1": lambda: -1,
    "2^63": lambda: 2**63, "10^400": lambda: 10**400,
    "10^5000": lambda: 10**5000, "no text of its own": Hostile, "NaN": lambda: float("nan"),
    "infinity": lambda: float("inf"), "1e300": lambda: 1e300, "1e-300": lambda: 1e-300,
    "half": lambda: 0.5, "a fraction": lambda: Fraction(1, 3), "complex": lambda: 1j,
    "no text": lambda: "", "text": lambda: "nonsense", "a number as text": lambda: "3",
    "a NUL": lambda: "a\0b", "a surrogate": lambda: "\ud800", "long": lambda: "x" * 5000,
    "bytes": lambda: b"x", "a list": list, "a dict": dict, "a list of None": lambda: [None],
    "an object": object, "a class": lambda: int, "a function": lambda: print,
    "an array": lambda: np.zeros(3), "an int64": lambda: np.int64(3),
    "a path": lambda: Path("nowhere"), "a folder": lambda: Path("/"),
    "a device": lambda: Path("/dev/zero"), "a generator": lambda: iter(range(3)),
    "an exception": lambda: ValueError("x"), "a date": lambda: datetime(2026, 1, 1),
    "the first date": lambda: datetime.min.replace(tzinfo=timezone(timedelta(hours=9))),
}  # fmt: skip


def _tone(n: int = 8192) -> np.ndarray:
    return np.sin(np.arange(n) / 7).astype(np.float32)


def _tensor(gradient: bool) -> object:
    import torch

    return torch.zeros(100, requires_grad=gradient)


SOUNDS: dict[str, Callable[[], object]] = {
    "transposed": lambda: np.stack([_tone(), _tone()]), "rank 3": lambda: np.zeros((2, 2, 2)),
    "no channels": lambda: np.zeros((5, 0)), "no samples": lambda: np.zeros(0),
    "NaN in it": lambda: np.append(_tone(), np.nan), "1e39": lambda: np.full(99, 1e39),
    "3e38": lambda: np.full(99, 3e38, np.float32), "denormal": lambda: np.full(99, 1e-42),
    "float16": lambda: _tone().astype(np.float16), "longdouble": lambda: _tone().astype("g"),
    "int64": lambda: np.zeros(99, np.int64), "uint16": lambda: np.zeros(99, np.uint16),
    "bool": lambda: np.zeros(99, bool), "texts": lambda: np.array(["a"]),
    "dates": lambda: np.zeros(9, "M8[s]"), "a record": lambda: np.zeros(9, "f4,f4"),
    "objects": lambda: np.array([None, 1]), "ragged": lambda: [[1.0], [1.0, 2.0]],
    "big-endian": lambda: _tone().astype(">f4"), "strided": lambda: _tone(999)[::-3],
    "read-only": lambda: np.broadcast_to(np.float32(0.5), (99, 2)),
    "masked": lambda: np.ma.masked_array(_tone(99), [True] * 99),
    "a scalar": lambda: np.float32(1), "hostile": Hostile,
    "a tensor": lambda: _tensor(False), "a gradient": lambda: _tensor(True),
    "500 channels": lambda: np.zeros((500, 500), np.int8), "a view": lambda: memoryview(b"ab"),
}  # fmt: skip


def prepare(shared: Path) -> None:
    import soundfile

    from tests.artifacts import small_checkpoint, write_words
    from tests.bundles import make_bundle

    make_bundle(shared / "bundle")
    soundfile.write(shared / "tone.wav", _tone(), RATE_HZ)
    write_words(shared / "words", 3)
    shutil.copytree(small_checkpoint(shared), shared / "checkpoint")


@cache
def _classifier(bundle: Path) -> Any:  # noqa: ANN401 - loaded when it is asked for
    import gmme_edge

    return gmme_edge.load(bundle, threads=1)


def make_cases(shared: Path) -> list[Case]:
    cases = [
        Case(f"{what}: {name}", partial(_call, act, make))
        for what, act, values in _calls(shared)
        for name, make in values.items()
    ]
    return cases + list(_settings_cases())


def _call(act: Callable[[Any], object], make: Callable[[], object], _: Path) -> None:
    act(make())


def _calls(shared: Path) -> Iterator[tuple[str, Callable[[Any], object], dict[str, Any]]]:
    """What is called, with one argument left open, and what that is given."""
    import gmme_edge

    bundle, tone = shared / "bundle", _tone()

    def loaded() -> Any:  # noqa: ANN401
        return _classifier(bundle)

    for name in ("backend", "precision", "threads", "trust", "sha256"):
        yield f"load {name}", partial(_load, bundle, name), WRONG
    yield "load", gmme_edge.load, WRONG
    sounds = {**WRONG, **SOUNDS}
    for name in ("__call__", "probabilities", "embedding", "analyze"):
        yield f"{name} waveform", lambda x, m=name: getattr(loaded(), m)(x, RATE_HZ), sounds
        yield f"{name} rate", lambda x, m=name: getattr(loaded(), m)(tone, x), WRONG
    for name in ("batch", "embed"):
        yield f"{name} waveforms", lambda x, m=name: getattr(loaded(), m)(x, RATE_HZ), sounds
        yield f"{name} one of them", lambda x, m=name: getattr(loaded(), m)([x], RATE_HZ), sounds
        yield f"{name} rate", lambda x, m=name: getattr(loaded(), m)([tone], x), WRONG
    yield "batch top_k", lambda x: loaded().batch([tone], RATE_HZ, x), WRONG
    yield "top_k", lambda x: loaded()(tone, RATE_HZ, x), WRONG
    yield "aclassify", lambda x: asyncio.run(loaded().aclassify(x, RATE_HZ)), sounds
    yield "classify_file", lambda x: loaded().classify_file(x), WRONG
    yield "classify_file top_k", lambda x: loaded().classify_file(shared / "tone.wav", x), WRONG
    yield "rank", lambda x: loaded().analyze(tone, RATE_HZ).rank(x), WRONG
    yield "rank_window", lambda x: loaded().analyze(tone, RATE_HZ).rank_window(x), WRONG
    yield from _listening(loaded)
    yield from _workflows(shared)
    yield from _others(shared)


def _load(bundle: Path, name: str, value: object) -> None:
    import gmme_edge

    gmme_edge.load(bundle, **{name: value}).close()


def _listening(
    loaded: Callable[[], Any],
) -> Iterator[tuple[str, Callable[[Any], object], dict[str, Any]]]:
    from gmme_edge import EventRules, GateRules, Rule, Stream

    sounds = {**WRONG, **SOUNDS}
    for group in (Rule, EventRules, GateRules):
        for each in dataclasses.fields(group):
            act = partial(_make, group, each.name)
            yield f"{group.__name__} {each.name}", act, WRONG
    yield "EventRules per_label of a", lambda x: EventRules(per_label={"a": x}), WRONG
    yield (
        "EventRules deny of one",
        lambda x: _push(Stream(loaded(), rules=EventRules(deny=(x,)))),
        WRONG,
    )
    for name in ("hop_ms", "rules", "gate", "start"):
        act = lambda x, n=name: _push(Stream(loaded(), **{n: x}))  # noqa: E731
        yield f"Stream {name}", act, WRONG
    yield "push", lambda x: _push(Stream(loaded()), x), sounds
    yield "push again", lambda x: _push(_pushed(Stream(loaded())), x), sounds
    yield "push rate", lambda x: Stream(loaded()).push(_tone(), x), WRONG
    yield "push another rate", lambda x: _pushed(Stream(loaded())).push(_tone(), x), WRONG
    yield "skip", lambda x: _pushed(Stream(loaded())).skip(x, RATE_HZ), WRONG
    yield "skip rate", lambda x: _pushed(Stream(loaded())).skip(3, x), WRONG


def _make(group: type, name: str, value: object) -> None:
    group(**{name: value})


def _pushed(stream: Any) -> Any:  # noqa: ANN401
    stream.push(_tone(), RATE_HZ)
    return stream


def _push(stream: Any, chunk: object = None) -> None:  # noqa: ANN401
    """A chunk, and then the sound goes on as if it had not been there, or had been heard."""
    from gmme_edge.errors import GmmeEdgeError

    try:
        stream.push(_tone() if chunk is None else chunk, RATE_HZ)
    except GmmeEdgeError:
        stream.reset()
        _pushed(stream).flush()
        raise
    stream.flush()
    for event in stream.open_events:
        event.to_dict()


def _workflows(shared: Path) -> Iterator[tuple[str, Callable[[Any], object], dict[str, Any]]]:
    import gmme_edge
    from gmme_edge.workflows import listening, predicting, scanning, searching
    from gmme_edge.workflows.settings.evaluating import EvaluationClips
    from gmme_edge.workflows.settings.export import BundleSettings, ExportSettings
    from gmme_edge.workflows.settings.profiling import ProfileSettings
    from gmme_edge.workflows.settings.scanning import ScanSettings
    from gmme_edge.workflows.settings.sensitivity import SensitivityClips, SensitivitySettings
    from gmme_edge.workflows.settings.verdict import JudgingClips

    bundle, words = shared / "bundle", shared / "words"
    data = {"dataset": "speech-commands", "data": words, "cache": shared / "cache"}
    quick = ProfileSettings(repetitions=1, warmup=0)
    asked = ExportSettings(bundle=BundleSettings(output=Path("o"), precision="fp32", opset=17))
    clips = EvaluationClips(**data)
    studied = SensitivityClips(**data)
    yield "evaluate artifact", lambda x: gmme_edge.evaluate(x, clips), WRONG
    yield "evaluate clips", lambda x: gmme_edge.evaluate(bundle, x), WRONG
    yield "evaluate settings", lambda x: gmme_edge.evaluate("nowhere", clips, x), WRONG
    yield "export source", lambda x: gmme_edge.export(x, asked), WRONG
    yield "export settings", lambda x: gmme_edge.export(shared / "checkpoint", x), WRONG
    yield "profile bundles", lambda x: gmme_edge.profile(x, quick), WRONG
    yield "profile one bundle", lambda x: gmme_edge.profile([x], quick), WRONG
    yield "profile settings", lambda x: gmme_edge.profile(["nowhere"], x), WRONG
    yield "compare", gmme_edge.compare, WRONG
    yield "compare one", lambda x: gmme_edge.compare([x]), WRONG
    yield "verify", gmme_edge.verify, WRONG
    yield "verify settings", lambda x: gmme_edge.verify(bundle, x), WRONG
    yield "judge", lambda x: gmme_edge.judge(x, JudgingClips(**data)), WRONG
    yield "judge clips", lambda x: gmme_edge.judge(bundle, x), WRONG
    yield "train", gmme_edge.train, WRONG
    yield "cross_validate", gmme_edge.cross_validate, WRONG
    output = SensitivitySettings(output=Path("s"))
    yield "sensitivity", lambda x: gmme_edge.measure_sensitivity(x, studied, output), WRONG
    recordings = [shared / "tone.wav"]
    scanned = ScanSettings(output=Path("found"))
    yield "scan bundle", lambda x: scanning.scan(x, [], scanned), WRONG
    yield "scan recordings", lambda x: scanning.scan("nowhere", x, scanned), WRONG
    yield "scan settings", lambda x: scanning.scan(bundle, recordings, x), WRONG
    yield "scan status", scanning.status, WRONG
    yield "predict bundle", lambda x: list(predicting.predict(x, recordings)), WRONG
    yield "predict recordings", lambda x: list(predicting.predict(bundle, x)), WRONG
    yield "predict one", lambda x: list(predicting.predict(bundle, [x])), WRONG
    yield "list_recordings", lambda x: predicting.list_recordings([x]), WRONG
    yield "find_similar", lambda x: searching.find_similar(x, shared / "tone.wav"), WRONG
    yield "find_similar query", lambda x: searching.find_similar(shared, x), WRONG
    yield "search", lambda x: searching.search(shared, x), WRONG
    yield "identify", lambda x: listening.identify(x, "fp32"), WRONG


def _others(shared: Path) -> Iterator[tuple[str, Callable[[Any], object], dict[str, Any]]]:
    from gmme_edge.bundle import signing
    from gmme_edge.testing import fake_classifier

    bundle = shared / "bundle"
    yield "make_key", signing.make_key, WRONG
    yield "sign_manifest", lambda x: signing.sign_manifest(x, Path("key")), WRONG
    yield "sign_manifest key", lambda x: signing.sign_manifest(bundle, x), WRONG
    yield "verify_signature", lambda x: signing.verify_signature(x, "key"), WRONG
    yield "verify_signature trust", lambda x: signing.verify_signature(bundle, x), WRONG
    yield "PublicKey.read", signing.PublicKey.read, WRONG
    yield "fake labels", fake_classifier, WRONG
    for name in ("answers", "sample_rate_hz", "window_samples", "probability"):
        act = lambda x, n=name: fake_classifier(["a"], **{n: x})(_tone(), RATE_HZ)  # noqa: E731
        # What a function of the caller's own raises is the caller's.
        yield f"fake {name}", act, {k: v for k, v in WRONG.items() if k != "a class"}


def _groups() -> Iterator[type]:
    """Every group of settings."""
    from gmme_edge.settings import Settings
    from gmme_edge.workflows import settings

    for found in pkgutil.iter_modules(settings.__path__):
        module = importlib.import_module(f"{settings.__name__}.{found.name}")
        for kind in vars(module).values():
            own = getattr(kind, "__module__", "") == module.__name__
            if own and isinstance(kind, type) and issubclass(kind, Settings):
                yield kind


def _settings_cases() -> Iterator[Case]:
    from gmme_edge.workflows.settings.export import BundleSettings

    needed = {
        "output": Path("o"), "data": Path("d"), "dataset": "folder", "task": "esc50",
        "model": "eat-s-aa", "bundle": BundleSettings(output=Path("o")),
    }  # fmt: skip
    rng = random.Random(SEED)
    for group in _groups():
        required = {
            each.name: needed[each.name]
            for each in dataclasses.fields(group)
            if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        }
        for each in dataclasses.fields(group):
            for name in rng.sample(sorted(WRONG), PER_FIELD):

                def act(
                    _: Path,
                    group: type = group,
                    given: dict[str, Any] = required,
                    field: str = each.name,
                    make: Callable[[], object] = WRONG[name],
                ) -> None:
                    group(**{**given, field: make()})

                yield Case(f"{group.__name__} {each.name}: {name}", act)
