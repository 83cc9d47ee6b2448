"""Kernels that have to be imported in an environment of their own, or in a process of their own: they never are in this one."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import convfuzz
from convfuzz import Case, InvalidConfig
from convfuzz.backends import preload, resolve
from convfuzz.backends.isolated import IsolatedBackend, client
from convfuzz.backends.kernels.environment import written_environment
from convfuzz.backends.kernels.loading import backend_of
from convfuzz.case.domain import explore
from convfuzz.errors import BackendError
from convfuzz.testing.disagreement import Disagreement

Write = Callable[..., str]

KERNELS = """
import os

import numpy as np

import convfuzz

MODE = {"MY_MODE": "interpreted"}
assert os.environ.get("MY_MODE") == "interpreted", "imported without its variable"


def rare(config):
    if config.kernel_size != (3,) or config.stride[0] % 2:
        return "three taps and even strides only"
    return config.groups == 1 and config.in_channels > 6


def arithmetic(config):
    return convfuzz.Numerics(accumulator="float64", gradients=convfuzz.Numerics(inputs="bfloat16"))


@convfuzz.backend(
    ops=("conv",), dims=(1,), dtypes=("float32",), batches=(1, 2), dilations=(1,), paddings=(0, (1, 2)), padding_modes=("zeros",),
    supports=rare, numerics=arithmetic, versions={"mode": os.environ["MY_MODE"]}, share=0.5, environment=MODE,
)
def right(x, w, b, config):
    assert os.environ["MY_MODE"] == "interpreted" and config.replace(batch=1).is_valid
    x = np.pad(x, ((0, 0), (0, 0), *config.pads))
    windows = np.lib.stride_tricks.sliding_window_view(x, 3, axis=2)[:, :, :: config.stride[0]]
    y = np.einsum("nchi,oci->noh", windows.astype(np.float64), w.astype(np.float64))
    return (y if b is None else y + b[:, None]).astype(np.float32)


@convfuzz.backend(
    ops=("conv",), dims=(1,), dtypes=("float32",), kernel_sizes=(3,), paddings=(0, (1, 2)), environment={"MY_MODE": "interpreted"}
)
def wrong(x, w, b, config):
    return np.full(config.output_shape, 3, x.dtype)
"""
ASKING = """
import convfuzz


@convfuzz.backend(own_process=True, supports=lambda config: 1 / 0)
def asking(x, w, b, config):
    raise AssertionError
"""
CASE = "conv1d_n2_c8_o3_i9_k3_s2_p1:2_b_f32@normal.1"


@pytest.fixture(autouse=True)
def _servers_end() -> Iterator[None]:
    """Let the servers that a test has started end with it."""
    before = dict(client._servers)
    yield
    for surroundings in client._servers.keys() - before.keys():
        os.close(client._servers.pop(surroundings))


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of kernels in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "kernels.py"
    path.write_text(KERNELS)
    return path


# -- what the text of a file says -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("above", "expected"),
    [
        ("@convfuzz.backend(environment={'A': '1'})", {"A": "1"}),
        ("@cf.backend(dims=(1,), environment=MODE)", {"B": "2"}),
        ("@declared(environment={'A': '1', 'B': '0'}, own_process=False)", {"A": "1", "B": "0"}),
        ("@convfuzz.fuzz\n@convfuzz.backend(own_process=True)", {}),
        ("@convfuzz.backend(own_process=False)", None),
        ("@convfuzz.backend(environment={})", None),
        ("@convfuzz.backend(dims=computed())", None),
        ("@other(environment={'A': '1'})", None),
        ("", None),
    ],
)
def test_the_process_is_read_from_the_text(kernel_file: Write, above: str, expected: dict[str, str] | None) -> None:
    """Under whatever name convfuzz is imported, in place or as a constant; a file that fails when it is imported is read all the same."""
    head = "import convfuzz, convfuzz as cf\nfrom convfuzz import backend as declared\nMODE = {'B': '2'}\nraise SystemExit\n"
    path = kernel_file(f"{head}\n{above}\ndef kernel(x, w, b, config): ...\n")
    assert written_environment(f"{path}::kernel") == expected


def test_a_module_is_found_without_its_package(kernel_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package around a module, which may import what must not be imported yet, is not."""
    folder = Path(kernel_file("raise SystemExit", "__init__.py")).parent
    (folder / "deep").mkdir()
    (folder / "deep" / "__init__.py").write_text("raise SystemExit")
    (folder / "deep" / "kernels.py").write_text(KERNELS)
    monkeypatch.syspath_prepend(folder.parent)
    assert written_environment(f"{folder.name}.deep.kernels::right") == {"MY_MODE": "interpreted"}
    assert written_environment(f"{folder.name}.deep.nowhere::right") is None
    assert folder.name not in sys.modules


@pytest.mark.parametrize(
    ("option", "error", "said"),
    [
        ("environment=dict(A='1')", BackendError, "environment=dict(A='1') is not written out; it is read from the text of the file"),
        ("environment=MODE", BackendError, "environment=MODE is not written out"),
        ("own_process=not False", BackendError, "own_process=not False is not written out"),
        ("environment={'A': 1}", InvalidConfig, "the value 1 of A is not a text; write 'A': '1'"),
        ("own_process=1", InvalidConfig, "own_process=1 is not True or False"),
    ],
)
def test_what_only_an_import_would_tell_is_refused(kernel_file: Write, option: str, error: type[Exception], said: str) -> None:
    """The message has the option as it is written, and what to write."""
    path = kernel_file(f"import convfuzz\n@convfuzz.backend({option})\ndef kernel(x, w, b, config): ...\n")
    with pytest.raises(error) as refused:
        resolve(f"{path}::kernel")
    assert said in str(refused.value)


