"""The source of a script's tensors: written out, or drawn by the same functions as in convfuzz, and laid out in memory in the same way."""

from __future__ import annotations

import io
import math
import textwrap

import numpy as np

from convfuzz.backends.script_parts import namespace, unwritten_source
from convfuzz.case import EXPLICIT, Case, dtypes
from convfuzz.case.dtypes import dtype_name
from convfuzz.record.finding import Finding
from convfuzz.reproduction.source_of import Carried, entry_of
from convfuzz.reproduction.subject import Subject
from convfuzz.tensors import regimes
from convfuzz.tensors.generator import Array, make_tensors, nonzero
from convfuzz.tensors.layouts import Placement, placements

WIDTH = 110
_FILE = "{finding}-{name}.npy"
_MOST_INLINE = 3000
_LEAST_SPARSE = 16
_SPARSE_SHARE = 4
"""A tensor of more than so many elements is written as zeros and its non-zeros where these are at most a quarter of it."""

_BITS = '''
def bits(a):
    """Return bfloat16 numbers as NumPy can hold them: the upper half of each float32."""
    return (a.view(np.uint32) >> 16).astype(np.uint16)
'''

_PLACED = '''
def placed(a, size, offset, strides):
    """Lay an array out as it was: from an offset in a buffer, with strides in elements, and {unwritten} in between."""
    buffer = np.full(size, {unwritten}, dtype=a.dtype)
    view = np.lib.stride_tricks.as_strided(buffer[offset:], a.shape, [stride * a.itemsize for stride in strides])
    view[...] = a
    return view
'''


def tensor_files(finding: Finding) -> dict[str, bytes]:
    """Return the files beside the code of a finding that was not reduced, whose data nobody reads: NumPy's, by name; of others none."""
    case = Case.parse(finding.case)
    files = {}
    for name, array in make_tensors(case).named().items() if _is_in_files(finding, case) else ():
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(_held(array)), allow_pickle=False)
        files[_FILE.format(finding=finding.fingerprint, name=name)] = file.getvalue()
    return files


def data_of(finding: Finding, subject: Subject, *, only_shapes: bool = False) -> str:
    """Write the data of a finding's call as :func:`data` does, or take it from the files of :func:`tensor_files`."""
    if not _is_in_files(finding, Case.parse(finding.case)):
        return data(subject, only_shapes=only_shapes)
    names = list(subject.tensors.named())
    where = _FILE.format(finding=finding.fingerprint, name="{name}")
    lines = [
        "# Not reduced: the data are in files beside this one.",
        "from pathlib import Path",
        f'{", ".join(names)} = (np.load(Path(__file__).with_name(f"{where}")) for name in {names!r})',
    ]
    return "\n".join([*lines, *_operands(subject)])


def _is_in_files(finding: Finding, case: Case) -> bool:
    return finding.is_unreduced and case.config.is_valid and case.recipe.regime != EXPLICIT


def data(subject: Subject, *, only_shapes: bool = False) -> str:
    """Write ``x``, ``w``, ``b`` and ``dy``, as far as there are such, and ``operands``, the arguments of ``run``.

    Drawn values are left out of an invalid case's large tensors, and with ``only_shapes`` of any but the smallest ones.
    """
    made = subject.tensors.named()
    if only_shapes and subject.case.recipe.regime != EXPLICIT:
        lines = [
            _spelled_out(name, a) if a.size <= _LEAST_SPARSE else _filled(name, a)
            for name, a in zip(made, map(_held, made.values()), strict=True)
        ]
    elif is_drawn(subject):
        lines = _drawn(subject)
    elif _is_small(subject):
        lines = _inline(made)
    else:
        lines = ["# The values do not matter.", *(_filled(name, _held(array)) for name, array in made.items())]
    return "\n".join([*lines, *_operands(subject)])


def is_drawn(subject: Subject) -> bool:
    """Whether the tensors are too large to be spelled out, so that the generator's source makes them; it has annotations."""
    return subject.config.is_valid and not _is_small(subject)


def _is_small(subject: Subject) -> bool:
    return subject.case.recipe.regime == EXPLICIT or sum(array.size for array in subject.tensors.named().values()) <= _MOST_INLINE


def literal(value: object) -> str:
    """Return a number as source that reads back as the same number of its own NumPy dtype, as short as it goes."""
    if not isinstance(value, np.floating):
        return str(value)
    number, short = float(value), str(value)
    if number.is_integer() and abs(number) < 2**53 and not (number == 0 and math.copysign(1, number) < 0):
        return str(int(number))
    return short if not math.isfinite(number) or float(type(value)(float(short))) == number else repr(number)


def _held(array: Array) -> Array:
    """Return an array as a script holds it, which has no bfloat16."""
    return array.astype(np.float32) if dtype_name(array.dtype) == "bfloat16" else array


def _inline(made: dict[str, Array]) -> list[str]:
    special = any(not np.isfinite(array).all() for array in made.values())
    return [*(["nan, inf = np.nan, np.inf"] if special else []), *(_written(name, _held(array)) for name, array in made.items())]


