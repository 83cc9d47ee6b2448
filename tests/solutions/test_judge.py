"""The judge's verdicts beside right and wrong: what is not covered, declared, sampled, drawn again, and how it is told."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="a problem's model is PyTorch's")

import numpy as np

from convfuzz import cli
from convfuzz.checking.limits import Limits
from convfuzz.errors import UsageError
from convfuzz.graphs import sampled
from convfuzz.judging.numerics import Numerics
from convfuzz.solutions import comparing
from convfuzz.solutions.judge import ACCEPTED, NOT_COVERED, REJECTED, Judged, judge
from convfuzz.solutions.least import Least, LeastInput, script_of
from convfuzz.solutions.messages import packed, unpacked
from convfuzz.solutions.page import page
from convfuzz.solutions.problem import problem_of
from convfuzz.solutions.trials import plan
from convfuzz.system.json_records import Real

from .cheats import CHEATS, LOOK_ALIKES, PROBLEM, SOLUTION, Made

RIGHT = LOOK_ALIKES["the-library"]
Write = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The problem's file, shared, so that it is traced once."""
    path = tmp_path_factory.mktemp("problem") / "problem.py"
    path.write_text(PROBLEM)
    return path


def judged(problem: Path, source: str | Made, folder: Path, **options: object) -> Judged:
    """Judge a solution by its source."""
    path = folder / "solution.py"
    path.write_text(source.source if isinstance(source, Made) else source)
    return judge(problem, path, **({"seed": 1, "seconds": 600.0} | options))  # type: ignore[arg-type] # as a test has them


def test_an_operation_without_a_rule_is_not_covered_by_name(problem: Path, tmp_path: Path) -> None:
    """Nothing is accepted that was not judged: the verdict names the operation, and the solution is not even run."""
    other = tmp_path / "problem.py"
    other.write_text(problem.read_text().replace("torch.relu(self.conv(x))", "torch.lgamma(self.conv(x))"))
    found = judged(other, CHEATS["exits-0"], tmp_path)
    assert (found.verdict, found.trials, found.status) == (NOT_COVERED, (), 2)
    assert "aten.lgamma.default" in found.reasons[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("torch.relu(self.conv(x)).double()", "float64"),
        ("x + float(self.conv(x).sum())", "cannot be traced"),
        ("nn.functional.dropout(self.conv(x), 0.5, True)", "dropout"),
    ],
)
def test_what_cannot_be_derived_is_not_covered(problem: Path, tmp_path: Path, change: str, said: str) -> None:
    """float64, which is what rules compute in, branches on data, and chance are not judged."""
    other = tmp_path / "problem.py"
    other.write_text(problem.read_text().replace("torch.relu(self.conv(x))", change))
    found = judged(other, RIGHT, tmp_path)
    assert found.verdict == NOT_COVERED
    assert said in found.reasons[0]


def test_declared_arithmetic_is_allowed_and_no_more(problem: Path, tmp_path: Path) -> None:
    """Inputs rounded to TF32 are accepted where that is declared; a missing bias is not."""
    coarse = CHEATS["coarse-inputs"]
    assert judged(problem, coarse, tmp_path, numerics=Numerics(inputs="tfloat32")).verdict == ACCEPTED
    wrong = SOLUTION.format(before="", init="        pass", forward="        return torch.relu(F.conv2d(x, self.conv.weight, padding=1))")
    assert judged(problem, wrong, tmp_path, numerics=Numerics(inputs="tfloat32")).verdict == REJECTED


