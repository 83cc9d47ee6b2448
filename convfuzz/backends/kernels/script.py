"""The call of a user's kernel as source, and the script around it: the environment, the import and the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from convfuzz.backends.kernels.axes import axes_of, inverse
from convfuzz.backends.kernels.buffers import output_placement
from convfuzz.backends.kernels.declaration import _ATTRIBUTE as DECLARATION
from convfuzz.backends.kernels.declaration import Declaration
from convfuzz.backends.script_parts import arguments, namespace, operands, results, unwritten_source
from convfuzz.backends.source import BLANK, CallSource, indented
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_complex
from convfuzz.tensors.layouts import placements

_TENSOR = '''\
def tensor(a):
    """Return what the kernel takes for an array{of_bits}."""
    return {expression}

'''

_UNWRITTEN = '''\
def unwritten():
    """Return an output array that has not been written to."""
    return np.full({shape}, {value}, dtype=np.{dtype})

'''
_UNWRITTEN_STRIDED = '''\
def unwritten():
    """Return an output that has not been written to, with strides of its own, in elements."""
    buffer = np.full({placed.size}, {value}, dtype=np.{dtype})
    strides = tuple(stride * buffer.itemsize for stride in {placed.strides})
    return np.ndarray({shape}, buffer.dtype, buffer, {placed.offset} * buffer.itemsize, strides)

'''
_MOVED = '''\
class Placement:
    """A view of ``shape`` in a buffer of ``size`` elements, in units of elements."""

    def __init__(self, shape, size, offset, strides):
        self.shape, self.size, self.offset, self.strides = shape, size, offset, strides


def moved(a, axes, placed):
    """Return an operand with its axes in the order that the kernel takes."""
    a = a.transpose(axes) if a.ndim == len(axes) else a
    if placed is None or a.shape != placed.shape:
        return a
    buffer = np.full(placed.size, {value}, dtype=a.dtype)
    strides = tuple(stride * a.itemsize for stride in placed.strides)
    view = np.ndarray(a.shape, a.dtype, buffer, placed.offset * a.itemsize, strides)
    view[...] = a
    return view


def restored(y, axes):
    """Return a result whose axes are put back."""
    return y if y is None or y.ndim != len(axes) else y.transpose(axes)

'''
_ARRAY = '''\
def array(y):
    """Return a result as an array."""
    y = y.detach().cpu(){resolved} if hasattr(y, "detach") else y
    return None if y is None else np.ma.getdata(np.asarray(y))

'''
_BFLOAT16_ARRAY = '''\
def array(y):
    """Return a result as float32, which holds bfloat16."""
{check}    y = y.detach().cpu().float() if hasattr(y, "detach") else y
    return None if y is None else np.ma.getdata(np.asarray(y)).astype(np.float32)

'''
_PLAIN_CONFIG = '''\


class Config(SimpleNamespace):
    """A configuration as a kernel reads it; it can be a key of a cache."""

    __hash__ = object.__hash__

    def as_called(self, name, values):
        """Return an argument for each axis as the call hands it over: with one value too many where the flaw says so."""
        return (*values, values[-1]) if self.flaw == f"{{name}}-length" else values


config = {attributes}'''
_CHECK = """\
    assert "bfloat16" in str(getattr(y, "dtype", None)), f"the result is no bfloat16: {y!r}"
