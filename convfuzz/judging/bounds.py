"""The terms of the tolerance: what each kind of arithmetic may add to an error, per output element.

Every function takes the bound so far, ``t``, then arrays of the shape of the result, then plain numbers, and returns the new
bound. They are NumPy alone, so that a reproduction script carries their very source; which of them apply, in which order and
with which numbers, is said in :mod:`convfuzz.judging.tolerance` and nowhere else. ``docs/numerics.md`` derives each.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Range = tuple[float, float]

LAMBDA = 6.65
"""The statistical bound fails by chance with probability 2·exp(−λ²/2) ≈ 5·10⁻¹⁰ for an element."""

SQUARES_VANISH = 2.0**-500
"""Below this S the squares in the statistical bound lose their digits to float64's underflow."""

TRANSFORM_FACTORS = {1: 20.0, 2: 100.0, 3: 400.0}
"""By spatial dims, at least twice the largest error of Winograd F(6,3) seen, in units of u times the magnitude of a map."""


def statistical(t: Floats | float, y: Floats, S: Floats, Q: Floats, n: Counts, *, u: float) -> Floats:
    """Add the rounding of a sum in any order that does not depend on the data: E Σ s_k² = n(n+1)/6 · (var_p + (2n+1)·mean_p²)."""
    n1 = np.maximum(n, 1).astype(np.float64)
    mean = y / n1
    variance = np.maximum(Q / n1 - mean * mean, 0.0)
    rounding = LAMBDA * u * np.sqrt(n1 * (n1 + 1.0) / 6.0 * (variance + (2.0 * n1 + 1.0) * mean * mean) + Q)
    # Squares of sums this small vanish; no partial sum is larger than S.
    added: Floats = t + np.where(S < SQUARES_VANISH, LAMBDA * u * np.sqrt(n1 + 1.0) * S, rounding)
    return added


def in_order(t: Floats | float, y: Floats, S: Floats, Q: Floats, n: Counts, R: Floats, *, u: float) -> Floats:
    """Add the rounding of a sum in a declared order, whose Σ s_k² is R; where that is NaN it was not computed, and any order is allowed."""
    known = LAMBDA * u * np.sqrt(np.where(np.isnan(R), 0.0, R) + Q)
    # Squares of sums this small vanish; no partial sum is larger than S.
    known = np.where(S < SQUARES_VANISH, LAMBDA * u * np.sqrt(np.maximum(n, 1) + 1.0) * S, known)
    added: Floats = t + np.where(np.isnan(R), statistical(0.0, y, S, Q, n, u=u), known)
    return added


def truncated(t: Floats, y: Floats, S: Floats, Q: Floats, n: Counts, *, u: float) -> Floats:
    """Add what is cut off where sums are truncated instead of rounded, always to the same side, as tensor cores do.

    A step loses less than 2u of the larger of its partial sum s_k and its product. Σ|s_k| is at most √n·√(Σ s_k²), of which the
    statistical bound has the expectation, and the products are S together.
    """
    n1 = np.maximum(n, 1).astype(np.float64)
    mean = y / n1
    variance = np.maximum(Q / n1 - mean * mean, 0.0)
    sums = np.sqrt(n1) * np.sqrt(n1 * (n1 + 1.0) / 6.0 * (variance + (2.0 * n1 + 1.0) * mean * mean))
    added: Floats = t + 2.0 * u * (np.where(S < SQUARES_VANISH, n1 * S, sums) + S)
    return added


def drifting(t: Floats, y: Floats, S: Floats, n: Counts, *, u: float) -> Floats:
    """Add all that a sum with a short significand can lose where its terms vanish beside it; see :mod:`.accumulation` for less."""
    added: Floats = t + np.where(n * u > 0.5, np.minimum(0.5 * u * n * np.abs(y), S), 0.0)
    return added


def lost_on_the_way(t: Floats, lost: Floats) -> Floats:
    """Add what a short accumulator loses on these very operands."""
    added: Floats = t + lost
    return added


def together(t: Floats, error: Floats, plain: Floats, y: Floats, scale: Floats, *, slope: Range, largest: float, norm: Range) -> Floats:
    """Lower the tolerance of elements whose errors cannot be those of sums in one order, all of them in the same proportion.

    ``error`` is signed, ``plain`` the tolerance without what the short accumulator loses, which is no more than the rest of an
    error. See :mod:`.joint_errors`, which gives the numbers.
    """
    if not np.isfinite(error).all():
        return t
    rest, off, exact = np.maximum(np.abs(error) - plain, 0.0), float(np.sum(error * y * scale**2)), float(np.sum((y * scale) ** 2))
    slack, shares = float(np.sum(np.abs(y) * plain * scale**2)), [1.0]
    if off - slack > slope[1] * exact:
        shares.append(slope[1] * exact / (off - slack))
    if -off - slack > -slope[0] * exact:
        shares.append(-slope[0] * exact / (-off - slack))
    if (size := float(np.sqrt(np.sum((rest * scale) ** 2)))) > largest:
        shares.append(largest / size)
    result, slack = float(np.sqrt(np.sum(((y + error) * scale) ** 2))), float(np.sqrt(np.sum((plain * scale) ** 2)))
    exact = float(np.sqrt(exact))
    if result - slack > norm[1]:
        shares.append((norm[1] - exact) / (result - slack - exact))
    if result + slack < norm[0]:
        shares.append((exact - norm[0]) / (exact - result - slack))
    lowered: Floats = np.minimum(t, plain + min(shares) * rest) if min(shares) < 1.0 else t
    return lowered


