"""Checkpoints, calibration clips, and the state of a training, each with something changed."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from tests.faults.engine import Case, Wanted
from tests.faults.mutations import Content, broken_bytes, broken_texts, mutated, write

SEED = 2104
DESCRIPTION, WEIGHTS, METRICS = "model.json", "model.safetensors", "metrics.jsonl"
CLIPS = "calibration.json"


def prepare(shared: Path) -> None:
    from gmme_calibration.sample import calibration_set
    from gmme_calibration.selection import open_source, save_selection
    from gmme_edge.data.store import load_waveforms
    from gmme_edge.training.run.journal import Journal
    from tests.artifacts import small_checkpoint, write_words

    shutil.copytree(small_checkpoint(shared), shared / "checkpoint")
    run = shared / "run"
    trainer = _make_trainer(run, Journal(run, tensorboard=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gmme_edge.training.run.loop._SAVE_EVERY_S", 0.0)
        trainer.run()
    source = open_source("speech-commands", write_words(shared / "words", 4))
    store = load_waveforms(source.candidates(8, 0), 8000, shared / "cache")
    chosen = calibration_set(store, source.labels, 400, source.name, 0, 8, source.root)
    save_selection(chosen, shared / CLIPS)


def _make_trainer(out: Path, journal: Any = None) -> Any:  # noqa: ANN401
    import torch

    from tests.training.tiny_run import make_trainer

    torch.set_num_threads(1)
    return make_trainer(out, journal=journal)


@lru_cache(maxsize=1)
def _trainer(out: Path) -> Any:  # noqa: ANN401
    return _make_trainer(out)


def open_folder(folder: Path) -> None:
    """As evaluate, export and train do."""
    import numpy as np
    import torch

    from gmme_edge.models.checkpoint import load_checkpoint
    from gmme_edge.models.description import read_description

    read_description(folder)
    checkpoint = load_checkpoint(folder)
    waveform = torch.from_numpy(np.ones((1, 1, checkpoint.spec.n_samples), np.float32))
    if not torch.isfinite(checkpoint.model(waveform)).all():
        raise AssertionError("the network's outputs are not finite")


def resume(folder: Path) -> None:
    """As the same `train` command does with the folder of a stopped run."""
    from gmme_edge.training.run.claim import refuse_loss
    from gmme_edge.training.run.journal import Journal
    from gmme_edge.training.run.state import saved_micro_batch
    from gmme_edge.workflows.training_curves import write_curves

    trainer = _trainer(folder.parent)
    trainer.out = folder
    refuse_loss(folder, restart=False)
    saved_micro_batch(folder)
    journal = Journal(folder, tensorboard=False)
    trainer.state.load(folder, trainer.identity)
    journal.rewind(trainer.state.step)
    journal.log(trainer.state.step, "step", {"loss": 1.0})
    write_curves(trainer, "tiny")


def make_cases(shared: Path) -> list[Case]:
    cases: list[Case] = []

    def add(
        base: str, use: Callable[[Path], object], file: str, name: str, raw: Content,
        want: Wanted = "any",
    ) -> None:  # fmt: skip
        def act(folder: Path) -> None:
            copied = Path(shutil.copytree(shared / base, folder / "c"))
            write(copied / file, raw)
            use(copied)

        cases.append(Case(f"{base}/{file}: {name}", act, want))

    rng = random.Random(SEED)
    for base, use, state in (
        ("checkpoint", open_folder, WEIGHTS), ("run", resume, "training-state.safetensors"),
    ):  # fmt: skip
        cases.append(Case(f"{base} as it is", _as_it_is(shared / base, use), "success"))
        content = (shared / base / state).read_bytes()
        for name, raw in (*broken_bytes(content, rng).items(), *safetensors(content, rng)):
            add(base, use, state, name, raw)
    text = (shared / "checkpoint" / DESCRIPTION).read_text()
    for name, changed in mutated(json.loads(text), rng, 8, lambda place: False):
        add("checkpoint", open_folder, DESCRIPTION, name, changed)
    for name, raw in broken_texts(text).items():
        add("checkpoint", open_folder, DESCRIPTION, name, raw)
        add("run", resume, DESCRIPTION, name, raw)
    header, data = _split((shared / "run" / "training-state.safetensors").read_bytes())
    note = json.loads(header["__metadata__"]["run"])
    for name, changed in mutated(note, rng, 4, lambda place: len(place) > 3):
        changed_header = {**header, "__metadata__": {"run": changed}}
        add("run", resume, "training-state.safetensors", f"note: {name}",
            _join(changed_header, data))  # fmt: skip
    lines = (shared / "run" / METRICS).read_text().splitlines()
    for name, changed in mutated(json.loads(lines[0]), rng, 10, lambda place: False):
        add("run", resume, METRICS, name, "\n".join([changed, *lines[1:]]) + "\n")
    for name, raw in broken_texts(lines[0]).items():
        add("run", resume, METRICS, name, raw)
    return cases + list(_selections(shared, rng))


def _as_it_is(folder: Path, use: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda case: use(Path(shutil.copytree(folder, case / "c")))


def _selections(shared: Path, rng: random.Random) -> Iterator[Case]:
    text = (shared / CLIPS).read_text()
    changed: dict[str, Content] = dict(
        mutated(json.loads(text), rng, 6, lambda p: len(p) > 1 and p[1] not in (0, 1))
    )
    for name, raw in {**changed, **broken_texts(text)}.items():

        def act(folder: Path, raw: Content = raw) -> None:
            from gmme_calibration.selection import load_selection, open_source
            from gmme_edge.data.store import load_waveforms

            write(folder / CLIPS, raw)
            source = open_source("speech-commands", shared / "words")
            chosen = load_selection(folder / CLIPS, source)
            store = load_waveforms(chosen.clips, 8000, folder / "cache")
            chosen.replay(store, source, 400)

        yield Case(f"{CLIPS}: {name}", act)


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def _join(header: Any, data: bytes) -> bytes:  # noqa: ANN401 - JSON
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def safetensors(content: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Files of tensors with other headers, and with numbers that no training makes."""
    header, data = _split(content)
    names = [name for name in header if name != "__metadata__"]
    for name in rng.sample(sorted(names), 6):
        entry = header[name]
        begin, end = entry["data_offsets"]
        changes: dict[str, Any] = {
            "no shape": {**entry, "shape": []}, "a vast shape": {**entry, "shape": [1 << 40]},
            "a negative shape": {**entry, "shape": [-1]}, "dtype F64": {**entry, "dtype": "F64"},
            "dtype I32": {**entry, "dtype": "I32"}, "dtype nonsense": {**entry, "dtype": "F33"},
            "offsets reversed": {**entry, "data_offsets": [end, begin]}, "null": None,
            "offsets beyond": {**entry, "data_offsets": [begin, 1 << 60]},
            "shape in another order": {**entry, "shape": [1, *entry["shape"]]},
        }  # fmt: skip
        for what, value in changes.items():
            yield f"{name}, {what}", _join({**header, name: value}, data)
        yield f"{name} absent", _join({k: v for k, v in header.items() if k != name}, data)
        yield (
            f"{name} renamed",
            _join({(f"{k}x" if k == name else k): v for k, v in header.items()}, data),
        )
        for what, word in (("NaN", b"\0\0\xc0\x7f"), ("infinity", b"\0\0\x80\x7f"),
                           ("3e38", b"\x99\x76\x61\x7f")):  # fmt: skip
            if entry["dtype"] == "F32" and end > begin:
                yield (
                    f"{name}, {what} in it",
                    _join(header, data[:begin] + word + data[begin + 4 :]),
                )
    metadata = header.get("__metadata__")
    for what, value in (("null", None), ("a list", []), ("numbers", {"run": 1}), ("empty", {})):
        yield f"metadata {what}", _join({**header, "__metadata__": value}, data)
    yield "metadata absent", _join({k: v for k, v in header.items() if k != "__metadata__"}, data)
    for length in (0, 1 << 31, 1 << 62, (1 << 64) - 1):
        yield f"a header of {length} bytes", length.to_bytes(8, "little") + content[8:]
    yield "a header of text", _join(b"x" * 100, data)
    yield "a deep header", _join(b'{"a":' * 50_000, data)
    yield "no data", _join(header, b"")
    yield "no tensors", _join({"__metadata__": metadata} if metadata else {}, b"")