def _written(name: str, array: Array) -> str:
    there = np.argwhere(nonzero(array)).tolist()
    if array.size <= _LEAST_SPARSE or len(there) * _SPARSE_SHARE > array.size:
        return _spelled_out(name, array)
    lines = [f"{name}[{', '.join(map(str, index))}] = {_number(array[tuple(index)])}" for index in there]
    return "\n".join([f"{name} = np.zeros({array.shape}, dtype=np.{array.dtype})", *lines])


def _number(value: np.generic) -> str:
    """Return one element as source; a complex one as a real number where it is one."""
    if not isinstance(value, np.complexfloating):
        return literal(value)
    return f"complex({literal(value.real)}, {literal(value.imag)})" if value.imag else literal(value.real)


def _spelled_out(name: str, array: Array) -> str:
    if array.size == 0:
        return f"{name} = np.zeros({array.shape}, dtype=np.{array.dtype})"
    numbers, dtype, then = np.ascontiguousarray(array).reshape(-1), array.dtype, ""
    if dtype.kind == "c":
        dtype, then = array.real.dtype, f".view(np.{dtype})"
        numbers = numbers.view(dtype)
    then += f".reshape({', '.join(map(str, array.shape))})" if array.ndim > 1 else ".reshape(())" if array.ndim == 0 else ""
    values = ", ".join(map(literal, numbers))
    line = f"{name} = np.array([{values}], dtype=np.{dtype}){then}"
    if len(line) <= WIDTH:
        return line
    wrapped = textwrap.fill(values, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return f"{name} = np.array([\n{wrapped},\n], dtype=np.{dtype}){then}"


def _filled(name: str, array: Array) -> str:
    return f"{name} = np.ones({array.shape}, dtype=np.{array.dtype})"


# -- drawn data -------------------------------------------------------------------------------------------------------------


def _drawn(subject: Subject) -> list[str]:
    """Carry the source of the regimes, which needs NumPy only; the same code gives the same bytes."""
    config, recipe, dtype = subject.config, subject.case.recipe, subject.config.dtype
    regime, name = entry_of(regimes, "WHOLE_VALUES" if subject.is_integer else "VALUES", recipe.regime)
    carried = Carried(given={"np", "numpy_dtype"})
    carried.add_needs(regimes, regime)
    if dtype == "bfloat16":
        carried.add(dtypes, "FLOATS")
    attributes = {attribute: getattr(config, attribute) for attribute in sorted(carried.config_attributes)}
    function = name if name.isidentifier() else f"({name})"
    value = "FLOATS['bfloat16'].round(drawn[name])" if dtype == "bfloat16" else "drawn[name]"
    lines = [
        "# The generator of the data, as convfuzz has it: integers from counters, then exact or once-rounded float64.",
        "from types import SimpleNamespace",
        carried.source,
        *(["numpy_dtype = np.dtype"] if "numpy_dtype" in carried.used else []),
        "",
        f"layer = {namespace(attributes)}",
        f"drawn = {function}(layer, {recipe.seed})",
    ]
    if subject.is_complex:
        lines.append(f"imaginary = {function}(layer, {recipe.seed + 2**63})")
        value = "(drawn[name] + 1j * imaginary[name])"
    names = list(subject.tensors.named())
    lines += [
        'with np.errstate(over="ignore", under="ignore"):',
        f"    {', '.join(names)} = ({value}.astype(np.{subject.held_dtype}) for name in {names!r})",
    ]
    return lines + [f"{name} = {one}  # one slice serves for all" for name, one in _repeated(subject)]


def _repeated(subject: Subject) -> list[tuple[str, str]]:
    """Return the operands that repeat one slice, and the source that repeats it."""
    places = placements(subject.config)
    found = []
    for name in subject.tensors.named():
        strides = places[name].strides
        if 0 in strides:
            slices = ", ".join(":1" if stride == 0 else ":" for stride in strides[: strides.index(0) + 1])
            found.append((name, f"np.repeat({name}[{slices}], {name}.shape[{strides.index(0)}], axis={strides.index(0)})"))
    return found


# -- memory -----------------------------------------------------------------------------------------------------------------


def _operands(subject: Subject) -> list[str]:
    made, places = subject.tensors.named(), placements(subject.config)
    written = {name: _operand(name, array, places[name]) for name, array in made.items()}
    arguments = [written.get("x", ""), written["w"], written.get("b", "None"), *([written["dy"]] if "dy" in written else [])]
    helpers = [_BITS] if any("bits(" in operand for operand in arguments) else []
    if any("placed(" in operand for operand in arguments):
        helpers.append(_PLACED.format(unwritten=unwritten_source(subject.config.dtype)[0]))
    line = f"operands = [{', '.join(arguments)}]"
    if len(line) > WIDTH:
        line = "operands = [\n" + "".join(f"    {argument},\n" for argument in arguments) + "]"
    return [*(f"\n\n{helper.strip()}" for helper in helpers), *(["\n"] if helpers else []), line]


def _operand(name: str, array: Array, place: Placement) -> str:
    value = f"bits({name})" if dtype_name(array.dtype) == "bfloat16" else name
    if place.is_plain or place.shape != array.shape:  # an operand of another shape was made afterwards
        return value
    return f"placed({value}, {place.size}, {place.offset}, {place.strides})"
