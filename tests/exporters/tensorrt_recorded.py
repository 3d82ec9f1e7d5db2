"""A stand-in for one TensorRT version, with exactly the names that its real bindings offer.

Its objects refuse what the column of ``tensorrt_api.json`` lacks with an `AttributeError`, as the
real ones do, and record how they were asked.
"""

# ruff: noqa: ANN401, N802 - the names and the untyped arguments are TensorRT's

from __future__ import annotations

import json
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

from tests.exporters.tensorrt_api import COLUMNS, TABLE
from tests.exporters.tensorrt_graphs import SAMPLES
from tests.fake_gpu import FakeCuda, FakeLibrary

_NAMES: dict[str, str] = json.loads(TABLE.read_text())["names"]
_ENUMS = (
    "NetworkDefinitionCreationFlag", "BuilderFlag", "DataType", "DeviceType", "MemoryPoolType",
    "HardwareCompatibilityLevel", "ProfilingVerbosity", "ErrorCode",
)  # fmt: skip


class RecordedTensorRT(FakeLibrary):
    """A builder and parser of one version.

    Attributes:
        asked: the arguments of each method's last call, and each attribute that was set.
        flags: the builder's flags, in order.
        plan: what a build yields; None is a failed one.
    """

    def __init__(self, column: str, version: str, dla_cores: int = 0) -> None:
        super().__init__(FakeCuda(), "tensorrt", version)
        index = list(COLUMNS).index(column)
        self.offered = {name for name, columns in _NAMES.items() if columns[index] == "1"}
        self.absent: set[str] = set()
        self.asked: dict[str, Any] = {}
        self.plan: bytes | None = b"a plan"
        self.dla_cores, self.takes_cache = dla_cores, True
        self.flags: list[str] = []
        for name in _ENUMS:
            prefix = f"{name}."
            members = [n.removeprefix(prefix) for n in self.offered if n.startswith(prefix)]
            members = sorted(member for member in members if member.isupper())
            if members:
                setattr(self, name, IntEnum(name, members, start=0))  # type: ignore[misc]
        if "IProgressMonitor" in self.offered:
            self.IProgressMonitor = type("IProgressMonitor", (), {})
        tensor = SimpleNamespace(name="waveform", shape=(-1, SAMPLES), dtype=self.float32)
        self.network = SimpleNamespace(
            num_inputs=1, num_outputs=1, num_layers=7,
            get_input=lambda _: tensor, get_output=lambda _: SimpleNamespace(name="logits"),
        )  # fmt: skip

    def Builder(self, logger: Any) -> Any:
        cache = SimpleNamespace(
            serialize=lambda: self.asked["create_timing_cache"][0] + b"+timings"
        )
        config = Recorded(self, "IBuilderConfig", {
            "set_flag": lambda flag: self.flags.append(flag.name),
            "create_timing_cache": lambda blob: cache,
            "set_timing_cache": lambda cache, ignore_mismatch: self.takes_cache,
            "get_timing_cache": lambda: cache,
        })  # fmt: skip
        profile = Recorded(self, "IOptimizationProfile", {})
        return Recorded(self, "Builder", {
            "num_DLA_cores": self.dla_cores,
            "create_network": lambda flags: self.network,
            "create_builder_config": lambda: config,
            "create_optimization_profile": lambda: profile,
            "build_serialized_network": lambda network, config: self.plan,
        })  # fmt: skip

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        return SimpleNamespace(parse_from_file=lambda path: True)


class Recorded:
    """An object of the class `kind`; `members` are its methods and attributes that matter."""

    def __init__(self, library: RecordedTensorRT, kind: str, members: dict[str, Any]) -> None:
        vars(self).update(_library=library, _kind=kind, _members=members)

    def _check(self, name: str) -> None:
        full = f"{self._kind}.{name}"
        if full not in self._library.offered - self._library.absent:
            raise AttributeError(full)

    def __setattr__(self, name: str, value: Any) -> None:
        self._check(name)
        self._library.asked[name] = value

    def __getattr__(self, name: str) -> Any:
        self._check(name)
        member = self._members.get(name, lambda *_: None)
        if not callable(member):
            return member

        def call(*arguments: Any) -> Any:
            self._library.asked[name] = arguments
            return member(*arguments)

        return call
