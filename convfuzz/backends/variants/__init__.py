"""Variants: rewritings of a convolution whose result must equal the original's, around any backend.

The splits cut a layer into smaller ones and put their results together; the relations restate one parameter by other
means. Each declares the tolerance that follows: the original's if it only cuts, that of an accumulator of the output's
dtype if it sums rounded parts. Imports the protocol and shared modules of ``backends``, no backend.
"""

from __future__ import annotations

from collections.abc import Callable

from convfuzz.backends.protocol import Backend
from convfuzz.backends.variants.relations import Adjoint, Padded, Permuted, Subsampled, ZeroStuffed
from convfuzz.backends.variants.splits import Split, SplitBatch, SplitGroup, SplitIn, kernels

VARIANTS: dict[str, Callable[[Backend], Backend]] = {
    "split": Split,
    "split-in": SplitIn,
    "split-group": SplitGroup,
    "split-batch": SplitBatch,
    "zero-stuffed": ZeroStuffed,
    "subsampled": Subsampled,
    "padded": Padded,
    "permuted": Permuted,
    "adjoint": Adjoint,
}

__all__ = ["VARIANTS", "Split", "kernels"]