def test_a_mistake_is_not_explained_by_arithmetic_that_does_not_make_it(problem: Path, tmp_path: Path) -> None:
    """A missing tap of 288, as small as what coarse inputs may cost, is not told as coarse inputs: rounded ones do not give that output."""
    other = tmp_path / "problem.py"
    other.write_text(problem.read_text().replace("(2, 3, 7, 6)", "(2, 32, 7, 6)").replace("[3, 4, 3]", "[32, 4, 3]"))
    tap = "w = self.conv.weight.detach().clone(); w[-1, -1, -1, -1] = 0; return torch.relu(F.conv2d(x, w, self.conv.bias, padding=1))"
    assert not any("would explain it" in reason for reason in judged(other, Made(tap), tmp_path).reasons)
    cut = "return right(self, (x.contiguous().view(torch.int32) & -8192).view(torch.float32))"
    assert any("--numerics inputs=tfloat32-truncated" in reason for reason in judged(other, Made(cut), tmp_path).reasons)


def test_a_large_layer_is_judged_by_a_sample(problem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the whole is too much, some elements in all channels are judged, and the verdict says how many of how many."""
    monkeypatch.setattr(comparing, "MOST_PRODUCTS", 100)
    monkeypatch.setattr(sampled, "MOST_PRODUCTS", 2**12)
    found = judged(problem, RIGHT, tmp_path)
    assert found.verdict == ACCEPTED
    assert judged(problem, CHEATS["last-row-unwritten"], tmp_path).verdict == REJECTED
    monkeypatch.setattr(comparing, "MOST_PRODUCTS", 3 * 7 * 6 * 4 * 27)  # a member and a half
    by_members = judged(problem, RIGHT, tmp_path)
    assert by_members.verdict == ACCEPTED
    assert by_members.elements_judged < by_members.elements


def test_nan_and_inf_stay_where_they_are_read(problem: Path, tmp_path: Path) -> None:
    """A solution that spreads a NaN or an Inf to other members of the batch is rejected, though it is right on finite numbers."""
    found = judged(problem, Made("return right(self, x) + 0.0 * x.mean()"), tmp_path)
    assert {one.name for one in found.trials if one.verdict != "agree"} == {"inputs special"}
    assert found.verdict == REJECTED
    assert found.least is not None
    assert [float(value) for one in found.least.inputs for _, value in one.elements] in ([np.inf], [pytest.approx(np.nan, nan_ok=True)])


@pytest.mark.parametrize("forward", ["torch.relu(self.conv(x))", "self.conv(x)"])
def test_zeros_may_be_multiplied_with_a_nan(problem: Path, tmp_path: Path, forward: str) -> None:
    """A kernel that is filled up with zeros makes NaN beside what reads one: that is noted, and no wrong number."""
    other = tmp_path / "problem.py"
    other.write_text(problem.read_text().replace("torch.relu(self.conv(x))", forward))
    padded = "F.conv2d(x, F.pad(self.conv.weight, (1, 1, 1, 1)), self.conv.bias, padding=2)"
    found = judged(other, Made(f"return {forward.replace('self.conv(x)', padded)}"), tmp_path)
    assert found.verdict == ACCEPTED
    assert any("NaN or Inf in" in note and "(inputs special)" in note for note in found.notes)


def test_a_nan_that_no_way_to_compute_would_lose_is_demanded(problem: Path, tmp_path: Path) -> None:
    """Sums and products keep a NaN however they are written; who replaces it by a number is rejected where nothing else is in the model."""
    other = tmp_path / "problem.py"
    other.write_text(problem.read_text().replace("torch.relu(self.conv(x))", "0.5 * self.conv(x)"))
    source = SOLUTION.replace("torch.relu(F.conv2d(x, model.conv.weight, model.conv.bias, padding=1))", "model.conv(x) * 0.5")
    ways = [
        source.format(before="", init="        pass", forward=f"        return {y}")
        for y in ("right(self, x)", "torch.nan_to_num(right(self, x))")
    ]
    assert judged(other, ways[0], tmp_path).verdict == ACCEPTED
    found = judged(other, ways[1], tmp_path)
    assert {one.name for one in found.trials if one.verdict != "agree"} == {"inputs special"}
    assert "numbers where a NaN or an Inf is read" in found.reasons[0]
    assert found.least is not None


@pytest.mark.parametrize(
    ("returned", "said"),
    [("{'y': torch.relu(self.conv(x))}", "returns dict objects"), ("torch.relu(self.conv(x)), None", "something else")],
)
def test_a_model_that_returns_other_things_is_not_covered(problem: Path, tmp_path: Path, returned: str, said: str) -> None:
    """Results are tensors, alone or in a tuple or list: what else a model returns has no rule, and no solution is blamed for it."""
    other = tmp_path / "problem.py"
    other.write_text(problem.read_text().replace("return torch.relu(self.conv(x))", f"return {returned}"))
    found = judged(other, RIGHT, tmp_path)
    assert found.verdict == NOT_COVERED
    assert said in found.reasons[0]


@pytest.mark.parametrize(
    ("forward", "elements"),
    [
        ("w = self.conv.weight.detach().clone(); w[-1, -1, -1, -1] = 0; return torch.relu(F.conv2d(x, w, self.conv.bias, padding=1))", 1),
        ("return torch.relu(F.conv2d(x, self.conv.weight, padding=1))", 0),
    ],
    ids=["a-tap", "the-bias"],
)
def test_a_rejection_has_the_least_input_that_fails(problem: Path, tmp_path: Path, forward: str, elements: int) -> None:
    """A missing tap ends as one image with one element that is not zero, a missing bias as zeros; a script shows it without convfuzz."""
    found = judged(problem, Made(forward), tmp_path)
    assert found.least is not None
    (one,) = found.least.inputs
    assert len(one.elements) == elements
    assert one.shape[:2] == (1, 3)
    assert one.shape[2] * one.shape[3] <= 4
    assert str(found.least) in found.reasons
    printed = io.StringIO()
    with imported_from(problem.parent, tmp_path), contextlib.redirect_stdout(printed):
        exec(compile(found.least.script, "script", "exec"), {})  # noqa: S102 - written a moment ago
    actual, expected = printed.getvalue().split(" instead of ")
    assert float(actual) == pytest.approx(float(found.least.actual), rel=1e-5, abs=1e-7)
    assert float(expected) == pytest.approx(float(found.least.expected), rel=1e-5, abs=1e-7)
    assert "The least that fails" in page(found)


def test_the_script_of_a_least_input_takes_any_name(tmp_path: Path) -> None:
    """Inputs that are called as what the script itself has are told from it."""
    problem = tmp_path / "adding_problem.py"
    problem.write_text(
        "from torch import nn\n\n\nclass Model(nn.Module):\n    def forward(self, model, new, torch):\n"
        "        return model + 2 * new + torch\n\n\ndef get_init_inputs():\n    return []\n"
    )
    solution = tmp_path / "adding_solution.py"
    solution.write_text(problem.read_text().replace("class Model", "class ModelNew").replace("+ torch", "- torch"))
    inputs = [
        LeastInput(name=name, shape=(2,), dtype="float32", elements=(((1,), Real(n)),)) for n, name in enumerate(("model", "new", "torch"))
    ]
    least = Least(instance="", seed=1, layout="contiguous", inputs=tuple(inputs), verdict="wrong", index=(1,), is_as_constructed=True)
    printed = io.StringIO()
    with imported_from(tmp_path), contextlib.redirect_stdout(printed):
        exec(compile(script_of(least, problem, solution), "script", "exec"), {})  # noqa: S102 - written a moment ago
    assert printed.getvalue() == "0.0 instead of 4.0\n"


@contextlib.contextmanager
def imported_from(*folders: Path) -> Iterator[None]:
    """Have modules of these folders imported afresh."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in folders:
            patch.syspath_prepend(folder)
        yield
    for name in ("problem", "solution"):
        sys.modules.pop(name, None)


def test_a_rejection_that_depends_on_earlier_calls_has_none(problem: Path, tmp_path: Path) -> None:
    """What is right in the first call of a process is no input that fails."""
    source = Made("self.calls += 1; return right(self, x) * (1.0 if self.calls < 3 else 1.5)", init="self.calls = 0")
    found = judged(problem, source, tmp_path)
    assert (found.verdict, found.least) == (REJECTED, None)


def test_other_parameters_are_judged_as_constructed(problem: Path, tmp_path: Path) -> None:
    """A solution with its parameters under other names gets those that its constructor makes after the same seed, and that is said."""
    source = SOLUTION.replace("self.conv = ", "self.own = ").replace("model.conv", "model.own")
    found = judged(problem, source.format(before="", init="        pass", forward="        return right(self, x)"), tmp_path)
    assert found.verdict == ACCEPTED
    assert any("conv.weight" in note for note in found.notes)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import torch", "no class ModelNew"),
        ("raise RuntimeError('not today')", "RuntimeError: not today"),
        ("class ModelNew:\n    def __init__(self, *a): self.eval = None", "not an nn.Module"),
        ("def ModelNew(*a): raise ValueError('no')", "its constructor raised ValueError: no"),
        ("import os; os.abort()", "SIGABRT"),
        ("import os\ndef ModelNew(*a): os._exit(3)", "exit status 3"),
    ],
)
def test_what_is_no_solution_is_rejected(problem: Path, tmp_path: Path, source: str, said: str) -> None:
    """A file without the class, one that raises, and one that ends its process are rejected, and the reason says so."""
    found = judged(problem, source, tmp_path)
    assert found.verdict == REJECTED
    assert said in " ".join(found.reasons)