"""


def call_source(case: Case, declared: Declaration) -> CallSource:
    """Return the source of ``run``, which calls a kernel as its declaration says.

    It uses the names ``kernel``, ``config`` and ``array``, and where it needs them ``tensor``, ``unwritten`` and
    ``gradients_of``, the declared function for gradients.
    """
    names = operands(case)
    moves, values = _moves(case, declared)
    back = _restored(case, declared)
    values |= {f"{name}_back": order for name, order in back.items()}
    lines = [*moves, *([f"{names} = map(tensor, ({names}))"] if _is_converted(case, declared) else [])]
    by_autograd = case.grad and not callable(declared.gradients)
    if by_autograd:
        lines.append(f"leaves = [a.requires_grad_() for a in ({names.removesuffix(', dy')})]")
    if declared.out:
        y = "tensor(unwritten())" if _is_converted(case, declared) else "unwritten()"
        lines += [f"y = {y}", "kernel(x, w, b, config, y)"]
    else:
        lines.append("y = kernel(x, w, b, config)")
    if by_autograd:
        lines += [
            'if not getattr(y, "requires_grad", False):  # then there are no gradients, and the forward pass is all',
            f'    return {{"forward": {_array_of("y", "forward", back)}}}',
            "gradients = torch.autograd.grad(y, leaves, dy, materialize_grads=True)",
        ]
    elif case.grad:
        count = len(case.passes) - 1
        lines += [
            f"gradients = gradients_of(x, w, b, dy, config)[:{count}]",
            f"assert len(gradients) == {count} and all(a is not None for a in gradients), gradients",
        ]
    ends = _moved_results(case, back) if back else results(case)
    return CallSource([f"def run({arguments(case)}, config=config):", *indented([*lines, *ends])], values)


def _moves(case: Case, declared: Declaration) -> tuple[list[str], dict[str, object]]:
    """Return the lines that move the operands' axes, and the values in them."""
    lines, values = [], dict[str, object]()
    named = operands(case).split(", ")
    axes = axes_of(case.config, declared.layout, declared.weight_layout)
    placed = placements(case.config, axes) if case.config.is_valid else {}
    for name, order in axes.items():
        if name in named:
            lines.append(f"{name} = moved({name}, ${name}_axes, ${name}_placed)")
            values |= {f"{name}_axes": order, f"{name}_placed": placed.get(name)}
    return lines, values


def _restored(case: Case, declared: Declaration) -> dict[str, tuple[int, ...]]:
    """Return for each pass whose result has its axes moved how they are put back."""
    axes = axes_of(case.config, declared.layout, declared.weight_layout)
    names: dict[str, str] = {"forward": "dy", "grad_input": "x", "grad_weight": "w"}
    return {in_pass: inverse(axes[names[in_pass]]) for in_pass in case.passes if names.get(in_pass) in axes}


def _array_of(result: str, in_pass: str, back: Mapping[str, tuple[int, ...]]) -> str:
    return f"restored(array({result}), ${in_pass}_back)" if in_pass in back else f"array({result})"


