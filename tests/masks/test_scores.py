import pytest
import torch

from graphprune.masks import MaskSet, gradient, magnitude, random, saliency

PARAMS = {"a": torch.tensor([[1.0, -3.0], [0.0, 2.0]]), "b": torch.tensor([[5.0]])}
GRADS = {"a": torch.tensor([[-2.0, 1.0], [7.0, -0.5]]), "b": torch.tensor([[0.0]])}
MASKS = MaskSet.of({"a": torch.ones(2, 2, dtype=torch.bool)})


def test_scores_are_those_of_their_formula_for_masked_parameters_only() -> None:
    assert magnitude(PARAMS, {}, MASKS).keys() == {"a"}
    assert torch.equal(magnitude(PARAMS, {}, MASKS)["a"], PARAMS["a"].abs())
    assert torch.equal(gradient({}, GRADS, MASKS)["a"], GRADS["a"].abs())
    assert torch.equal(saliency(PARAMS, GRADS, MASKS)["a"], (PARAMS["a"] * GRADS["a"]).abs())


def test_scores_of_parameters_carry_no_graph() -> None:
    layer = torch.nn.Linear(3, 2)
    masks = MaskSet.dense(layer)
    assert not magnitude(dict(layer.named_parameters()), {}, masks)["weight"].requires_grad


def test_random_scores_depend_on_seed_and_name_alone() -> None:
    both = MaskSet.of({"b": torch.ones(4, 5, dtype=torch.bool), "a": torch.zeros(4, 5, dtype=torch.bool)})
    one = MaskSet.of({"a": torch.ones(4, 5, dtype=torch.bool)})
    scores = random(3)({}, {}, both)
    torch.manual_seed(1)
    assert torch.equal(random(3)({}, {}, one)["a"], scores["a"])
    assert not torch.equal(scores["a"], scores["b"])
    assert not torch.equal(random(4)({}, {}, one)["a"], scores["a"])


def test_random_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    random(0)({}, {}, MASKS)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(KeyError, match="no gradient for 'a'"):
        saliency(PARAMS, {}, MASKS)
    with pytest.raises(KeyError, match="no parameter for 'a'"):
        magnitude({}, {}, MASKS)
