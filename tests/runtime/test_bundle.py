"""What is read from a bundle's folder: every kind of damage is found, and by its own error."""

from __future__ import annotations

import copy
import io
import json
import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmme_edge.bundle.bundle import MANIFEST, Bundle, Manifest
from gmme_edge.errors import BundleError, GmmeEdgeError, UsageError
from gmme_edge.files import sha256_of
from gmme_edge.runtime.backends import runnable_precisions
from gmme_edge.runtime.parity import verify_bundle
from tests.artifacts import (
    N_SAMPLES,
    RATE_HZ,
    WORDS,
    FakeSession,
    copy_bundle,
    edit_manifest,
    small_spec,
)
from tests.bundles import make_bundle

FILES = (
    "model.fp32.onnx", "model.fp16.onnx", "model.int8-ort.onnx", "model.int8-tensorrt.onnx",
    "calibration.json", "golden.npz",
)  # fmt: skip


def verify(path: Path) -> None:
    """As `gmme-edge verify`, with an engine that cannot be wrong."""
    bundle = Bundle.open(path)
    session = FakeSession(lambda _: bundle.golden()["logits"])
    verify_bundle(bundle, lambda _: session, ("fp32",))


@pytest.fixture
def mine(bundle: Path, tmp_path: Path) -> Path:
    return copy_bundle(bundle, tmp_path / "bundle")


def test_an_intact_bundle_passes(mine: Path) -> None:
    verify(mine)
    assert sorted(path.name for path in mine.iterdir()) == sorted((*FILES, MANIFEST))


def test_the_manifest_says_it_all(bundle: Path) -> None:
    values = json.loads((bundle / MANIFEST).read_text())
    assert values["schema"] == 1 and values["labels"] == list(WORDS)
    assert values["audio"] | {"scaling": ""} == {
        "sample_rate_hz": RATE_HZ, "n_samples": N_SAMPLES, "channels": 1, "scaling": "",
    }  # fmt: skip
    assert (values["input"], values["outputs"]) == ("waveform", ["logits", "embedding"])
    assert values["untrained"] is False
    for file in values["files"]:
        content = (bundle / file["path"]).read_bytes()
        assert (len(content), sha256_of(bundle / file["path"])) == (
            file["size_bytes"], file["sha256"],
        )  # fmt: skip
    roles = {file["path"]: (file["role"], file["precision"]) for file in values["files"]}
    assert roles == {
        **{f"model.{p}.onnx": ("model", p) for p in values["parity"]},
        "calibration.json": ("calibration", ""),
        "golden.npz": ("golden", ""),
    }


def test_the_manifest_survives_a_round_trip(bundle: Path, tmp_path: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    assert manifest.model == small_spec()
    Bundle(tmp_path, manifest).save_manifest()
    assert Bundle.open(tmp_path).manifest == manifest
    written = json.loads((tmp_path / MANIFEST).read_text())
    assert written == json.loads((bundle / MANIFEST).read_text())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["one bit", "one byte less", "one byte more", "empty", "absent"])
