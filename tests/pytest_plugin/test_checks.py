"""``case.check`` and ``@convfuzz.fuzz``: what passes, what fails, and what a failure says."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import settings

import convfuzz
from convfuzz import Case, Disagreement
from convfuzz.errors import UsageError
from convfuzz.testing.agreement import NothingComparedError
from convfuzz.testing.options import Options, configure

from .conftest import Folder, Session

STRIDED = "conv1d_c1_o1_i1_k1_s2_f32@integers.0"
DILATED = "conv1d_c1_o1_i1_k1_d2_f32@integers.0"
TESTS = """
import convfuzz
from hypothesis import given, settings
from kernels import right, two_bugs, wrong

CASES = convfuzz.strategies.cases(
    dims=(1,), dtypes=("float32",), ops=("conv",), layouts=("contiguous",), padding_modes=("zeros",), max_stride=2, max_dilation=2
)


@settings(max_examples=200)
@given(case=CASES)
def test_given(case):
    case.check(two_bugs)


@convfuzz.fuzz(CASES, cases=60)
def test_fuzz(case):
    case.check(two_bugs)


@convfuzz.fuzz("smoke", cases=20)
def test_one_bug(case, tmp_path):
    assert tmp_path.is_dir()
    case.check(wrong, "reference")


class TestMethods:
    @convfuzz.fuzz("smoke", cases=10)
    def test_right(self, case):
        case.check(right)


