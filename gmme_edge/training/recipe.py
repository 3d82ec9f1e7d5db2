"""Every number of a training run, frozen; it is saved with the checkpoint."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gmme_edge.blocks import FRONT, HEAD_BLOCK, INPUT_BLOCK, NOTHING
from gmme_edge.errors import UsageError

EmaUnit = Literal["step", "epoch"]
Freeze = Literal["none", "stem", "stage1", "backbone"]
Precision = Literal["32", "bf16", "16"]
Qat = Literal["off", "int8-ort", "int8-tensorrt"]

# The paper's section 3; Speech Commands is shorter because its data set is large.
_EPOCHS = {"esc50": 3500, "urbansound8k": 1500, "speech-commands": 300}

# What `train --qat` changes of a named recipe; docs/explanation/training.md.
QAT_EPOCHS = 2
QAT_CHANGES = {
    "qat": "int8-ort",
    "max_lr": 1e-4,
    "batch_size": 16,
    "mixing": False,
    "teacher_weight": 1.0,
}

_BLOCK = re.compile(rf"{FRONT}|{NOTHING}|{INPUT_BLOCK}|{HEAD_BLOCK}|stem|stage\d+(\.\d+)?")

# Below this many epochs, a decay of 0.995 per epoch would still hold the first epochs' weights.
_EPOCHS_FOR_EPOCH_EMA = 300

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_EXAMPLES = {
    "int": "a whole number.",
    "float": "a number.",
    "bool": "true or false.",
    "tuple": "numbers such as 0.9,0.99.",
}

# What `Recipe` checks: the fields, what they must be, and whether a value is.
_Limit = tuple[tuple[str, ...], str, Callable[[Any], bool]]
_LIMITS: tuple[_Limit, ...] = (
    (("epochs", "batch_size", "qat_clips"), "a positive whole number of at most 2^31 - 1",
     lambda v: 1 <= v < 1 << 31),
    (("seed",), "a whole number from 0 to 2^63 - 1", lambda v: 0 <= v < 1 << 63),
    (("max_lr", "epsilon", "gradient_norm", "layer_decay",
      "teacher_temperature", "noise_sine_hz", "stft_s"),
     "a positive number", lambda v: 0 < v < math.inf),
    (("weight_decay", "gain_low", "gain_high", "shift_s", "mask_s", "segment_s",
      "segment_gain_low", "segment_gain_high", "mixing_from_epoch"),
     "a number from 0 on", lambda v: 0 <= v < math.inf),
    (("warmup_fraction", "augment_probability", "resample_probability", "mixing_min_share",
      "teacher_weight"),
     "a number from 0 to 1", lambda v: 0 <= v <= 1),
    (("label_smoothing", "ema_decay", "dropout"),
     "a number from 0 up to, not including, 1", lambda v: 0 <= v < 1),
    (("noise_snr_db", "noise_snr_max_db"), "a number of decibels", math.isfinite),
    (("betas",), "two numbers from 0 up to, not including, 1",
     lambda v: len(v) == 2 and all(0 <= beta < 1 for beta in v)),
    (("resample_factors",), "numbers from 0.1 to 10", lambda v: all(0.1 <= f <= 10 for f in v)),
)  # fmt: skip
_ORDERED = (
    ("gain_low", "gain_high"),
    ("segment_gain_low", "segment_gain_high"),
    ("noise_snr_db", "noise_snr_max_db"),
)


# Fields that mean nothing where the first one is off.
_SWITCHED = {
    "augment": (
        "augment_probability", "gain_low", "gain_high", "shift_s", "mask_s", "segment_s",
        "segment_gain_low", "segment_gain_high", "noise", "noise_snr_db", "noise_snr_max_db",
        "noise_sine_hz", "resample_probability", "resample_factors",
    ),
    "noise": ("noise_snr_db", "noise_snr_max_db", "noise_sine_hz"),
    "mixing": ("mixing_from_epoch", "mixing_min_share"),
    "qat": ("qat_float", "qat_clips"),
    "teacher_weight": ("teacher_temperature",),
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A training run's settings; the defaults are those of EAT, which the paper follows.

    docs/explanation/training.md says where each number is from.

    Attributes:
        max_lr, warmup_fraction: OneCycle per step; AdamW with `betas` and `epsilon`.
        weight_decay: on weights of rank 2 and more.
        gradient_norm: clipping limit.
        label_smoothing: of the cross-entropy, until mixing starts.
        ema_decay, ema_unit: decay of the averaged weights per step or per epoch; the reference
            counts epochs, the paper does not say.
        dropout: in the Transformer encoder.
        crop_energy: a crop of a longer clip should have this part of the energy that falls to its
            length (`Crops`); 0 is the reference's plain random crop.
        augment: the per-clip augmentations, the noise and the resampling.
        augment_probability: of each per-clip augmentation and of the noise.
        gain_low, gain_high: factor on the whole clip; `segment_gain_…` on `segment_s` of it.
        shift_s: largest time shift either way; `mask_s` is the length of the silenced part.
        noise_snr_db, noise_snr_max_db: limits of the ratio of the clip's power to the noise's.
        noise_sine_hz: highest frequency of the low-frequency sine.
        resample_probability, resample_factors: of a batch, to so many times its length.
        mixing: whether two clips are mixed, once `mixing_from_epoch` epochs are done.
        mixing_min_share: the second clip's label counts from this share on.
        stft_s: the shortest STFT of FreqMix, PhMix and phase noise is the power of two nearest
            this duration; the others are twice and four times as long.
        freeze, layer_decay: which part of a pretrained network stays, and the factor on the
            learning rate per block away from the head.
        teacher_weight, teacher_temperature: share of the distillation loss, and its softening.
        qat, qat_float, qat_clips: which INT8 export the network computes like while it trains, with
            fixed BatchNorm statistics; the blocks that stay in floating point, ``front`` for those
            that the exporter leaves; on how many training clips ranges are found.
        precision: of the forward pass: float32, or autocast to bfloat16 or float16.
        compile: whether `torch.compile` is used.
    """

    epochs: int
    batch_size: int = 128
    max_lr: float = 3e-4
    warmup_fraction: float = 0.1
    weight_decay: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.99)
    epsilon: float = 1e-8
    gradient_norm: float = 1.0
    label_smoothing: float = 0.1
    ema_decay: float = 0.995
    ema_unit: EmaUnit = "epoch"
    dropout: float = 0.1
    crop_energy: float = 0.5
    augment: bool = True
    augment_probability: float = 0.5
    gain_low: float = 0.5
    gain_high: float = 1.3
    shift_s: float = 0.1
    mask_s: float = 0.1
    segment_s: float = 0.1
    segment_gain_low: float = 0.5
    segment_gain_high: float = 1.3
    noise: bool = True
    noise_snr_db: float = 30.0
    noise_snr_max_db: float = 35.0
    noise_sine_hz: float = 50.0
    resample_probability: float = 0.5
    resample_factors: tuple[float, ...] = (0.8, 0.9, 1.1, 1.2)
    mixing: bool = True
    mixing_from_epoch: int = 12
    mixing_min_share: float = 0.1
    stft_s: float = 0.02
    freeze: Freeze = "none"
    layer_decay: float = 1.0
    teacher_weight: float = 0.0
    teacher_temperature: float = 2.0
    qat: Qat = "off"
    qat_float: str = "front"
    qat_clips: int = 128
    precision: Precision = "32"
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for names, expected, holds in _LIMITS:
            for name in names:
                if not holds(getattr(self, name)):
                    raise UsageError(f"{name} = {getattr(self, name)}", f"{expected}.")
        for low, high in _ORDERED:
            if getattr(self, low) > getattr(self, high):
                raise UsageError(f"{low} = {getattr(self, low)} is over {high}.")
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                choices = ", ".join(get_args(kind))
                raise UsageError(f"{name} = {getattr(self, name)}", f"one of {choices}.")
        _check_blocks(self.qat_float)
        if self.qat != "off" and self.precision != "32":
            raise UsageError(f"qat in precision {self.precision}.", "precision 32, to round from.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The inverse of `to_dict`, also after JSON; a field that is missing has its default.

        Raises:
            UsageError: a field that this version does not know, or an impossible value.
        """
        _check_names(values)
        listed: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**listed)


def _check_blocks(names: str) -> None:
    """``qat_float``: ``front``, or names of blocks with commas; which ones, the network tells."""
    if not all(_BLOCK.fullmatch(part.strip()) for part in names.split(",")):
        raise UsageError(f"qat_float = {names}", "front, none, or blocks such as stem,stage1.0.")


def named_recipe(task: str, epochs: int | None = None, **overrides: object) -> Recipe:
    """The paper's recipe for `task`: esc50, urbansound8k or speech-commands.

    A shorter schedule averages the weights per step (`default_ema_unit`), and float16 or bfloat16
    raise AdamW's epsilon to the reference's 1e-4, unless `overrides` say otherwise.

    Raises:
        UsageError: an unknown task or field, or an impossible value.
    """
    if task not in _EPOCHS:
        raise UsageError(f"No recipe is called {task!r}.", f"one of {', '.join(_EPOCHS)}.")
    epochs = _EPOCHS[task] if epochs is None else epochs
    chosen: dict[str, Any] = {"epochs": epochs, "ema_unit": default_ema_unit(epochs)}
    if overrides.get("precision", "32") != "32":
        chosen["epsilon"] = 1e-4
    return Recipe.from_dict({**chosen, **overrides})


def override(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """`recipe` with fields set by text such as ``"max_lr=1e-3"`` or ``"betas=0.9,0.999"``.

    Raises:
        UsageError: not name=value, an unknown name, a value that the field cannot have, or a field
            of what is switched off.
    """
    kinds, changes = get_type_hints(Recipe), dict[str, Any]()
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"{assignment!r} sets nothing.", "name=value, such as max_lr=1e-3.")
        name, text = name.strip(), text.strip()
        _check_names((name,))
        try:
            changes[name] = _parse(text, kinds[name])
        except ValueError:
            kind = type(getattr(recipe, name)).__name__
            raise UsageError(f"{name} cannot be {text!r}.", _EXAMPLES[kind]) from None
    changed = replace(recipe, **changes)
    for switch, names in _SWITCHED.items():
        if getattr(changed, switch) in (False, 0.0, "off"):
            for name in sorted(changes.keys() & set(names)):
                raise UsageError(f"--set {name} without {switch}.", "both, or neither.")
    return changed


def default_ema_unit(epochs: int) -> EmaUnit:
    return "epoch" if epochs >= _EPOCHS_FOR_EPOCH_EMA else "step"


def _check_names(names: Iterable[str]) -> None:
    known = [field.name for field in fields(Recipe)]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"A recipe has no {', '.join(unknown)}.", f"one of {', '.join(known)}.")


def _parse(text: str, kind: object) -> object:
    if get_origin(kind) is tuple:
        return tuple(float(part) for part in text.split(",") if part.strip())
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError
        return _BOOLEANS[text.lower()]
    return int(text) if kind is int else float(text) if kind is float else text
