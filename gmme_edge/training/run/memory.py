"""How much memory a step will take, told before it is taken."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch
from torch import Tensor

from gmme_edge.errors import PlatformError
from gmme_edge.models.eat import EAT
from gmme_edge.spec import ModelSpec
from gmme_edge.training.recipe import Recipe

# Of the activations that a step keeps for its gradients: what it takes at its peak.
_PEAK = 1.25  # 1.13 was measured on a CPU
_PEAK_QAT = 2.2  # the rounded copies
_SHARE = 0.85  # of what is free
_COPIES = 8  # of the weights: gradients, two moments, averages and what a save copies


def activation_bytes(spec: ModelSpec) -> int:
    """What one clip's activations take until the backward pass, in float32."""
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        alive.append(tensor)
        return tensor

    def give_back(tensor: Tensor) -> Tensor:
        return tensor

    with torch.device("meta"):
        model = EAT(spec).to("meta").train()
        clips = torch.zeros(2, 1, spec.n_samples)
        with torch.autograd.graph.saved_tensors_hooks(keep, give_back):
            model(clips)
    weights = sum(p.nbytes for p in model.parameters())
    return max(sum(kept.values()) - weights, 0) // 2


def fitting_micro_batch(spec: ModelSpec, recipe: Recipe, n_clips: int, free: int) -> int | None:
    """How many of a process's `n_clips` one pass may hold; None if all of them fit.

    Raises:
        PlatformError: not even one fits into `free` bytes.
    """
    per_clip = activation_bytes(spec) * (_PEAK if recipe.qat == "off" else _PEAK_QAT)
    with torch.device("meta"):
        fixed = _COPIES * sum(p.nbytes for p in EAT(spec).parameters())
    room = _SHARE * free - fixed
    fits = int(room // per_clip)
    if fits >= n_clips:
        return None
    if fits < 1:
        raise PlatformError(
            f"A training step of {spec.name} takes about {(per_clip + fixed) / 1e9:.1f} GB for a "
            f"single clip of {spec.n_samples} samples, and {free / 1e9:.1f} GB are free.",
            "room for at least one clip.",
            "shorten the clip, choose a smaller model, or free memory; --micro-batch 1 tries "
            "all the same.",
        )
    n_parts = -(-n_clips // fits)
    return -(-n_clips // n_parts)


def free_bytes(device: torch.device) -> int | None:
    """What this process may still take on `device`, limits of its container included."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [_meminfo(), _cgroup_room()]
    known = [value for value in found if value is not None]
    return min(known, default=None)


def _meminfo() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _cgroup_room() -> int | None:
    """Under a limit of cgroup v2 or v1, what is left of it, the reclaimable cache included."""
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file "),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file "),
    ):
        root = Path("/sys/fs/cgroup")
        with contextlib.suppress(OSError, ValueError):
            most, now = (int((root / name).read_text()) for name in (limit, used))
            stat = (root / limit).with_name("memory.stat").read_text().splitlines()
            spare = sum(int(line.split()[1]) for line in stat if line.startswith(cache))
            return max(most - now + spare, 0)
    return None
