"""The command line apart from the methods."""

import subprocess
import sys
import time

import pytest

from semigroup import __version__
from semigroup.catalog import METHODS, find, method
from semigroup.cli import main


def test_help_answers_in_half_a_second_and_imports_nothing_heavy():
    code = (
        "import sys; from semigroup.cli import main; main(['--help']); "
        "heavy = {'torch', 'sklearn', 'scipy', 'numpy', 'matplotlib'} & set(sys.modules); print(heavy); assert not heavy"
    )
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stdout + done.stderr
    assert min(seconds) < 0.5


def test_methods_lists_every_method(capsys):
    assert main(["methods"]) == 0
    shown = capsys.readouterr().out
    assert all(row.slug in shown for row in METHODS)


@pytest.mark.parametrize(
    ("words", "slug"),
    [
        ("bridge two cell populations", "light-sb"),
        ("rank the pages of a web graph", "powerwalk"),
        ("forecast a chaotic field", "pde-refiner"),
        ("train workers without a server", "dadao"),
        ("eigenvalues of a dynamical system with error bounds", "koopman"),
        ("predict a property of molecules", "spe"),
    ],
)
def test_methods_are_found_by_what_they_are_for(words, slug):
    assert find(words)[0].slug == slug


def test_words_that_match_nothing_are_told_so(capsys):
    assert main(["methods", "--for", "zzzz qqqq"]) == 0
    assert "no method matches" in capsys.readouterr().out


def test_version_is_the_package_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_unknown_command_is_refused_by_name(capsys):
    assert main(["frobnicate"]) == 2
    assert "frobnicate" in capsys.readouterr().err


def test_unknown_method_is_refused_with_the_nearest_one(capsys):
    assert main(["cite", "lightsb"]) == 2
    assert "light-sb" in capsys.readouterr().err
    with pytest.raises(ValueError, match="slug"):
        method("nothing")


def test_slugs_are_unique_and_targets_lie_in_their_wing():
    assert len({row.slug for row in METHODS}) == len(METHODS)
    for row in METHODS:
        assert row.target.split(":")[0].startswith(f"semigroup.{row.wing}.{row.module_name}")
