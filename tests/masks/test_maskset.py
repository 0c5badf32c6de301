import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from graphprune.masks import MaskSet, magnitude, prunable, random, rewind_


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4))


def half(net: nn.Module) -> MaskSet:
    masks = MaskSet.dense(net)
    return masks.tighten(magnitude(dict(net.named_parameters()), {}, masks), 0.5)


def test_dense_keeps_everything_selected() -> None:
    masks = MaskSet.dense(model(), select=prunable(exclude=["2.*"]))
    assert list(masks) == ["0.weight"]
    assert (masks.kept, masks.total, masks.density, masks.sparsity) == (30, 30, 1.0, 0.0)
    assert masks["0.weight"].dtype == torch.bool


def test_numbers_and_ledger_agree() -> None:
    masks = half(model())
    assert (masks.kept, masks.total) == (25, 50)
    assert [row.name for row in masks.ledger] == ["0.weight", "2.weight"]
    assert sum(row.kept for row in masks.ledger) == masks.kept
    assert masks.ledger[0].shape == (5, 6) and masks.ledger[0].density == masks.ledger[0].kept / 30
    assert "25 of 50" in repr(masks)


def test_collapsed_layers_are_named() -> None:
    masks = MaskSet.of({"a": torch.zeros(2, 2, dtype=torch.bool), "b": torch.ones(2, dtype=torch.bool)})
    assert masks.collapsed == ("a",)
    assert half(model()).collapsed == ()


def test_apply_removes_nan_and_inf_too_and_leaves_the_rest_bitwise() -> None:
    net = model()
    masks = half(net)
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        net[0].weight[~masks["0.weight"]] = torch.nan
        net[2].weight[~masks["2.weight"]] = torch.inf
    masks.apply_(net)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name].masked_fill(~masks[name], 0) if name in masks else before[name])
    masks.verify(net)


def test_verify_names_what_came_back() -> None:
    net = model()
    masks = half(net)
    masks.apply_(net)
    with torch.no_grad():
        net[2].weight[~masks["2.weight"]] = torch.nan
    with pytest.raises(RuntimeError, match=r"(\d+) of \1 in '2\.weight'"):
        masks.verify(net)


def test_an_already_sparse_model_gives_its_masks() -> None:
    net = model()
    masks = half(net)
    masks.apply_(net)
    assert MaskSet.from_zeros(net) == masks
    scores = random(0)({}, {}, masks)
    tighter = MaskSet.from_zeros(net).tighten(scores, 0.2)
    assert tighter == masks.tighten(scores, 0.2)
    assert tighter & masks == tighter


def test_misfits_are_named_and_nothing_is_changed() -> None:
    net = model()
    other = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(ValueError, match=r"'2\.weight' has shape \(3, 5\), its mask \(4, 5\)"):
        half(net).apply_(other)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    with pytest.raises(ValueError, match=r"no parameter '2\.weight'"):
        half(net).apply_(nn.Sequential(nn.Linear(6, 5)))


def test_a_wrapped_model_is_reached_by_prefix() -> None:
    net = model()
    masks = half(net)
    wrapped = nn.ModuleDict({"module": net})
    with pytest.raises(ValueError, match=r"'module\.0\.weight': use the inner module"):
        masks.apply_(wrapped)
    masks.prefixed("module.").apply_(wrapped)
    masks.verify(net)


def test_and_keeps_what_both_keep() -> None:
    a = MaskSet.of({"w": torch.tensor([True, True, False, False])})
    b = MaskSet.of({"w": torch.tensor([True, False, True, False])})
    assert (a & b)["w"].tolist() == [True, False, False, False]
    assert (a & a) == a
    with pytest.raises(ValueError, match="same parameters and shapes"):
        a & MaskSet.of({"v": torch.tensor([True])})


def test_copies_are_equal_by_content_and_independent() -> None:
    masks = half(model())
    for twin in (copy.deepcopy(masks), pickle.loads(pickle.dumps(masks)), MaskSet.of(masks), masks.to("cpu")):
        assert twin == masks and twin.digest() == masks.digest()
    source = {"w": torch.ones(3, dtype=torch.bool)}
    taken = MaskSet.of(source)
    source["w"][0] = False
    assert taken.kept == 3
    assert masks != MaskSet.dense(model()) and masks != "masks"


def test_a_model_with_masks_applied_still_copies_and_saves_densely() -> None:
    net = model()
    keys = list(net.state_dict())
    half(net).apply_(net)
    assert list(copy.deepcopy(net).state_dict()) == keys
    pickle.loads(pickle.dumps(net))


@given(st.permutations(["a", "b", "c"]), st.data())
def test_digest_ignores_order_and_sees_every_bit(order: list[str], data: st.DataObject) -> None:
    masks = {name: torch.ones(3, 3, dtype=torch.bool) for name in "abc"}
    digest = MaskSet.of(masks).digest()
    assert MaskSet.of({name: masks[name] for name in order}).digest() == digest
    name, index = data.draw(st.sampled_from("abc")), data.draw(st.integers(0, 8))
    masks[name].view(-1)[index] = False
    assert MaskSet.of(masks).digest() != digest


def test_digest_sees_names_and_shapes() -> None:
    bits = torch.ones(2, 3, dtype=torch.bool)
    digests = {MaskSet.of({"a": m}).digest() for m in (bits, bits.T, bits.flatten())}
    assert len(digests | {MaskSet.of({"b": bits}).digest()}) == 4


def test_an_empty_set_is_dense() -> None:
    empty = MaskSet.of({})
    assert (empty.density, empty.total, empty.collapsed) == (1.0, 0, ())
    assert empty.tighten({}, 0.5) == empty


def test_only_bool_tensors_are_masks() -> None:
    with pytest.raises(TypeError, match="'w' must be a bool tensor"):
        MaskSet.of({"w": torch.ones(2)})
    with pytest.raises(TypeError, match=r"MaskSet\.dense"):
        MaskSet()


def test_rewinding_is_bitwise_for_what_survives() -> None:
    net = model()
    start = copy.deepcopy(net.state_dict())
    masks = half(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(torch.nan)
    rewind_(net, start, masks)
    for name, value in net.state_dict().items():
        expected = start[name].masked_fill(~masks[name], 0) if name in masks else start[name]
        assert torch.equal(value, expected)


def test_rewinding_with_foreign_masks_changes_nothing() -> None:
    net = model()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="no parameter 'x'"):
        rewind_(net, model(1).state_dict(), MaskSet.of({"x": torch.ones(1, dtype=torch.bool)}))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_counts_are_whole_numbers_of_any_kind() -> None:
    net = model()
    dense = MaskSet.dense(net)
    scores = {name: net.get_parameter(name).detach().abs() for name in dense}
    for three in (np.int64(3), torch.tensor(3)):
        assert dense.keep(scores, three) == dense.keep(scores, 3)  # type: ignore[arg-type]
        assert dense.keep(scores, dict.fromkeys(dense, three)) == dense.keep(scores, dict.fromkeys(dense, 3))  # type: ignore[arg-type]
        assert dense.refill(scores, three, scores, np.int8(5)) == dense.refill(scores, 3, scores, 5)  # type: ignore[arg-type]
    for wrong in (3.0, np.float64(3), "3"):
        with pytest.raises(TypeError, match="whole numbers"):
            dense.keep(scores, wrong)  # type: ignore[arg-type]
