"""The call of a user's kernel as source, and the script around it: the environment, the import and the configuration."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from convfuzz.backends.kernels.declaration import _ATTRIBUTE as DECLARATION
from convfuzz.backends.kernels.declaration import Declaration
from convfuzz.backends.script_parts import arguments, namespace, operands, results, unwritten_source
from convfuzz.backends.source import BLANK, CallSource, indented
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_complex

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
    lines = [f"{names} = map(tensor, ({names}))"] if _is_converted(case, declared) else []
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
            '    return {"forward": array(y)}',
            "gradients = torch.autograd.grad(y, leaves, dy, materialize_grads=True)",
        ]
    elif case.grad:
        count = len(case.passes) - 1
        lines += [
            f"gradients = gradients_of(x, w, b, dy, config)[:{count}]",
            f"assert len(gradients) == {count} and all(a is not None for a in gradients), gradients",
        ]
    return CallSource([f"def run({arguments(case)}, config=config):", *indented([*lines, *results(case)])], {})


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
        definitions += ("\n" if definitions else "") + _UNWRITTEN.format(shape=output_shape(case), value=value, dtype=dtype)
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


def output_shape(case: Case) -> tuple[int, ...]:
    """Return the shape of the array that a kernel fills; it is empty where an invalid configuration has a negative size."""
    return tuple(max(size, 0) for size in case.config.output_shape)


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