def test_a_name_at_which_the_text_says_nothing_is_refused(kernel_file: Write) -> None:
    """A kernel that a module imports from elsewhere is to be named there, and is not called where it was imported."""
    kernel_file("import convfuzz\n@convfuzz.backend(own_process=True)\ndef kernel(x, w, b, config): ...\n", "there_it_is.py")
    path = kernel_file("from there_it_is import kernel\n", "imports_it.py")
    with pytest.raises(BackendError, match=r"runs in a process of its own.*name the kernel where that is, as there_it_is::kernel"):
        resolve(f"{path}::kernel")
    del sys.modules["there_it_is"]


# -- the kernel there -------------------------------------------------------------------------------------------------


def test_a_kernel_is_imported_in_its_environment_alone(kernels: Path) -> None:
    """It agrees and a mistake is found, its variants too; neither its module nor its variables are in this process."""
    before = set(sys.modules)
    preload("kernels.py::right+split")
    names = ["kernels.py::right", "kernels.py::right+split", "kernels.py::wrong"]
    result = convfuzz.check(CASE, names)
    assert [one.verdict for one in result.results] == ["agree", "agree", "wrong"], result
    assert "MY_MODE" not in os.environ
    assert not [name for name in sys.modules.keys() - before if "convfuzz_kernel" in name]


def test_what_is_declared_there_is_known_here(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options, its arithmetic, and what a search finds that follows what its function compares: as if it were imported here."""
    there = resolve("kernels.py::right")
    with monkeypatch.context() as inside:
        inside.setenv("CONVFUZZ_OWN_PROCESS", "kernels.py::right")
        inside.setenv("MY_MODE", "interpreted")
        here = resolve("kernels.py::right")
    assert isinstance(there, IsolatedBackend)
    assert not isinstance(here, IsolatedBackend)
    assert there.versions == here.versions == {"mode": "interpreted"}
    assert there.share == here.share == 0.5  # type: ignore[attr-defined]
    for line in (CASE, CASE.replace("s2", "s3"), CASE.replace("c8", "c4"), "conv2d_c8_o3_i9_k3_s2_f32", f"{CASE.partition('@')[0]}_grad"):
        case = Case.parse(line)
        assert there.supports(case) == here.supports(case)
        assert there.numerics(case) == here.numerics(case)
    assert there.domain is not None
    assert explore(there.domain) == explore(here.domain)  # type: ignore[attr-defined]
    assert len(explore(there.domain).configs) > 20


def test_what_a_declaration_raises_there_is_raised_here(kernel_file: Write) -> None:
    """It is the verdict of the kernel, as one that is asked here."""
    (result,) = convfuzz.check(CASE, [f"{kernel_file(ASKING)}::asking"]).results
    assert result.verdict == "error"
    assert "its declaration of support raised ZeroDivisionError: division by zero" in result.reason


def test_a_module_that_does_not_import_there_says_so(kernels: Path) -> None:
    """What it says is the message, and a function that is not there is named."""
    kernels.write_text(KERNELS.replace('"MY_MODE": "interpreted"', '"MY_MODE": "compiled"'))
    with pytest.raises(BackendError, match=r"kernels\.py does not import: AssertionError: imported without its variable"):
        resolve("kernels.py::right")


def test_a_function_is_called_in_its_process_too(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handed over as a function, by a check or as a test that draws cases, it is found again by its name."""
    monkeypatch.syspath_prepend(kernels.parent)
    with monkeypatch.context() as inside:
        inside.setenv("MY_MODE", "interpreted")
        module = importlib.import_module("kernels")
    try:
        assert isinstance(backend_of(module.right), IsolatedBackend)
        convfuzz.fuzz(cases=5, seed=1)(module.right)()
        with pytest.raises((Disagreement, ExceptionGroup), match=r"wrong is|distinct"):
            convfuzz.fuzz(cases=5, seed=1)(module.wrong)()
    finally:
        del sys.modules["kernels"]


def test_a_function_that_no_process_finds_is_refused() -> None:
    """A local function cannot be imported elsewhere."""

    @convfuzz.backend(own_process=True)
    def local(x: object, w: object, b: object, config: object) -> None: ...

    with pytest.raises(BackendError, match="define it at the top of a module"):
        convfuzz.check(CASE, [local])


def test_a_script_sets_the_environment_and_hands_over_the_configuration(kernels: Path) -> None:
    """The script of a kernel imports it with its variables, and its ``config`` has methods and is equal to others like it."""
    case = Case.parse(CASE)
    script = resolve("kernels.py::right").script(case)  # type: ignore[attr-defined]
    check = f"assert config == Case.parse({CASE!r}).config\nprint(run(*(np.ones(shape, 'f') for shape in ((2, 8, 9), (3, 8, 3), 3)))[0, 0])"
    environment = {name: value for name, value in os.environ.items() if name != "MY_MODE"}
    done = subprocess.run(
        [sys.executable, "-c", f"import numpy as np\n{script}\n{check}"], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["[17.", "25.", "25.", "25.", "17.]"]


def test_a_plain_kernel_gets_a_plain_configuration(kernel_file: Write) -> None:
    """Without convfuzz in its module the script needs none: its ``config`` is a key of a cache, and says how an argument is called."""
    path = kernel_file(
        "from functools import cache\n@cache\ndef plan(config): return config.as_called('stride', config.stride)\n"
        "def kernel(x, w, b, config): return x * plan(config)[0]\n"
    )
    script = resolve(f"{path}::kernel").script(Case.parse("conv1d_c1_o1_i3_k1_s2_f32"))  # type: ignore[attr-defined]
    assert "convfuzz" not in script
    program = f"import sys; sys.modules['convfuzz'] = None\nimport numpy as np\n{script}\nprint(run(np.ones(2), None, None))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[2.", "2.]"]
