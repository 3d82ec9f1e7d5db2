"""Bundles whose manifest, graph, golden vectors or engine's sidecar was changed.

Where a file is changed, its hash in the manifest is made right again in half of the cases: then
only the content can give it away.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.faults.engine import Case, Wanted, refuses
from tests.faults.mutations import Content, broken_bytes, broken_texts, mutated, write

SEED = 2101
MANIFEST, GRAPH, GOLDEN = "manifest.json", "model.fp32.onnx", "golden.npz"
SIDECAR = "model.engine.json"


def prepare(shared: Path) -> None:
    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.runtime.backends import open_session
    from gmme_edge.runtime.parity import compare_logits, run_in_batches
    from tests.artifacts import edit_manifest
    from tests.bundles import make_bundle
    from tests.runtime.test_tensorrt_runtime import add_engine

    bundle = make_bundle(shared / "bundle")
    golden = bundle.golden()
    logits = run_in_batches(open_session(bundle, threads=1), golden["waveform"])["logits"]
    parity = compare_logits(logits, golden["logits"], 1e-4).to_dict()
    figures = {"accuracy": 0.5, "n": 8, "interval": [0.2, 0.8], "dataset": "esc50", "fold": 1,
               "split": "test"}  # fmt: skip
    edit_manifest(bundle.path, lambda v: v.update(
        parity={"fp32": parity}, accuracy={"fp32": figures},
        provenance={"checkpoint_sha256": "0" * 64, "training": {"dataset": "esc50", "fold": 1}},
        verdict={"backend": "ort-cpu", "precision": "fp32"},
    ))  # fmt: skip
    add_engine(Bundle.open(bundle.path))
    for kind, contents in (("graph", graphs()), ("golden", goldens())):
        (shared / kind).mkdir()
        for name, content in contents:
            (shared / kind / name).write_bytes(content)
    np.save(shared / "tone.npy", np.sin(np.arange(9000) / 9).astype(np.float32))
    import soundfile

    soundfile.write(shared / "tone.wav", np.sin(np.arange(9000) / 9), 8000)


def use(bundle: Path, shared: Path) -> None:
    """What a user does with a bundle; every part of it is tried whatever another one said."""
    import gmme_edge
    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.errors import GmmeEdgeError
    from gmme_edge.ownership import claim_bundle

    def listen() -> None:
        with gmme_edge.load(bundle, threads=1) as classifier:
            found = classifier.probabilities(np.load(shared / "tone.npy"), 8000)
            if not np.isfinite(found).all() or abs(found.sum() - 1) > 1e-6:
                raise AssertionError(f"probabilities {found}")

    def check() -> None:
        opened = Bundle.open(bundle)
        opened.check_files()
        opened.golden()

    errors = []
    for act in (
        listen,
        check,
        lambda: refuses("verify", bundle, "--threads", "1"),
        lambda: refuses("predict", bundle, shared / "tone.wav", "--threads", "1"),
        lambda: refuses("models", bundle),
        lambda: claim_bundle(bundle, None, "0" * 64, ["manifest.json"]),
    ):
        try:
            act()
        except GmmeEdgeError as error:
            errors.append(error)
    if len(errors) > 1:  # a bundle without a card or of another model is refused in any case
        raise max(errors, key=lambda error: error.exit_code != 1)


def make_cases(shared: Path) -> list[Case]:
    original = json.loads((shared / "bundle" / MANIFEST).read_text())
    cases = [Case("the bundle as it is", lambda f: use(shared / "bundle", shared), "success")]

    def add(name: str, change: Callable[[Path], object], want: Wanted = "any") -> None:
        def act(folder: Path) -> None:
            bundle = Path(shutil.copytree(shared / "bundle", folder / "b"))
            change(bundle)
            use(bundle, shared)

        cases.append(Case(name, act, want))

    def put(file: str, content: Content, listed: bool = False) -> Callable[[Path], object]:
        def change(bundle: Path) -> None:
            write(bundle / file, content)
            if listed:
                relist(bundle, file)

        return change

    rng = random.Random(SEED)
    derived = ("complexity", "audio", "input", "outputs")  # for readers; the product infers them
    for name, text in mutated(original, rng, 6, lambda place: place[0] in derived):
        add(f"manifest: {name}", put(MANIFEST, text))
    for name, raw in broken_texts((shared / "bundle" / MANIFEST).read_text()).items():
        add(f"manifest: {name}", put(MANIFEST, raw))
    for file in (GRAPH, GOLDEN):
        content = (shared / "bundle" / file).read_bytes()
        for name, raw in broken_bytes(content, rng).items():
            add(f"{file}: {name}", put(file, raw), "refused")
            add(f"{file}: {name}, listed", put(file, raw, listed=True))
    for kind, file in (("graph", GRAPH), ("golden", GOLDEN)):
        for made in sorted((shared / kind).iterdir()):
            add(f"{kind}: {made.name}", put(file, made.read_bytes, listed=True), "refused")
    return cases + list(_engine_cases(shared, rng))


def relist(bundle: Path, name: str) -> None:
    from tests.runtime.test_damage import relist

    relist(bundle, name)


def graphs() -> Iterator[tuple[str, bytes]]:
    """Graphs that ONNX Runtime runs, and that are none of a classifier of three labels."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from tests.bundles import tiny_graph

    def ending(nodes: list[onnx.NodeProto], shape: list[object], dtype: int, name: str,
               *constants: tuple[str, np.ndarray]) -> bytes:  # fmt: skip
        model = tiny_graph(output_name="before")
        model.graph.node.extend(nodes)
        del model.graph.output[:]
        model.graph.output.append(helper.make_tensor_value_info(name, dtype, shape))
        model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in constants)
        return model.SerializeToString()

    node, float_ = helper.make_node, TensorProto.FLOAT
    for n in (1, 2, 4, 20):
        wide = np.ones((3, n), np.float32)
        yield f"{n} outputs", ending(
            [node("MatMul", ["before", "wide"], ["logits"])], ["batch", n], float_, "logits",
            ("wide", wide),
        )  # fmt: skip
    yield "rank 3", ending([node("Unsqueeze", ["before", "axes"], ["logits"])],
                           ["batch", 3, 1], float_, "logits", ("axes", np.array([2])))  # fmt: skip
    yield "rank 1", ending([node("ReduceMean", ["before"], ["logits"], axes=[1], keepdims=0)],
                           ["batch"], float_, "logits")  # fmt: skip
    yield "a scalar", ending([node("ReduceMean", ["before"], ["logits"], keepdims=0)],
                             [], float_, "logits")  # fmt: skip
    for name, value in (("NaN", np.nan), ("infinity", np.inf), ("minus infinity", -np.inf)):
        yield f"{name} outputs", ending(
            [node("Add", ["before", "bad"], ["logits"])], ["batch", 3], float_, "logits",
            ("bad", np.array([value], np.float32)),
        )  # fmt: skip
    for name, kind in (("int64", TensorProto.INT64), ("text", TensorProto.STRING),
                       ("bool", TensorProto.BOOL)):  # fmt: skip
        yield f"{name} outputs", ending([node("Cast", ["before"], ["logits"], to=kind)],
                                        ["batch", 3], kind, "logits")  # fmt: skip
    yield "another output's name", ending([node("Identity", ["before"], ["other"])],
                                          ["batch", 3], float_, "other")  # fmt: skip
    yield "another input's name", tiny_graph(input_name="sound").SerializeToString()
    yield "one clip for all", ending([node("ReduceMean", ["before"], ["logits"], axes=[0])],
                                     [1, 3], float_, "logits")  # fmt: skip
    outside = tiny_graph()
    tensor = outside.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    elsewhere = {"absent": "weights.bin", "above": "../weights.bin", "of Unix": "/etc/passwd",
                 "unlisted": GOLDEN, "endless": "/dev/zero"}  # fmt: skip
    for name, place in elsewhere.items():
        del tensor.external_data[:]
        tensor.external_data.add(key="location", value=place)
        yield f"weights in a file that is {name}", outside.SerializeToString()
    huge = ending([node("ConstantOfShape", ["size"], ["vast"]),
                   node("ReduceSum", ["vast"], ["sum"], keepdims=0),
                   node("Add", ["before", "sum"], ["logits"])],
                  ["batch", 3], float_, "logits", ("size", np.array([1 << 50])))  # fmt: skip
    yield "a tensor of petabytes", huge


