"""A convolution as kernels for processors with vector units are written: channels in blocks of eight, and a mistake in the last block."""

import numpy as np

import convfuzz

BLOCK = 8


@convfuzz.backend(dims=(2,), groups=("none",), padding_modes=("zeros",), supports=lambda c: c.batch is not None)
def conv2d(x, w, b, config):
    """Add up blocks of eight input channels. What is left over when there are more than eight is forgotten."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *(tuple(max(side, 0) for side in sides) for sides in config.pads)))
    y = np.zeros((x.shape[0], w.shape[0], *config.output_size))
    channels = x.shape[1]
    blocks = max(channels // BLOCK, 1)  # (channels + BLOCK - 1) // BLOCK would be right
    rows, columns = ([step * start for start in range(size)] for step, size in zip(config.stride, config.output_size, strict=True))
    for block in range(blocks):
        mine = slice(block * BLOCK, min((block + 1) * BLOCK, channels))
        for i, j in np.ndindex(*config.kernel_size):
            down, right = i * config.dilation[0], j * config.dilation[1]
            taken = padded[:, mine][:, :, [row + down for row in rows]][:, :, :, [column + right for column in columns]]
            y += np.einsum("nchw,oc->nohw", taken, w[:, mine, i, j].astype(np.float64))
    if b is not None:
        y += b.astype(np.float64)[:, None, None]
    return y.astype(x.dtype)
