"""Golden vectors: a few clips and what the network gave for them, in an ``.npz`` file.

They hold ``waveform``, torch's ``logits`` and ``embedding``, and as ``logits.PRECISION`` what the
exported graph of each precision gave where it was exported.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from gmme_edge.bundle.manifest import INPUT, OUTPUTS
from gmme_edge.errors import BundleError, fault
from gmme_edge.spec import ModelSpec

LOGITS = OUTPUTS[0]
_MOST_ARRAYS, _MOST_BYTES = 64, 1 << 28


def parse_golden(data: bytes, spec: ModelSpec, where: str) -> dict[str, NDArray[np.float32]]:
    """The arrays in the bytes of a golden file; nothing larger than stated is ever allocated.

    Raises:
        BundleError: no such arrays, or of other shapes than `spec` says.
    """
    try:
        golden = _read_arrays(data)
        shapes = {name: array.shape for name, array in golden.items()}
        n_clips = shapes[INPUT][0]
        expected = {INPUT: (n_clips, spec.n_samples), LOGITS: (n_clips, spec.n_classes)}
        expected[OUTPUTS[1]] = (n_clips, spec.backbone.embed_dim)
    except Exception as error:  # zip, zlib and numpy raise about ten kinds
        raise BundleError(
            f"{where} holds no golden vectors: {fault(error)}",
            f"arrays {INPUT!r} and {LOGITS!r}.",
        ) from error
    for name, shape in shapes.items():
        wanted = expected.get(name, expected[LOGITS])
        if not n_clips or shape != wanted or LOGITS not in shapes:
            raise BundleError(
                f"{where} has {name} of shape {shape}, and the arrays {', '.join(shapes)}.",
                f"{INPUT} of (n, {spec.n_samples}) and {LOGITS} of (n, {spec.n_classes}), n at "
                "least 1.",
            )
    return golden


def _read_arrays(data: bytes) -> dict[str, NDArray[np.float32]]:
    from zipfile import ZipFile  # who only runs a bundle reads no golden vectors

    with ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        stated_bytes = sum(member.file_size for member in members)
        if len(members) > _MOST_ARRAYS or stated_bytes > _MOST_BYTES:
            raise ValueError(f"{len(members)} arrays of {stated_bytes:,} bytes")
        return {
            member.filename[: -len(".npy")]
            if member.filename.endswith(".npy")
            else member.filename: _read_array(archive.read(member))
            for member in members
        }


def _read_array(data: bytes) -> NDArray[np.float32]:
    """One array of numbers; its header is held against the bytes that there are."""
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read_header(stream)
    if dtype.kind != "f":
        raise ValueError(f"numbers of type {dtype}")
    array = np.frombuffer(data, dtype, offset=stream.tell())
    return array.reshape(shape, order="F" if is_fortran else "C").astype(np.float32)
