"""Images of one split: their batches, normalisation, augmentation; sets of three splits."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphprune.data import Augment, ImageBatch, ImageData, Images


def images(count=6, channels=1, side=5, augment=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(1, 256, (count, channels, side, side + 1), dtype=torch.uint8, generator=generator)
    mean, std = [0.1, 0.5, 0.7][:channels], [0.3, 0.2, 0.4][:channels]
    return Images(x, torch.arange(count) % 3, mean=mean, std=std, augment=augment)


def split_in_three(**changes):
    parts = {split: images(count, seed=count) for split, count in (("train", 6), ("val", 3), ("test", 4))}
    return ImageData(name="tiny", num_classes=3, provenance={"source": "random"}, **(parts | changes))


# ---------------------------------------------------------------------------- batches


@given(st.lists(st.integers(0, 5), max_size=9), st.sampled_from([1, 3]))
def test_a_batch_is_the_normalised_images_of_these_numbers(index, channels):
    some = images(channels=channels)
    x, y = some.batch(index)
    assert x.dtype == torch.float32 and tuple(x.shape) == (len(index), channels, 5, 6)
    assert y.tolist() == [number % 3 for number in index]
    for row, number in enumerate(index):
        for channel in range(channels):
            pixels = some.x[number, channel].numpy().astype(np.float64) / 255
            expected = (pixels - some.mean[channel]) / some.std[channel]
            np.testing.assert_allclose(x[row, channel].numpy(), expected, rtol=0, atol=2e-6)


def test_loaders_give_every_image_once():
    some = images(7)
    batches = list(some.loader(3))
    assert len(some.loader(3)) == len(batches) == 3
    assert torch.equal(torch.cat([batch.x for batch in batches]), some.batch(range(7)).x)
    orders = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(5)
        orders.append(torch.cat([batch.x for batch in some.loader(2, shuffle=True, generator=generator)]))
    expected = some.batch(torch.randperm(7, generator=torch.Generator().manual_seed(5)))
    assert torch.equal(orders[0], orders[1]) and torch.equal(orders[0], expected.x)
    assert list(images(0).loader(2)) == [] and len(images(0).loader(2)) == 0


def test_selected_images_are_copies_in_this_order():
    some = images(augment=Augment(1))
    chosen = some.select([4, 0, 4])
    assert len(chosen) == 3 and chosen.augment == Augment(1) and chosen.y.tolist() == [1, 0, 1]
    assert torch.equal(chosen.x, some.x[[4, 0, 4]])
    assert len(some.select([])) == 0 and tuple(some.batch([]).x.shape) == (0, 1, 5, 6)


@pytest.mark.parametrize(
    ("index", "error", "text"),
    [
        ([0, 6], IndexError, r"outside \[0, 6\)"),
        ([-1], IndexError, r"outside \[0, 6\)"),
        (torch.ones(6, dtype=torch.bool), TypeError, "list of image numbers, got torch.bool"),
        ([0.5], TypeError, "list of image numbers, got torch.float32"),
        (torch.tensor(1), TypeError, r"of shape \(\)"),
    ],
)
def test_bad_numbers(index, error, text):
    with pytest.raises(error, match=text):
        images().batch(index)
    with pytest.raises(error, match=text):
        images().select(index)


def test_bad_batch_size():
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1, got 0"):
        images().loader(0)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"x": torch.zeros(2, 1, 3, 3)}, TypeError, "x must be uint8 and y int64, got torch.float32"),
        ({"y": torch.zeros(2)}, TypeError, "got torch.uint8 and torch.float32"),
        ({"x": torch.zeros(2, 3, 3, dtype=torch.uint8)}, ValueError, r"\(N, C, H, W\) .* got shapes \(2, 3, 3\)"),
        ({"y": torch.zeros(3, dtype=torch.int64)}, ValueError, r"and \(3,\)"),
        ({"mean": [0.1, 0.2]}, ValueError, "a value for each of 1 channels"),
        ({"std": [0.0]}, ValueError, "std above 0"),
        ({"std": [float("nan")]}, ValueError, "std above 0"),
    ],
)
def test_bad_images(changes, error, text):
    good = {"x": torch.zeros(2, 1, 3, 3, dtype=torch.uint8), "y": torch.zeros(2, dtype=torch.int64)}
    with pytest.raises(error, match=text):
        Images(**(good | {"mean": [0.1], "std": [0.2]} | changes))


def test_digests_tell_pixels_labels_and_treatment_apart():
    some = images()
    others = [
        images(seed=1),
        images(5),
        some.with_augment(Augment()),
        some.with_augment(Augment(flip=False)),
        Images(some.x, some.y + 1, mean=some.mean, std=some.std),
        Images(some.x, some.y, mean=[0.2], std=some.std),
        Images(some.x.transpose(2, 3), some.y, mean=some.mean, std=some.std),
    ]
    assert len({other.digest() for other in (some, *others)}) == 8
    assert some.digest() == images().digest() == some.select(range(6)).digest()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_batches_are_made_where_the_images_lie():
    some = images(20, augment=Augment())
    there = some.to("cuda")
    batch = there.batch([3, 1])
    assert batch.x.device.type == batch.y.device.type == "cuda" and there.digest() == some.digest()
    plain = there.with_augment(None).batch([3, 1]).to("cpu")
    torch.testing.assert_close(plain.x, some.with_augment(None).batch([3, 1]).x)


def test_a_batch_moves_with_both_parts():
    moved = images().batch([0, 1]).to("meta")
    assert isinstance(moved, ImageBatch) and moved.x.is_meta and moved.y.is_meta


# ---------------------------------------------------------------------------- augmentation


def variants(image, pad, flip):
    """Every image that may come of one (C, H, W), pixel by pixel."""
    channels, height, width = image.shape
    for row, column, mirrored in itertools.product(range(2 * pad + 1), range(2 * pad + 1), (False, True)[: 1 + flip]):
        out = np.zeros_like(image)
        for c, h, w in itertools.product(range(channels), range(height), range(width)):
            y, x = h + row - pad, (width - 1 - w if mirrored else w) + column - pad
            if 0 <= y < height and 0 <= x < width:
                out[c, h, w] = image[c, y, x]
        yield out.tobytes()


@pytest.mark.parametrize(("pad", "flip"), [(1, True), (2, False), (0, True), (0, False)])
def test_every_shift_and_reflection_is_as_likely_and_nothing_else_comes(pad, flip):
    image = images(1, channels=2, side=4).x[0]
    expected = list(variants(image.numpy(), pad, flip))
    assert len(set(expected)) == len(expected)
    each = 300
    torch.manual_seed(0)
    drawn = Augment(pad, flip)(image.expand(each * len(expected), -1, -1, -1))
    assert drawn.dtype == torch.uint8
    count = {variant: 0 for variant in expected}
    for row in drawn.numpy():
        count[row.tobytes()] += 1  # a KeyError is an image that must not come
    assert all(abs(found - each) < 6 * each**0.5 for found in count.values())


def test_images_of_a_batch_are_drawn_apart_and_the_seed_decides():
    some = images(1, side=8, augment=Augment()).select([0] * 50)
    torch.manual_seed(1)
    first, again = some.batch(range(50)).x, some.batch(range(50)).x
    assert len(first.unique(dim=0)) > 20 and not torch.equal(first, again)
    torch.manual_seed(1)
    assert torch.equal(some.batch(range(50)).x, first)


def test_padding_is_black():
    some = Images(torch.full((40, 1, 3, 3), 255, dtype=torch.uint8), torch.zeros(40).long(), mean=[0.25], std=[0.5])
    values = some.with_augment(Augment(pad=2)).batch(range(40)).x.unique()
    torch.testing.assert_close(values, torch.tensor([-0.5, 1.5]))


def test_negative_padding():
    with pytest.raises(ValueError, match="pad must be a whole number of at least 0, got -1"):
        Augment(pad=-1)


# ---------------------------------------------------------------------------- sets


def test_a_set_has_what_a_set_of_graphs_has():
    loaded = split_in_three()
    assert (loaded.level, loaded.task, loaded.metric, loaded.higher_is_better) == (
        "image",
        "multiclass",
        "accuracy",
        True,
    )
    assert (loaded.num_classes, loaded.num_outputs, loaded.num_tasks, loaded.shape) == (3, 3, 1, (1, 5, 6))
    assert (loaded.degrees, loaded.transductive, loaded.empty) == (None, False, {})
    assert {split: len(part) for split, part in loaded.splits.items()} == {"train": 6, "val": 3, "test": 4}
    assert torch.equal(loaded.labels(loaded.test), loaded.test.y)


def test_accuracy():
    loaded = split_in_three()
    logits = torch.nn.functional.one_hot(loaded.test.y, 3).float()
    assert loaded.evaluate(loaded.test.y, logits) == 1
    logits[0] = torch.tensor([0.0, 0.5, 0.0])
    assert loaded.evaluate(loaded.test.y, logits) == 0.75
    with pytest.raises(ValueError, match=r"tiny, val split: .* do not fit a multiclass task with 3 outputs"):
        loaded.evaluate(loaded.test.y, logits[:, :2], split="val")


def test_other_splits_and_digests():
    loaded = split_in_three()
    other = loaded.with_splits(val=loaded.test)
    assert other.val is loaded.test and other.train is loaded.train and other.provenance == loaded.provenance
    assert other.digest() != loaded.digest() == split_in_three().digest()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"val": images(3, side=6)},
            r"val split: images of shape \(1, 6, 7\), those to train on have \(1, 5, 6\)",
        ),
        ({"num_classes": 2}, "tiny, train split: y must have classes from 0 to 1"),
        ({"test": images(3, augment=Augment())}, "test split: only images to train on may be augmented"),
    ],
)
def test_bad_sets(changes, text):
    parts = {split: images(3) for split in ("train", "val", "test")}
    with pytest.raises(ValueError, match=text):
        ImageData(**({"name": "tiny", "num_classes": 3} | parts | changes))


def test_task_and_metric_are_fixed():
    with pytest.raises(TypeError, match="task"):
        split_in_three(task="binary")
