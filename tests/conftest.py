"""Set up before the package is imported: shape checking, and one thread a test process."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# Ray would replace `print` in the whole process, and numba then compiles no parallel kernel any more.
os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")
# The data sets that may not be redistributed are downloaded by users; here they lie beside the checkout.
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
if SHARED_DATA.is_dir():
    os.environ.setdefault("SEMIGROUP_DATA", str(SHARED_DATA))

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("semigroup", "typecheck.check")

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture
def shared_data() -> Path:
    """Folder of the papers' real data sets that may not be redistributed; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the data sets that are not part of the package")
    return SHARED_DATA