test_right = convfuzz.fuzz("smoke", cases=10)(right)
test_reference = convfuzz.fuzz("smoke", cases=10)("reference")
"""


def correct(x, w, b, config):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201 - a user's kernel
    """Compute the convolution by the reference."""
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)


def wrong(x, w, b, config):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201 - a user's kernel
    """Add one."""
    return correct(x, w, b, config) + 1


@pytest.fixture(scope="module")
def session(shared_folder: Folder) -> Session:
    """A session of all kinds of tests."""
    shared_folder.write("test_kernels.py", TESTS)
    return shared_folder.pytest("test_kernels.py", "--hypothesis-seed=3")


def section(session: Session, test: str) -> str:
    """Return what a session says of one failing test."""
    (text,) = re.findall(rf"^_+ {re.escape(test)} _+$(.*?)(?=^_{{5,}} |^={{5,}} )", session.output, re.MULTILINE | re.DOTALL)
    return str(text)


def test_correct_kernels_pass_and_wrong_ones_fail(session: Session) -> None:
    """A correct kernel passes as a function, in a method and by its name; a wrong one fails the session."""
    assert session.status == 1
    assert session.outcomes() == {"failed": 3, "passed": 3}


@pytest.mark.parametrize("test", ["test_given", "test_fuzz"])
def test_distinct_bugs_are_reported_distinctly_each_with_its_minimal_case(session: Session, test: str) -> None:
    """Two bugs of one kernel, found by one line of a test, are two failures, both shrunk to the end."""
    said = section(session, test)
    assert f"kernels.py::two_bugs is wrong: {STRIDED}" in said
    assert f"kernels.py::two_bugs is wrong-shape: {DILATED}" in said
    assert said.count("convfuzz.Disagreement: ") == 2


def test_failure_is_the_table_the_case_and_the_command(session: Session) -> None:
    """A failure says who is wrong on which case, by how much, where, and which command shows it again."""
    said = section(session, "test_one_bug")
    assert "convfuzz.Disagreement: kernels.py::wrong is wrong: conv1d_c1_o1_i1_k1_f32@integers.0" in said
    assert re.search(r"backend +verdict +max-abs", said)
    assert re.search(r"reference +agree +0", said)
    assert "largest at [0, 0, 0]: expected" in said
    assert "Reproduce: convfuzz check conv1d_c1_o1_i1_k1_f32@integers.0 --backends kernels.py::wrong,reference" in said
    assert "case=Case.parse('conv1d_c1_o1_i1_k1_f32@integers.0')" in said


@pytest.mark.parametrize("test", ["test_given", "test_fuzz", "test_one_bug"])
def test_no_internals_are_shown(session: Session, test: str) -> None:
    """Neither frames nor files of convfuzz, Hypothesis or pytest are in what a failure shows."""
    said = section(session, test)
    shown = re.findall(r'File "([^"]+)"|^(\S+\.py):\d+', said, re.MULTILINE)
    assert {(one or other).rpartition("/")[2] for one, other in shown} <= {"test_kernels.py"}
    assert "/convfuzz/" not in said
    assert "Explanation:" not in said or re.search(r"kernels\.py:\d+$", said, re.MULTILINE)
    assert "ConvConfig(" not in said


def test_the_printed_command_reproduces(session: Session, shared_folder: Folder) -> None:
    """The command of the message exits with 1 and shows the same verdict; other failures, such as imprecise ones, may stand below."""
    command, *_ = re.findall(r"Reproduce: convfuzz (check .*)", section(session, "test_one_bug"))
    again = shared_folder.convfuzz(*command.split())
    assert again.status == 1
    assert re.search(r"kernels.py::wrong +wrong", again.output)


def test_known_failure_does_not_stop_the_search(folder: Folder) -> None:
    """A failure that Hypothesis remembers comes first, and a second bug is found behind it all the same."""
    test = 'import convfuzz\nfrom kernels import *\n\n@convfuzz.fuzz("smoke", cases=100, seed=1)\ndef test_it(case):\n    case.check({})\n'
    folder.write("test_it.py", test.format("two_bugs"))
    folder.write("kernels.py", (folder.path / "kernels.py").read_text().replace("y[..., :-1] if", "y if"))
    first = folder.pytest("test_it.py")
    folder.write("kernels.py", (folder.path / "kernels.py").read_text().replace("y if max", "y[..., :-1] if max"))
    second = folder.pytest("test_it.py")
    assert STRIDED in first.output
    assert DILATED not in first.output
    assert STRIDED in second.output
    assert DILATED in second.output


def test_test_that_compares_nothing_fails(folder: Folder) -> None:
    """A test none of whose cases any backend computes is not green, and says why."""
    folder.write(
        "test_it.py",
        "import convfuzz\nfrom kernels import only_double\n"
        'SINGLE = convfuzz.strategies.cases(dtypes=("float32",))\ntest_it = convfuzz.fuzz(SINGLE, cases=5)(only_double)\n'
        'def test_one():\n    convfuzz.Case.parse("conv1d_c1_o1_i1_k1_f32").check(only_double)\n',
    )
    session = folder.pytest("test_it.py")
    assert session.outcomes() == {"failed": 2}
    assert session.output.count("nothing was compared: no backend computes any of the") >= 2
    assert "kernels.py::only_double: dtype float32" in session.output


def test_check_returns_what_every_backend_made_of_the_case() -> None:
    """A check that passes returns its results; backends may come as a list."""
    result = Case.parse("conv1d_c2_o1_i5_k2_f32").check(["reference", correct])
    assert [(r.backend.rpartition("::")[2], r.verdict) for r in result.results] == [("reference", "agree"), ("correct", "agree")]


def test_each_kind_of_failure_is_a_class_of_its_own() -> None:
    """Failures of one kind are of one class whatever the case, those of another kernel of another, and all are Disagreements."""
    with pytest.raises(Disagreement) as first:
        Case.parse("conv1d_c1_o1_i3_k1_f32@integers.0").check(wrong)
    with pytest.raises(Disagreement) as second:
        Case.parse("conv2d_c2_o1_i4_k2_f32@integers.1").check(wrong)
    with pytest.raises(Disagreement) as third:
        convfuzz.assert_agrees("conv2d_c2_o1_i4_k2_f32@integers.1", lambda x, w, b, config: correct(x, w, b, config) + 1)
    assert type(first.value) is type(second.value)
    assert type(second.value) is not type(third.value)
    assert first.value.__context__ is None


def test_local_kernel_is_reproduced_in_its_test() -> None:
    """A kernel that no name leads to has no command: the message says how to run the case instead."""
    with pytest.raises(Disagreement) as failure:
        Case.parse("conv1d_c1_o1_i3_k1_f32@integers.0").check(lambda x, w, b, config: correct(x, w, b, config) + 1)
    assert "convfuzz check" not in str(failure.value)
    assert "Case.parse('conv1d_c1_o1_i3_k1_f32@integers.0').check(kernel)" in str(failure.value)
    assert "pytest tests/pytest_plugin/test_checks.py::test_local_kernel_is_reproduced_in_its_test" in str(failure.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": 5}, "strategy=5 is neither the name of a search space nor a strategy of cases"),
        ({"cases": 0}, "cases=0 is not a whole number of at least 1"),
        ({"cases": True}, "cases=True is not a whole number of at least 1"),
        ({"seed": -1}, "seed=-1 is not a whole number of at least 0"),
        ({"cases": np.True_}, "cases=np.True_ is not a whole number of at least 1"),
        ({"strategy": "defualt"}, r"unknown strategy 'defualt'; known are .* \(closest: 'default'\)"),
    ],
)
def test_bad_argument_is_named(arguments: dict[str, object], message: str) -> None:
    """An argument without meaning is refused where it is given."""
    with pytest.raises(UsageError, match=message):
        convfuzz.fuzz(**arguments)  # type: ignore[arg-type]


def drawn(cases: int | None = 12, seed: int | None = None) -> list[str]:
    """Return the cases that a test draws."""
    seen: list[str] = []

    @convfuzz.fuzz("smoke", cases=cases, seed=seed)
    def collects(case: Case) -> None:
        case.check("reference")
        seen.append(str(case))

    collects()
    return seen


def test_seed_draws_the_same_cases_again() -> None:
    """The same seed draws the same cases, another one others; the number is the one asked for."""
    assert drawn(seed=3) == drawn(seed=3) != drawn(seed=4)
    assert len(drawn(seed=3)) == 12
    assert drawn(np.int64(12), np.array(3)) == drawn(seed=3)  # type: ignore[arg-type]


def test_command_line_goes_before_the_test_which_goes_before_the_ini_file() -> None:
    """What is said on the command line counts for every test; what the ini file says, where a test says nothing."""
    try:
        configure(Options(), Options(cases=5))
        assert (len(drawn(7, 1)), len(drawn(None, 1))) == (7, 5)
        configure(Options(cases=3), Options(cases=5))
        assert (len(drawn(7, 1)), len(drawn(None, 1))) == (3, 3)
    finally:
        configure(Options(), Options())
    assert len(drawn(None, 1)) == settings().max_examples


def test_bare_decorator_draws_with_every_default() -> None:
    """``@convfuzz.fuzz`` without parentheses is the same as with empty ones."""
    seen: list[Case] = []

    @convfuzz.fuzz
    def collects(case: Case) -> None:
        case.check("reference")
        seen.append(case)

    configure(Options(cases=2, strategy="smoke"), Options())
    try:
        collects()
    finally:
        configure(Options(), Options())
    assert len(seen) == 2


def test_fuzzed_kernel_without_a_case_in_its_domain_fails_outside_of_pytest_too() -> None:
    """The decorator itself notices that nothing was compared, whatever else the test compares."""
    Case.parse("conv1d_c1_o1_i1_k1_f32").check("reference")
    kernel = convfuzz.backend(dtypes=("int8",))(lambda *operands: operands[0])
    with pytest.raises(NothingComparedError, match="dtype float32"):
        convfuzz.fuzz(convfuzz.strategies.cases(dtypes=("float32",)), cases=3)(kernel)()
