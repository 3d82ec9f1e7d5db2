"""The blocks of a network, as the names in an exported graph tell them.

An exported node or tensor is called after its module, ``stage2.3.conv_f/Conv``. Engines carry these
names into their profiles, also into those of fused nodes.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from gmme_edge.errors import UsageError

INPUT_BLOCK, HEAD_BLOCK = "input", "head"
FILTERS_OF_FRONT = 2
"""INT8 leaves the front in floating point; it ends with this strided filter per channel."""
FRONT, NOTHING = "front", "none"

# From the most to the least exact: ``stage1.stem.conv`` is the stem, ``stage1/Concat`` no block.
_PATTERNS = (
    re.compile(rf"\b(stem|stage\d+\.\d+|{INPUT_BLOCK})\b"),
    re.compile(r"\b(stage\d+)\b"),
)
_HEAD = re.compile(rf"\b(project|encoder|norm|classify|{HEAD_BLOCK})\b")


def block_of(name: str, otherwise: str = HEAD_BLOCK) -> str:
    """The block that a node or tensor belongs to; `otherwise` where it names no module.

    One of ``input`` (peak scaling), ``stem``, ``stage1.0`` … ``stage2.7``, ``stage1`` (between
    its blocks), ``head`` (projection, encoder, classifier).
    """
    for pattern in _PATTERNS:
        if match := pattern.search(name):
            return match[1]
    return HEAD_BLOCK if _HEAD.search(name) else otherwise


def span_of(name: str, otherwise: str = HEAD_BLOCK) -> str:
    """As `block_of`, of a layer that an engine fused: ``stem … stage1.0`` where it spans several.

    The name then joins those of the nodes in it, in the network's order.
    """
    found: list[str] = []
    for part in re.split(r"[+,\s]|\.\.\.", name):
        block = block_of(part, "")
        if block and block not in found:
            found.append(block)
    if not found:
        return otherwise
    return found[0] if len(found) == 1 else f"{found[0]} … {found[-1]}"


def choose_blocks(
    names: str, blocks: Collection[str], front: Collection[str], option: str
) -> frozenset[str]:
    """Comma-separated blocks as a set; ``front`` stands for `front`, ``none`` for nothing.

    Raises:
        UsageError: a name that is not in `blocks`; `option` is what held it.
    """
    wanted = {name.strip() for name in names.split(",")}
    if unknown := sorted(wanted - {FRONT, NOTHING, *blocks}):
        raise UsageError(
            f"{option} {names}: this network has no block {', '.join(unknown)}.",
            f"{FRONT}, {NOTHING}, or some of {', '.join(sorted(blocks))}.",
        )
    return frozenset((wanted - {FRONT, NOTHING}).union(front if FRONT in wanted else ()))


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
