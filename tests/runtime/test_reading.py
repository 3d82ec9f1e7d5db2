"""What a bundle's files may be: read once, bounded, in a folder or in a zip file of one."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import threading
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

import gmme_edge
from gmme_edge.bundle.bundle import MANIFEST, Bundle, describe_file
from gmme_edge.bundle.reading import read_bounded
from gmme_edge.errors import BundleError
from gmme_edge.runtime.backends import open_session
from tests.bundles import TINY, make_bundle, reference, tiny_graph
from tests.runtime.test_damage import relist

CLIP = np.random.default_rng(4).normal(size=(1, TINY.n_samples)).astype(np.float32)


def logits(bundle: Bundle) -> np.ndarray:
    session = open_session(bundle, threads=1)
    try:
        return session.run(CLIP)["logits"]
    finally:
        session.close()


def negated() -> bytes:
    """Another network of the same size to the byte: every weight has the other sign."""
    graph = tiny_graph()
    (weights,) = [each for each in graph.graph.initializer if each.name == "weights"]
    values = np.frombuffer(weights.raw_data, np.float32)
    weights.raw_data = (-values).tobytes()
    return bytes(graph.SerializeToString())


def test_a_writer_that_swaps_the_graph_never_gets_its_own_run(tmp_path: Path) -> None:
    """Whoever hashes a file and then opens it by its name runs some of the swapped ones."""
    bundle = make_bundle(tmp_path / "bundle")
    place = bundle.path / "model.fp32.onnx"
    good, forged = place.read_bytes(), negated()
    assert len(good) == len(forged)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for content in (forged, good):
                (tmp_path / "next").write_bytes(content)
                (tmp_path / "next").replace(place)

    writer = threading.Thread(target=swap)
    writer.start()
    ran = 0
    try:
        for _ in range(60):
            try:
                found = logits(bundle)
            except BundleError:
                continue
            ran += 1
            np.testing.assert_allclose(found, reference(CLIP)["logits"], atol=1e-5)
    finally:
        done.set()
        writer.join()
    assert ran


def with_external(graph: onnx.ModelProto, location: str) -> onnx.ModelProto:
    """The graph with its weights in a file beside it."""
    (weights,) = [each for each in graph.graph.initializer if each.name == "weights"]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    return graph


@pytest.mark.parametrize("location", ["unlisted.bin", "golden.npz", "../outside.bin"])
def test_a_graph_reads_no_file_that_is_not_listed_as_its_weights(
    tmp_path: Path, location: str
) -> None:
    content = np.ones((128, 3), np.float32).tobytes()
    (tmp_path / "outside.bin").write_bytes(content)
    bundle = make_bundle(tmp_path / "bundle", graph=with_external(tiny_graph(), location))
    (bundle.path / "unlisted.bin").write_bytes(content)
    with pytest.raises(BundleError, match="cannot load"):
        open_session(bundle)


def with_weights(folder: Path) -> Bundle:
    """A bundle whose graph reads its weights from a listed file."""
    bundle = make_bundle(folder, graph=with_external(tiny_graph(), "weights.bin"))
    (weights,) = [each for each in tiny_graph().graph.initializer if each.name == "weights"]
    (folder / "weights.bin").write_bytes(weights.raw_data)
    listed = describe_file(folder, "weights.bin", "weights", "fp32")
    manifest = replace(bundle.manifest, files=(*bundle.manifest.files, listed))
    Bundle(folder, manifest).save_manifest()
    return Bundle.open(folder)


def test_listed_weights_are_read(tmp_path: Path) -> None:
    np.testing.assert_allclose(logits(with_weights(tmp_path)), reference(CLIP)["logits"], atol=1e-5)


def test_a_bundle_whose_files_are_links_runs(tmp_path: Path) -> None:
    """As in stores that keep each content once. By its path, ONNX Runtime refuses such weights."""
    source = with_weights(tmp_path / "store").path
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in source.iterdir():
        (linked / path.name).symlink_to(path)
    np.testing.assert_allclose(logits(Bundle.open(linked)), reference(CLIP)["logits"], atol=1e-5)


def test_an_older_onnx_runtime_gets_a_folder_with_nothing_but_what_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    class Older(onnxruntime.SessionOptions):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> object:
            if name == "add_external_initializers_from_files_in_memory":
                raise AttributeError(name)
            return super().__getattribute__(name)

    monkeypatch.setattr("onnxruntime.SessionOptions", Older)
    np.testing.assert_allclose(
        logits(with_weights(tmp_path / "bundle")), reference(CLIP)["logits"], atol=1e-5
    )
    forged = make_bundle(tmp_path / "forged", graph=with_external(tiny_graph(), "unlisted.bin"))
    (forged.path / "unlisted.bin").write_bytes(np.ones((128, 3), np.float32).tobytes())
    with pytest.raises(BundleError, match="cannot load"):
        open_session(forged)


def zipped(folder: Path, top: str = "") -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in folder.iterdir():
            archive.write(each, f"{top}{each.name}")
    return path


@pytest.mark.parametrize("top", ["", "bundle/"], ids=["the files", "the folder"])
def test_a_zip_file_runs_as_its_folder_and_is_not_unpacked(tmp_path: Path, top: str) -> None:
    path = zipped(with_weights(tmp_path / "bundle").path, top)
    before = sorted(tmp_path.rglob("*"))
    with gmme_edge.load(path) as from_zip, gmme_edge.load(tmp_path / "bundle") as from_folder:
        expected = from_folder.probabilities(CLIP[0], TINY.sample_rate_hz)
        np.testing.assert_array_equal(
            from_zip.probabilities(CLIP[0], TINY.sample_rate_hz), expected
        )
    Bundle.open(path).check_files()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "..\\secret"])
def test_a_zip_files_manifest_names_nothing_outside(tmp_path: Path, name: str) -> None:
    folder = make_bundle(tmp_path / "bundle").path
    values = json.loads((folder / MANIFEST).read_text())
    values["files"][0]["path"] = name
    (folder / MANIFEST).write_text(json.dumps(values))
    path = zipped(folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(folder / "model.fp32.onnx", name)
    with pytest.raises(BundleError, match="inside the bundle only"):
        Bundle.open(path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "without a manifest", "encrypted"])
def test_a_damaged_zip_file_is_a_bundle_error(tmp_path: Path, damage: str) -> None:
    folder = make_bundle(tmp_path / "bundle").path
    if damage == "without a manifest":
        (folder / MANIFEST).unlink()
    path = zipped(folder)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    if damage == "flipped":
        content[60:400] = bytes(byte ^ 0x55 for byte in content[60:400])
    if damage == "encrypted":
        for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            start = content.find(mark)
            while start >= 0:
                content[start + at] |= 1
                start = content.find(mark, start + 1)
    path.write_bytes(content)
    with pytest.raises(BundleError):
        Bundle.open(path).check_files()


@pytest.fixture(scope="module")
def small_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip file of little but headers, and of every way to compress."""
    folder = make_bundle(tmp_path_factory.mktemp("small") / "bundle").path
    path = folder.with_suffix(".zip")
    methods = (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
    with zipfile.ZipFile(path, "w") as archive:
        names = (MANIFEST, "model.fp32.onnx", "golden.npz")
        for name, method in zip(names, methods, strict=True):
            archive.write(folder / name, name, method)
    return path


@given(damage=st.dictionaries(st.integers(0), st.integers(1, 255), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_no_damaged_zip_file_raises_another_error(small_zip: Path, damage: dict[int, int]) -> None:
    content = bytearray(small_zip.read_bytes())
    for place, change in damage.items():
        content[place % len(content)] ^= change
    path = small_zip.with_name("victim.zip")
    path.write_bytes(content)
    with contextlib.suppress(BundleError):  # not every byte of a zip file matters
        Bundle.open(path).check_files()


def peak_bytes_of_refusing(bundle: Path, said: str) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=said):
            opened = Bundle.open(bundle)
            opened.check_files()
            opened.golden()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_zip_bomb_is_not_inflated(tmp_path: Path) -> None:
    """A member of 300 MB of zeros, where the manifest lists a file of a few kB."""
    folder = make_bundle(tmp_path / "bundle").path
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(folder / MANIFEST, MANIFEST)
        archive.write(folder / "golden.npz", "golden.npz")
        with archive.open("model.fp32.onnx", "w") as member:
            for _ in range(300):
                member.write(bytes(1 << 20))
    assert peak_bytes_of_refusing(path, "not the file that was exported") < 20 << 20


def golden_bomb(deflated: bool) -> bytes:
    """Golden vectors of which one array says that it has 2 GB, or inflates to 300 MB."""
    stream = io.BytesIO()
    header = io.BytesIO()
    shape = (64 << 20,) if deflated else (1 << 29,)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("waveform.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(300 if deflated else 0):
            member.write(bytes(1 << 20))
    return stream.getvalue()


@pytest.mark.parametrize("deflated", [True, False])
def test_golden_vectors_are_not_inflated_beyond_what_is_needed(
    tmp_path: Path, deflated: bool
) -> None:
    folder = make_bundle(tmp_path / "bundle").path
    (folder / "golden.npz").write_bytes(golden_bomb(deflated))
    relist(folder, "golden.npz")
    assert peak_bytes_of_refusing(folder, "golden vectors") < 20 << 20


@pytest.mark.parametrize(
    "content",
    [
        b'{"schema": 1, "labels": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"schema": 1, "labels": ["' + b" " * (17 << 20) + b'"]}',
        b"[" * 3_000_000,
        b'"' + b'\\"' * 1_500_000,
        b'{"schema": 1' + b"0" * 5_000 + b"}",
        b'{"schema": "1"}',
    ],
    ids=[
        "deep",
        "deep objects",
        "large",
        "cut and deep",
        "an open text",
        "a long number",
        "a text",
    ],
)
def test_a_manifest_is_bounded_before_it_is_parsed(tmp_path: Path, content: bytes) -> None:
    folder = make_bundle(tmp_path).path
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=MANIFEST):
        Bundle.open(folder)


def test_brackets_in_texts_do_not_count_as_depth(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path).path
    values = json.loads((folder / MANIFEST).read_text())
    values["labels"][0] = '[{"' * 200 + "\\"
    (folder / MANIFEST).write_text(json.dumps(values))
    assert Bundle.open(folder).manifest.labels[0] == values["labels"][0]


def test_a_hash_pins_the_manifest_and_with_it_every_file(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path).path
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    for each in (digest, digest.upper()):
        gmme_edge.load(folder, sha256=each).close()
    (folder / "model.fp32.onnx").write_bytes(negated())
    with pytest.raises(BundleError, match="not the file that was exported"):
        gmme_edge.load(folder, sha256=digest)
    relist(folder, "model.fp32.onnx")
    gmme_edge.load(folder).close()
    with pytest.raises(BundleError, match=digest):
        gmme_edge.load(folder, sha256=digest)


def test_at_most_one_byte_more_than_asked_for_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100))
    assert len(read_bounded(tmp_path, "file", 10)) == 11
    assert len(read_bounded(tmp_path, "file", 100)) == 100
