"""The cache gives the same inputs as reading anew, keeps within its bound, and leaves out what cannot be read."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from napari_cam_feedback.data import ArrayDataset, InputCache, Preprocessing, open_dataset
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.torch_loader import torch

SIZE = 4
INPUT_BYTES = SIZE * SIZE * 4


@pytest.fixture
def preprocessing():
    return Preprocessing(size=(SIZE, SIZE), channels=1, mean=(0.5,), std=(0.5,))


class Counting(ArrayDataset):
    """Counts how often each image is read."""

    def __init__(self, n=10):
        images = np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((1, SIZE, SIZE), np.uint8)
        super().__init__({"train": images}, {"train": np.zeros(n, int)}, ("a",))
        self.reads = []

    def read(self, index):
        self.reads.append(index)
        return super().read(index)


def test_inputs_are_what_the_preprocessing_gives(preprocessing):
    data = Counting()
    inputs = InputCache(data, preprocessing).inputs([3, 0, 3])
    assert inputs.shape == (3, 1, SIZE, SIZE)
    assert inputs.dtype == torch.float32
    assert torch.equal(inputs[0], preprocessing.input(data.read(3)))
    assert torch.equal(inputs[0], inputs[2])
    assert InputCache(data, preprocessing).inputs([]).shape == (0, 1, SIZE, SIZE)


def test_an_image_is_read_once_while_there_is_room(preprocessing):
    data = Counting()
    cache = InputCache(data, preprocessing)
    for _ in range(3):
        cache.inputs(range(10))
    assert data.reads == list(range(10))
    cache.clear()
    cache.inputs([1])
    assert data.reads == [*range(10), 1]


def test_the_longest_unused_goes_first_when_it_is_full(preprocessing):
    data = Counting()
    cache = InputCache(data, preprocessing, max_bytes=2 * INPUT_BYTES)
    cache.inputs([0, 1])
    cache.inputs([0])
    cache.inputs([2])  # 1 goes
    data.reads.clear()
    cache.inputs([0, 2])
    assert data.reads == []
    cache.inputs([1])
    assert data.reads == [1]


def test_nothing_is_kept_without_room(preprocessing):
    data = Counting()
    cache = InputCache(data, preprocessing, max_bytes=0)
    cache.inputs([0, 0])
    assert data.reads == [0, 0]


def test_changing_what_came_out_changes_nothing_inside(preprocessing):
    cache = InputCache(Counting(), preprocessing)
    cache.inputs([5]).zero_()
    assert (cache.inputs([5]) != 0).all()


def test_batches_leave_out_broken_images_and_say_so(tmp_path, preprocessing):
    for i in range(5):
        path = tmp_path / f"train/a/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((SIZE, SIZE), i, np.uint8)).save(path)
    good = (tmp_path / "train/a/1.png").read_bytes()
    (tmp_path / "train/a/1.png").write_bytes(good[:40])
    data = open_dataset(tmp_path)
    cache = InputCache(data, preprocessing)
    batches = list(cache.batches(data.indices("train"), 3))
    assert [indices.tolist() for indices, _ in batches] == [[0, 2, 3], [4]]
    assert [inputs.shape[0] for _, inputs in batches] == [3, 1]
    assert list(cache.skipped) == ["train/a/1.png"]
    assert "is broken or not an image" in cache.skipped["train/a/1.png"]
    with pytest.raises(DataError, match=r"1\.png is broken"):
        cache.inputs([0, 1])
    (tmp_path / "train/a/1.png").write_bytes(good)
    assert [indices.tolist() for indices, _ in cache.batches([0, 1])] == [[0, 1]]
    assert cache.skipped == {}


def test_many_threads_may_ask_at_once(preprocessing):
    data = Counting(40)
    cache = InputCache(data, preprocessing, max_bytes=7 * INPUT_BYTES)
    expected = InputCache(data, preprocessing).inputs(range(40))

    def ask(seed):
        order = np.random.default_rng(seed).permutation(40)
        return torch.equal(cache.inputs(order), expected[order])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(32)))
    assert cache._inputs.currsize == len(cache._inputs) * INPUT_BYTES <= 7 * INPUT_BYTES
