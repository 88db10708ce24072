"""A small training run with every moving part (noise, minibatches, schedule, averaged weights), alone or in a process.

``python small_training.py FOLDER CHECKPOINT_EVERY SECONDS_A_STEP`` trains, leaves ``weights.pt`` in the folder, and says
when it is in the loop.
"""

import sys
import time
from pathlib import Path

import torch
from torch import nn

from semigroup.training import EpochSampler, TrainingResult, train, warmup_then_linear

N_STEPS = 120


def run(
    folder: Path,
    *,
    checkpoint_every: int = 25,
    resume: bool = False,
    pause: float = 0.0,
    batch_size: int = 8,
    noise: float = 0.1,
    bad_step: int | None = None,
    bad_process: int = 0,
    n_steps: int = N_STEPS,
) -> tuple[dict[str, torch.Tensor], TrainingResult]:
    """Weights of the network and of its average after training, and the result."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, generator=generator)
    y = torch.randn(50, 1, generator=generator)
    network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    batches = EpochSampler(len(x), batch_size, seed=5)

    def loss(model: nn.Module, step: int, generator: torch.Generator) -> torch.Tensor:
        time.sleep(pause)
        if pause and step == 5:
            print("in the loop", flush=True)
        chosen = batches(step)
        inputs = x[chosen] + noise * torch.randn(len(chosen), 3, generator=generator)
        value = ((model(inputs) - y[chosen]) ** 2).mean()
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        return value * float("nan") if step == bad_step and rank == bad_process else value

    result = train(
        network,
        loss,
        n_steps=n_steps,
        optimizer=torch.optim.Adam(network.parameters(), lr=0.01),
        schedule=warmup_then_linear(10, N_STEPS),
        seed=3,
        ema_decay=0.9,
        evaluate=lambda model: float(((model(x) - y) ** 2).mean()),
        evaluate_every=30,
        checkpoint_dir=folder,
        checkpoint_every=checkpoint_every,
        resume=resume,
        device="cpu",
        description="small",
    )
    assert result.averaged is not None
    weights = {f"network.{name}": value.clone() for name, value in network.state_dict().items()}
    weights |= {f"averaged.{name}": value.clone() for name, value in result.averaged.state_dict().items()}
    return weights, result


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    final, _ = run(target, checkpoint_every=int(sys.argv[2]), pause=float(sys.argv[3]))
    torch.save(final, target / "weights.pt")
