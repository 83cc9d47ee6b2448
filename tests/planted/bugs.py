"""Every planted kernel: each has one realistic mistake and is correct everywhere else."""

from __future__ import annotations

from . import (  # noqa: F401  # importing a module enters its kernels
    channel_bugs,
    contract_bugs,
    dtype_bugs,
    gradient_bugs,
    memory_bugs,
    numeric_bugs,
    padding_bugs,
    shortcut_bugs,
    special_value_bugs,
    tap_bugs,
    transposed_bugs,
    unchecked_bugs,
)
from .registry import Planted, entered

__all__ = ["PLANTED", "Planted"]

PLANTED: tuple[Planted, ...] = entered()
