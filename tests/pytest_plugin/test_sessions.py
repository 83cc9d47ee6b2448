"""What the plugin does to a session: options, header, the ready suite, deadlines, and nothing at all where it is not used."""

from __future__ import annotations

import re

import pytest

from .conftest import Folder

DRAWS = """
import convfuzz

SEEN = []

@convfuzz.fuzz
def test_draws(case):
    case.check("reference")
    SEEN.append(case)

def test_count():
    print(f"drawn {len(SEEN)}: {SEEN[-1]}")
"""


def test_session_that_does_not_use_it_loads_nothing(folder: Folder) -> None:
    """With convfuzz installed, other people's sessions import pytest's plugin module and none of its dependencies."""
    folder.write(
        "conftest.py",
        "import atexit, sys\natexit.register(lambda: print(sorted({m.partition('.')[0] for m in sys.modules} & "
        "{'numpy', 'numba', 'hypothesis', 'msgspec', 'rich', 'psutil', 'click', 'torch', 'tensorflow'}), "
        "sorted(m for m in sys.modules if m.startswith('convfuzz.'))))\n",
    )
    folder.write("test_it.py", "def test_it():\n    pass\n")
    # Hypothesis's own plugin imports Hypothesis at the end of a session.
    session = folder.pytest("-p", "no:hypothesispytest", "-p", "no:xdist")
    assert session.status == 0
    assert session.output.splitlines()[-1] == "[] ['convfuzz.pytest_plugin', 'convfuzz.testing', 'convfuzz.testing.options']"


def test_options_say_what_is_drawn(folder: Folder) -> None:
    """Strategy, number of cases and seed come from the command line or from ini keys of the same names, over which it goes."""
    folder.write("test_it.py", DRAWS)
    by_option = folder.pytest("-s", "--convfuzz-strategy", "smoke", "--convfuzz-cases", "7", "--convfuzz-seed", "3")
    folder.write("pytest.ini", "[pytest]\nconvfuzz_strategy = smoke\nconvfuzz_cases = 7\nconvfuzz_seed = 3\n")
    by_file, by_both = folder.pytest("-s"), folder.pytest("-s", "--convfuzz-seed", "4")
    last = []
    for session in (by_option, by_file, by_both):
        found = re.search(r"drawn 7: (conv\S+)", session.output)
        assert found is not None, session.output
        last.append(found[1])
    assert last[0] == last[1] != last[2]


def test_report_of_the_ini_file_lies_beside_it(folder: Folder) -> None:
    """``convfuzz_report`` is relative to the ini file, wherever pytest is started."""
    folder.write("pytest.ini", "[pytest]\nconvfuzz_report = out.html\npythonpath = .\n")
    folder.write("below/test_it.py", 'import convfuzz\nfrom kernels import right\ntest_it = convfuzz.fuzz("smoke", cases=3)(right)\n')
    session = Folder(folder.path / "below").pytest("test_it.py")
    assert session.status == 0, session.output
    assert (folder.path / "out.html").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--convfuzz-cases", "0"], "--convfuzz-cases=0: expected a whole number of at least 1"),
        (["--convfuzz-cases", "many"], "--convfuzz-cases=many: expected a whole number of at least 1"),
        (["--convfuzz-seed", "-1"], "--convfuzz-seed=-1: expected a whole number of at least 0"),
        (["-o", "convfuzz_cases=-3"], "convfuzz_cases=-3: expected a whole number of at least 1"),
    ],
)
def test_bad_option_is_an_error_of_usage(folder: Folder, options: list[str], message: str) -> None:
    """An option without meaning ends the session at once, with its name, its value and the rule."""
    session = folder.pytest(*options)
    assert session.status == 4
    assert message in session.output


def test_header_names_versions_and_device_where_it_is_used(folder: Folder) -> None:
    """A session that says anything about convfuzz shows versions, device and options; another does not."""
    folder.write("test_it.py", "def test_it():\n    pass\n")
    used = folder.pytest("-v", "--convfuzz-backends", "reference,kernels.py::right", "--convfuzz-seed", "5")
    assert re.search(r"^convfuzz: \d+\.\d+\S* \(numpy [\d.]+, .*\) on .+ cores\)", used.output, re.MULTILINE)
    assert "convfuzz: backends reference,kernels.py::right, seed 5" in used.output
    assert not re.search(r"^convfuzz: \d", folder.pytest("-q").output, re.MULTILINE)


def test_suite_needs_no_test_file(folder: Folder) -> None:
    """The ready suite compares the given backends with the reference and with each other, in parts that workers share."""
    options = ["--convfuzz-strategy", "smoke", "--convfuzz-cases", "101", "--convfuzz-seed", "1", "--convfuzz-report", "out.html"]
    session = folder.pytest("--pyargs", "convfuzz.suite", "--convfuzz-backends", "reference,kernels.py::right", "-n", "2", *options)
    assert session.outcomes() == {"passed": 2}, session.output
    assert session.run.info.cases == 101
    assert ("kernels.py::right", "reference", "float32") in session.run.summary.pairs


def test_suite_fails_for_a_wrong_backend(folder: Folder) -> None:
    """A wrong backend fails the suite with its minimal case."""
    options = ["--convfuzz-strategy", "smoke", "--convfuzz-cases", "20", "--convfuzz-backends", "kernels.py::wrong"]
    session = folder.pytest("--pyargs", "convfuzz.suite", *options)
    assert session.outcomes() == {"failed": 1}
    assert "kernels.py::wrong is wrong: conv1d_c1_o1_i1_k1_f32@integers.0" in session.output


