"""An option without its partner is refused: for every option of every command that has one."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.errors import UsageError
from gmme_edge.settings import Settings, flag_of, setting, settings_of
from gmme_edge.workflows.settings.training import RecipeSettings
from gmme_edge.workflows.training_plan import build_recipe

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def groups_of(kind: Any) -> Iterator[type[Settings]]:  # noqa: ANN401 - any annotation
    """A group and the groups in it."""
    if isinstance(kind, type) and issubclass(kind, Settings):
        yield kind
        for inner in get_type_hints(kind).values():
            yield from groups_of(inner)


def annotations_of(command: Any) -> dict[str, Any]:  # noqa: ANN401 - click's or typer's
    """What the function takes that the command was made of."""
    return inspect.get_annotations(inspect.unwrap(command.callback), eval_str=True)


def options() -> Iterator[tuple[str, type[Settings], dataclasses.Field[Any]]]:
    """Each setting of each command that takes it."""
    for name, command in COMMANDS.items():
        for kind in annotations_of(command).values():
            for group in groups_of(kind):
                for each in settings_of(group):
                    yield name, group, each


OPTIONS = tuple(options())
WITH_PARTNERS = [found for found in OPTIONS if found[2].metadata["setting"].partners]


def some_value(group: type[Settings], each: dataclasses.Field[Any]) -> list[str]:
    """The option as a shell gives it, with a value that is not its default."""
    known, kind = each.metadata["setting"], str(get_type_hints(group)[each.name])
    if "bool" in kind:
        return [flag_of(each)]
    if "int" in kind or "float" in kind:
        bounds = (known.least, known.most)
        number = next(b for b in (*bounds, 1) if b is not None and b != each.default)
        return [flag_of(each), f"{number:g}" if number < 1e6 else str(int(number))]
    return [flag_of(each), known.choices[0] if known.choices else "x"]


def required(command: str) -> list[str]:
    """What the command cannot do without."""
    words = []
    for parameter in COMMANDS[command].params:
        if parameter.required:
            flags = [] if parameter.param_type_name == "argument" else [parameter.opts[0]]
            words += [*flags, "x"]
    return words


@pytest.mark.parametrize(
    ("command", "group", "each"),
    WITH_PARTNERS,
    ids=[f"{command} {flag_of(each)}" for command, _, each in WITH_PARTNERS],
)
def test_an_option_without_its_partner_is_refused(
    command: str, group: type[Settings], each: dataclasses.Field[Any]
) -> None:
    result = CliRunner().invoke(app, [command, *required(command), *some_value(group, each)])
    assert result.exit_code == 2, result.output
    assert f"{flag_of(each)} without --" in result.stderr
    for partner in each.metadata["setting"].partners:
        named = next(field for field in settings_of(group) if field.name == partner)
        assert flag_of(named) in result.stderr


def test_the_partners_were_found() -> None:
    commands = {command for command, _, _ in OPTIONS}
    assert len(WITH_PARTNERS) >= 25 and {"train", "export", "compare"} <= commands


TRAIN = ["train", "--dataset=folder", "--data=x", "-o", "x"]
EXPORT = ["export", "x", "-o", "x"]
EVALUATE = ["evaluate", "x", "--dataset=folder", "--data=x"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([*TRAIN, "--against", "x"], ("--against", "--folds")),
        ([*EXPORT, "--calib-data", "x"], ("--calib-data", "--calib-dataset")),
        ([*EXPORT, "--calib-dataset", "x"], ("--calib-data", "--calib-dataset")),
        ([*EXPORT, "--skip-bad"], ("--skip-bad", "--calib-data")),
        ([*EXPORT, "--task", "esc50"], ("--task", "--untrained")),
        ([*EXPORT, "--classes", "3"], ("--classes", "--untrained")),
        ([*EXPORT, "--untrained"], ("--untrained", "--task")),
        ([*EXPORT, "--equalize"], ("--equalize", "INT8")),
        ([*EXPORT, "--no-equalize"], ("--no-equalize", "INT8")),
        ([*EXPORT, "--bias-correction"], ("--bias-correction", "INT8")),
        ([*EXPORT, "--int8-float", "none"], ("--int8-float", "INT8")),
        ([*EXPORT, "--calib-method", "mse"], ("--calib-method", "INT8")),
        ([*EXPORT, "--max-accuracy-drop", "1"], ("--max-accuracy-drop", "INT8")),
        ([*EXPORT, "--calib-dataset=unlabelled", "--calib-data=x", "--fold", "1"], ("--fold",)),
        ([*EXPORT, "--calib-dataset=unlabelled", "--calib-data=x", "--allow-seen"],
         ("--allow-seen", "unlabelled")),
        ([*EXPORT, "--sm=86"], ("--sm", "--engine tensorrt-rtx")),
        ([*EXPORT, "--engine=tensorrt", "--sm=86"], ("SM86", "TensorRT")),
        ([*EXPORT, "--engine=tensorrt-rtx", "--timing-cache=x"], ("timing cache",)),
        ([*EVALUATE, "--backend=tensorrt", "--threads=2"], ("--threads", "--backend tensorrt")),
        (["predict", "x", "x", "--backend=tensorrt", "--threads=2"], ("--threads",)),
        (["predict", "x", "x", "--rebuild"], ("--rebuild", "--backend ort-cpu")),
        (["verify", "x", "--backend=ort-cuda", "--threads=2"], ("--threads",)),
        (["verify", "x", "--rebuild"], ("--rebuild",)),
        (["profile", "x", "--backend=tensorrt", "--threads=2"], ("--threads",)),
        (["profile", "x", "--rebuild"], ("--rebuild", "--backend ort-cpu")),
        (["profile", "x", "--layers", "--max-latency-p90-ms", "1"], ("--layers",)),
        (["profile", "x", "--layers", "--seed", "1"], ("--layers", "--seed")),
        (["listen", "x", "--rebuild"], ("--rebuild",)),
        (["listen", "x", "--no-gate", "--gate-level-dbfs=-50"], ("--gate-level-dbfs",)),
        (["listen", "x", "--file=x", "--backlog-s=5"], ("--file", "--backlog-s")),
        (["scan", "x", "-o", "x", "--no-gate", "--gate-level-dbfs=-50"], ("--gate-level-dbfs",)),
        (["scan", "-o", "x"], ("no recordings",)),
        (["models", "esc10", "--json"], ("--json",)),
        (["models", "esc10", "--task", "esc50"], ("--task",)),
        (["sign", "--new-key", "x", "--comment", "x"], ("--new-key",)),
        (["sign", "x"], ("--key",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_partner_of_another_kind_is_missed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert all(word in result.stderr for word in named), result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("assigned", "switch"),
    [
        (("qat_float=none",), "qat"),
        (("mixing=false", "mixing_from_epoch=2"), "mixing"),
        (("noise=false", "noise_sine_hz=40"), "noise"),
        (("augment=false", "gain_low=0.4"), "augment"),
        (("teacher_temperature=3",), "teacher_weight"),
        (("teacher_weight=0.5",), "--teacher"),
    ],
)
def test_a_number_of_what_is_switched_off_is_refused(
    assigned: tuple[str, ...], switch: str
) -> None:
    with pytest.raises(UsageError, match=f"without {switch}"):
        build_recipe("esc50", RecipeSettings(assign=assigned))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Two(Settings):
    first: str | None = setting(None, "")
    second: bool = setting(False, "", "--second")
    depends: int | None = setting(None, "", needs=("first", "second"))


def test_one_of_several_partners_suffices() -> None:
    assert _Two(depends=1, second=True).depends == 1
    with pytest.raises(UsageError, match="--depends without --first or --second"):
        _Two(depends=1)


def is_number(kind: object) -> bool:
    return not {int, float}.isdisjoint({kind, *get_args(kind)})


def test_every_number_of_a_command_is_bounded() -> None:
    """NaN passes typer's bounds, so a number with a point belongs into a group."""
    checked = []
    for command_name, command in COMMANDS.items():
        for name, hint in annotations_of(command).items():
            kind, *facts = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            if is_number(kind):
                assert float not in (kind, *get_args(kind)), f"{command_name} {name}"
                assert None not in (facts[0].min, facts[0].max), f"{command_name} {name}"
                checked.append(name)
    assert {"limit_mb", "epochs", "threads"} <= set(checked)


# By the recipe, by the data set's number of folds, and by ONNX.
BOUNDED_ELSEWHERE = {"fold", "opset", "teacher_weight", "teacher_temperature", "layer_decay"}


def test_every_number_of_a_group_is_bounded() -> None:
    for _, group, each in OPTIONS:
        known = each.metadata["setting"]
        if group is RecipeSettings or each.name in BOUNDED_ELSEWHERE:
            continue
        if is_number(get_type_hints(group)[each.name]):
            assert None not in (known.least, known.most), f"{group.__name__}.{each.name}"
