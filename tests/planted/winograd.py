"""Winograd's minimal filtering F(4x4, 3x3) in float32 (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .receptive_field import Array

_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_WEIGHT = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    np.float32,
)
_OUTPUT = np.array(
    [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ],
    np.float32,
)


def convolve_3x3(read: Array, w: Array, groups: int) -> Array:
    """Return (N, out, height, width) from what each tap reads, (N, C, height, width, 3, 3), at stride and dilation 1."""
    batch, channels, height, width = read.shape[:4]
    rows, columns = -(-height // 4), -(-width // 4)
    if not read.size or not w.size:
        return np.zeros((batch, w.shape[0], height, width), np.float32)
    with np.errstate(all="ignore"):
        data = _INPUT @ _tiles(read, rows, columns) @ _INPUT.T
        kernel = _WEIGHT @ w.astype(np.float32) @ _WEIGHT.T
        data = data.reshape(batch, groups, channels // groups, rows * columns, 36).transpose(4, 1, 0, 3, 2)
        data = data.reshape(36, groups, batch * rows * columns, channels // groups)
        kernel = kernel.reshape(groups, w.shape[0] // groups, channels // groups, 36).transpose(3, 0, 2, 1)
        product = (data @ kernel).reshape(36, groups, batch, rows, columns, w.shape[0] // groups)
        product = product.transpose(2, 1, 5, 3, 4, 0).reshape(batch, w.shape[0], rows, columns, 6, 6)
        tiles = _OUTPUT @ product @ _OUTPUT.T
    y = tiles.transpose(0, 1, 2, 4, 3, 5).reshape(batch, w.shape[0], 4 * rows, 4 * columns)
    return np.ascontiguousarray(y[..., :height, :width])


def _tiles(read: Array, rows: int, columns: int) -> Array:
    """Return the overlapping 6x6 input tiles (N, C, rows, columns, 6, 6), one per 4x4 output tile."""
    batch, channels, height, width = read.shape[:4]
    padded = np.zeros((batch, channels, 4 * rows + 2, 4 * columns + 2), np.float32)
    for i in range(3):
        for j in range(3):
            padded[..., i : i + height, j : j + width] = read[..., i, j]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (6, 6), axis=(2, 3))
    return windows[:, :, ::4, ::4]
