"""What is known of tensors beforehand is believed of these very tensors alone."""

import copy
import gc
import pickle

import pytest
import torch
from torch import nn

from graphprune.graphs.known import fact_of, follow, lasting, once, tell, watched
from graphprune.masks import MaskSet


class Fact(str):
    """Something known."""


def test_a_fact_is_made_once_when_it_is_asked_for() -> None:
    tensor, calls = torch.ones(3), []
    tell(tensor, Fact, lambda _: calls.append(1) or Fact("ones"))
    assert not calls
    assert fact_of(tensor, Fact) == fact_of(tensor, Fact) == "ones"
    assert calls == [1]
    assert fact_of(tensor, int) is None
    assert fact_of(torch.ones(3), Fact) is None


@pytest.mark.parametrize(
    "copied",
    [torch.clone, copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), torch.detach, lambda x: x[:2]],
)
def test_nothing_is_known_of_copies_and_views(copied) -> None:
    tensor = torch.ones(3)
    tell(tensor, Fact, lambda _: Fact("ones"))
    assert fact_of(copied(tensor), Fact) is None
    assert fact_of(tensor.to("cpu"), Fact) == "ones"


def test_nothing_is_known_of_what_was_written_to() -> None:
    tensor, other = torch.ones(3), torch.ones(3)
    for each in (tensor, other):
        tell(each, Fact, lambda _: Fact("ones"))
    tensor[0] = 2
    other.data = torch.zeros(3)
    assert fact_of(tensor, Fact) is None
    assert fact_of(other, Fact) is None
    assert once(tensor, "key", lambda: 1) == 1
    assert once(tensor, "key", lambda: 2) == 2


def test_nothing_is_known_of_what_has_a_gradient() -> None:
    tensor = torch.ones(3)
    tell(tensor, Fact, lambda _: Fact("ones"))
    tensor.requires_grad_()
    assert not follow(tensor)
    tell(tensor, Fact, lambda _: Fact("others"))
    assert fact_of(tensor, Fact) is None
    assert once(tensor, "key", lambda: 1) == 1
    assert once(tensor, "key", lambda: 2) == 2
    assert fact_of(tensor.requires_grad_(False), Fact) == "ones"


def test_facts_that_an_evaluation_asks_for_are_those_of_training() -> None:
    class Lasting:
        @lasting
        def later(self) -> torch.Tensor:
            """Made when it is asked for."""
            return torch.ones(3)

    tensor, made = torch.ones(3), Lasting()
    tell(tensor, torch.Tensor, lambda x: x + 1)
    follow(tensor)
    with torch.inference_mode():
        found = [fact_of(tensor, torch.Tensor), once(tensor, "key", lambda: torch.ones(3)), made.later]
        assert torch.is_inference_mode_enabled()
    assert made.later is found[2]
    assert Lasting.later.__doc__ == "Made when it is asked for."
    for fact in found:
        (torch.ones(3, requires_grad=True) * fact).sum().backward()


def test_what_is_made_once_is_remembered_of_followed_tensors() -> None:
    tensor = torch.ones(3)
    assert once(tensor, "key", lambda: 1) == 1
    follow(tensor)
    assert once(tensor, "key", lambda: 2) == 2
    assert once(tensor, "key", lambda: 3) == 2
    assert once(tensor, "other", lambda: 3) == 3


def test_facts_keep_no_tensor_alive() -> None:
    kept = Fact("kept")
    tensor = torch.ones(3)
    tell(tensor, Fact, lambda _: kept)
    before = len(gc.get_referrers(kept))
    assert fact_of(tensor, Fact) is kept
    del tensor
    gc.collect()
    assert len(gc.get_referrers(kept)) <= before


def test_modules_with_hooks_are_watched_but_for_those_of_masks() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    assert not watched(net[0])
    assert not watched(torch.relu)
    masks = MaskSet.dense(net)
    with masks.attach(net, torch.optim.SGD(net.parameters(), 0.1)):
        assert not watched(net[0])
        with torch.no_grad():
            handle = net[0].register_forward_hook(lambda *_: None)
        assert watched(net[0])
        assert not watched(net[1])
        handle.remove()
    for register in (net[0].register_forward_pre_hook, net[0].register_full_backward_hook):
        handle = register(lambda *_: None)
        assert watched(net[0])
        handle.remove()
    net[0].forward = lambda x: x
    assert watched(net[0])
    assert not watched(net[1])
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert watched(net[1])
    handle.remove()
    assert not watched(net[1])


def test_to_ask_in_vain_decides_nothing() -> None:
    tensor = torch.ones(3)
    follow(tensor)
    assert fact_of(tensor, Fact) is None
    assert once(tensor, Fact, lambda: Fact("later")) == "later"
    assert fact_of(tensor, Fact) == "later"
