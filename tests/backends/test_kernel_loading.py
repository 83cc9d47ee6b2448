"""``path/to/file.py::function`` and ``package.module::function``: found, or refused with what would help."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from convfuzz.backends import resolve
from convfuzz.backends.kernels.loading import kernel_name, leads_to_kernel, load_kernel
from convfuzz.backends.kernels.mentions import frameworks_first
from convfuzz.errors import BackendError

Write = Callable[..., str]

TWO = """
import numpy as np
from os.path import join

LIMIT = 3

def conv_a(x, w, b, config): ...
def conv_b(x, w, b, config): ...
"""


def test_function_of_a_file_is_a_backend(kernel_file: Write) -> None:
    """A function is found in its file and the backend bears the name that was asked for."""
    name = f"{kernel_file(TWO)}::conv_a"
    assert resolve(name).name == name


def test_file_is_executed_once_for_several_functions(kernel_file: Write) -> None:
    """Two kernels of one file share its module, as they would when it is imported."""
    path = kernel_file("calls = []\ncalls.append(1)\ndef a(x, w, b, config): return calls\ndef c(x, w, b, config): return calls\n")
    first, second = resolve(f"{path}::a"), resolve(f"{path}::c")
    assert first._kernel(0, 0, 0, 0) is second._kernel(0, 0, 0, 0)  # type: ignore[attr-defined]


def test_neighbours_of_the_file_are_importable(kernel_file: Write) -> None:
    """A kernel file can import the files beside it, as it can when it is run."""
    kernel_file("def shared(): return 7\n", "beside_the_kernel.py")
    path = kernel_file("from beside_the_kernel import shared\ndef conv(x, w, b, config): return shared()\n", "imports_its_neighbour.py")
    before = list(sys.path)
    assert resolve(f"{path}::conv")._kernel(0, 0, 0, 0) == 7  # type: ignore[attr-defined]
    assert sys.path == before
    del sys.modules["beside_the_kernel"]


def test_path_may_hold_a_plus_sign(kernel_file: Write) -> None:
    """Variants are read behind the function's name only."""
    path = kernel_file(TWO, "c++kernels.py")
    assert resolve(f"{path}::conv_a+split").name == f"{path}::conv_a+split"


