"""What foreign weights are converted to."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from gmme_edge.licenses import check_license
from gmme_edge.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class ConversionSettings(Settings):
    """The network that the weights are of."""

    panel = "Network"

    task: str = setting(MISSING, "esc50, urbansound8k or speech-commands.")
    model: str = setting(MISSING, "A preset, such as eat-s-aa.")
    classes: int | None = setting(None, "If not the task's own number.", least=1, most=1_000_000)
    labels: Path | None = setting(None, "A text file, one class name per line, in logit order.")
    data_license: str | None = setting(
        None, "Of the recordings that the weights were trained on, such as CC-BY-NC-3.0."
    )
    force: bool = setting(False, "Replace a checkpoint that -o holds.", "--force", panel="Output")

    def check(self) -> None:
        if self.data_license is not None:
            check_license(self.data_license)
