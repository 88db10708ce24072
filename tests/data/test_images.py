"""The digits are what they claim to be, and the raw files of MNIST convert to them."""

import gzip

import numpy as np
import pytest

from semigroup.data.images import _convert, digits, mnist, rows_with_a_rare_class


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


def test_rows_with_a_rare_class_hold_all_of_the_common_and_few_of_the_rare():
    _, labels = digits()
    rows = rows_with_a_rare_class(labels, common=(3, 5), rare=7, n_rare=9, random_state=1)
    kept = labels[rows]
    assert (kept == 7).sum() == 9 and (kept == 3).sum() == (labels == 3).sum() and set(kept) == {3, 5, 7}
    assert len(set(rows)) == len(rows)
    other = rows_with_a_rare_class(labels, common=(3, 5), rare=7, n_rare=9, random_state=2)
    assert set(rows) != set(other)
    for bad in ({"rare": 3, "common": (3, 5)}, {"n_rare": 10_000}):
        with pytest.raises(ValueError, match="rare"):
            rows_with_a_rare_class(labels, **bad)
