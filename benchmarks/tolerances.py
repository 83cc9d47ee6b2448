"""Measure which share of right and of wrong float32 sums each criterion flags, and how far transforms and coarse inputs stray.

    python benchmarks/tolerances.py

First table: sums of 3456 products (the reduction of a 3×3 kernel over 384 channels), 2048 of them, as added by NumPy in
float32; the share that each criterion flags. Second table: a 3×3 convolution of a 26×26 input with 8 kernels, computed
directly, by Winograd's minimal filtering, by FFT, and from inputs rounded to TF32 and bfloat16. Third table: Winograd's
minimal filtering in one to three dimensions with every number kept in float32, float16 and bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import FLOATS
from convfuzz.judging.bounds import proven
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.tolerance import Operands, tolerance
from convfuzz.oracle import Expectation

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
U = FLOATS["float32"].unit_roundoff
SUMS, PRODUCTS, TAPS = 2048, 3456, 9


# -- criteria ---------------------------------------------------------------------------------------------------------


def expectation(x: Singles, w: Singles) -> Expectation:
    """Return what the reference would: the sums over the last axis, in float64."""
    p = x.astype(np.float64) * w.astype(np.float64)
    n = np.full(p.shape[:-1], p.shape[-1], dtype=np.int64)
    return Expectation(y=p.sum(-1), y_lo=None, S=np.abs(p).sum(-1), Q=(p * p).sum(-1), n=n)


def derived(expected: Expectation) -> Floats:
    """Return convfuzz's tolerance."""
    return tolerance(expected, Numerics(), Operands("float32"))


def worst_case(expected: Expectation) -> Floats:
    """Return γ_n·S and one rounding."""
    assert expected.S is not None, "made with the moments"
    return proven(expected.S, expected.n, u=U) + U * np.abs(expected.y)


def fixed(expected: Expectation, rtol: float, atol: float) -> Floats:
    """Return atol + rtol·|y|."""
    return atol + rtol * np.abs(expected.y)


CRITERIA: dict[str, Callable[[Expectation], Floats]] = {
    "torch.testing.assert_close": partial(fixed, rtol=1.3e-6, atol=1e-5),
    "numpy.allclose": partial(fixed, rtol=1e-5, atol=1e-8),
    "rtol 1e-2, atol 1e-3": partial(fixed, rtol=1e-2, atol=1e-3),
    "proven": worst_case,
    "statistical (convfuzz)": derived,
}


# -- sums, right and wrong ----------------------------------------------------------------------------------------------


def sequential(x: Singles, w: Singles) -> Singles:
    """Add in float32, one product after the other."""
    total = np.zeros(x.shape[:-1], np.float32)
    for k in range(x.shape[-1]):
        total += x[..., k] * w[..., k]
    return total


def ascending(x: Singles, w: Singles) -> Singles:
    """Add the products in ascending order: an order that depends on the data."""
    p = np.sort(x * w, axis=-1)
    return sequential(p, np.ones_like(p))


def lanes(x: Singles, w: Singles) -> Singles:
    """Add in eight interleaved partial sums, as vector code does."""
    shape = (*x.shape[:-1], -1, 8)
    parts = sequential(x.reshape(shape).swapaxes(-1, -2), w.reshape(shape).swapaxes(-1, -2))
    return sequential(parts, np.ones_like(parts))


def without(taps: int, x: Singles, w: Singles) -> Singles:
    """Leave the last ``taps`` products out."""
    return sequential(x[..., :-taps], w[..., :-taps])


def rounded(name: str, x: Singles, w: Singles) -> Singles:
    """Round both operands to another format first."""
    form = FLOATS[name]
    return sequential(*(form.round(a.astype(np.float64)).astype(np.float32) for a in (x, w)))


