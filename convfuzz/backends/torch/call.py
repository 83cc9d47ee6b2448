"""Which function of PyTorch a configuration is, with which arguments, and what is done around it where these cannot say it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from convfuzz.backends.script_parts import as_source
from convfuzz.case.config import ConvConfig

_PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


class TorchCall:
    """A call of ``torch.nn.functional``: :meth:`layer` makes it, :meth:`lines` write it down.

    ``extends`` says that a transposed convolution's padding would need more output padding than the call takes.
    """

    def __init__(self, config: ConvConfig) -> None:
        transposed = config.op == "conv_transpose"
        self.function = f"conv_transpose{config.dims}d" if transposed else f"conv{config.dims}d"
        self.pad: list[int] | None = None
        self.pad_mode = _PAD_MODES[config.padding_mode]
        self.crop: tuple[slice, ...] | None = None
        self.extends = False
        output_padding = config.output_padding
        padding: str | tuple[int, ...] = (0,) * config.dims
        symmetric = all(lo == hi for lo, hi in config.pads)
        if transposed:
            padding = tuple(lo if hi < 0 <= lo else min(lo, hi) for lo, hi in config.pads)
            output_padding = tuple(
                op + lo - hi if hi < 0 <= lo else op for op, (lo, hi) in zip(config.output_padding, config.pads, strict=True)
            )
            limits = map(max, config.stride, config.dilation)
            self.extends = any(op >= limit for op, limit in zip(output_padding, limits, strict=True))
            if not symmetric and config.is_valid:
                cuts = zip(config.pads, padding, strict=True)
                self.crop = tuple(slice(lo - p, -(hi - p) if hi > p else None) for (lo, hi), p in cuts)
        elif config.padding_mode == "zeros" and isinstance(config.padding, str):
            padding = config.padding
        elif config.padding_mode == "zeros" and symmetric and min(config.pads)[0] >= 0:
            padding = tuple(lo for lo, _ in config.pads)
        elif any(side for sides in config.pads for side in sides):
            self.pad = list(itertools.chain.from_iterable(reversed(config.pads)))  # torch pads the last axis first
        self.arguments: dict[str, Any] = {
            "stride": config.as_called("stride", config.stride),
            "padding": padding if isinstance(padding, str) else config.as_called("padding", padding),
            "dilation": config.as_called("dilation", config.dilation),
            "groups": config.groups,
        }
        if transposed:
            self.arguments["output_padding"] = output_padding if config.flaw != "output-length" else (*output_padding, 0)

    def layer(self, torch: Any, x: Any, w: Any, b: Any) -> Any:
        """Return the layer's output."""
        if self.pad is not None:
            x = torch.nn.functional.pad(x, self.pad, mode=self.pad_mode)
        y = getattr(torch.nn.functional, self.function)(x, w, b, **self.arguments)
        return y if self.crop is None else y[(..., *self.crop)]

    def lines(self) -> Iterator[str]:
        """Yield the same as source."""
        if self.pad is not None:
            yield f"x = torch.nn.functional.pad(x, {self.pad}, mode={self.pad_mode!r})"
        keywords = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        yield f"y = torch.nn.functional.{self.function}(x, w, b, {keywords})"
        if self.crop is not None:
            yield f"y = y[..., {as_source(self.crop)}]"