def test_a_call_that_does_not_end_is_ended(problem: Path, tmp_path: Path) -> None:
    """A solution that hangs is rejected after the time of a call."""
    found = judged(problem, Made("while True: pass"), tmp_path, limits=Limits(case_timeout=0.5))
    assert found.verdict == REJECTED
    assert "timeout" in found.reasons[0]


def test_the_same_seed_draws_the_same_trials(problem: Path) -> None:
    """What is tried, in which order and on which numbers, follows from the seed."""

    def drawn(seed: int) -> list[tuple[str, str, bytes]]:
        instances = [one for part in plan(problem_of(problem), seed) for one in part]
        return [(one.name, trial.name, trial.make()[0].tobytes()) for one in instances for trial in one.trials]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_inputs_differ_between_calls_but_for_one(problem: Path) -> None:
    """Only the repetition has the inputs of another trial, and something else is called in between."""
    required, _ = plan(problem_of(problem), 5)
    trials = [trial for one in required for trial in one.trials]
    again = next(trial for trial in trials if trial.same_as)
    contents = [trial.make()[0].tobytes() for trial in trials if trial is not again]
    assert len(set(contents)) == len(contents)
    order = next([trial.name for trial in one.trials] for one in required if again in one.trials)
    assert order.index(again.name) - order.index(again.same_as) > 1


