"""What each process of a two-process run does; started by ``torchrun`` from test_training.py."""

import sys
from pathlib import Path

import torch

from semigroup.training import TrainingDiverged
from small_training import run


def main(folder: Path) -> None:
    """Train together, stop and resume, meet a bad loss in one process; leave what this process saw as ``RANK.pt``."""
    torch.set_num_threads(1)
    weights, result = run(folder / "joint", batch_size=5, noise=0.0)
    run(folder / "stopped", batch_size=5, noise=0.0, n_steps=60)
    resumed, _ = run(folder / "stopped", batch_size=5, noise=0.0, resume=True)
    try:
        run(folder / "bad", batch_size=5, bad_step=49, bad_process=1)
        message = "no error"
    except TrainingDiverged as error:
        message = str(error)
    seen = {"weights": weights, "resumed": resumed, "losses": result.losses, "message": message}
    torch.save(seen, folder / f"{torch.distributed.get_rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
