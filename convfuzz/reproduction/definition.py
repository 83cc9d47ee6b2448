"""The definition of a convolution as source: the sums of one pass in plain loops over the taps."""

from __future__ import annotations

from convfuzz.reproduction.subject import Subject

_TAPS = '''
def taps():
    """Yield, for every tap of every kernel, which sites of x and y it connects, and its place in w.

    Along each axis it connects {narrow}, of {narrow_name}, with {wide} = {narrow} * stride + tap * dilation - padding, of {wide_name}.
    """
    for tap in np.ndindex{kernel}:
        at_{narrow_name}, at_{wide_name} = [], []
        for t, ({narrow_name}_size, {wide_name}_size, stride, dilation, padding) in zip(tap, {axes}):
            {narrow} = np.arange({narrow_name}_size)
            {wide} = {narrow} * stride + (t * dilation - padding)
            {inside}
            at_{narrow_name}.append({narrow}{there})
            at_{wide_name}.append({wide}{there})
        at_x, at_y = np.ix_(*at_x), np.ix_(*at_y)
        for row, column in np.ndindex({rows}, {columns}):
            {narrow_name}_channel, {wide_name}_channel = row, {wide_channel}
            yield (..., x_channel, *at_x), (row, column, *tap), (..., y_channel, *at_y)
'''

_COPIED = {
    "reflect": "i = x_size - 1 - np.abs(x_size - 1 - np.abs(i))  # padding reflects",
    "replicate": "i = np.clip(i, 0, x_size - 1)  # padding repeats the nearest element",
    "circular": "i = i % x_size  # padding goes round",
}

_PRODUCTS = '''
def products(a, b):
    """Yield the real products of a complex one: those of its real and of its imaginary part, on a first axis."""
    yield np.stack([a.real * b.real, a.real * b.imag])
    yield np.stack([-a.imag * b.imag, a.imag * b.real])
'''

_FACTORS = {
    "forward": ("x[at_x]", "w[at_w]", "at_y"),
    "grad_input": ("dy[at_y]", "w[at_w]", "at_x"),
    "grad_weight": ("dy[at_y]", "x[at_x]", "at_w"),
}
_MEANING = {
    "forward": "the output y",
    "grad_input": "the gradient g of sum(y * dy) to x",
    "grad_weight": "the gradient g of sum(y * dy) to w",
    "grad_bias": "the gradient g of sum(y * dy) to b",
}


def definition(subject: Subject) -> str:
    """Write ``expected(...)``, which returns the judged result and what else the bound of its rounding is made of."""
    parts = [_bias_gradient(subject)] if subject.in_pass == "grad_bias" else [_expected(subject), _taps(subject)]
    if subject.is_complex and subject.in_pass != "grad_bias":
        parts.append(_PRODUCTS)
    return "\n".join(parts)


def returned(subject: Subject) -> list[str]:
    """Return the names of what ``expected`` returns."""
    if not subject.has_moments:
        return [subject.result]
    return [subject.result, "S", "Q", "n", *(["free"] if subject.sums.may_be_nan is not None else [])]


def bias(subject: Subject) -> str:
    """Return the bias, in the shape in which it adds to the sums, as source."""
    ones = ", 1" * subject.config.dims
    if not subject.is_complex:
        return f"b.reshape(-1{ones})"
    batch = "" if subject.config.batch is None else ", 1"
    return f"np.stack([b.real, b.imag]).reshape(2{batch}, -1{ones})"