def test_arguments_arrive_as_they_were() -> None:
    """Tuples stay tuples and floats keep every bit on their way to the constructor; what JSON cannot say is refused."""
    given = [3, 0.1, float("inf"), (1, (2, [3])), {"a": (1,)}, "x", None, True]
    assert unpacked(json.loads(json.dumps(packed(given)))) == given
    with pytest.raises(UsageError, match="ndarray"):
        packed([np.zeros(2)])


def test_a_page_shows_what_a_solution_says_as_text(problem: Path, tmp_path: Path) -> None:
    """The page has the verdict, the trials and the command, and nothing that a solution said is markup in it."""
    found = judged(problem, Made("raise RuntimeError('<script>alert(1)</script>')"), tmp_path)
    shown = page(found)
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert "rejected" in shown
    assert f"--seed {found.seed}" in shown


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """A function that runs ``convfuzz judge`` and returns its exit status and what it printed."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["convfuzz", "judge", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, printed.out + printed.err

    return run


def test_answers_that_there_is_no_time_to_judge_are_counted(problem: Path, tmp_path: Path) -> None:
    """Where the time is over, the first answer is judged and the others are told to be left; nothing is refused that was not judged."""
    found = judged(problem, RIGHT, tmp_path, seconds=0.01)
    assert (found.verdict, len(found.trials)) == (ACCEPTED, 1)
    assert any("were not judged in the time that was given" in note for note in found.notes)


LONG_SUMS = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2048, 4, bias=False)
        nn.init.uniform_(self.linear.weight, 0.5, 1.0)

    def forward(self, x):
        return self.linear(x)

def get_inputs():
    return [torch.rand(2, 2048)]

def get_init_inputs():
    return []
"""
IN_SEQUENCE = """
        y = torch.zeros(len(x), 4)
        for k in range(2048):
            y = y + x[:, k, None] * self.linear.weight[None, :, k]
        return y
"""


