"""What `sensitivity` shows: one row per part of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from gmme_edge.report.render.sensitivity import in_db


def sensitivity_table(document: Mapping[str, Any]) -> Table:
    """Noise and accuracy of each part, quantized alone and all but it."""
    reference = document["accuracy_float"]
    caption = "alone: only this part is INT8; others: all but this part"
    if reference is not None:
        caption += f"; float32 {reference:.1%} of {document['n_validation']} validation clips"
    table = Table("part", caption=caption)
    for heading in ("MACs", "alone dB", "others dB", "alone", "others"):
        table.add_column(heading, justify="right")
    for effect in document["effects"]:
        accuracies = (effect["accuracy_alone"], effect["accuracy_others"])
        table.add_row(
            Text(effect["part"]),
            f"{effect['macs']:.1%}",
            in_db(effect["sqnr_alone_db"]),
            in_db(effect["sqnr_others_db"]),
            *("–" if value is None else f"{value:.1%}" for value in accuracies),
        )
    return table
