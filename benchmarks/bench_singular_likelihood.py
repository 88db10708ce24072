"""Perturbed likelihood beside autoencoders, a flow, mixtures and kernel densities: distance of samples to the truth, and time.

    pip install 'semigroup[peers]'
    pip install pythae                 # optional; it brings a backport of dataclasses
    python benchmarks/bench_singular_likelihood.py

Everybody gets the same 500 rows, on one thread; all networks have two hidden layers of 64, batches of 200 and 1500 steps of
Adam at a rate that falls from 2e-3 to 0 along a cosine (in pythae's trainer after each epoch). The score is the exact
1-Wasserstein distance between 800 samples and 800 fresh points; two samples of the truth are at the distance called floor.
"plain" is this library's own training without perturbation: a variational or importance-weighted autoencoder with learnt sigma.
pythae's autoencoders have a fixed sigma of 1, so they get the data in units of the perturbation, which makes that their sigma.
The flow (zuko, a neural spline flow) is trained on rows perturbed in the same way. The second table times restarts trained side
by side against one after the other.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import logging
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from torch import nn

from semigroup.claims.singular_likelihood import two_step_samples
from semigroup.data.singular_laws import SingularLaw, line_mixture, plane_mixture, tilted_sphere
from semigroup.densities.distances import wasserstein
from semigroup.densities.singular_likelihood import PerturbedGenerator

__all__ = ["main"]

LAWS = {"mix1": line_mixture, "mix2": plane_mixture, "sphere": tilted_sphere}
LEVEL, N_STEPS, BATCH, RATE, N_JUDGED = 0.1, 1500, 200, 2e-3, 800
Samples = Callable[[np.ndarray, SingularLaw], np.ndarray]


def ours(perturbation: float, estimator: str, n_restarts: int = 1) -> Samples:
    def run(X: np.ndarray, law: SingularLaw) -> np.ndarray:
        model = PerturbedGenerator(
            n_latent=law.n_latent,
            perturbation=perturbation,
            estimator=estimator,
            n_restarts=n_restarts,
            n_steps=N_STEPS,
            random_state=0,
        )
        return model.fit(X).sample(N_JUDGED)

    return run


def two_step(X: np.ndarray, law: SingularLaw) -> np.ndarray:
    plain = PerturbedGenerator(n_latent=law.n_latent, perturbation=0.0, n_restarts=1, n_steps=N_STEPS, random_state=0)
    return two_step_samples(plain.fit(X), X, N_JUDGED, 0)


def perceptron(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.LeakyReLU()]
    return nn.Sequential(*layers[:-1])


def pythae(kind: str) -> Samples:
    """pythae's VAE or IWAE with our network and as many steps."""

    def run(X: np.ndarray, law: SingularLaw) -> np.ndarray:
        from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

        class Encoder(BaseEncoder):
            def __init__(self) -> None:
                super().__init__()
                self.layers = perceptron(law.dim, 64, 64, 2 * law.n_latent)

            def forward(self, x: torch.Tensor) -> ModelOutput:
                mean, log_variance = self.layers(x).chunk(2, dim=-1)
                return ModelOutput(embedding=mean, log_covariance=log_variance)

        class Decoder(BaseDecoder):
            def __init__(self) -> None:
                super().__init__()
                self.layers = perceptron(law.n_latent, 64, 64, law.dim)

            def forward(self, z: torch.Tensor) -> ModelOutput:
                return ModelOutput(reconstruction=self.layers(z))

        logging.disable(logging.WARNING)
        torch.manual_seed(0)
        center = X.mean(axis=0)
        rows = ((X - center) / LEVEL).astype(np.float32)
        shape = {"input_dim": (law.dim,), "latent_dim": law.n_latent}
        if kind == "iwae":
            model = IWAE(IWAEConfig(**shape, number_samples=10), Encoder(), Decoder())
        else:
            model = VAE(VAEConfig(**shape), Encoder(), Decoder())
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            n_epochs = N_STEPS // -(-len(rows) // BATCH)
            config = BaseTrainerConfig(
                output_dir=folder,
                num_epochs=n_epochs,
                scheduler_cls="CosineAnnealingLR",
                scheduler_params={"T_max": n_epochs},
                per_device_train_batch_size=BATCH,
                learning_rate=RATE,
                no_cuda=True,
            )
            from pythae.data.datasets import BaseDataset

            data = BaseDataset(torch.from_numpy(rows), torch.zeros(len(rows)))
            BaseTrainer(model, train_dataset=data, training_config=config).train()
        with torch.no_grad():
            drawn = model.decoder(torch.randn(N_JUDGED, law.n_latent))["reconstruction"].numpy()
        return center + LEVEL * drawn.astype(np.float64)

    return run


