"""Grids of images show every image where it belongs."""

import numpy as np

from semigroup.report.figures import new_figure
from semigroup.report.images import draw_image_grid


def drawn(images, **options):
    _, axes = new_figure()
    draw_image_grid(axes[0, 0], images, **options)
    return np.asarray(axes[0, 0].images[0].get_array())


def test_grey_images_lie_row_by_row_with_ink_dark():
    images = np.zeros((3, 1, 2, 2))
    images[2] = 1.0
    canvas = drawn(images, n_columns=2)
    assert canvas.shape == (7, 7)
    assert (canvas[1:3, 1:3] == 1).all() and (canvas[4:6, 1:3] == 0).all()
    assert (canvas[4:6, 4:6] == 0.6).all(), "no image there"


def test_colour_images_keep_their_channels_and_values_beyond_the_limits_are_cut():
    images = np.zeros((1, 3, 2, 2))
    images[0, 1] = 5.0
    canvas = drawn(images, limits=(-1.0, 1.0))
    np.testing.assert_allclose(canvas[1, 1], [0.5, 1.0, 0.5])