def _head(subject: Subject) -> list[str]:
    names = ", ".join(subject.operands)
    text = f"Return {_MEANING[subject.in_pass]}, the sum of its products p in {subject.wide_dtype}."
    more = []
    if subject.is_integer:
        text = f"{text[:-1]}, which wraps around as the dtype does."
    elif subject.has_moments:
        more.append("S = sum |p|, Q = sum p * p and the number n of products bound its rounding.")
    if subject.is_complex:
        more.append("The real and the imaginary parts are sums of their own, on a first axis.")
        if subject.in_pass != "forward":
            more.append("A complex gradient is PyTorch's: products with the conjugate of the other operand.")
    if "free" in returned(subject):
        more.append("Where padding, which is no product, meets a NaN or an Inf, the result is free to be NaN.")
    docstring = [f'    """{text}"""'] if not more else [f'    """{text}', "", *(f"    {line}" for line in more), '    """']
    lines = [*(['@np.errstate(all="ignore")'] if not subject.is_calm else []), f"def expected({names}):", *docstring]
    dtype = {"float64": "complex128", "longdouble": "clongdouble"}[subject.wide_dtype] if subject.is_complex else subject.wide_dtype
    lines.append(f"    {names} = (a.astype(np.{dtype}) for a in ({names}))" if "," in names else f"    dy = dy.astype(np.{dtype})")
    return lines


def _expected(subject: Subject) -> str:
    first, second, at = _FACTORS[subject.in_pass]
    names = returned(subject)
    sums, lines = [name for name in names if name != "free"], _head(subject)
    shape = subject.shape if len(sums) == 1 else (len(sums), *subject.shape)
    dtype = "" if subject.wide_dtype == "float64" else f", dtype=np.{subject.wide_dtype}"
    lines.append(f"    {', '.join(sums)} = np.zeros({shape}{dtype})")
    if "free" in names:
        lines += _before_free(subject)
    lines.append("    for at_x, at_w, at_y in taps():")
    indent = " " * 8
    if subject.is_complex:
        conjugate = "" if subject.in_pass == "forward" else ".conj()"
        lines.append(f"{indent}for p in products({first}, {second}{conjugate}):")
        indent += "    "
    else:
        lines.append(f"{indent}p = {first} * {second}")
    lines += [indent + line for line in _accumulate(subject, sums, at)]
    if "free" in names:
        lines += _while_free(subject)
    if subject.in_pass == "forward" and subject.config.bias:
        lines += _add_bias(subject, sums)
    results = ["missed > 0" if name == "free" else name for name in names]
    if subject.is_integer:
        results = [f"{results[0]}.astype(np.{subject.config.dtype})"]
    lines.append(f"    return {', '.join(results)}")
    return "\n".join(["", *lines, ""])


def _accumulate(subject: Subject, sums: list[str], at: str) -> list[str]:
    """Add one tap's products to the sums."""
    before, terms = [], _terms(subject)
    if subject.in_pass == "grad_weight" and subject.is_complex:
        before, at = ["p = p.reshape(2, -1)"], f"(..., *{at})"
    # An input element that padding copies receives what its copies do.
    meets_twice = subject.in_pass == "grad_input" and subject.config.padding_mode != "zeros"
    add = "np.add.at({total}, {at}, {term})" if meets_twice else "{total}[{at}] += {term}"
    if len(sums) == 1:
        return [*before, add.format(total=subject.result, at=at, term=terms[subject.result])]
    pairs = ", ".join(f"({name}, {terms[name]})" for name in sums)
    return [*before, f"for total, term in ({pairs}):", f"    {add.format(total='total', at=at, term='term')}"]


def _terms(subject: Subject) -> dict[str, str]:
    """Return what products p of one tap add to each sum; a weight's gradient gathers all of them."""
    if subject.in_pass != "grad_weight":
        return {subject.result: "p", "S": "np.abs(p)", "Q": "p * p", "n": "1"}
    axis, count = ("axis=1", "p.shape[1]") if subject.is_complex else ("", "p.size")
    return {subject.result: f"p.sum({axis})", "S": f"np.abs(p).sum({axis})", "Q": f"(p * p).sum({axis})", "n": count}


def _add_bias(subject: Subject, sums: list[str]) -> list[str]:
    lines = [f"    b = {bias(subject)}"]
    terms = {"y": "b", "S": "np.abs(b)", "Q": "b * b", "n": "1"}
    return lines + [f"    {name} += {terms[name]}" for name in sums]


# -- NaN and Inf beside padding ---------------------------------------------------------------------------------------------


