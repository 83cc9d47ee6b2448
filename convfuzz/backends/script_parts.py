"""What the reproduction scripts of several backends have in common, as source."""

from __future__ import annotations

from collections.abc import Mapping

from convfuzz.case import Case
from convfuzz.case.dtypes import is_complex, is_integer, numpy_dtype
from convfuzz.tensors.layouts import unwritten

_WIDTH = 110
_TENSOR = '''\
def tensor(a):
    """Return a tensor on the memory of an array, which holds bfloat16 as bits."""
    return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16) if a.dtype == np.uint16 else torch.from_numpy(a)

'''


def namespace(attributes: Mapping[str, object]) -> str:
    """Return an object with these attributes, several to a line."""
    lines = [""]
    for name, value in attributes.items():
        item = f"{name}={value!r}, "
        if len(lines[-1]) + len(item) > _WIDTH:
            lines.append("")
        lines[-1] += item
    return "SimpleNamespace(\n" + "".join(f"    {line.rstrip()}\n" for line in lines) + ")"


def as_source(index: tuple[slice, ...]) -> str:
    """Return slices as they are written between brackets."""
    return ", ".join(f"{'' if s.start is None else s.start}:{'' if s.stop is None else s.stop}" for s in index)


def arguments(case: Case) -> str:
    """Return the arguments of a script's ``run``."""
    return "x, w, b, dy" if case.grad else "x, w, b"


def operands(case: Case) -> str:
    """Return the names of those arguments that are there: ``b`` is ``None`` without a bias."""
    return ", ".join(["x", "w", *(["b"] if case.config.bias else []), *(["dy"] if case.grad else [])])


def unwritten_source(dtype: str) -> tuple[str, str]:
    """Return what unwritten memory is full of in a case of ``dtype``, and NumPy's name of that dtype; bfloat16 as bits."""
    if dtype == "bfloat16":
        return "0x7FC0", "uint16"  # NaN
    return str(unwritten((), numpy_dtype(dtype))[()]) if is_integer(dtype) else "np.nan", dtype


def torch_tensors(case: Case, device: str) -> tuple[list[str], str]:
    """Return a helper's definition, where one is needed, and the line that makes PyTorch's tensors of the arguments."""
    helper, function = ([_TENSOR], "tensor") if case.config.dtype == "bfloat16" else ([], "torch.from_numpy")
    names = operands(case)
    if device == "cpu":
        return helper, f"{names} = map({function}, ({names}))"
    return helper, f"{names} = ({function}(a).to({device!r}) for a in ({names}))"


def torch_results(case: Case, device: str) -> list[str]:
    """Return the lines that return y, or with the gradients y and them, as arrays; bfloat16 as float32, zeros on the meta device."""
    valueless = []
    if device == "meta":
        results = "y, *gradients" if case.grad else "y,"
        valueless = [f"{results} = (torch.zeros_like(a, device='cpu') for a in ({results}))"]
    steps = [
        ".cpu()" if device not in ("cpu", "meta") else "",
        ".resolve_conj().resolve_neg()" if is_complex(case.config.dtype) else "",
        ".float()" if case.config.dtype == "bfloat16" else "",
    ]
    array = f"{''.join(steps)}.numpy()"
    if not case.grad:
        return [*valueless, f"return y{array}"]
    return [*valueless, f"names = {case.passes}", f"return {{name: a.detach(){array} for name, a in zip(names, (y, *gradients))}}"]


def dtype_check(case: Case, framework: str) -> list[str]:
    """Write down that the results are bfloat16, which the array of them does not show; any is one of an invalid configuration."""
    if case.config.dtype != "bfloat16" or not case.config.is_valid:
        return []
    results = "(y, *gradients)" if case.grad else "(y,)"
    return [f"assert all(a.dtype == {framework}.bfloat16 for a in {results})"]
