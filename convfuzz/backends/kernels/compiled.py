"""Kernels that are compiled before they are called: once a configuration, kept, and timed on their own."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

from convfuzz.backends.compiling import compiling
from convfuzz.backends.kernels.declaration import Declaration, Kernel
from convfuzz.case.config import ConvConfig

MOST_COMPILED = 16
"""How many compiled kernels are kept: the data of one configuration follow one another, a split's parts come again at once."""


class CompiledKernels:
    """What the declared ``compile`` has returned for the latest configurations.

    ``config`` is the one that is run next, as the kernel sees it, which may note what is read of it.
    """

    def __init__(self, declared: Declaration) -> None:
        self._declared = declared
        self._kept: OrderedDict[ConvConfig, Any] = OrderedDict()
        self.config: ConvConfig | None = None

    def kernel(self, kernel: Kernel, key: ConvConfig) -> Kernel:
        """Return the kernel with what was compiled for the configuration ``key`` as ``compiled``; as it is where nothing is."""
        if self._declared.compile is None:
            return kernel
        assert self.config is not None, "a kernel is made when it is called"
        if key not in self._kept:
            if len(self._kept) >= MOST_COMPILED:
                self._kept.popitem(last=False)
            with compiling(self._declared.compile_timeout):
                self._kept[key] = self._declared.compile(self.config)
        self._kept.move_to_end(key)
        return partial(kernel, compiled=self._kept[key])
