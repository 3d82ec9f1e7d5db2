"""Which clips set the ranges of INT8, and by which method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gmme_edge.errors import UsageError
from gmme_edge.settings import Settings, is_given, setting

_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class CalibrationSettings(Settings):
    """Recordings that the exported graphs are checked on and that calibrate INT8."""

    panel = "Calibration"

    calib_dataset: str | None = setting(
        None, "Data set whose training clips calibrate INT8; unlabelled for any recordings."
    )
    calib_data: Path | None = setting(None, "Its folder, or CSV file.")
    calib_size: int | None = setting(
        None,
        "Clips, shared out by class and level.  [default: 128]",
        least=1,
        most=1_000_000,
        needs="calib_data",
    )
    calib_seed: int | None = setting(
        None, "Of the choice of clips.  [default: 0]", least=0, most=2**63 - 1, needs="calib_data"
    )
    calib_method: str = setting(
        "mean+std", "Ranges: mean+std, mean, minmax, percentile[:P], entropy or mse."
    )
    calib_clips: Path | None = setting(
        None,
        "Calibrate on exactly the clips that this calibration.json names.",
        needs="calib_data",
    )
    save_calib_clips: Path | None = setting(
        None, "Write the names and hashes of the clips to this file.", needs="calib_data"
    )
    fold: int | None = setting(
        None, "The fold to test on, where the data set has folds.", needs="calib_data"
    )
    allow_seen: bool = setting(
        False,
        "Calibrate on the model's own test clips all the same.",
        "--allow-seen",
        needs="calib_data",
    )

    @property
    def size(self) -> int:
        return self.calib_size or _SIZE

    @property
    def seed(self) -> int:
        return self.calib_seed or 0

    def check(self) -> None:
        if is_given(self, "calib_method"):
            from gmme_calibration.thresholds import Method  # numpy, which --help does without

            Method.parse(self.calib_method)
        if (self.calib_dataset is None) != (self.calib_data is None):
            raise UsageError(
                "--calib-dataset and --calib-data belong together.", "both, or neither."
            )
        if self.calib_dataset == "unlabelled":  # every recording is a training clip of no class
            for name in ("fold", "allow_seen"):
                if is_given(self, name):
                    flag = "--" + name.replace("_", "-")
                    raise UsageError(f"{flag} with unlabelled recordings.", "labelled ones.")
        if self.calib_clips and (self.calib_size is not None or self.calib_seed is not None):
            raise UsageError(
                "--calib-clips names the clips.", "no --calib-size and no --calib-seed."
            )
