"""The blocks of a network, as the names in an exported graph tell them.

An exported node or tensor is called after its module, ``stage2.3.conv_f/Conv``. Engines carry these
names into their profiles, also into those of fused nodes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

INPUT_BLOCK, HEAD_BLOCK = "input", "head"
_BLOCK = re.compile(rf"\b(stem|stage\d+(?:\.\d+)?|{INPUT_BLOCK})\b")


def block_of(name: str) -> str:
    """The block that a node or tensor belongs to.

    One of ``input`` (peak scaling), ``stem``, ``stage1.0`` … ``stage2.7``, ``stage1`` (between
    its blocks), ``head`` (projection, encoder, classifier, and whatever names no module).
    """
    match = _BLOCK.search(name)
    return match[1] if match else HEAD_BLOCK


@dataclass(frozen=True)
class Layer:
    """Weights of an exported graph and what computes with them.

    Attributes:
        name: the module's, ``stage2.3.conv_f``.
        nodes: names of the nodes that use the weights: one, or two where a clip's edges are split
            off.
        outputs: the tensors that these put out.
        macs: multiply-adds for one clip, of all nodes together.
        is_conv: a convolution, whose channels are the outputs' second axis; else a product.
    """

    name: str
    nodes: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int
    is_conv: bool

    @property
    def block(self) -> str:
        return block_of(self.name)
