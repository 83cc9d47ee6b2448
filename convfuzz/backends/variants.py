"""Variants: rewritings of a convolution whose result must equal the original's, around any backend."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from convfuzz.backends.protocol import Backend, Outputs, Scripted, Support
from convfuzz.case import Case
from convfuzz.config import ConvConfig
from convfuzz.dtypes import numpy_dtype
from convfuzz.numerics import Numerics
from convfuzz.tensors import Array, Tensors


class Split:
    """``+split``: each output kernel applied on its own, the activation maps concatenated.

    A kernel of a grouped convolution sees its group's input channels only. The cost is ``out_channels`` calls of the
    backend: cheap per element for large maps, dominated by call overhead for small ones.
    """

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.name = f"{inner.name}+split"

    @property
    def versions(self) -> Mapping[str, str]:
        """The wrapped backend's."""
        return self._inner.versions

    def supports(self, case: Case) -> Support:
        """Decline what the wrapped backend declines, and layers without output kernels."""
        config = case.config
        if config.op != "conv":
            return Support.no("+split of a transposed convolution is not wired up yet")
        if not config.is_valid:
            return Support.no("+split has no meaning for an invalid configuration")
        if config.out_channels == 0:
            return Support.no("+split needs an output kernel")
        whole = self._inner.supports(case)
        return self._inner.supports(_one_kernel(case)) if whole else whole

    def numerics(self, case: Case) -> Numerics:
        """The wrapped backend's, for one kernel."""
        return self._inner.numerics(_one_kernel(case))

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Run the wrapped backend once per output kernel."""
        config = case.config
        single = _one_kernel(case)
        axis = 0 if config.batch is None else 1
        # Poisoned, so that a map that is not written cannot look right.
        maps = np.full(config.output_shape, np.nan, dtype=numpy_dtype(config.dtype))
        for kernel, channels in kernels(config):
            part = Tensors(
                _channels(tensors.x, axis, channels),
                tensors.w[kernel : kernel + 1],
                None if tensors.b is None else tensors.b[kernel : kernel + 1],
            )
            output = self._inner.run(single, part)["forward"]
            if output.shape != single.config.output_shape:
                return {"forward": output}  # judged as the wrong shape it is
            if output.dtype != maps.dtype:
                return {"forward": maps.astype(output.dtype)}  # judged as the wrong dtype it is
            maps[(slice(None),) * axis + (slice(kernel, kernel + 1),)] = output
        return {"forward": maps}

    def script(self, case: Case) -> str | None:
        """Wrap the backend's own script in the loop over kernels."""
        whole = self._inner.script(_one_kernel(case)) if isinstance(self._inner, Scripted) else None
        if whole is None:
            return None
        config, inner = case.config, whole.replace("def run(", "def run_one_kernel(")
        per_group, width = max(config.out_channels // config.groups, 1), config.in_channels // config.groups
        channels = "x[first : first + {0}]" if config.batch is None else "x[:, first : first + {0}]"
        loop = f'''

            def run(x, w, b):
                """Apply each output kernel on its own and concatenate the maps."""
                maps = []
                for k in range({config.out_channels}):
                    first = k // {per_group} * {width}
                    part = {channels.format(width)}
                    maps.append(run_one_kernel(np.ascontiguousarray(part), w[k : k + 1], None if b is None else b[k : k + 1]))
                return np.concatenate(maps, axis={0 if config.batch is None else 1})
            '''
        return inner + textwrap.dedent(loop).rstrip() + "\n"


def kernels(config: ConvConfig) -> Iterator[tuple[int, slice]]:
    """Yield each output kernel with the input channels it sees: its group's, all of them when there is one group."""
    width = config.in_channels // config.groups
    per_group = config.out_channels // config.groups
    for kernel in range(config.out_channels):
        first = kernel // per_group * width
        yield kernel, slice(first, first + width)


def _one_kernel(case: Case) -> Case:
    config = case.config
    one = config.replace(in_channels=config.in_channels // max(config.groups, 1), out_channels=1, groups=1)
    return Case(one, case.recipe, case.grad)


def _channels(x: Array, axis: int, channels: slice) -> Array:
    return x[(slice(None),) * axis + (channels,)]


VARIANTS: dict[str, Callable[[Backend], Backend]] = {"split": Split}
