"""The residual, its gradient in the weights, and both samplers, beside nested automatic differentiation, torchsde and diffrax.

    pip install 'semigroup[peers]' diffrax
    python benchmarks/bench_fokker_planck_gap.py

Everybody gets the same network (three layers of 80, softplus), the same points and the same number of Euler steps on one thread.
Checked before the clock is read: the residuals agree to single precision, and the samples of all SDE solvers have the same
spread (the ODE's law is another). What is compiled or loaded on first use is run once before. torchsde and diffrax are timed
only if they are installed; they get the score by automatic differentiation, as their users would write it.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semigroup.densities.fokker_planck_gap import PotentialNetwork, residual, sample_ode, sample_sde
from semigroup.schedules import OrnsteinUhlenbeck

__all__ = ["main"]

HORIZON = 5.0
OU = OrnsteinUhlenbeck(HORIZON)


def nested_residual(network: PotentialNetwork, x: Tensor, t: Tensor) -> Tensor:
    """R by torch.autograd.grad of torch.autograd.grad, as the published programs compute it."""
    x, t = x.clone().requires_grad_(), t.clone().requires_grad_()
    phi = network(x, t)
    gradient, change = torch.autograd.grad(phi.sum(), (x, t), create_graph=True)
    laplacian = sum(torch.autograd.grad(gradient[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(x.shape[1]))
    return change - x.shape[1] - (x * gradient).sum(1) - (laplacian + gradient.square().sum(1)) / 2


def nested_score(network: PotentialNetwork) -> Callable[[Tensor, Tensor], Tensor]:
    """The score by torch.autograd.grad."""

    def score(x: Tensor, t: Tensor) -> Tensor:
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            return torch.autograd.grad(network(y, t).sum(), y)[0]

    return score


def best_of(function: Callable[[], Any], repeats: int) -> float:
    """Least seconds of several calls, after one that is not timed."""
    function()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def torchsde_sample(network: PotentialNetwork, x: Tensor, n_steps: int) -> Tensor:
    """Euler-Maruyama by torchsde, in the time that runs backward."""
    import torchsde

    score = nested_score(network)

    class Reverse(torch.nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, s: Tensor, y: Tensor) -> Tensor:
            return y + score(y, (HORIZON - s).expand(len(y)))

        def g(self, s: Tensor, y: Tensor) -> Tensor:
            return torch.ones_like(y)

    with torch.no_grad():
        ts = torch.tensor([0.0, HORIZON])
        return torchsde.sdeint(Reverse(), x, ts, method="euler", dt=HORIZON / n_steps)[-1]


def diffrax_sampler(network: PotentialNetwork, x: Tensor, n_steps: int) -> Callable[[], Any]:
    """Compiled Euler-Maruyama by diffrax."""
    import diffrax
    import jax
    import jax.numpy as jnp

    layers = [
        (jnp.asarray(layer.weight.detach().numpy()), jnp.asarray(layer.bias.detach().numpy()))
        for layer in network.linear_layers()
    ]

    def phi(y: Any, t: Any) -> Any:
        h = jnp.concatenate([jnp.reshape(t, (1,)), y])
        for i, (weight, bias) in enumerate(layers):
            h = weight @ h + bias
            if i + 1 < len(layers):
                h = jax.nn.softplus(network.beta * h) / network.beta
        return h[0]

    score = jax.grad(phi)

    def one(y0: Any, key: Any) -> Any:
        path = diffrax.VirtualBrownianTree(0.0, HORIZON, tol=HORIZON / n_steps / 2, shape=(2,), key=key)
        terms = diffrax.MultiTerm(
            diffrax.ODETerm(lambda s, y, _: y + score(y, HORIZON - s)),
            diffrax.ControlTerm(lambda s, y, _: jnp.eye(2), path),
        )
        found = diffrax.diffeqsolve(terms, diffrax.Euler(), 0.0, HORIZON, HORIZON / n_steps, y0, max_steps=n_steps + 8)
        return found.ys[-1]

    sampler = jax.jit(jax.vmap(one))
    keys = jax.random.split(jax.random.PRNGKey(0), len(x))
    start = jnp.asarray(x.numpy())
    return lambda: np.asarray(sampler(start, keys))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[512, 8192])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = PotentialNetwork(2)
    print(f"{'residual of points':32s}{'semigroup, ms':>15s}{'nested, ms':>12s}{'ratio':>8s}")
    for n in options.points:
        x, t = torch.randn(n, 2), HORIZON * torch.rand(n)
        torch.testing.assert_close(residual(network, x, t, OU), nested_residual(network, x, t), rtol=1e-3, atol=1e-3)

        def ours(x: Tensor = x, t: Tensor = t) -> None:
            residual(network, x, t, OU).square().mean().backward()

        def theirs(x: Tensor = x, t: Tensor = t) -> None:
            nested_residual(network, x, t).square().mean().backward()

        def ours_value(x: Tensor = x, t: Tensor = t) -> None:
            with torch.no_grad():
                residual(network, x, t, OU)

        pairs = (
            (f"{n}, value", ours_value, lambda x=x, t=t: nested_residual(network, x, t)),
            (f"{n}, R^2 and its weight gradient", ours, theirs),
        )
        for name, one, other in pairs:
            a, b = best_of(one, options.repeats), best_of(other, options.repeats)
            print(f"{name:32s}{1e3 * a:15.2f}{1e3 * b:12.2f}{b / a:8.1f}", flush=True)

    n, steps = options.samples, options.steps
    x = math.sqrt(0.5) * torch.randn(n, 2)
    times = np.linspace(HORIZON, 0, steps + 1).tolist()
    samplers: dict[str, Callable[[], Any]] = {
        "semigroup, ODE": lambda: sample_ode(network.score, x, times, OU)[:, -1].numpy(),
        "semigroup, SDE": lambda: sample_sde(network.score, x, times, OU, torch.Generator())[:, -1].numpy(),
        "score by autograd, SDE": lambda: sample_sde(nested_score(network), x, times, OU, torch.Generator())[
            :, -1
        ].numpy(),
    }
    if importlib.util.find_spec("torchsde"):
        samplers["torchsde, SDE"] = lambda: torchsde_sample(network, x, steps).numpy()
    if importlib.util.find_spec("diffrax"):
        samplers["diffrax, SDE"] = diffrax_sampler(network, x, steps)
    spreads = {name: float(np.std(sampler())) for name, sampler in samplers.items()}
    for name, spread in spreads.items():
        if "SDE" in name:
            # Four times what chance does to the ratio of two of them.
            error = 4 / math.sqrt(x.numel())
            np.testing.assert_allclose(spread, spreads["semigroup, SDE"], rtol=error, err_msg=name)
    print(f"\n{n} samples, {steps} Euler steps\n{'':32s}{'seconds':>10s}{'of semigroup':>14s}{'spread':>10s}")
    base = None
    for name, sampler in samplers.items():
        seconds = best_of(sampler, max(2, options.repeats // 2))
        if name == "semigroup, SDE":
            base = seconds
        ratio = f"{seconds / base:14.2f}" if base is not None else f"{'':14s}"
        print(f"{name:32s}{seconds:10.3f}{ratio}{spreads[name]:10.3f}", flush=True)
    for name in ("torchsde", "diffrax"):
        if not importlib.util.find_spec(name):
            print(f"{name} is not installed")


if __name__ == "__main__":
    main()