def along_sums(
    t: Floats,
    error: Floats,
    plain: Floats,
    y: Floats,
    scale: Floats,
    directions: Counts,
    *,
    along: tuple[Floats, Floats],
    against: float,
    most: float,
) -> Floats:
    """Lower the tolerance, as :func:`together` does, where errors go further along or against ``directions`` than one order's do.

    Whatever an order leaves of y, from nothing to ``most`` times it, the rest is chance; so results and errors do not both go against.
    """
    if not (len(directions) and np.isfinite(error).all()):
        return t
    rest, off, slack = np.maximum(np.abs(error) - plain, 0.0), directions @ (error * scale), np.abs(directions) @ (plain * scale)
    further = np.maximum((off - slack) / along[1], (off + slack) / along[0]).max()
    lengths, unsure = np.sqrt(np.sum(directions**2, axis=1)), float(np.sqrt(np.sum((plain * scale) ** 2)))
    opposed = np.full(len(directions), np.inf)
    for left in (0.0, most):
        chance = (y + error - left * y) * scale
        size = lengths * max(float(np.sqrt(np.sum(chance**2))) + unsure, 1e-300)
        opposed = np.minimum(opposed, -(directions @ chance + slack) / size)
    share = 1.0 / max(float(further), float(opposed.max()) / against, 1.0)
    lowered: Floats = np.minimum(t, plain + share * rest) if share < 1.0 else t
    return lowered


def transformed(t: Floats, M: Floats, *, factor: float, u: float) -> Floats:
    """Allow Winograd and FFT: relative to the largest input of a map, M, times its kernels' magnitudes."""
    wider: Floats = np.maximum(t, factor * u * M)
    return wider


def four_products(t: Floats, S: Floats, Q: Floats, n: Counts, *, u: float) -> Floats:
    """Allow a complex sum whose parts are Σxr·wr − Σxi·wi and Σxr·wi + Σxi·wr, each of the two sums added up on its own.

    A sum's mean is at most its magnitudes': of m = n/2 products with magnitudes S₁ and squares Q₁ the statistical bound is at
    most λ·u·√(m(m+1)/6·(Q₁/m + 2·S₁²/m) + Q₁). Of two sums with S₁ + S₂ = S and Q₁ + Q₂ = Q, together at most √2 times that
    of S and Q. It covers one interleaved sum of all n as well, up to the mean that it has.
    """
    m = np.maximum((n + 1.0) / 2.0, 1.0)
    apart = LAMBDA * u * np.sqrt(2.0 * ((m + 1.0) / 6.0 * (Q + 2.0 * S * S) + Q))
    wider: Floats = np.maximum(t, np.where(S < SQUARES_VANISH, 2.0 * LAMBDA * u * np.sqrt(n + 1.0) * S, apart))
    return wider


def three_products(t: Floats, both: Floats, n: Counts, *, u: float) -> Floats:
    """Allow a complex sum from three real ones: c = Σ(xr + xi)(wr + wi), a = Σxr·wr and b = Σxi·wi give c − a − b.

    Each is a sum of n products whose magnitudes are at most those of the real and the imaginary part together, ``both``; with
    the sum of the other two that is twice as much. The additions of the operands and of the sums are five more.
    """
    wider: Floats = np.maximum(t, 2.0 * (LAMBDA * np.sqrt(n + 1.0) + 5.0) * u * both)
    return wider


def coarse_inputs(t: Floats, S: Floats, *, u_in: float) -> Floats:
    """Add the rounding of both operands before they are multiplied: (1 + δ)(1 + δ′) − 1 of every product."""
    added: Floats = t + (2.0 * u_in + u_in * u_in) * S
    return added


def rounded_outside(t: Floats, E: Floats) -> Floats:
    """Add what operands outside the normal range of the inputs' format lose, where their rounding is not relative."""
    added: Floats = t + E
    return added


def underflow(t: Floats, n: Counts, *, step: float) -> Floats:
    """Add half a subnormal step for each product, and as much in the reference: below the normal range rounding is absolute."""
    added: Floats = t + n * step
    return added


def flushed(t: Floats, S: Floats, F: Floats, n: Counts, *, tiny: float) -> Floats:
    """Add what becomes zero: products with a subnormal operand, F, and products and partial sums below the normal range.

    Nothing is lost more than once, so that it is S at most.
    """
    added: Floats = t + np.minimum(F + 2.0 * tiny * n, S)
    return added


def separate_bias(t: Floats, y: Floats, b: Floats, *, u_out: float) -> Floats:
    """Add the rounding of the sum to the output's dtype before the bias is added."""
    added: Floats = t + u_out * (np.abs(y - b) + t)
    return added


def rounded(t: Floats, y: Floats, *, u: float, step: float) -> Floats:
    """Add the rounding of a result to a format."""
    added: Floats = t + u * (np.abs(y) + t) + step
    return added


def rounded_or_flushed(t: Floats, y: Floats, before: Floats, *, u: float, step: float, tiny: float) -> Floats:
    """Add the rounding of a result, all of it where that, or the sum ``before`` the bias, may have been below the normal range."""
    small = np.minimum(np.abs(y), np.abs(before)) <= t + 2.0 * tiny
    added: Floats = t + u * (np.abs(y) + t) + np.where(small, tiny, step)
    return added


def proven(S: Floats, n: Counts, *, u: float) -> Floats:
    """Bound the rounding of a sum in any order: γ_n·S, γ_n = n·u / (1 − n·u) (Higham, Accuracy and Stability, §3.1)."""
    nu = n * u
    with np.errstate(divide="ignore"):
        gamma: Floats = np.where(nu < 1.0, nu / np.maximum(1.0 - nu, 1e-300), np.inf)
    return gamma * S
