"""What is used of TensorRT's objects; its Python modules have no type stubs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class EngineRuntime(Protocol):
    """``tensorrt.Runtime``."""

    def deserialize_cuda_engine(self, plan: bytes) -> CudaEngine | None: ...


class CudaEngine(Protocol):
    """``tensorrt.ICudaEngine``."""

    num_io_tensors: int

    def get_tensor_name(self, index: int) -> str: ...

    def get_tensor_shape(self, name: str) -> Iterable[int]: ...

    def get_tensor_dtype(self, name: str) -> object: ...

    def create_execution_context(self) -> ExecutionContext | None: ...


class ExecutionContext(Protocol):
    """``tensorrt.IExecutionContext``; each call tells whether it succeeded."""

    profiler: object

    def set_tensor_address(self, name: str, pointer: int) -> bool: ...

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...

    def execute_async_v3(self, stream: int) -> bool: ...
