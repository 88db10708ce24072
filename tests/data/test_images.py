"""The digits are what they claim to be, and the raw files of MNIST convert to them."""

import gzip

import numpy as np

from semigroup.data.images import _convert, digits, mnist


def test_mnist_has_its_published_counts(shared_data):
    images, labels = mnist()
    assert images.shape == (10000, 28, 28)
    assert images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # A seven's upper bar and foot, and empty margins.
    assert images[0, 7].max() == 185
    assert not images[0, :4].any()


def test_raw_files_are_read_behind_their_headers(tmp_path):
    pictures = np.arange(2 * 28 * 28, dtype=np.uint8)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"h" * 16 + pictures.tobytes()))
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"h" * 8 + bytes([3, 4])))
    arrays = _convert([tmp_path / "a.gz", tmp_path / "b.gz"])
    assert np.array_equal(arrays["images"].ravel(), pictures)
    assert arrays["labels"].tolist() == [3, 4]


def test_digits_lie_in_the_unit_interval():
    images, labels = digits()
    assert (images.min(), images.max()) == (0.0, 1.0)
    assert len(images) == len(labels) == 1797