def sums() -> None:
    """Print the first table."""
    draw = np.random.default_rng(1)
    normal = [draw.standard_normal((SUMS, PRODUCTS), dtype=np.float32) for _ in range(2)]
    small = [a * np.float32(1e-3) for a in normal]
    near_one = [1 + a / np.float32(64) for a in normal]
    alternating = np.tile(np.array([1, -1], np.float32), PRODUCTS // 2)
    drawn_signs = draw.permuted(np.tile(alternating, (SUMS, 1)), axis=1)
    cancelling = [near_one[0], near_one[1] * drawn_signs]
    aligned = [near_one[0], near_one[1] * alternating]
    columns: dict[str, tuple[list[Singles], Callable[[Singles, Singles], Singles]]] = {
        "right: sequential": (normal, sequential),
        "right: cancelling": (cancelling, sequential),
        "right: signs by lane": (aligned, lanes),
        "right: ascending": (normal, ascending),
        "tap dropped": (normal, partial(without, 1)),
        "channel dropped": (normal, partial(without, TAPS)),
        "tap dropped, x 1e-3": (small, partial(without, 1)),
        "TF32 inputs": (normal, partial(rounded, "tfloat32")),
        "bfloat16 inputs": (normal, partial(rounded, "bfloat16")),
    }
    print(f"Share of {SUMS} sums of {PRODUCTS} products that each criterion flags\n")
    print("| sum | " + " | ".join(CRITERIA) + " |\n|---" + "|---" * len(CRITERIA) + "|")
    for name, (operands, compute) in columns.items():
        expected = expectation(operands[0], operands[1])
        error = np.abs(compute(operands[0], operands[1]) - expected.y)
        shares = (np.mean(error > criterion(expected)) for criterion in CRITERIA.values())
        print(f"| {name} | " + " | ".join(f"{share:.3f}" for share in shares) + " |", flush=True)


# -- transforms ---------------------------------------------------------------------------------------------------------


def winograd_matrices(m: int, r: int = 3) -> tuple[Floats, Floats, Floats]:
    """Return Aᵀ, G and Bᵀ of F(m, r) by Toom and Cook, interpolating at 0, ±1, ±2, ±1/2 and infinity."""
    points = np.array([0, 1, -1, 2, -2, 0.5, -0.5])[: m + r - 2]
    others = [np.delete(points, j) for j in range(points.size)]
    a = np.vander(points, m, increasing=True).T
    g = np.vander(points, r, increasing=True) / np.array([np.prod(p - q) for p, q in zip(points, others, strict=True)])[:, None]
    b = np.array([[*np.poly(q)[::-1], 0.0] for q in others] + [np.poly(points)[::-1]])
    return np.hstack([a, np.eye(m)[:, -1:]]), np.vstack([g, np.eye(r)[-1:]]), b


def winograd(m: int, x: Singles, w: Singles) -> Singles:
    """Convolve with F(m×m, 3×3), every step in float32."""
    a, g, b = (matrix.astype(np.float32) for matrix in winograd_matrices(m))
    tiles = np.lib.stride_tricks.sliding_window_view(x, (m + 2, m + 2), axis=(1, 2))[:, ::m, ::m]
    data, kernels = b @ tiles @ b.T, g @ w @ g.T
    y: Singles = a @ np.einsum("cijpq,kcpq->kijpq", data, kernels) @ a.T
    return y.transpose(0, 1, 3, 2, 4).reshape(w.shape[0], y.shape[1] * m, -1)


def direct(x: Singles, w: Singles) -> Singles:
    """Convolve by one float32 sum per element."""
    y = np.zeros((w.shape[0], x.shape[1] - 2, x.shape[2] - 2), np.float32)
    for c in range(x.shape[0]):
        for i in range(3):
            for j in range(3):
                y += w[:, c, i, j, None, None] * x[c, i : i + y.shape[1], j : j + y.shape[2]]
    return y


def by_fft(x: Singles, w: Singles) -> Singles:
    """Convolve by float32 FFT of the whole image."""
    size = x.shape[1:]
    product = np.einsum("chw,kchw->khw", np.fft.rfft2(x), np.conj(np.fft.rfft2(w, s=size)))
    y: Singles = np.fft.irfft2(product, s=size)[:, : size[0] - 2, : size[1] - 2].astype(np.float32)
    return y


def of_rounded(name: str, x: Singles, w: Singles) -> Singles:
    """Convolve directly, from inputs rounded to another format."""
    form = FLOATS[name]
    return direct(*(form.round(a.astype(np.float64)).astype(np.float32) for a in (x, w)))


def transforms() -> None:
    """Print the second table."""
    draw = np.random.default_rng(2)
    algorithms: dict[str, Callable[[Singles, Singles], Singles]] = {
        "direct": direct,
        "Winograd F(2,3)": partial(winograd, 2),
        "Winograd F(4,3)": partial(winograd, 4),
        "Winograd F(6,3)": partial(winograd, 6),
        "FFT": by_fft,
        "TF32 inputs": partial(of_rounded, "tfloat32"),
        "bfloat16 inputs": partial(of_rounded, "bfloat16"),
    }
    channels = (1, 16, 256)
    print("\nLargest error of a 3×3 convolution in units of u·S, in brackets of u·max S over the map; and on integers of up to 8\n")
    print("| algorithm | " + " | ".join(f"normal, C = {c}" for c in channels) + " | integers, C = 256 |\n|---|---|---|---|---|")
    data = [(draw.standard_normal((c, 26, 26), dtype=np.float32), draw.standard_normal((8, c, 3, 3), dtype=np.float32)) for c in channels]
    whole = [draw.integers(-8, 9, shape).astype(np.float32) for shape in ((256, 26, 26), (8, 256, 3, 3))]
    for name, convolve in algorithms.items():
        cells = []
        for x, w in data:
            windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2)).transpose(1, 2, 0, 3, 4)
            flat = windows.reshape(1, 24, 24, -1), w.reshape(8, 1, 1, -1)
            expected = expectation(*flat)
            assert expected.S is not None
            error = np.abs(convolve(x, w) - expected.y)
            of_map = expected.S.max(axis=(-2, -1), keepdims=True)
            cells.append(f"{(error / (U * expected.S)).max():.3g} ({(error / (U * of_map)).max():.3g})")
        exact = direct(*whole)  # integers: float32 holds every partial sum
        cells.append(f"{np.abs(convolve(whole[0], whole[1]) - exact).max():.2g}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


# -- transforms in short formats ----------------------------------------------------------------------------------------


def along(matrix: Floats, values: Floats, dims: int, round_to: Callable[[Floats], Floats]) -> Floats:
    """Multiply the last ``dims`` axes by a matrix, one after the other, and round after each."""
    for axis in range(values.ndim - dims, values.ndim):
        values = round_to(np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis))
    return values


