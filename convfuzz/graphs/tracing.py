"""From an ``nn.Module`` to a graph: PyTorch's own export, taken down as plain data. The only module of this folder that loads PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from convfuzz.case.dtypes import dtype_name, numpy_dtype
from convfuzz.errors import NotCovered
from convfuzz.graphs.bounded import Array
from convfuzz.graphs.graph import Graph, Operation, Ref


def trace(model: Any, inputs: Sequence[Any]) -> Graph:
    """Return the graph of a module, in eval mode, at the shapes of ``inputs``, which are tensors.

    Raises:
        NotCovered: the model cannot be traced, because what it does depends on its data.
    """
    import torch  # noqa: PLC0415 - when a model is there

    try:
        with torch.no_grad():
            program = torch.export.export(model, tuple(inputs), strict=False)
    except Exception as error:
        raise NotCovered(f"the model cannot be traced: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from error
    return _taken_down(program)


def _operands(program: Any) -> tuple[list[str], dict[str, str], dict[str, Array]]:
    """Return the names of the inputs, of the parameters and buffers, and the constants."""
    import torch  # noqa: PLC0415 - as above

    held: dict[str, str] = {}
    constants: dict[str, Array] = {}
    given: list[str] = []
    kinds = torch.export.graph_signature.InputKind
    for spec in program.graph_signature.input_specs:
        name = getattr(spec.arg, "name", "")
        if spec.kind is kinds.USER_INPUT:
            if isinstance(spec.arg, torch.export.graph_signature.TensorArgument):  # plain numbers are in the operations
                given.append(name)
        elif spec.kind in (kinds.PARAMETER, kinds.BUFFER):
            held[name] = str(spec.target)
        elif spec.kind is kinds.CONSTANT_TENSOR:
            constants[name] = as_array(program.constants[spec.target])
        else:
            raise NotCovered(f"an operand of kind {spec.kind.name}")
    return given, held, constants


def _taken_down(program: Any) -> Graph:
    import torch  # noqa: PLC0415 - as above

    given, held, constants = _operands(program)
    shapes, dtypes = {}, {}
    changed = [spec for spec in program.graph_signature.output_specs if spec.kind.name != "USER_OUTPUT"]
    if changed:
        raise NotCovered(f"a model that changes {changed[0].target or 'its inputs'}")
    operations: list[Operation] = []
    outputs: tuple[str, ...] = ()
    for node in program.graph.nodes:
        value = node.meta.get("val")
        value = value[0] if isinstance(value, tuple | list) and value else value  # of several results the first one's
        shape = tuple(int(n) for n in value.shape) if isinstance(value, torch.Tensor) else None
        dtype = str(value.dtype).removeprefix("torch.") if isinstance(value, torch.Tensor) else None
        if shape is not None and dtype is not None:
            shapes[node.name], dtypes[node.name] = shape, dtype
        if node.op == "call_function":
            operations.append(Operation(node.name, _name(node.target), _plain(node.args), _plain(dict(node.kwargs)), shape, dtype))
        elif node.op == "output":
            outputs = tuple(getattr(one, "name", "") for one in node.args[0])
    if not outputs or not all(name in shapes for name in outputs):
        raise NotCovered("a model that returns something else than tensors")
    return Graph(tuple(given), held, constants, tuple(operations), outputs, shapes, dtypes, _container(program))


def _container(program: Any) -> str:
    """Return what the results come in: ``tuple``, ``list``, or nothing where there is one tensor.

    Raises:
        NotCovered: it is something else, or has others in it.
    """
    form = program.call_spec.out_spec
    if form.is_leaf():
        return ""
    if form.type not in (tuple, list) or form.num_leaves != form.num_children:
        raise NotCovered(f"a model that returns {form.type.__name__} objects, or tuples within tuples")
    return str(form.type.__name__)


def _name(target: Any) -> str:
    if target is operator.getitem:
        return "getitem"
    text = str(target)
    return text.removeprefix("aten.") if text.startswith("aten.") else f"{getattr(target, '__name__', text)} ({text})"


def _plain(given: Any) -> Any:
    if isinstance(given, dict):
        return {name: _plain(value) for name, value in given.items()}
    if isinstance(given, list | tuple):
        return tuple(_plain(value) for value in given)
    return Ref(given.name) if hasattr(given, "meta") and hasattr(given, "users") else given


def as_array(tensor: Any, *, copy: bool = True) -> Array:
    """Return a tensor's values, by default a copy; bfloat16 as ml_dtypes has it, which NumPy lacks."""
    import torch  # noqa: PLC0415 - as above

    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return np.array(tensor.view(torch.int16).numpy(), copy=copy or None).view(numpy_dtype("bfloat16"))
    return np.array(tensor.numpy(), copy=copy or None)


def as_tensor(array: Array) -> Any:
    """Return a tensor with a copy of the values."""
    import torch  # noqa: PLC0415 - as above

    copy = np.array(array)
    return torch.from_numpy(copy.view(np.int16)).view(torch.bfloat16) if dtype_name(copy.dtype) == "bfloat16" else torch.from_numpy(copy)