def test_deadline_of_hypothesis_does_not_apply_where_convfuzz_is_used(folder: Folder) -> None:
    """A slow first call is no failure in a module that uses convfuzz, and a deadline that a test states holds."""
    test = (
        "import time\nfrom hypothesis import given, settings, strategies as st\n{}\n"
        "@settings(max_examples=2{})\n@given(st.integers(0, 1))\ndef test_it(n):\n    time.sleep(0.4)\n"
    )
    folder.write("test_ours.py", test.format("import convfuzz.strategies", ""))
    folder.write("test_stated.py", test.format("import convfuzz.strategies", ", deadline=100"))
    folder.write("test_theirs.py", test.format("", ""))
    session = folder.pytest("-rA", "--hypothesis-profile=default")  # a CI server has a profile of its own, without deadline
    assert re.findall(r"^PASSED (\S+)::", session.output, re.MULTILINE) == ["test_ours.py"]
    assert session.outcomes() == {"failed": 2, "passed": 1}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--convfuzz-strategy=nope", "ERROR: --convfuzz-strategy=nope: unknown strategy 'nope'; known are "),
        ("--convfuzz-strategy=defualt", "(closest: 'default')"),
        ("--convfuzz-backends=torhc", "ERROR: --convfuzz-backends=torhc: unknown backend 'torhc' (closest: 'torch')"),
        ("--convfuzz-backends=kernels.py", "name a function: kernels.py::right"),
        ("--convfuzz-backends=,", "no backend to compare with the reference"),
        ("--convfuzz-report=", "ERROR: --convfuzz-report= is empty"),
        ("--convfuzz-strategy=", "ERROR: --convfuzz-strategy= is empty"),
    ],
)
def test_option_that_names_nothing_is_one_usage_error(folder: Folder, option: str, message: str) -> None:
    """A strategy or backend that is not there is refused before any test runs, once, however many tests there are."""
    folder.write("test_it.py", "def test_a(): ...\ndef test_b(): ...\n")
    session = folder.pytest(option)
    assert session.status == 4
    assert message in session.output
    assert session.output.count("ERROR") == 1
    assert "passed" not in session.output


def test_ini_file_that_names_nothing_is_one_usage_error(folder: Folder) -> None:
    """What an ini file names is held to the same; an option that it leaves empty is not set."""
    folder.write("pytest.ini", "[pytest]\nconvfuzz_strategy = nope\n")
    folder.write("test_it.py", "def test_a(): ...\n")
    session = folder.pytest()
    assert (session.status, session.output.count("ERROR")) == (4, 1)
    assert "convfuzz_strategy=nope: unknown strategy 'nope'" in session.output
    folder.write("pytest.ini", "[pytest]\nconvfuzz_strategy =\n")
    assert folder.pytest().status == 0


def test_list_in_a_toml_file_is_one_usage_error(folder: Folder) -> None:
    """A list, which TOML suggests for several backends, gets the text to write instead."""
    folder.write("test_it.py", "def test_a(): ...\n")
    folder.write("pyproject.toml", '[tool.pytest.ini_options]\nconvfuzz_backends = ["torch", "jax"]\n')
    session = folder.pytest()
    assert session.status == 4
    assert """ERROR: convfuzz_backends=['torch', 'jax'] is a list; write one text: "torch,jax"\n""" in session.output + "\n"
    assert "INTERNALERROR" not in session.output


def test_mistake_in_a_test_shows_no_frames_of_ours(folder: Folder) -> None:
    """A wrong name, a wrong line and a kernel that does not import are shown at the line of the test, and the kernel's own line."""
    folder.write("broken.py", "import nonsense_here\n")
    folder.write(
        "test_it.py",
        """
import pytest
import convfuzz
CASE = convfuzz.Case.parse("conv1d_c1_o1_i3_k2")
def test_name(): CASE.check("torhc")
def test_line(): convfuzz.Case.parse("conv1d_c1_o1_i3_k2_zz9")
def test_file(): CASE.check("broken.py::f")
def test_twice(): convfuzz.check("conv1d_c1_o1_i3_k2", ["kernels.py::right", "kernels.py::right"])
@pytest.fixture
def case(): return convfuzz.Case.parse("no case")
def test_fixture(case): ...
""",
    )
    session = folder.pytest()
    assert session.outcomes() == {"failed": 4, "error": 1}
    assert "unknown backend 'torhc' (closest: 'torch')" in session.output
    shown = {line.partition(":")[0] for line in session.output.splitlines() if re.match(r"\S+\.py:\d+: ", line)}
    assert shown == {"test_it.py", "broken.py"}


def test_mistake_as_a_test_file_is_imported_shows_no_frames_of_ours(folder: Folder) -> None:
    """A decorator on what is no test, a search space that is none and a wrong line are shown at the line of the file that has them."""
    start = "import convfuzz\nfrom convfuzz.strategies import cases\n"
    folder.write("test_signature.py", f"{start}@convfuzz.fuzz\ndef test(kase): ...\n")
    folder.write("test_space.py", f"{start}@convfuzz.fuzz(cases(dims=(7,)))\ndef test(case): ...\n")
    folder.write("test_line.py", f"{start}CASE = convfuzz.Case.parse('no case')\n")
    folder.write("test_drawn.py", f"{start}def test(): cases(dims=(7,))\n")
    session = folder.pytest("--continue-on-collection-errors")
    assert session.outcomes() == {"failed": 1, "errors": 3}
    assert "a test has a parameter 'case'" in session.output
    assert len(re.findall(r"^E .*dims=\(7,\): 7 is not one of 1, 2, 3", session.output, re.MULTILINE)) == 2
    shown = re.findall(r"^(\S+\.py):\d+: ", session.output, re.MULTILINE)
    assert sorted(shown) == ["test_drawn.py", "test_line.py", "test_signature.py", "test_space.py"]