def test_a_solution_is_held_to_the_order_that_is_declared(tmp_path: Path, command: Callable[..., tuple[int, str]]) -> None:
    """A running sum is right in its own order and beyond the tolerance of a balanced tree, and the verdict says what would explain it."""
    problem, solution = tmp_path / "problem.py", tmp_path / "solution.py"
    problem.write_text(LONG_SUMS)
    source = LONG_SUMS.replace("class Model(", "class ModelNew(")
    solution.write_text(source.replace("\n        return self.linear(x)\n", IN_SEQUENCE))
    given = (problem, solution, "--seed", 3, "--time", "1s", "--numerics")  # its first trial is one of positive inputs
    assert command(*given, " order = sequential ")[0] == 0
    status, printed = command(*given, "order=pairwise")
    assert status == 1
    assert "without order=" in " ".join(printed.split())


def test_the_command_prints_the_verdict(problem: Path, tmp_path: Path, command: Callable[..., tuple[int, str]]) -> None:
    """The exit status is the verdict; JSON has what is relied on; the page is written where it is asked for."""
    path = tmp_path / "solution.py"
    path.write_text(RIGHT.source)
    status, printed = command(problem, path, "--json", "--html", tmp_path / "verdict.html")
    found = json.loads(printed)
    assert (status, found["verdict"]) == (0, ACCEPTED)
    assert {"verdict", "reasons", "trials", "cheating", "elements_judged", "elements", "versions"} <= found.keys()
    assert "accepted" in (tmp_path / "verdict.html").read_text()
    path.write_text(CHEATS["coarse-inputs"].source)
    status, printed = command(problem, path, "--seed", 1)
    assert status == 1
    assert printed.startswith("rejected")
    assert "--numerics inputs=tfloat32" in printed
    assert command(problem, path, "--numerics", "inputs=tfloat32")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no_such.py", "solution.py"], "no_such.py"),
        (["problem.py", "no_such.py"], "no_such.py"),
        (["problem.py", "problem.py", "--numerics", "inputs"], "NAME=VALUE"),
        (["problem.py", "problem.py", "--numerics", "inputs=float8"], "float8"),
        (["problem.py", "problem.py", "--numerics", "order=lanes"], "order='lanes' is not one of sequential"),
        (["problem.py", "problem.py", "--numerics", "order=lanes-8, order=split-2"], "order is given twice"),
        (["problem.py", "problem.py", "--numerics", "order=lanes-8,algorithm=transform"], "a direct sum"),
        (["problem.py", "problem.py", "--numerics", "ordr=lanes-8"], "order"),
        (["problem.py", "problem.py", "--numerics", "truncates=yes"], "truncates='yes' is not True or False"),
        (["empty.py", "problem.py"], "no Model, get_inputs, get_init_inputs"),
    ],
)
def test_mistakes_are_named(
    problem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., tuple[int, str]], arguments: list[str], said: str
) -> None:
    """A file that is none, one without the three names, and arithmetic that does not exist end with status 2 and say so."""
    (tmp_path / "problem.py").write_text(problem.read_text())
    (tmp_path / "empty.py").write_text("")
    monkeypatch.chdir(tmp_path)
    status, printed = command(*arguments)
    assert status == 2
    assert said in printed
