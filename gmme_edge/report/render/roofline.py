"""Blocks beside what the machine can do, as tables for 80 columns and as a bar chart."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gmme_edge.profiling.roofline import BlockWork, Roofline
from gmme_edge.report.render.plain_table import plain_table
from gmme_edge.report.render.svg import BLUE, GREY, Bar, BarGroup, draw_bars


def roofline_tables(profiles: Sequence[Roofline]) -> RenderableType:
    """Per network: the machine's peaks, then every block."""
    parts: list[RenderableType] = []
    for profile in profiles:
        parts += [_table(profile), ""]
    return Group(*parts)


def _table(profile: Roofline) -> Table:
    peaks = profile.peaks
    products = ", ".join(f"{name} {value:.0f}" for name, value in peaks.products.items())
    title = (
        f"{_title(profile)}\nat most {peaks.gflop_per_s:.0f} GFLOP/s ({products}), "
        f"{peaks.cache_gb_per_s:.0f} GB/s in caches, {peaks.memory_gb_per_s:.0f} GB/s in memory"
    )
    table = plain_table(title, ("block", "ms", "GFLOP/s", "of peak", "GB/s", "bound", "lost ms"))
    for block in profile.blocks:
        table.add_row(
            Text(block.block),
            f"{block.ms:.2f}",
            f"{block.gflop_per_s:.1f}",
            f"{block.gflop_per_s / peaks.gflop_per_s:.0%}",
            f"{block.gb_per_s:.1f}",
            block.bound,
            f"{block.lost_ms:.2f}",
        )
    return table


def draw_roofline(profiles: Sequence[Roofline]) -> str:
    """Time of each block above the time that the machine's peaks allow, as SVG."""
    groups = [
        BarGroup(
            f"{_title(profile)}: {sum(block.ms for block in profile.blocks):.1f} ms",
            [_bar(block, profile.peaks.gflop_per_s) for block in profile.blocks],
        )
        for profile in profiles
    ]
    caption = "Blue: measured. Grey: at the machine's peaks."
    return draw_bars("Time per block, and what the machine's peaks allow", groups, caption)


def _bar(block: BlockWork, peak: float) -> Bar:
    reached = f"{block.gflop_per_s:.0f} GFLOP/s, {block.gflop_per_s / peak:.0%}"
    text = f"{block.ms:.2f} ms ({reached if block.bound == 'compute' else 'memory'})"
    return Bar(block.block, [(block.ms, BLUE), (block.ideal_ms, GREY)], text)


def _title(profile: Roofline) -> str:
    return f"{profile.bundle} {profile.precision}, threads {profile.threads}, batch {profile.batch}"
