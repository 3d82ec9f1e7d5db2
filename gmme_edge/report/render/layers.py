"""Where a network's time goes, as tables for 80 columns and as a bar chart."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gmme_edge.profiling.layers import LayerProfile
from gmme_edge.report.render.plain_table import plain_table
from gmme_edge.report.render.svg import BLUE, Bar, BarGroup, draw_bars

_BAR_CELLS = 36


def layer_tables(profiles: Sequence[LayerProfile], top: int = 12) -> RenderableType:
    """Per profile: time by block with bars, time by operator, and the `top` slowest nodes."""
    parts: list[RenderableType] = []
    for profile in profiles:
        parts += [
            _block_table(profile),
            "",
            _operator_table(profile),
            "",
            _node_table(profile, top),
        ]
        parts.append("")
    return Group(*parts)


def _block_table(profile: LayerProfile) -> Table:
    table = plain_table(
        f"{_title(profile)}: {profile.total_ms:.2f} ms in nodes", ("block", "ms", "share")
    )
    table.add_column("")
    blocks = profile.blocks_ms()
    longest = max(blocks.values())
    for block, time_ms in blocks.items():
        bar = "█" * round(_BAR_CELLS * time_ms / longest)
        table.add_row(block, f"{time_ms:.2f}", f"{time_ms / profile.total_ms:.0%}", bar)
    return table


def _operator_table(profile: LayerProfile) -> Table:
    table = plain_table("by operator", ("operator", "ms", "share", "nodes"))
    for operator, time_ms in profile.operators_ms().items():
        nodes = sum(layer.operator == operator for layer in profile.layers)
        share = time_ms / profile.total_ms
        table.add_row(operator, f"{time_ms:.2f}", f"{share:.0%}", str(nodes))
    return table


def _node_table(profile: LayerProfile, top: int) -> Table:
    table = plain_table(f"the {top} slowest nodes", ("node", "ms"))
    for layer in sorted(profile.layers, key=lambda layer: -layer.median_ms)[:top]:
        table.add_row(Text(layer.name), f"{layer.median_ms:.2f}")
    return table


def _title(profile: LayerProfile) -> str:
    threads = "auto" if profile.threads is None else profile.threads
    where = f"threads {threads}" if profile.backend == "ort-cpu" else f"on {profile.backend}"
    return f"{profile.bundle} {profile.precision}, {where}, batch {profile.batch}"


def draw_layer_chart(profiles: Sequence[LayerProfile]) -> str:
    """Time per block of every profile, as SVG; all on one scale."""
    most = max(max(profile.blocks_ms().values()) for profile in profiles)
    groups = [
        BarGroup(
            f"{_title(profile)}: {profile.total_ms:.2f} ms",
            [Bar(block, [(ms, BLUE)], f"{ms:.2f} ms") for block, ms in profile.blocks_ms().items()],
            most,
        )
        for profile in profiles
    ]
    return draw_bars("Time per block of the network", groups)
