"""What TensorRT's objects are called in signatures; its Python modules have no type stubs.

For a type checker each is anything. Which members a version has is in
``tests/exporters/tensorrt_api.json``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Builder: TypeAlias = Any
BuilderConfig: TypeAlias = Any
Engine: TypeAlias = Any
Network: TypeAlias = Any
Parser: TypeAlias = Any
ProgressMonitor: TypeAlias = Any
