"""The claims' machinery on cases whose outcome is known."""

import numpy as np
import pytest
import torch
from torch import nn

from semigroup.claims import ScaleUnavailable, claims_of
from semigroup.claims import spe as claims
from semigroup.graphs.spe import PositionalEncoder


def test_every_claim_of_the_paper_is_there_and_at_most_the_cheap_ones_are_quick():
    found = claims_of("spe")
    assert [claim.number for claim in found] == [1, 2, 3, 4, 5, 6]
    assert {claim.number for claim in found if claim.quick} == {1, 3}


def test_slope_of_a_power_is_its_exponent():
    x = np.array([0.1, 0.01, 0.001])
    assert claims.slope(x, 3 * x**1.5) == pytest.approx(1.5)


def test_truncated_sensitivity_of_a_cut_pair_is_the_inverse_gap():
    # In the plane of the cut pair the first-order change of the projector is √2 |E_34| / γ.
    basis = np.eye(6)[None]
    noise = np.zeros((1, 6, 6))
    noise[0, 2, 3] = noise[0, 3, 2] = 1e-9
    found = claims.truncated_sensitivity(basis, noise, 1e-2, 3)
    assert found == pytest.approx(np.sqrt(2) / (1e-2 * np.sqrt(2)), rel=1e-4)
    assert claims.truncated_sensitivity(basis, noise, 1e-2, 4) < 1e-4


class Eigenvectors(PositionalEncoder):
    """Uses V directly: neither stable nor invariant."""

    out_dim = 16

    def __init__(self, *args, **kwargs) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def encode(self, graphs):
        return graphs.eigenvectors + 0 * self.nothing


def test_stability_claim_fails_for_an_encoder_that_uses_eigenvectors_directly(monkeypatch):
    monkeypatch.setitem(claims.ENCODERS, "SPE", Eigenvectors)
    measured = claims.spe_is_stable_where_signnet_and_basisnet_jump("cpu")
    assert measured.holds is False
    assert abs(measured.figure) < 0.5


def test_invariance_claim_fails_for_an_encoder_that_uses_eigenvectors_directly(monkeypatch):
    monkeypatch.setattr(claims, "SPE", Eigenvectors)
    measured = claims.encoding_is_invariant_to_bases_and_equivariant_to_numbering("cpu")
    assert measured.holds is False
    assert measured.figure > 0.01


def test_lipschitz_claim_fails_for_a_wrong_laplacian(monkeypatch):
    right = claims.laplacian_eigenpairs
    # A function three times as steep breaks the bound.
    monkeypatch.setattr(claims, "rebuilt", lambda w, v: ((v * torch.where(w > 0.7, 3 * w, w)) @ v.T).numpy())
    monkeypatch.setattr(claims, "laplacian_eigenpairs", lambda graph: right(graph))
    assert claims.weights_move_by_at_most_the_lipschitz_constant("cpu").holds is False


def test_counting_is_judged_by_the_order_and_the_size_of_the_errors():
    good = {("spe", 3): 0.1, ("signnet", 3): 0.3, ("none", 3): 0.7}
    assert claims.judge_counting(good, (3,), small=True)[0]
    for worse in ({("spe", 3): 0.16}, {("signnet", 3): 0.19}, {("none", 3): 0.3}):
        assert not claims.judge_counting(good | worse, (3,), small=True)[0]
    full = good | {("peg", 3): 0.6}
    assert claims.judge_counting(full, (3,), small=False)[0]
    assert not claims.judge_counting(full | {("peg", 3): 0.2}, (3,), small=False)[0]


def test_molecules_are_judged_by_bands_that_do_not_overlap_and_by_rank_correlations():
    def errors(spe, signnet, none):
        return {
            name: np.array([v - 0.01, v, v + 0.01]) for name, v in zip(("spe", "signnet", "none"), (spe, signnet, none))
        }

    assert claims.judge_molecules(errors(0.4, 0.45, 0.5), -0.9, 0.9) == (True, True)
    assert claims.judge_molecules(errors(0.44, 0.45, 0.5), -0.9, 0.9) == (False, True)
    assert claims.judge_molecules(errors(0.4, 0.45, 0.5), -0.9, 0.5) == (True, False)


def small(budget, **changes):
    from dataclasses import replace

    tiny = (
        ("hidden_dim", 8),
        ("n_channels", 2),
        ("encoding_dim", 4),
        ("rho_layers", 1),
        ("n_layers", 1),
        ("n_epochs", 1),
    )
    return replace(budget, options=(*budget.options, *tiny), **changes)


def test_counting_at_the_accelerators_settings_measures_every_length_and_encoding():
    budget = small(claims.COUNTING["gpu"], n_train=20, n_validation=6, n_test=10, n_seeds=1)
    measured = claims.counting_measurement(budget, ("spe", "signnet", "rwse", "peg", "none"), "cpu", small=False)
    assert len(measured.table) == 4 * 5 and np.isfinite([row["error"] for row in measured.table]).all()
    assert measured.plot is not None


def test_molecules_at_the_accelerators_settings_measure_comparison_shift_and_trade_off(monkeypatch):
    monkeypatch.setattr(claims, "PIECES", (1, 4))
    budget = small(
        claims.MOLECULES["gpu"], n_train=20, n_train_small=20, n_train_pieces=20, n_validation=8, n_test=40, n_seeds=2
    )
    measured = claims.molecule_measurement(budget, "cpu")
    assert [row["encoding"] for row in measured.table[:3]] == ["spe", "signnet", "none"]
    assert len(measured.table) == 3 + len(claims.PIECES)
    assert measured.plot is not None


def test_papers_scale_that_cannot_be_had_is_said_so(monkeypatch):
    with pytest.raises(ScaleUnavailable, match="ZINC-12k"):
        claims.spe_predicts_molecules_better_than_signnet_and_no_encoding("paper")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ScaleUnavailable, match="CUDA"):
        claims.spe_counts_cycles_better_than_signnet_and_no_encoding("paper")
