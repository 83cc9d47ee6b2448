"""The loop over the parts of a split layer as source, around the script of one part."""

from __future__ import annotations

from convfuzz.backends.script_parts import arguments
from convfuzz.backends.variants.base import wide
from convfuzz.case import Case

_LOOP = '''

PARTS = [  # where each part of the layer lies in {tensors}
{parts}
]


@np.errstate(all="ignore")
def run({arguments}, run_part=run, parts=PARTS):
    """Compute each part of the layer on its own; where parts meet, add them."""
    totals = {{
{totals}
    }}
    for {places} in parts:
        results = {results}
        for name, at in {targets}.items():
{skip}            assert (results[name].shape, results[name].dtype) == (totals[name][at].shape, np.{dtype}), (name, results[name])
{put}
    totals = {{name: {rounded} for name, total in totals.items()}}
    return {returned}
'''
TO_BFLOAT16 = '''

def to_bfloat16(a):
    """Round to the nearest bfloat16, ties to even, in float32."""
    last = np.maximum(np.frexp(a)[1], -125) - 8  # the exponent of the last digit
    return np.ldexp(np.rint(np.ldexp(a, -last)), last).astype(np.float32)
'''
_CONVERSIONS = """

def widened(a):
    return a.astype(np.{wide})


def rounded(a):
    return a.astype(np.{dtype})
"""
_BFLOAT16_CONVERSIONS = '''

def widened(a):
    """Return float64 of bfloat16, which is held as bits or in float32."""
    return (a.astype(np.uint32) << 16).view(np.float32).astype(np.float64) if a.dtype == np.uint16 else a.astype(np.float64)


def rounded(a):
    return to_bfloat16(a)
'''
_SKIP = """\
            if at is None:
                continue
"""
_ADDED = """\
            totals[name][at] += results[name]"""
_PUT = """\
            if name == "forward":  # whose elements are of one part each: -0.0 stays what it is
                totals[name][at] = results[name]
            else:
                totals[name][at] += results[name]"""
_PLACES = {"forward": "y", "grad_input": "x", "grad_weight": "w", "grad_bias": "b"}


def sum_conversions(dtype: str) -> str:
    """Return a script's ``widened`` and ``rounded``, for sums in a wider dtype that are rounded once."""
    if dtype == "bfloat16":
        return TO_BFLOAT16 + _BFLOAT16_CONVERSIONS
    return _CONVERSIONS.format(wide=wide(dtype), dtype=dtype)


def loop_over_parts(case: Case, parts: list[dict[str, str]], *, sums_forward: bool) -> str:
    """Return a ``run`` that calls the one before it for each part; ``parts`` are where each lies in x, w, b and y.

    ``sums_forward`` says that parts share elements of the forward pass, which are then summed.
    A part that adds no bias gets a bias of zeros, so that all calls have the same arguments.
    """
    config = case.config
    names = ["x", "w", *(["b"] if config.bias else []), "y"]
    bias, skip = "b[at_b]" if config.bias else "None", ""
    targets = "{" + ", ".join(f'"{name}": at_{_PLACES[name]}' for name in case.passes) + "}"
    if config.bias and any(part["b"] == "None" for part in parts):
        first = next(part["b"] for part in parts if part["b"] != "None")
        bias = f"np.zeros_like(b[{first}]) if at_b is None else b[at_b]"
        skip = _SKIP if case.grad else ""
    call = f"run_part(x[at_x], w[at_w], {bias}{', dy[at_y]' if case.grad else ''})"
    dtype, rounded, helper = config.dtype, f"total.astype(np.{config.dtype})", ""
    if config.dtype == "bfloat16":
        dtype, rounded, helper = "float32", "to_bfloat16(total)", TO_BFLOAT16
    return helper + _LOOP.format(
        tensors=", ".join(names),
        parts="\n".join(f"    ({', '.join(part[name] for name in names)})," for part in parts),
        arguments=arguments(case),
        totals="\n".join(f'        "{name}": np.zeros({case.shape_of(name)}, dtype=np.{wide(config.dtype)}),' for name in case.passes),
        places=", ".join(f"at_{name}" for name in names),
        results=call if case.grad else f'{{"forward": {call}}}',
        targets=targets,
        skip=skip,
        put=_ADDED if sums_forward else _PUT,
        dtype=dtype,
        rounded=rounded,
        returned="totals" if case.grad else 'totals["forward"]',
    )