def _before_free(subject: Subject) -> list[str]:
    lines = [f"    missed = np.zeros({subject.shape})  # how many NaN and Inf of the result's channel are no factors of it"]
    batched = subject.config.batch is not None
    if subject.in_pass == "grad_weight":
        others = (0, *range(2, subject.config.dims + 2)) if batched else tuple(range(1, subject.config.dims + 1))
        for name in _met_by_zeros(subject):
            lines += [f"    bad_{name} = ~np.isfinite({name})", f"    bad_{name}_of = bad_{name}.sum({others})"]
    else:
        lines.append(f"    missed_of = {'np.moveaxis(missed, 1, 0)' if batched else 'missed'}")
    return lines


def _met_by_zeros(subject: Subject) -> tuple[str, ...]:
    """Return the operands of a weight's gradient that somebody may multiply by zeros written around the other, or by copies' zeros."""
    return ("dy", "x") if subject.config.padding_mode == "zeros" else ("x",)


def _while_free(subject: Subject) -> list[str]:
    is_padded = subject.config.padding_mode == "zeros"
    if subject.in_pass == "grad_weight":
        at = {"dy": "at_y", "x": "at_x"}
        terms = [
            f"bad_{name}_of[{at[name]}[1]]" + (f" - bad_{name}[{at[name]}].sum()" if is_padded else "") for name in _met_by_zeros(subject)
        ]
        return [f"        missed[at_w] = {' + '.join(terms)}"]
    at_sites = _FACTORS[subject.in_pass][2]
    lines = [f"        missed_of[{at_sites}[1]] += not np.isfinite(w[at_w])"]
    if is_padded:
        lines.append(f"        missed[{at_sites}] -= not np.isfinite(w[at_w])")
    return lines


# -- the parts --------------------------------------------------------------------------------------------------------------


def _taps(subject: Subject) -> str:
    c = subject.config
    is_conv = c.op == "conv"
    narrow, wide = ("o", "i") if is_conv else ("i", "o")
    narrow_name, wide_name = ("y", "x") if is_conv else ("x", "y")
    narrow_sizes, wide_sizes = (c.output_size, c.input_size) if is_conv else (c.input_size, c.output_size)
    axes = [
        # The stride of one site and the dilation of one tap are never taken, and may be anything.
        (sites, size, stride if sites > 1 else 1, dilation if kernel > 1 else 1, lo)
        for sites, size, stride, dilation, kernel, (lo, _) in zip(
            narrow_sizes, wide_sizes, c.stride, c.dilation, c.kernel_size, c.pads, strict=True
        )
    ]
    rows, columns = c.weight_shape[:2]
    inside, there = f"there = (0 <= {wide}) & ({wide} < {wide_name}_size)", "[there]"
    if c.padding_mode != "zeros":
        inside, there = _COPIED[c.padding_mode], ""
    return _TAPS.format(
        narrow=narrow,
        wide=wide,
        narrow_name=narrow_name,
        wide_name=wide_name,
        kernel=c.kernel_size if c.dims > 1 else f"({c.kernel_size[0]})",
        axes=axes,
        inside=inside,
        there=there,
        rows=rows,
        columns=columns,
        wide_channel="column" if c.groups == 1 else f"row // {max(rows // c.groups, 1)}{f' * {columns} + column' if columns != 1 else ''}",
    )


def _bias_gradient(subject: Subject) -> str:
    lines = _head(subject)
    axes = tuple(range(-subject.config.dims, 0))
    if subject.config.batch is not None:
        axes = (-subject.config.dims - 2, *axes)
    if subject.is_complex:
        lines.append("    dy = np.stack([dy.real, dy.imag])")
    if not subject.has_moments:
        lines.append(f"    return dy.sum(axis={axes})")
    else:
        lines += [
            f"    axes = {axes}",
            "    return dy.sum(axes), np.abs(dy).sum(axes), (dy * dy).sum(axes), np.ones_like(dy).sum(axes)",
        ]
    return "\n".join(["", *lines, ""])
