"""A builder's settings, each refused with a reason where this version or board has not got it.

Which version offers which name: ``tests/exporters/tensorrt_api.json``, from the real bindings.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from gmme_edge.bundle.bundle import INPUT
from gmme_edge.bundle.precisions import PRECISIONS
from gmme_edge.errors import PlatformError, UsageError
from gmme_edge.runtime.engines.library import FLAVOURS, JETSON_SMS
from gmme_exporters.tensorrt.objects import Builder, BuilderConfig

COMPATIBILITIES = ("none", "ampere-plus", "same-compute-capability")

_AMPERE_SM = 80
_MAX_BATCH = 1 << 16
_MAX_WORKSPACE_MIB = 1 << 20  # a TiB


@dataclass(frozen=True)
class EngineOptions:
    """How to build an engine.

    Attributes:
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        sm: TensorRT-RTX only: the compute capability to build for, 89 for 8.9, on any machine;
            None builds for this machine's GPU.
        min_batch: smallest batch; kernels are chosen for `opt_batch`.
        max_batch: largest batch; GPU memory grows with it.
        workspace_mib: limit of the scratch memory in MiB; None leaves the library's own.
        optimization_level: 0 (fast build) to 5 (fast engine); None leaves the library's own, 3.
        timing_cache: TensorRT only: path of a file of kernel timings, read if it exists and
            written after the build; later builds on the same GPU then skip what was timed.
        compatibility: TensorRT only: the GPUs that the engine may run on beside this one's kind,
            at some cost in speed. ``ampere-plus`` is every generation from Ampere.
        version_compatible: TensorRT only: later releases of the same major version load it too.
        dla_core: Orin and Xavier only: the deep-learning accelerator that runs what it can; the
            GPU runs the rest. Needs fp16 or int8 and one batch size.
    """

    flavour: str = "tensorrt-rtx"
    sm: int | None = None
    min_batch: int = 1
    opt_batch: int = 1
    max_batch: int = 8
    workspace_mib: int | None = None
    optimization_level: int | None = None
    timing_cache: str | None = None
    compatibility: str = "none"
    version_compatible: bool = False
    dla_core: int | None = None

    def __post_init__(self) -> None:
        if self.flavour not in FLAVOURS:
            raise UsageError(
                f"Unknown engine flavour {self.flavour!r}.", f"one of {', '.join(FLAVOURS)}."
            )
        if not 1 <= self.min_batch <= self.opt_batch <= self.max_batch:
            raise UsageError(
                f"Batches {self.min_batch}, {self.opt_batch}, {self.max_batch} (smallest, "
                "optimal, largest) are out of order.",
                "1 <= smallest <= optimal <= largest.",
            )
        if self.max_batch > _MAX_BATCH:
            raise UsageError(f"A largest batch of {self.max_batch}.", f"at most {_MAX_BATCH}.")
        if self.workspace_mib is not None and not 1 <= self.workspace_mib <= _MAX_WORKSPACE_MIB:
            raise UsageError(
                f"A workspace of {self.workspace_mib} MiB.", f"1 to {_MAX_WORKSPACE_MIB} MiB."
            )
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise UsageError(f"Optimization level {self.optimization_level}.", "0 to 5.")
        if self.compatibility not in COMPATIBILITIES:
            raise UsageError(
                f"Unknown hardware compatibility {self.compatibility!r}.",
                f"one of {', '.join(COMPATIBILITIES)}.",
            )
        self._check_flavour()
        self._check_dla()

    def _check_flavour(self) -> None:
        if self.flavour == "tensorrt":
            if self.sm is not None:
                raise UsageError(
                    f"TensorRT was asked to build for SM{self.sm}.",
                    "no sm: TensorRT builds for the GPU of the machine that it runs on.",
                    "leave sm out, or use tensorrt-rtx, which builds ahead of time.",
                )
            return
        # Found by building with TensorRT-RTX 1.7: it warns that the first two do nothing, looks in
        # vain for a lean runtime for the third, and counts no DLA core.
        reasons = {
            "a timing cache": (self.timing_cache, "it chooses kernels on the GPU that runs them"),
            "hardware compatibility": (
                self.compatibility != "none",
                "its engines are built for the generations that --sm names",
            ),
            "version compatibility": (
                self.version_compatible,
                "its package brings no lean runtime",
            ),
            "a DLA core": (self.dla_core is not None, "it serves desktop GPUs, which have none"),
        }
        for what, (is_asked, reason) in reasons.items():
            if is_asked:
                raise UsageError(
                    f"TensorRT-RTX was asked for {what}.", f"none: {reason}.", "leave it out."
                )

    def _check_dla(self) -> None:
        if self.dla_core is None:
            return
        if self.dla_core < 0:
            raise UsageError(f"DLA core {self.dla_core}.", "0 or more.")
        if self.min_batch != self.max_batch:
            raise UsageError(
                f"A DLA core was asked to serve batches of {self.min_batch} to {self.max_batch}.",
                "one batch size: a DLA takes static shapes only.",
                "set the smallest, optimal and largest batch to the same number.",
            )
        if self.compatibility != "none":
            raise UsageError(
                "A DLA core and hardware compatibility were asked for at once.",
                "one of them: what is compiled for a DLA runs on that board only.",
            )


def configure(
    library: ModuleType,
    builder: Builder,
    precision: str,
    options: EngineOptions,
    sm: int,
    n_samples: int,
) -> BuilderConfig:
    """The `IBuilderConfig` that `options` ask for; the timing cache is attached by the caller.

    Raises:
        PlatformError: this version, GPU or board lacks something that was asked for.
    """
    config = builder.create_builder_config()
    if options.workspace_mib is not None:
        pool = library.MemoryPoolType.WORKSPACE
        config.set_memory_pool_limit(pool, options.workspace_mib << 20)
    if options.flavour == "tensorrt-rtx":
        # Without a target TensorRT-RTX builds a portable engine for several generations at once.
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(library.ComputeCapability, f"SM{sm}"), 0)
    # Descriptions of layers for the inspector: kept in the engine, no cost when it runs.
    config.profiling_verbosity = library.ProfilingVerbosity.DETAILED
    _set_weak_precision(library, config, precision)
    _set_optimization_level(library, config, options)
    _set_compatibility(library, config, options, sm)
    _set_dla(library, builder, config, precision, options)
    profile = builder.create_optimization_profile()
    batches = (options.min_batch, options.opt_batch, options.max_batch)
    profile.set_shape(INPUT, *((batch, n_samples) for batch in batches))
    config.add_optimization_profile(profile)
    return config


def check_precision_offered(library: ModuleType, precision: str, sm: int) -> None:
    """Refuse bf16 where the version or the GPU lacks it; every other precision is everywhere.

    Raises:
        PlatformError: with what to use instead.
    """
    if precision != "bf16":
        return
    if not hasattr(library.DataType, "BF16"):
        raise _missing(library, "bfloat16", "TensorRT 9 or newer", "use --precision fp16.")
    if sm < _AMPERE_SM:
        raise PlatformError(
            f"SM{sm} has no bfloat16.", "SM80 (Ampere) or newer.", "use --precision fp16."
        )


def _set_weak_precision(library: ModuleType, config: BuilderConfig, precision: str) -> None:
    """Allow fp16 or int8 kernels where the network is weakly typed (TensorRT 8).

    int8 comes without FP16, so that the layers outside Q/DQ stay in fp32 as on later versions.
    """
    strong = hasattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    name = builder_flag(precision)
    if name and not strong and hasattr(library.BuilderFlag, name):
        config.set_flag(getattr(library.BuilderFlag, name))


def _set_optimization_level(
    library: ModuleType,
    config: BuilderConfig,
    options: EngineOptions,
) -> None:
    if options.optimization_level is None:
        return
    if not hasattr(config, "builder_optimization_level"):
        raise _missing(library, "optimization levels", "TensorRT 8.6 or newer", "leave it out.")
    config.builder_optimization_level = options.optimization_level


def _set_compatibility(
    library: ModuleType,
    config: BuilderConfig,
    options: EngineOptions,
    sm: int,
) -> None:
    if options.version_compatible:
        if not hasattr(library.BuilderFlag, "VERSION_COMPATIBLE"):
            raise _missing(
                library, "version compatibility", "TensorRT 8.6 or newer", "leave it out."
            )
        config.set_flag(library.BuilderFlag.VERSION_COMPATIBLE)
    if options.compatibility == "none":
        return
    if sm in JETSON_SMS:
        raise PlatformError(
            f"Hardware compatibility was asked for on a Jetson (SM{sm}).",
            "a desktop or server GPU: TensorRT does not offer it on JetPack.",
            "leave it out: each board builds from the ONNX file.",
        )
    name = options.compatibility.replace("-", "_").upper()
    levels = getattr(library, "HardwareCompatibilityLevel", None)
    if not hasattr(levels, name):
        needed = "8.6" if name == "AMPERE_PLUS" else "10.13"
        raise _missing(
            library, options.compatibility, f"TensorRT {needed} or newer", "leave it out."
        )
    if sm < _AMPERE_SM and name == "AMPERE_PLUS":
        raise PlatformError(
            f"ampere-plus was asked for on SM{sm}.", "a build on SM80 (Ampere) or newer."
        )
    config.hardware_compatibility_level = getattr(levels, name)


def _set_dla(
    library: ModuleType,
    builder: Builder,
    config: BuilderConfig,
    precision: str,
    options: EngineOptions,
) -> None:
    """Let the DLA take every layer that it can run, and the GPU the rest."""
    if options.dla_core is None:
        return
    if not builder_flag(precision):
        raise UsageError(
            f"A DLA core was asked to run {precision}.", "fp16 or int8, the only two it computes."
        )
    if PRECISIONS[precision].is_int8 and is_version_8(library):
        raise _missing(library, "Q/DQ on a DLA", "fp16 on its DLA", "use --precision fp16.")
    count = int(builder.num_DLA_cores)
    if options.dla_core >= count:
        raise PlatformError(
            f"DLA core {options.dla_core} was asked for; TensorRT {library.__version__} finds "
            f"{count} here.",
            "a Jetson Orin or Xavier, whose TensorRT serves its DLA: up to 10.7, and 11.4.1 with "
            "JetPack 7.2.2. Thor and desktop GPUs have no DLA.",
            "leave the DLA core out: the GPU runs every layer.",
        )
    config.default_device_type = library.DeviceType.DLA
    config.DLA_core = options.dla_core
    config.set_flag(library.BuilderFlag.GPU_FALLBACK)


def builder_flag(precision: str) -> str:
    """What allows a precision where networks are weakly typed; "" where nothing must."""
    return PRECISIONS[precision].builder_flag if precision in PRECISIONS else ""


def is_version_8(library: ModuleType) -> bool:
    return int(library.__version__.partition(".")[0]) == 8


def _missing(library: ModuleType, what: str, expected: str, fix: str) -> PlatformError:
    return PlatformError(
        f"{library.__name__} {library.__version__} has no {what}.", f"{expected}.", fix
    )