def test_function_of_a_module_is_a_backend(kernel_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """``package.module::function`` is imported by its name."""
    monkeypatch.syspath_prepend(Path(kernel_file(TWO, "a_module_of_kernels.py")).parent)
    assert resolve("a_module_of_kernels::conv_b").name == "a_module_of_kernels::conv_b"


def test_missing_file_is_named() -> None:
    """A path without a file behind it is named."""
    with pytest.raises(BackendError, match=r"there is no file nowhere/my\.py"):
        resolve("nowhere/my.py::conv")


def test_missing_function_lists_what_the_file_defines(kernel_file: Write) -> None:
    """The functions that the file itself defines are listed, not those that it imports."""
    with pytest.raises(BackendError, match=r"has no 'convolve'; it defines conv_a, conv_b$"):
        resolve(f"{kernel_file(TWO)}::convolve")


def test_file_without_functions_says_so(kernel_file: Write) -> None:
    """A file that defines nothing callable is said to define no function."""
    with pytest.raises(BackendError, match=r"has no 'conv'; it defines no function$"):
        resolve(f"{kernel_file('LIMIT = 3')}::conv")


def test_file_that_does_not_import_shows_the_error(kernel_file: Write) -> None:
    """The exception of a file that does not import is shown with its type, and again when it is asked for again."""
    path = kernel_file("import a_package_that_nobody_has")
    for _ in range(2):
        with pytest.raises(BackendError, match=r"does not import: ModuleNotFoundError: No module named 'a_package_that_nobody_has'"):
            resolve(f"{path}::conv")


@pytest.mark.parametrize("source", ["def conv(:", "raise SystemExit(3)"], ids=["syntax error", "exits"])
def test_file_that_fails_in_other_ways_is_a_backend_error(source: str, kernel_file: Write) -> None:
    """A syntax error in a kernel's file, or an exit while it is imported, is reported and ends nothing."""
    with pytest.raises(BackendError, match="does not import"):
        resolve(f"{kernel_file(source)}::conv")


def test_module_that_does_not_import_shows_the_error() -> None:
    """A module that is not there is named."""
    with pytest.raises(BackendError, match=r"module no\.such\.module does not import: ModuleNotFoundError"):
        resolve("no.such.module::conv")


def test_value_that_is_no_function_is_refused(kernel_file: Write) -> None:
    """A name that is not callable is refused with its type."""
    with pytest.raises(BackendError, match="'LIMIT' is of type int, not a function"):
        resolve(f"{kernel_file(TWO)}::LIMIT")


def test_function_is_named_so_that_it_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of a script goes by its file, one of a package by its module; both names load that function."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "script_of_kernels.py").write_text("def kernel(x, w, b, config):\n    return x\n")
    (tmp_path / "package_of_kernels").mkdir()
    (tmp_path / "package_of_kernels" / "__init__.py").write_text("")
    (tmp_path / "package_of_kernels" / "inner.py").write_text("def kernel(x, w, b, config):\n    return x\n")
    for module, name in (
        ("script_of_kernels", "script_of_kernels.py::kernel"),
        ("package_of_kernels.inner", "package_of_kernels.inner::kernel"),
    ):
        kernel = importlib.import_module(module).kernel
        assert kernel_name(kernel) == name
        assert leads_to_kernel(name)
        assert load_kernel(name).name == name


def test_function_that_no_name_leads_to_is_known_as_such() -> None:
    """Local functions, lambdas, instances and functions whose name stands for something else cannot be found by a name."""

    def local() -> None:
        pass

    shadowed = types.FunctionType(test_function_that_no_name_leads_to_is_known_as_such.__code__, globals(), "local")
    shadowed.__qualname__ = "kernel_name"
    for kernel in (local, lambda: None, functools.partial(print), shadowed):
        assert not leads_to_kernel(kernel_name(kernel))
        assert not leads_to_kernel(f"{kernel_name(kernel)}+split")
    assert leads_to_kernel("torch:native+split")


@pytest.mark.parametrize(
    ("source", "first"),
    [
        ('"""Kernels."""\nimport os, numpy as np\nimport torch.nn as nn\nfrom jax import numpy\n', ["torch", "jax"]),
        ("import os\nos.environ['MKL_DYNAMIC'] = '0'\nimport torch\n", []),
        ("import settings_of_mine\nimport torch\n", []),
        ("from .near import torch\n", []),
        ("def conv(x, w, b, config):\n    import torch\n", []),
        ("import torch, settings_of_mine\nimport jax\n", ["torch"]),
        ("import torch\nthis is no Python\n", []),
    ],
)  # fmt: skip
def test_frameworks_that_a_file_imports_first_are_known_from_its_text(kernel_file: Write, source: str, first: list[str]) -> None:
    """They are read up to whatever may change how they are imported: another statement, or a module that is not known to be harmless."""
    assert frameworks_first(f"{kernel_file(source)}::conv") == first


def test_a_neighbour_of_that_name_is_no_framework(kernel_file: Write) -> None:
    """A file ``torch.py`` beside the kernel is what the kernel imports."""
    path = kernel_file("import torch\n")
    assert frameworks_first(f"{path}::conv") == ["torch"]
    Path(path).with_name("torch.py").write_text("")
    assert frameworks_first(f"{path}::conv") == []


def test_every_process_of_a_campaign_starts_with_them(kernel_file: Write, tmp_path: Path) -> None:
    """Preloading imports them before a worker is forked, and the kernel's file is not imported for that."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "torch.py").write_text("print('torch is imported')")
    path = kernel_file("import torch\nprint('the kernel is imported')\n")
    program = f"from convfuzz.backends import preload\npreload({f'{path}::conv'!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "torch is imported\n"
