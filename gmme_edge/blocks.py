"""The blocks of a network, as the names in an exported graph tell them.

An exported node or tensor is called after its module, ``stage2.3.conv_f/Conv``. Engines carry these
names into their profiles, also into those of fused nodes.
"""

from __future__ import annotations

import re

INPUT_BLOCK, HEAD_BLOCK = "input", "head"
FILTERS_OF_FRONT = 2
"""The front, which INT8 leaves in floating point, ends with this anti-alias filter."""

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
