"""What each process of a two-process run does; started by ``torchrun`` from test_training.py."""

import sys
from pathlib import Path

import torch
from torch import nn

from semigroup.training import TrainingDiverged, state_for_all, train
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
    rank = torch.distributed.get_rank()
    network = nn.ModuleDict({"used": nn.Linear(1, 1), "unused": nn.Linear(1, 1)})
    network.forward = lambda x: network["used"](x)  # type: ignore[method-assign]
    values = iter(range(100, 0, -1) if rank else range(100))  # one process improves for ever, the other never
    partly = train(
        network,
        lambda model, step, generator: model(torch.ones(2, 1)).square().mean(),
        n_steps=20,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        evaluate=lambda model: float(next(values)),
        evaluate_every=1,
        patience=2,
        device="cpu",
        some_unused=True,
    )
    seen = {
        "weights": weights,
        "resumed": resumed,
        "losses": result.losses,
        "message": message,
        "state": state_for_all(None, device="cpu"),
        "evaluations": partly.evaluations,
        "partly": dict(network.state_dict()),
    }
    torch.save(seen, folder / f"{torch.distributed.get_rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