def test_a_damaged_file_is_found_and_named(mine: Path, name: str, damage: str) -> None:
    path = mine / name
    content = bytearray(path.read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    changed = {"one byte less": content[:-1], "one byte more": content + b"\n", "empty": b""}
    path.unlink()
    if damage != "absent":
        path.write_bytes(changed.get(damage, content))
    with pytest.raises(BundleError, match=name):
        verify(mine)


def test_swapped_files_are_found(mine: Path) -> None:
    first, second = mine / FILES[0], mine / FILES[1]
    first.rename(mine / "held")
    second.rename(first)
    (mine / "held").rename(second)
    with pytest.raises(BundleError, match=r"model\.fp32\.onnx is not the file"):
        verify(mine)


def test_a_folder_in_place_of_a_file(mine: Path) -> None:
    (mine / FILES[0]).unlink()
    (mine / FILES[0]).mkdir()
    with pytest.raises(BundleError, match="missing"):
        verify(mine)


def edit_file(index: int, **changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda values: values["files"][index].update(changes)


def edit_model(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda values: values["model"].update(changes)


MANIFEST_EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "path to the parent": edit_file(0, path="../outside.onnx"),
    "path through the parent": edit_file(0, path="engines/../../outside.onnx"),
    "absolute path": edit_file(0, path="/etc/passwd"),
    "path of Windows": edit_file(0, path="..\\outside.onnx"),
    "path is a number": edit_file(0, path=3),
    "path is endless": edit_file(0, path="x" * 5000),
    "path with a null": edit_file(0, path="model\0.onnx"),
    "path is the folder": edit_file(0, path="."),
    "hash of something else": edit_file(0, sha256="0" * 64),
    "hash is a number": edit_file(0, sha256=0),
    "size is a text": edit_file(0, size_bytes="101353"),
    "unknown role": edit_file(0, role="script"),
    "role is a list": edit_file(0, role=["model"]),
    "unknown field": edit_file(0, executable=True),
    "file without a hash": lambda v: v["files"][0].pop("sha256"),
    "file is a text": lambda v: v["files"].append("model.onnx"),
    "files are an object": lambda v: v.update(files={}),
    "schema 2": lambda v: v.update(schema=2),
    "schema as text": lambda v: v.update(schema="1"),
    "schema null": lambda v: v.update(schema=None),
    **{
        f"no {key}": (lambda v, key=key: v.pop(key))
        for key in (
            "schema", "model", "labels", "untrained", "files", "parity", "accuracy", "provenance",
        )
    },
    "a label too few": lambda v: v["labels"].pop(),
    "a label too many": lambda v: v["labels"].append("more"),
    "labels are one text": lambda v: v.update(labels="0123456789"),
    "a label is a number": lambda v: v["labels"].__setitem__(0, 7),
    "untrained is a text": lambda v: v.update(untrained="no"),
    "parity is a list": lambda v: v.update(parity=[]),
    "parity of a precision is a number": lambda v: v["parity"].update(fp32=0.1),
    "accuracy is a list": lambda v: v.update(accuracy=[1]),
    "provenance is null": lambda v: v.update(provenance=None),
    "model is null": lambda v: v.update(model=None),
    "infinite classes": edit_model(n_classes=math.inf),
    "classes are not a number": edit_model(n_classes=math.nan),
    "no samples": edit_model(n_samples=0),
    "samples that give no whole tokens": edit_model(n_samples=N_SAMPLES + 1),
    "factors are null": edit_model(factors=None),
    "backbone is a list": edit_model(backbone=[]),
    "unknown down-sampling": edit_model(downsample={"kind": "max"}),
    "other samples than the golden ones": edit_model(n_samples=2 * N_SAMPLES),
    "no golden vectors": lambda v: v["files"].pop(),
    "a model as golden vectors": lambda v: v["files"][0].update(role="golden"),
}  # fmt: skip


@pytest.mark.parametrize("change", MANIFEST_EDITS.values(), ids=MANIFEST_EDITS.keys())
def test_a_wrong_manifest_is_refused(
    mine: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    # What a path leads to outside is exactly the file that is listed.
    shutil.copy(mine / FILES[0], mine.parent / "outside.onnx")
    edit_manifest(mine, change)
    with pytest.raises(BundleError):
        verify(mine)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe{}", b'"manifest"', b'{"schema": 1', b"[" * 100_000],
    ids=["empty", "open", "list", "null", "not UTF-8", "text", "cut", "deep"],
)
def test_a_manifest_that_is_no_json_object(mine: Path, content: bytes) -> None:
    (mine / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError):
        verify(mine)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nowhere", "nowhere does not exist"),
        ("empty", "no bundle: it has no manifest.json"),
        ("file", "no bundle: it is a file"),
    ],
)
def test_what_is_no_bundle(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match=text):
        Bundle.open(str(tmp_path / name))


def npz(**arrays: Any) -> bytes:  # noqa: ANN401 - also what is no array
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


WAVES, LOGITS = np.zeros((2, N_SAMPLES), np.float32), np.zeros((2, len(WORDS)), np.float32)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 and no more",
        pickle.dumps({"waveform": 1}),
        npy(WAVES),
        npz(waveform=WAVES),
        npz(logits=LOGITS),
        npz(waveform=WAVES, logits=LOGITS[:1]),
        npz(waveform=WAVES[:, 1:], logits=LOGITS),
        npz(waveform=WAVES[:0], logits=LOGITS[:0]),
        npz(waveform=WAVES[0], logits=LOGITS[0]),
        npz(waveform=np.float32(1), logits=LOGITS),
        npz(waveform=np.array([{}, {}], object), logits=LOGITS),
        npz(waveform=WAVES, logits=LOGITS)[:-40],
    ],
    ids=range(13),
)
def test_golden_vectors_that_are_none(mine: Path, content: bytes) -> None:
    """Their hash is right, so that only their content gives them away."""
    (mine / "golden.npz").write_bytes(content)
    digest = sha256_of(mine / "golden.npz")
    edit_manifest(mine, edit_file(-1, sha256=digest, size_bytes=len(content)))
    with pytest.raises(BundleError, match=r"golden\.npz"):
        verify(mine)


