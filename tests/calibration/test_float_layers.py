"""The search for the fewest layers in floating point, against made-up drops."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from gmme_calibration.float_layers import Budget, find_float_layers
from gmme_edge.blocks import Layer


def layers_of(macs: list[int]) -> tuple[Layer, ...]:
    return tuple(Layer(f"layer{i}", (f"n{i}",), (f"o{i}",), m, True) for i, m in enumerate(macs))


layer_lists = st.lists(st.tuples(st.integers(1, 100), st.floats(1e-6, 10)), min_size=1, max_size=40)


@given(layer_lists, st.floats(0, 1), st.floats(0, 3))
def test_where_noise_adds_up_the_shortest_list_is_found(
    drawn: list[tuple[int, float]], share: float, allowed: float
) -> None:
    layers = layers_of([macs for macs, _ in drawn])
    noise = {layer.name: n for layer, (_, n) in zip(layers, drawn, strict=True)}

    def drop(floats: tuple[str, ...]) -> float:
        return sum(n for name, n in noise.items() if name not in floats)

    found = find_float_layers(layers, noise, drop, Budget(allowed, share))
    total = sum(layer.macs for layer in layers)
    by_name = {layer.name: layer for layer in layers}
    assert sum(by_name[name].macs for name in found.chosen.floats) <= share * total + 1e-9
    assert found.met == (found.chosen.drop_points <= allowed + 1e-9)
    assert len(found.trials) <= 2 * math.log2(len(layers)) + 3
    # Of the order in which layers are taken, none shorter does.
    ranked = sorted(layers, key=lambda layer: (-noise[layer.name] / layer.macs, layer.name))
    fitting: list[str] = []
    for layer in ranked:
        if sum(by_name[name].macs for name in fitting) + layer.macs <= share * total:
            fitting.append(layer.name)
    holding = [n for n in range(len(fitting) + 1) if drop(tuple(fitting[:n])) <= allowed + 1e-9]
    assert found.met == bool(holding)
    if holding:
        assert found.chosen.floats == tuple(fitting[: holding[0]])


def test_nothing_is_excepted_where_nothing_is_lost() -> None:
    layers = layers_of([5, 5])
    found = find_float_layers(layers, {"layer0": 1, "layer1": 2}, lambda _: 0.5, Budget(0.5))
    assert (found.chosen.floats, found.met, len(found.trials)) == ((), True, 1)


def test_out_of_budget_the_best_that_was_tried_is_told() -> None:
    layers = layers_of([1, 1, 98])
    noise = {"layer0": 3.0, "layer1": 2.0, "layer2": 1.0}
    drops = {0: 9.0, 1: 4.0, 2: 6.0}
    found = find_float_layers(layers, noise, lambda floats: drops[len(floats)], Budget(0.5, 0.1))
    assert not found.met and found.chosen.floats == ("layer0",)
    assert [trial.float_macs for trial in found.trials] == [0, 0.01, 0.02]
    assert found.to_dict()["trials"][1]["drop_points"] == 4.0


def test_it_is_deterministic() -> None:
    layers = layers_of([3, 3, 3, 3])
    noise = dict.fromkeys((layer.name for layer in layers), 1.0)
    runs = [
        find_float_layers(order, noise, lambda floats: 2.0 - len(floats), Budget(0.5, 1.0))
        for order in itertools.permutations(layers)
    ]
    assert {run.chosen.floats for run in runs} == {("layer0", "layer1")}
