"""The command line apart from the methods."""

import resource
import subprocess
import sys

import pytest

from semigroup import __version__
from semigroup.catalog import METHODS, find, method
from semigroup.cli import main


def test_help_answers_in_half_a_second_and_imports_nothing_heavy():
    code = (
        "import sys; from semigroup.cli import main; main(['--help']); "
        "heavy = {'torch', 'sklearn', 'scipy', 'numpy', 'matplotlib'} & set(sys.modules); print(heavy); assert not heavy"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    # Processor time: what the command takes on a machine that does nothing else.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


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


def test_a_claim_number_that_does_not_exist_is_refused(capsys, tmp_path):
    assert main(["claims", "powerwalk", "--number", "99", "--out", str(tmp_path / "claims")]) == 2
    assert "number must be among [1, 2, 3, 4, 5, 6] for powerwalk" in capsys.readouterr().err
    assert not (tmp_path / "claims").exists()


def test_an_option_given_twice_is_refused(capsys):
    assert main(["claims", "powerwalk", "--number", "1", "--number", "2"]) == 2
    assert "give all its values after one --number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["powerwalk", "--alpha", "2"], "alpha must be > 0 and < 1, got 2.0"),
        (["powerwalk", "--data", "absent.csv"], "absent.csv: no such file"),
        (["powerwlk"], "did you mean powerwalk"),
    ],
)
def test_bad_input_to_a_run_is_one_line_that_names_it_and_leaves_no_folder(words, said, capsys, tmp_path):
    assert main(["run", *words, "--out", str(tmp_path / "run")]) == 2
    shown = capsys.readouterr().err
    assert said in shown and "Traceback" not in shown
    assert not (tmp_path / "run").exists()


def test_misspelt_option_is_answered_with_the_nearest_one(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "powerwalk", "--n-walk", "3"])
    assert stop.value.code == 2
    assert "--n-walks INT" in capsys.readouterr().err
