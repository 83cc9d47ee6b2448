"""A problem: the file with ``Model``, ``get_inputs()`` and ``get_init_inputs()``, and what follows from it."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from convfuzz.case.dtypes import FLOATING, dtype_name
from convfuzz.errors import NotCovered, UsageError
from convfuzz.graphs.graph import Graph
from convfuzz.graphs.tracing import as_array, as_tensor, trace
from convfuzz.solutions.messages import packed
from convfuzz.tensors.generator import Array

State = dict[str, Array]
Inputs = list[Any]
"""What the model is called with: arrays, and plain numbers among them."""
_NAMES = ("Model", "get_inputs", "get_init_inputs")


class Problem:
    """A problem whose file has been loaded.

    Raises:
        UsageError: the file is none, or lacks one of its three names.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._module = _loaded(path)
        missing = [name for name in _NAMES if not callable(getattr(self._module, name, None))]
        if missing:
            raise UsageError(f"{path} has no {', '.join(missing)}: a problem has a class Model, get_inputs() and get_init_inputs()")
        self.arguments = list(self._of_file("get_init_inputs"))
        self.packed_arguments = packed(self.arguments)
        self._graphs: dict[tuple[tuple[int, ...], ...], Graph] = {}
        self._model = self._make(0)

    def _of_file(self, name: str, *arguments: Any) -> Any:
        try:
            return getattr(self._module, name)(*arguments)
        except Exception as error:
            raise UsageError(f"{self.path}: {name}() raised {type(error).__name__}: {error}") from error

    def _make(self, seed: int) -> Any:
        _seed_all(seed)
        return self._of_file("Model", *self.arguments).eval()

    def state(self, seed: int) -> State:
        """Return parameters and buffers as the constructor makes them after this seed."""
        return {name: as_array(tensor) for name, tensor in self._make(seed).state_dict().items()}

    def inputs(self, seed: int) -> Inputs:
        """Return the problem's own inputs after this seed."""
        import torch  # noqa: PLC0415 - when a problem is there

        _seed_all(seed)
        given = list(self._of_file("get_inputs"))
        return [as_array(one, copy=False) if isinstance(one, torch.Tensor) else one for one in given]

    def outputs(self, state: State, inputs: Inputs) -> list[Array]:
        """Return what PyTorch makes of the model with these parameters, which is right or not."""
        import torch  # noqa: PLC0415 - as above

        self._model.load_state_dict({name: as_tensor(array) for name, array in state.items()})
        with torch.no_grad():
            found = self._model(*(as_tensor(one) if isinstance(one, np.ndarray) else one for one in inputs))
        return [as_array(one) for one in (found if isinstance(found, tuple | list) else [found])]

    def graph(self, inputs: Inputs) -> Graph:
        """Return the model at the shapes of these inputs.

        Raises:
            NotCovered: it cannot be traced, or an operation has no rule.
        """
        shapes = tuple(one.shape if isinstance(one, np.ndarray) else () for one in inputs)
        if shapes not in self._graphs:
            given = [as_tensor(one) if isinstance(one, np.ndarray) else one for one in inputs]
            graph = trace(self._model, given)
            without_rule = graph.uncovered()
            if without_rule:
                raise NotCovered(f"no rule for {', '.join(without_rule)}")
            self._graphs[shapes] = graph
        return self._graphs[shapes]


_problems: dict[tuple[str, int, int], Problem] = {}
"""The problems that were loaded, by path, time and size of the file: many solutions of one are judged in a row."""


def problem_of(path: Path) -> Problem:
    """Return the problem of a file, loaded and traced once as long as the file stays as it is."""
    if not path.is_file():
        raise UsageError(f"{path} is no file")
    status = path.stat()
    key = (str(path), status.st_mtime_ns, status.st_size)
    if key not in _problems:
        _problems[key] = Problem(path)
    return _problems[key]


def arrays_of(inputs: Inputs) -> list[Array]:
    """Return those of the inputs that are tensors."""
    return [one for one in inputs if isinstance(one, np.ndarray)]


def is_float(array: Array) -> bool:
    """Whether an array holds numbers that a regime may draw."""
    return dtype_name(array.dtype) in FLOATING


def _seed_all(seed: int) -> None:
    import torch  # noqa: PLC0415 - as above

    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - for a problem's file that draws from it
    random.seed(seed)


def _loaded(path: Path) -> ModuleType:
    name = f"convfuzz_problem_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module
