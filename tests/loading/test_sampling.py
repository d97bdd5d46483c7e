"""Batches: every picture once, the same whatever came before, and each process its share."""

import pytest

from reprolens.loading import EpochBatches, Key

SIZE = (64, 96)


def _batches(count: int, batch_size: int, epoch: int = 1, start: int = 0, **knobs: object) -> list[list[Key]]:
    batches = EpochBatches(count, batch_size, knobs.pop("seed", 5), SIZE, **knobs)  # type: ignore[arg-type]
    batches.epoch, batches.start = epoch, start
    return list(batches)


def _order(batches: list[list[Key]]) -> list[int]:
    return [key.index for batch in batches for key in batch]


def test_every_epoch_shows_every_picture_once_in_an_order_of_its_own() -> None:
    orders = [_order(_batches(10, 4, epoch)) for epoch in (1, 2, 1)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] == orders[2]
    assert orders[0] != orders[1]
    assert orders[0] != _order(_batches(10, 4, seed=6))


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(10, 4, [4, 4, 2]), (10, 3, [3, 3, 3]), (10, 16, [10]), (2, 1, [1, 1]), (1, 4, [1])],
)
def test_a_last_batch_of_one_is_left_out_unless_it_is_the_only_one(
    count: int, batch_size: int, sizes: list[int]
) -> None:
    assert [len(batch) for batch in _batches(count, batch_size)] == sizes
    assert len(EpochBatches(count, batch_size, 5, SIZE)) == len(sizes)


@pytest.mark.parametrize("start", [0, 1, 3, 5])
def test_an_epoch_begun_in_its_middle_goes_on_as_the_whole_one_does(start: int) -> None:
    knobs = {"multi_scale": (0.5, 2.0), "mix_until": 1}
    assert _batches(20, 4, 3, start, **knobs) == _batches(20, 4, 3, **knobs)[start:]


def test_the_processes_shares_are_the_batches_of_one_process_with_larger_ones() -> None:
    for count in (24, 21, 26):
        shares = [_batches(count, 4, multi_scale=(0.5, 2.0), rank=rank, world=3) for rank in range(3)]
        assert len({len(share) for share in shares}) == 1
        for together, whole in zip(
            zip(*shares, strict=True), _batches(count, 12, multi_scale=(0.5, 2.0)), strict=False
        ):
            assert sorted(_order(list(together))) == sorted(_order([whole]))
            assert all(len(batch) >= 2 for batch in together)
            assert len({(key.height, key.width) for batch in together for key in batch}) == 1


def test_multi_scale_gives_each_batch_one_size_within_the_range_in_whole_strides() -> None:
    batches = [batch for epoch in range(1, 40) for batch in _batches(12, 4, epoch, multi_scale=(0.5, 2.0))]
    sizes = {(key.height, key.width) for batch in batches for key in batch}
    assert all(len({(key.height, key.width) for key in batch}) == 1 for batch in batches)
    assert {height for height, _ in sizes} == {32, 64, 96, 128}
    assert {width for _, width in sizes} == {64, 96, 128, 160, 192}


def test_without_multi_scale_the_size_is_the_one_asked_for_to_the_pixel() -> None:
    batches = EpochBatches(4, 2, 5, (75, 101))
    assert {(key.height, key.width) for batch in batches for key in batch} == {(75, 101)}


def test_pictures_are_mixed_up_to_an_epoch_and_not_after_it() -> None:
    mixed = [{key.mix for batch in _batches(6, 3, epoch, mix_until=2) for key in batch} for epoch in (1, 2, 3)]
    assert mixed == [{True}, {True}, {False}]