def test_find_names_what_there_is(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert opened.find("model", "fp16").path == "model.fp16.onnx"
    assert opened.find("model", "fp16", "generic").path == "model.fp16.onnx"
    with pytest.raises(UsageError, match="fp32, fp16, int8-ort, int8-tensorrt"):
        opened.find("model", "fp8")
    with pytest.raises(UsageError, match="for cortex"):
        opened.find("model", "fp16", "cortex")
    with pytest.raises(UsageError, match="no engine"):
        opened.find("engine", "fp32")


@pytest.mark.parametrize(
    ("precisions", "default"),
    [(("fp16", "fp32"), "fp32"), (("int8-ort", "fp16"), "int8-ort"), (("fp16",), "fp16")],
)
def test_the_default_precision(tmp_path: Path, precisions: tuple[str, ...], default: str) -> None:
    assert make_bundle(tmp_path, precisions=precisions).default_precision == default


def test_a_bundle_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no model"):
        _ = make_bundle(tmp_path, precisions=()).default_precision


# Any JSON in any place of the manifest.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def victim(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_bundle(bundle, tmp_path_factory.mktemp("fuzz") / "bundle")


def places(values: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401
    if not isinstance(values, dict | list):
        return [above]
    keys = list(values) if isinstance(values, dict) else list(range(len(values)))
    return [above] * bool(above) + [p for key in keys for p in places(values[key], (*above, key))]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_manifest_raises_another_error(bundle: Path, victim: Path, data: st.DataObject) -> None:
    values = json.loads((bundle / MANIFEST).read_text())
    del values["complexity"], values["audio"]  # for readers; not read back
    for _ in range(data.draw(st.integers(1, 3))):
        *above, key = data.draw(st.sampled_from(places(values)))
        parent = values
        for step in above:
            parent = parent[step]
        if data.draw(st.integers(0, 4)) == 0:
            del parent[key]
        else:
            parent[key] = data.draw(JSON)
    (victim / MANIFEST).write_text(json.dumps(values), encoding="utf-8")
    try:
        opened = Bundle.open(victim)
        assert Manifest.from_dict(copy.deepcopy(values)) is not None
        runnable_precisions(opened, "tensorrt-rtx")
        session = FakeSession(lambda _: opened.golden()["logits"])
        verify_bundle(opened, lambda _: session, (opened.default_precision,))
    except GmmeEdgeError:
        pass