def tile_errors(m: int, dims: int, channels: int, name: str, draw: np.random.Generator) -> Floats:
    """Return the errors of F(m, 3) with every number kept in a format, in units of u·Σ max|x|·Σ|w|, on several kinds of data."""
    a, g, b = winograd_matrices(m)
    form, found = FLOATS[name], []
    for kind in ("normal", "positive", "one-hot kernel, large border", "integers"):
        for _ in range(60 if channels == 1 else 12):
            x, w = draw.standard_normal((channels, *(m + 2,) * dims)), draw.standard_normal((channels, *(3,) * dims))
            if kind == "positive":
                x, w = np.abs(x), np.abs(w)
            elif kind == "integers":
                x, w = draw.integers(-8, 9, x.shape).astype(float), draw.integers(-8, 9, w.shape).astype(float)
            elif kind != "normal":
                x, w = np.ones_like(x), np.zeros_like(w)
                x[(slice(None), *(0,) * dims)], w[(slice(None), *(1,) * dims)] = 100.0, 1.0
            x, w = form.round(x), form.round(w)
            exact = along(a, (along(g, w, dims, np.asarray) * along(b, x, dims, np.asarray)).sum(axis=0), dims, np.asarray)
            total = np.zeros((m + 2,) * dims)
            for data, kernel in zip(along(b, x, dims, form.round), along(g, w, dims, form.round), strict=True):
                total = form.round(total + form.round(data * kernel))
            magnitude = sum(np.abs(x[c]).max() * np.abs(w[c]).sum() for c in range(channels))
            found.append(np.abs(along(a, total, dims, form.round) - exact).max() / (form.unit_roundoff * magnitude))
    return np.array(found)


def short_transforms() -> None:
    """Print the third table."""
    draw = np.random.default_rng(3)
    names, channels = ("float32", "float16", "bfloat16"), (1, 32)
    print("\nLargest error of Winograd's F(m, 3) in units of u·M, M = Σ max|x|·Σ|w|, every number kept in a format (overflow aside)\n")
    print("| tile | dims | " + " | ".join(f"{name}, C = {c}" for name in names for c in channels) + " |\n|---|---" + "|---" * 6 + "|")
    for dims in (1, 2, 3):
        for m in (2, 4, 6):
            with np.errstate(invalid="ignore"):  # what overflows float16 is left out
                cells = [f"{np.nanmax(tile_errors(m, dims, c, name, draw)):.3g}" for name in names for c in channels]
            print(f"| F({m},3) | {dims} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    sums()
    transforms()
    short_transforms()