def goldens() -> Iterator[tuple[str, bytes]]:
    """Archives that are zip files of numpy arrays, though not those that were exported."""

    def npz(**arrays: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    wave, logits = np.zeros((2, 8192), np.float32), np.zeros((2, 3), np.float32)
    yield "no arrays", npz()
    yield "no logits", npz(waveform=wave)
    yield "no clips", npz(waveform=wave[:0], logits=logits[:0])
    yield "another shape", npz(waveform=wave[:, :9], logits=logits)
    yield "rank 1", npz(waveform=wave[0], logits=logits[0])
    yield "scalars", npz(waveform=np.float32(1), logits=np.float32(1))
    yield "more clips", npz(waveform=np.zeros((3, 8192), np.float32), logits=logits)
    yield "text", npz(waveform=wave.astype("U8"), logits=logits)
    yield "complex", npz(waveform=wave.astype(np.complex64), logits=logits)
    yield "NaN", npz(waveform=wave + np.nan, logits=logits + np.nan)
    yield "other logits", npz(waveform=wave, logits=logits + 9)
    pickled = io.BytesIO()
    np.savez(pickled, waveform=np.array([object()] * 2), logits=logits)
    yield "objects", pickled.getvalue()
    yield "a bomb of 3 GB", _bomb(3_000_000_000, 3_000_000_000)
    yield "a bomb of 60 GB", _bomb(60_000_000_000, 100_000_000)


def _bomb(claimed: int, size: int) -> bytes:
    """A member whose header claims a vast array; zeros deflate to a thousandth."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        header = io.BytesIO()
        shape = {"descr": "<f4", "fortran_order": False, "shape": (claimed // 32768, 8192)}
        np.lib.format.write_array_header_1_0(header, shape)
        with archive.open("waveform.npy", "w", force_zip64=True) as member:
            member.write(header.getvalue())
            for _ in range(size // (1 << 24)):
                member.write(bytes(1 << 24))
        archive.writestr("logits.npy", b"")
    return file.getvalue()


def _engine_cases(shared: Path, rng: random.Random) -> Iterator[Case]:
    """TensorRT's stand-in, which notes whether it was given anything to deserialize."""
    original = json.loads((shared / "bundle" / SIDECAR).read_text())
    texts: dict[str, Content] = dict(mutated(original, rng, 5, lambda place: False))
    for name, text in (texts | broken_texts((shared / "bundle" / SIDECAR).read_text())).items():

        def act(folder: Path, text: Content = text) -> None:
            from gmme_edge.bundle.bundle import Bundle
            from gmme_edge.runtime.backends import open_session
            from tests.fake_gpu import FakeCuda, FakeLibrary, install_cuda

            bundle = Path(shutil.copytree(shared / "bundle", folder / "b"))
            write(bundle / SIDECAR, text)
            relist(bundle, SIDECAR)
            cuda = FakeCuda()
            with pytest.MonkeyPatch.context() as patch:
                install_cuda(patch, {"libcudart.so.12": cuda})
                patch.setitem(sys.modules, "tensorrt", FakeLibrary(cuda))
                open_session(Bundle.open(bundle), "tensorrt", "fp32", 1).close()

        yield Case(f"sidecar: {name}", act)
