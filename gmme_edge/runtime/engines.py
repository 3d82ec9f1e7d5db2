"""What is known about an engine file, kept in a sidecar next to it.

An engine runs only on the library version and GPU generation that it was built for, and says
so in a log line at best. The sidecar lets a mismatch be found and explained before loading; it
is a file of its own because any prefix would make the engine unloadable by trtexec and C++.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from gmme_edge.errors import BundleError, EngineError
from gmme_edge.files import read_json, write_json
from gmme_edge.runtime.bundle import Bundle, BundleFile

SCHEMA = 1
_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}


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
            BundleError: it is missing, of another schema, or a field is missing or off.
        """
        path = sidecar_of(engine_path)
        values = read_json(path, "engine sidecar", SCHEMA, BundleError)
        for field in fields(EngineInfo):
            value = values.get(field.name)
            if not isinstance(value, _TYPES[str(field.type)]) or isinstance(value, bool):
                raise BundleError(
                    f"{path} has {field.name} = {value!r}.",
                    f"{field.type}, as the build writes it.",
                    "build the engine again.",
                )
        return EngineInfo(**{field.name: values[field.name] for field in fields(EngineInfo)})


def sidecar_of(engine_path: Path) -> Path:
    """``NAME.engine`` → ``NAME.engine.json``."""
    return engine_path.with_name(engine_path.name + ".json")


def format_sm(sm: int) -> str:
    """89 → ``"8.9"``, 120 → ``"12.0"``."""
    return f"{sm // 10}.{sm % 10}"


def rebuild_command(flavour: str, precision: str) -> str:
    """The command that builds an engine anew on the machine that is to run it."""
    return f"gmme-edge export … --precision {precision.partition('-')[0]} --engine {flavour}"


def choose_engine(
    bundle: Bundle, flavour: str, precision: str, version: str, compute_capability: str
) -> tuple[BundleFile, EngineInfo]:
    """The bundle's engine that was built for this library, GPU and graph.

    Args:
        version: of the installed library.
        compute_capability: of this machine's GPU, for example ``"8.9"``.

    Raises:
        UsageError: the bundle lacks this precision altogether.
        EngineError: no engine fits; the message tells for each one why.
        BundleError: a sidecar is missing or damaged.
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
        if info.flavour != flavour:
            continue
        reason = _mismatch(info, file, models, version, compute_capability)
        if not reason:
            return file, info
        reasons.append(f"{file.path} {reason}")
    raise EngineError(
        f"{bundle.path} has no {flavour} engine of precision {precision} that fits"
        + (": " + "; ".join(reasons) + "." if reasons else "."),
        f"one built by {flavour} {version} for compute capability {compute_capability}.",
        f"on this machine: {rebuild_command(flavour, precision)}",
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
    bundle.checked_path(listed)
    return EngineInfo.read(bundle.path / file.path)


def _mismatch(
    info: EngineInfo, file: BundleFile, models: set[str], version: str, compute_capability: str
) -> str:
    """Why an engine does not fit, or ""."""
    if info.version != version:
        return f"was built by version {info.version}, this machine has {version}"
    if info.compute_capability != compute_capability:
        return (
            f"was built for compute capability {info.compute_capability}, "
            f"this GPU has {compute_capability}"
        )
    if info.onnx_sha256 not in models:
        return "was built from another ONNX file than the bundle's"
    if info.engine_sha256 != file.sha256 or info.precision != file.precision:
        return "is not the engine that its sidecar describes"
    return ""
