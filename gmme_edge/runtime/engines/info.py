"""What is known about an engine file, kept in a sidecar next to it.

An engine runs only on the library version and GPU generation that it was built for, and says
so in a log line at best. The sidecar lets a mismatch be found and explained before loading; it
is a file of its own because any prefix would make the engine unloadable by trtexec and C++.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from gmme_edge.bundle.bundle import Bundle, BundleFile
from gmme_edge.bundle.reading import MOST_MANIFEST_BYTES, parse_object, read_bounded
from gmme_edge.device.cuda import Device
from gmme_edge.errors import BundleError, EngineError, reason
from gmme_edge.files import write_json

SCHEMA = 1
_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}
_LEAST = {
    "size_bytes": 1,
    "min_batch": 1,
    "opt_batch": 1,
    "max_batch": 1,
    "n_layers": 0,
    "build_s": 0,
}
_MOST = 1 << 40


@dataclass(frozen=True)
class Machine:
    """What an engine must have been built for: the library, its version, and the GPU."""

    flavour: str
    version: str
    gpu_name: str
    compute_capability: str

    @staticmethod
    def of(flavour: str, version: str, device: Device) -> Machine:
        return Machine(flavour, version, device.name, format_sm(device.sm))


@dataclass(frozen=True)
class EngineInfo:
    """How an engine was built, schema 1.

    Attributes:
        onnx_sha256: the graph it was built from.
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        version: of that library; another one does not load the engine.
        compute_capability: of the GPU it was built for, for example ``"8.9"``.
        gpu_name: empty where it was built ahead of time, without the GPU; so is `driver`.
        jetpack: the Jetson's L4T release, for example ``"L4T 36.4.3"``; empty elsewhere.
        min_batch: smallest batch of the optimization profile; `max_batch` is the largest and
            `opt_batch` the one that kernels were chosen for.
        n_layers: of the parsed network, before the builder fuses layers.
        build_s: duration of parsing and building, in seconds.
    """

    onnx_sha256: str
    engine_sha256: str
    size_bytes: int
    flavour: str
    version: str
    compute_capability: str
    gpu_name: str
    driver: str
    jetpack: str
    precision: str
    min_batch: int
    opt_batch: int
    max_batch: int
    n_layers: int
    build_s: float

    @property
    def target(self) -> str:
        """The platform, as the manifest names it, for example ``tensorrt-rtx-sm89``."""
        return f"{self.flavour}-sm{self.compute_capability.replace('.', '')}"

    def mismatch(self, machine: Machine, onnx_sha256s: set[str]) -> str:
        """Why this engine does not fit a machine and a graph, or ""."""
        if self.flavour != machine.flavour:
            return f"was built by {self.flavour}, not {machine.flavour}"
        if self.version != machine.version:
            return f"was built by version {self.version}, this machine has {machine.version}"
        if self.compute_capability != machine.compute_capability:
            return (
                f"was built for compute capability {self.compute_capability}, "
                f"this GPU has {machine.compute_capability}"
            )
        # TensorRT-RTX engines serve every GPU of their compute capability; TensorRT's kernels were
        # chosen by timing them on one model of GPU, and may fail on another.
        if self.flavour == "tensorrt" and self.gpu_name not in ("", machine.gpu_name):
            return f"was built on {self.gpu_name}, this GPU is {machine.gpu_name}"
        if self.onnx_sha256 not in onnx_sha256s:
            return "was built from another ONNX file than the bundle's"
        return ""

    def to_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}

    def write(self, engine_path: Path) -> Path:
        """Write the sidecar of `engine_path` and return its path."""
        path = sidecar_of(engine_path)
        write_json(path, self.to_dict())
        return path

    @staticmethod
    def read(engine_path: Path) -> EngineInfo:
        """The sidecar of `engine_path`.

        Raises:
            BundleError: it is missing, of another schema, or a field is missing, of another type
                or out of range.
        """
        path = sidecar_of(engine_path)
        try:
            content = read_bounded(path.parent, path.name, MOST_MANIFEST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            raise _no_sidecar(engine_path, path) from None
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {reason(error)}.", "its sidecar.") from error
        return EngineInfo.parse(content, path)

    @staticmethod
    def parse(content: bytes, path: Path) -> EngineInfo:
        """As `read`, of the bytes of a sidecar; `path` names it in messages."""
        try:
            values = parse_object(content, str(path))
        except BundleError as error:
            raise _sidecar_error(error.got) from error
        if values["schema"] != SCHEMA:
            raise _sidecar_error(f"{path} has schema {values['schema']}.")
        for field in fields(EngineInfo):
            value = values.get(field.name)
            if not isinstance(value, _TYPES[str(field.type)]) or isinstance(value, bool):
                raise _field_error(path, field.name, value, f"{field.type}")
            low = _LEAST.get(field.name)
            if low is not None and not low <= values[field.name] <= _MOST:
                raise _field_error(path, field.name, value, f"from {low} to {_MOST}")
        if not values["min_batch"] <= values["opt_batch"] <= values["max_batch"]:
            raise _field_error(path, "opt_batch", values["opt_batch"], "min <= opt <= max_batch")
        return EngineInfo(**{field.name: values[field.name] for field in fields(EngineInfo)})


@dataclass(frozen=True)
class Engine:
    """An engine that fits this machine: its path in messages, its sidecar, and its bytes."""

    path: str
    info: EngineInfo
    plan: bytes


def _sidecar_error(got: str) -> BundleError:
    return BundleError(got, f"an engine's sidecar of schema {SCHEMA}.", "build the engine again.")


def _no_sidecar(engine_path: Path, path: Path) -> BundleError:
    """Whoever names a bundle, a graph or nothing at all is not helped by a missing sidecar."""
    if engine_path.suffix == ".engine" and engine_path.is_file():
        return _sidecar_error(f"{path} does not exist.")
    is_there = engine_path.exists() or engine_path.is_symlink()
    return BundleError(
        f"{engine_path} {'is no engine' if is_there else 'does not exist'}.",
        "BUNDLE/engines/NAME.engine, with NAME.engine.json beside it.",
        "gmme-edge export … --engine tensorrt-rtx (or tensorrt) builds one.",
    )


def _field_error(path: Path, name: str, value: object, expected: str) -> BundleError:
    return BundleError(
        f"{path} has {name} = {value!r:.80}.",
        f"{expected}, as the build writes it.",
        "build the engine again.",
    )


def sidecar_of(engine_path: Path) -> Path:
    """``NAME.engine`` → ``NAME.engine.json``."""
    return engine_path.with_name(engine_path.name + ".json")


def format_sm(sm: int) -> str:
    """89 → ``"8.9"``, 120 → ``"12.0"``."""
    return f"{sm // 10}.{sm % 10}"


def rebuild_command(flavour: str, precision: str) -> str:
    """What builds an engine anew on the machine that is to run it."""
    return (
        "on this machine, add --rebuild (in Python: rebuild=), or "
        f"gmme-edge export … --precision {precision.partition('-')[0]} --engine {flavour}"
    )


def choose_engine(bundle: Bundle, machine: Machine, precision: str) -> Engine:
    """The bundle's engine that was built for this library, GPU and graph.

    Raises:
        UsageError: the bundle lacks this precision altogether.
        EngineError: no engine fits; the message tells for each one why.
        BundleError: a sidecar is missing or damaged, or the engine is.
    """
    bundle.find("model", precision)
    models = {
        file.sha256
        for file in bundle.manifest.files
        if (file.role, file.precision) == ("model", precision)
    }
    reasons = []
    for file in bundle.manifest.files:
        if (file.role, file.precision) != ("engine", precision):
            continue
        info = _read_listed(bundle, file)
        reason = info.mismatch(machine, models)
        described = info.engine_sha256, info.size_bytes, info.precision
        if not reason and described != (file.sha256, file.size_bytes, precision):
            reason = "is not the engine that its sidecar describes"
        if not reason:
            return Engine(file.path, info, bundle.checked_bytes(file))
        reasons.append(f"{file.path} {reason}")
    raise EngineError(
        f"{bundle.path} has no {machine.flavour} engine of precision {precision} that fits"
        + (": " + "; ".join(reasons) + "." if reasons else "."),
        f"one built by {machine.flavour} {machine.version} for {machine.gpu_name}, compute "
        f"capability {machine.compute_capability}.",
        rebuild_command(machine.flavour, precision),
    )


def _read_listed(bundle: Bundle, file: BundleFile) -> EngineInfo:
    name = sidecar_of(Path(file.path)).as_posix()
    listed = next((f for f in bundle.manifest.files if f.path == name), None)
    if listed is None:
        raise BundleError(
            f"The manifest of {bundle.path} lists no {name}.",
            "a sidecar for each engine.",
            "build the engine again.",
        )
    content = bundle.checked_bytes(listed)
    return EngineInfo.parse(content, bundle.path / name)
