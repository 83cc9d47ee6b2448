"""The call of a user's kernel as source: import it from where it lies and hand it the configuration as plain attributes."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from convfuzz.backends.script_parts import arguments, namespace, operands, unwritten_source
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_complex

_TENSOR = '''\
def tensor(a):
    """Return what the kernel takes for an array{of_bits}."""
    return {expression}

'''

_AS_NUMPY = """

def as_numpy(y):
    if hasattr(y, "detach"):
        y = y.detach().cpu(){resolved}
    return None if y is None else np.ma.getdata(np.asarray(y))
"""

_AS_NUMPY_OF_BFLOAT16 = '''

def as_numpy(y):
    """Return a result as float32, which holds bfloat16."""
{check}    y = y.detach().cpu().float() if hasattr(y, "detach") else y
    return None if y is None else np.ma.getdata(np.asarray(y)).astype(np.float32)
'''
_CHECK = """\
    assert "bfloat16" in str(getattr(y, "dtype", None)), f"the result is no bfloat16: {y!r}"
"""


def kernel_script(case: Case, name: str, *, tensors: str, device: str, out: bool, gradients: str | None) -> str | None:
    """Write the call of the kernel ``name`` down; ``None`` for a function that no other program can import.

    ``tensors``, ``device`` and ``out`` are what its declaration says, and ``gradients`` the source of the declared
    function for them, ``None`` where they are autograd's.
    """
    where, _, function = name.partition("::")
    if not function.isidentifier():
        return None
    conversion = _tensor_source(case, tensors, device)
    lines = [
        "import importlib.util",
        "import sys",
        "from types import SimpleNamespace",
        *(f"import {module}" for module in ("ml_dtypes", "tensorflow as tf", "torch") if f"{module.split()[-1]}." in conversion),
        "",
        *_load_lines(where),
        f"kernel = module.{function}",
        f"config = {namespace(_attributes(case.config))}",
        "",
        "",
        *([conversion] if conversion else []),
        f"def run({arguments(case)}):",
        *(f"    {line}" for line in _call_lines(case, converted=bool(conversion), out=out, gradients=gradients)),
        _as_numpy_source(case.config),
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


def _attributes(config: ConvConfig) -> dict[str, object]:
    """Return the parameters and what is derived from them, all that a kernel can ask of a configuration."""
    derived = [name for name, value in vars(ConvConfig).items() if isinstance(value, property | cached_property)]
    return config.as_fields() | {name: getattr(config, name) for name in derived}


def _tensor_source(case: Case, tensors: str, device: str) -> str:
    """Write the function that turns an array, which holds bfloat16 as bits, into what the kernel takes, unless it takes that."""
    of_bits = case.config.dtype == "bfloat16"
    if tensors == "numpy" and not of_bits:
        return ""
    array = expression = "a.view(ml_dtypes.bfloat16) if a.dtype == np.uint16 else a" if of_bits else "a"
    if tensors == "tensorflow":
        expression = f"tf.convert_to_tensor({array})"
    elif tensors == "torch":
        expression = "torch.from_numpy(a)"
        if of_bits:
            expression = f"torch.from_numpy(a.view(np.int16)).view(torch.bfloat16) if a.dtype == np.uint16 else {expression}"
        if device != "cpu":
            expression = f"({expression}).to({device!r})"
    return _TENSOR.format(of_bits=", which holds bfloat16 as bits" if of_bits else "", expression=expression)


def _call_lines(case: Case, *, converted: bool, out: bool, gradients: str | None) -> list[str]:
    config = case.config
    names = operands(case)
    lines = [f"{names} = map(tensor, ({names}))"] if converted else []
    differentiated = case.grad and gradients is None
    if differentiated:
        lines.append(f"leaves = [a.requires_grad_() for a in ({names.removesuffix(', dy')})]")
    if out:
        shape = tuple(max(size, 0) for size in config.output_shape)
        value, dtype = unwritten_source(config.dtype)
        y = f"np.full({shape}, {value}, dtype=np.{dtype})"
        lines += [f"y = tensor({y})" if converted else f"y = {y}", "kernel(x, w, b, config, y)"]
    else:
        lines.append("y = kernel(x, w, b, config)")
    if not case.grad:
        return [*lines, "return as_numpy(y)"]
    if differentiated:
        lines += [
            'if not getattr(y, "requires_grad", False):  # then there are no gradients, and the forward pass is all',
            '    return {"forward": as_numpy(y)}',
            "gradients = torch.autograd.grad(y, leaves, dy, materialize_grads=True)",
        ]
    else:
        count = len(case.passes) - 1
        lines += [
            f"gradients = {gradients}(x, w, b, dy, config)[:{count}]",
            f"assert len(gradients) == {count} and all(a is not None for a in gradients), gradients",
        ]
    return [*lines, f"names = {case.passes}", "return {name: as_numpy(a) for name, a in zip(names, (y, *gradients))}"]


def _as_numpy_source(config: ConvConfig) -> str:
    if config.dtype == "bfloat16":  # of an invalid configuration, any result counts
        return _AS_NUMPY_OF_BFLOAT16.format(check=_CHECK if config.is_valid else "")
    return _AS_NUMPY.format(resolved=".resolve_conj().resolve_neg()" if is_complex(config.dtype) else "")
