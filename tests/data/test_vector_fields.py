"""Downloads for the regression of vector fields."""

import numpy as np

from semigroup.data.vector_fields import BUNNY


def test_a_wavefront_file_gives_vertices_and_triangles(tmp_path):
    file = tmp_path / "shape.obj"
    file.write_text("# a square\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvn 0 0 1\nf 1/1 2/2 3/3 4/4\nf 1 3 4\n")
    arrays = BUNNY.convert([file])
    np.testing.assert_array_equal(arrays["vertices"], [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(arrays["faces"], [[0, 1, 2], [0, 2, 3]])
