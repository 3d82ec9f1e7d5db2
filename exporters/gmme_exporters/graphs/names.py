"""Names of nodes and tensors that tell which module of the network they belong to.

``stage2.3.conv_f/Conv`` is the convolution of `EAT.stage2[3].conv_f`. Both of torch's exporters
note the module, each in its own way. So a list of layers stays valid from one export to the next.
"""

from __future__ import annotations

import ast

from onnx import ModelProto, NodeProto

from gmme_edge.blocks import HEAD_BLOCK, INPUT_BLOCK

_SCOPES = "pkg.torch.onnx.name_scopes"
_ROOT = "model."


def name_after_modules(proto: ModelProto) -> None:
    """Name every node ``module/Operator``, numbered where a module has several, and its outputs."""
    graph = proto.graph
    fixed = {value.name for value in graph.output}
    renamed: dict[str, str] = {}
    counts: dict[str, int] = {}
    module = INPUT_BLOCK
    for node in graph.node:
        module = _module_of(node, module)
        stem = f"{module}/{node.op_type}"
        counts[stem] = counts.get(stem, 0) + 1
        node.name = stem if counts[stem] == 1 else f"{stem}_{counts[stem]}"
        node.input[:] = [renamed.get(name, name) for name in node.input]
        for index, name in enumerate(node.output):
            if name and name not in fixed:
                renamed[name] = f"{node.name}:{index}"
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in graph.value_info:
        value.name = renamed.get(value.name, value.name)


def _module_of(node: NodeProto, previous: str) -> str:
    """The innermost module that the exporter noted; a node without a note follows `previous`."""
    noted = {entry.key: entry.value for entry in node.metadata_props}.get(_SCOPES)
    if noted is not None:
        # ['', 'model.stage2', 'model.stage2.3', 'model.stage2.3.conv_f', 'conv2d']
        inside = [scope for scope in ast.literal_eval(noted)[:-1] if scope.startswith(_ROOT)]
        module = inside[-1].removeprefix(_ROOT) if inside else ""
    elif node.name.startswith("/"):
        module = _torchscript_module(node.name)
    else:
        return previous
    return module or (INPUT_BLOCK if previous == INPUT_BLOCK else HEAD_BLOCK)


def _torchscript_module(name: str) -> str:
    """``/stage2/stage2.3/conv_f/Conv`` → ``stage2.3.conv_f``."""
    path: list[str] = []
    for part in name.split("/")[1:-1]:
        if path and part.startswith(f"{path[-1]}."):
            path.pop()  # a member of a Sequential repeats the name of its parent
        path.append(part)
    return ".".join(path)