def _moved_results(case: Case, back: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return the lines that end ``run`` where results have their axes moved."""
    if not case.grad:
        return [f"return {_array_of('y', 'forward', back)}"]
    parts = ["y", *(f"gradients[{i}]" for i in range(len(case.passes) - 1))]
    return ["return {", *(f'    "{p}": {_array_of(a, p, back)},' for p, a in zip(case.passes, parts, strict=True)), "}"]


def kernel_script(case: Case, name: str, declared: Declaration, *, imports_convfuzz: bool) -> str | None:
    """Return the source that calls the kernel ``name``; ``None`` for a function that no other program can import.

    A kernel whose module ``imports_convfuzz`` is handed the configuration itself, any other one a plain object with its attributes.
    """
    where, _, function = name.partition("::")
    if not function.isidentifier():
        return None
    definitions = _tensor_source(case, declared) if _is_converted(case, declared) else ""
    if declared.out:
        value, dtype = unwritten_source(case.config.dtype)
        placed = output_placement(case, declared.layout, strided=declared.out == "strided")
        template = _UNWRITTEN if placed.is_plain else _UNWRITTEN_STRIDED
        definitions += ("\n" if definitions else "") + template.format(placed=placed, shape=placed.shape, value=value, dtype=dtype)
    if axes_of(case.config, declared.layout, declared.weight_layout):
        definitions += ("\n" if definitions else "") + _MOVED.format(value=unwritten_source(case.config.dtype)[0])
    gradients = case.grad and callable(declared.gradients)
    environment = [f"os.environ[{variable!r}] = {value!r}" for variable, value in declared.environment.items()]
    lines = [
        "import importlib.util",
        *(["import os"] if environment else []),
        "import sys",
        *([] if imports_convfuzz else ["from types import SimpleNamespace"]),
        *(["", *environment] if environment else []),
        *(["", "from convfuzz import Case  # which the kernel's own module imports"] if imports_convfuzz else []),
        *(f"import {module}" for module in ("ml_dtypes", "tensorflow as tf", "torch") if f"{module.split()[-1]}." in definitions),
        "",
        *_load_lines(where),
        *([] if declared.compile else [f"kernel = module.{function}"]),
        *([f"gradients_of = module.{function}.{DECLARATION}.gradients"] if gradients else []),
        *_config_lines(case.config, imports_convfuzz=imports_convfuzz),
        *(_compiled_lines(function) if declared.compile else []),
        *BLANK,
        *([definitions] if definitions else []),
        _array_source(case.config),
        str(call_source(case, declared)),
    ]
    return "\n".join(lines)


def _load_lines(where: str) -> list[str]:
    if not where.endswith(".py"):
        return [f"sys.path.append({str(Path.cwd())!r})", f"module = importlib.import_module({where!r})"]
    path = Path(where).resolve()
    return [
        "sys.dont_write_bytecode = True",
        f"sys.path.insert(0, {str(path.parent)!r})",
        "module = sys.modules.get('kernel_under_test')",
        f"if getattr(module, '__file__', None) != {str(path)!r}:",
        f"    spec = importlib.util.spec_from_file_location('kernel_under_test', {str(path)!r})",
        "    module = importlib.util.module_from_spec(spec)",
        "    sys.modules['kernel_under_test'] = module",
        "    spec.loader.exec_module(module)",
    ]


def _compiled_lines(function: str) -> list[str]:
    return [
        f"compiled = module.{function}.{DECLARATION}.compile(config)",
        "",
        "",
        "def kernel(*operands):",
        f"    return module.{function}(*operands, compiled=compiled)",
    ]


def _config_lines(config: ConvConfig, *, imports_convfuzz: bool) -> list[str]:
    if imports_convfuzz:
        return [f'config = Case.parse("{Case(config)}").config']
    return _PLAIN_CONFIG.format(attributes=namespace(_attributes(config), "Config")).splitlines()


def _attributes(config: ConvConfig) -> dict[str, object]:
    """Return all attributes of a configuration that a kernel can read: the parameters and what is derived from them."""
    derived = [name for name, value in vars(ConvConfig).items() if isinstance(value, property | cached_property)]
    return config.as_fields() | {name: getattr(config, name) for name in derived}


def _is_converted(case: Case, declared: Declaration) -> bool:
    """Return whether a script's arrays have to be converted for the kernel."""
    return declared.tensors != "numpy" or case.config.dtype == "bfloat16"


def _tensor_source(case: Case, declared: Declaration) -> str:
    """Return the function that turns an array, which holds bfloat16 as bits, into what the kernel takes."""
    of_bits = case.config.dtype == "bfloat16"
    placing = ""
    array = expression = "a.view(ml_dtypes.bfloat16) if a.dtype == np.uint16 else a" if of_bits else "a"
    if declared.tensors == "tensorflow":
        expression = f"tf.convert_to_tensor({array})"
    elif declared.tensors == "torch":
        expression = "torch.from_numpy(a)"
        if of_bits:
            expression = f"torch.from_numpy(a.view(np.int16)).view(torch.bfloat16) if a.dtype == np.uint16 else {expression}"
        if declared.device != "cpu":
            from convfuzz.backends.torch.device_memory import placed_source  # noqa: PLC0415 - it imports PyTorch

            placing, expression = f"{placed_source()}\n\n", f"placed(a, {expression}, {declared.device!r})"
    return placing + _TENSOR.format(of_bits=", which holds bfloat16 as bits" if of_bits else "", expression=expression)


def _array_source(config: ConvConfig) -> str:
    if config.dtype == "bfloat16":  # an invalid call may return anything
        return _BFLOAT16_ARRAY.format(check=_CHECK if config.is_valid else "")
    return _ARRAY.format(resolved=".resolve_conj().resolve_neg()" if is_complex(config.dtype) else "")