def flow(X: np.ndarray, law: SingularLaw) -> np.ndarray:
    """A neural spline flow in the space itself, on perturbed rows, without a repair of its samples."""
    import zuko

    torch.manual_seed(0)
    center, scale = X.mean(axis=0), float(np.sqrt(X.var(axis=0).mean()))
    rows = torch.from_numpy((X - center) / scale).float()
    model = zuko.flows.NSF(law.dim, transforms=3, hidden_features=(64, 64))
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_STEPS)
    for _ in range(N_STEPS):
        batch = rows[torch.randint(len(rows), (BATCH,))]
        loss = -model().log_prob(batch + LEVEL / scale * torch.randn_like(batch)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return center + scale * model().sample((N_JUDGED,)).double().numpy()


def mixture(X: np.ndarray, law: SingularLaw) -> np.ndarray:
    candidates = [GaussianMixture(k, random_state=0).fit(X) for k in range(1, 11)]
    return min(candidates, key=lambda fitted: fitted.bic(X)).sample(N_JUDGED)[0]


def kernel_density(X: np.ndarray, law: SingularLaw) -> np.ndarray:
    bandwidth = float(np.sqrt(X.var(axis=0).mean())) * len(X) ** (-1 / (law.dim + 4))
    return KernelDensity(bandwidth=bandwidth).fit(X).sample(N_JUDGED, random_state=0)


NAME = "perturbed IWAE"
METHODS: dict[str, Samples] = {
    NAME: ours(LEVEL, "iwae"),
    "perturbed VAE": ours(LEVEL, "vae"),
    "plain IWAE": ours(0.0, "iwae"),
    "plain VAE": ours(0.0, "vae"),
    "plain IWAE, two steps": two_step,
    "pythae IWAE": pythae("iwae"),
    "pythae VAE": pythae("vae"),
    "zuko flow, perturbed": flow,
    "sklearn mixture (BIC)": mixture,
    "sklearn kernel density": kernel_density,
}


def bench(name: str, n: int) -> None:
    """One table: every method on the same rows."""
    law = LAWS[name]()
    X, fresh = law.sample(n, 0), law.sample(N_JUDGED, 1)
    print(f"\n{name}: {n} rows in {law.dim} dimensions, perturbation {LEVEL:g}")
    print(f"{'floor':26s}{'':9s}{wasserstein(law.sample(N_JUDGED, 2), fresh):9.3f}")
    print(f"{'':26s}{'fit, s':>9s}{'W1':>9s}")
    results = {}
    for method, run in METHODS.items():
        package = method.partition(" ")[0]
        if package in ("pythae", "zuko") and importlib.util.find_spec(package) is None:
            print(f"{method:26s}  not installed")
            continue
        began = time.perf_counter()
        samples = run(X, law)
        seconds = time.perf_counter() - began
        results[method] = (seconds, wasserstein(samples, fresh))
        print(f"{method:26s}{seconds:9.2f}{results[method][1]:9.3f}", flush=True)
    for method, (seconds, error) in results.items():
        if method != NAME:
            print(f"  {method} / {NAME}: time {seconds / results[NAME][0]:.2f}, W1 {error / results[NAME][1]:.2f}")


def bench_restarts(n: int) -> None:
    """Restarts in one batched network against one after the other."""
    law = LAWS["mix2"]()
    X = law.sample(n, 0)
    print("\nrestarts side by side, and one after the other")
    for estimator in ("vae", "iwae"):
        for count in (3, 9):
            began = time.perf_counter()
            ours(LEVEL, estimator, count)(X, law)
            together = time.perf_counter() - began
            began = time.perf_counter()
            for _ in range(count):
                ours(LEVEL, estimator)(X, law)
            apart = time.perf_counter() - began
            print(f"{estimator}, {count}: {together:.2f} s, {apart:.2f} s; ratio {apart / together:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--laws", nargs="+", choices=list(LAWS), default=["mix2"])
    parser.add_argument("--rows", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    law = LAWS["mix2"]()
    PerturbedGenerator(perturbation=0.1, n_steps=5, n_restarts=1).fit(
        law.sample(50, 0)
    )  # loads what is loaded on first use
    for name in options.laws:
        bench(name, options.rows)
    bench_restarts(options.rows)


if __name__ == "__main__":
    main()
