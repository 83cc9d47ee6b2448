"""The protocol that every implementation of a convolution has.

A backend is anything with these four methods. The smallest complete one::

    class Doubled:
        name = "doubled"
        versions = {}

        def supports(self, case):
            return Support.no("float32 only") if case.config.dtype != "float32" else Support.YES

        def numerics(self, case):
            return Numerics()

        def run(self, case, tensors):
            return {"forward": 2 * my_conv(tensors.x, tensors.w, tensors.b, case.config)}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy.typing as npt

from convfuzz.case import Case
from convfuzz.case.domain import Domain
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors
from convfuzz.tensors.guards import BufferNeeds

Outputs = dict[str, npt.NDArray[Any]]
"""One array for each of ``case.passes``, by name: ``{"forward": y}``, and with gradients ``"grad_input"``, ``"grad_weight"``
and, where there is a bias, ``"grad_bias"``: those of Σ y·dy, of the shapes of x, w and b."""


@dataclass(frozen=True)
class Support:
    """Whether a backend computes a case; true if it does, otherwise with a reason."""

    reason: str = ""

    YES: ClassVar[Support]

    @classmethod
    def no(cls, reason: str) -> Support:
        """Decline with a ``reason``, a short phrase that the report groups by."""
        return cls(reason)

    def __bool__(self) -> bool:
        return not self.reason


Support.YES = Support()


@runtime_checkable
class Backend(Protocol):
    """Something that computes a case: a framework in one mode, a user's function, or a variant of either."""

    @property
    def name(self) -> str:
        """The backend's full name, ``NAME[:MODE][+VARIANT…]``."""
        ...

    @property
    def versions(self) -> Mapping[str, str]:
        """The libraries that compute, with their versions."""
        ...

    def supports(self, case: Case) -> Support:
        """Return whether ``case`` is in the documented domain; this must not depend on data."""
        ...

    def numerics(self, case: Case) -> Numerics:
        """Declare the arithmetic used for ``case``."""
        ...

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Compute ``case`` and return NumPy arrays; ``tensors`` must not be changed.

        An invalid configuration reaches ``run`` too: the backend is expected to raise. It may raise
        :class:`~convfuzz.Unsupported` to decline.
        """
        ...


@runtime_checkable
class Scripted(Protocol):
    """A backend that can return its call as source for a reproduction script."""

    def script(self, case: Case) -> str | None:
        """Return Python source that computes ``case`` without convfuzz, where NumPy is imported as ``np``.

        It defines ``run(x, w, b)``, which returns y, or for a case with gradients ``run(x, w, b, dy)``, which returns
        their dictionary as :class:`Backend` does. The arguments are NumPy arrays of the case's dtype and layout, and so
        are the results; NumPy has no bfloat16, so operands in it come as their bits in uint16 and results in it
        are float32. ``None`` if there is no such source, as for a variant of a backend without a script.
        """
        ...


@runtime_checkable
class Sampled(Protocol):
    """A backend that takes many calls for a case, and of which a cheaper form shows most mistakes with few calls."""

    def sampled(self, case: Case) -> Backend | None:
        """Return the cheaper form for ``case``, or ``None`` where it has no need of one.

        A campaign runs that, and the backend itself only where the cheaper form fails.
        """
        ...


@runtime_checkable
class Titled(Protocol):
    """A backend that names what it calls in words for readers who do not know convfuzz."""

    def title(self, case: Case) -> str:
        """Return the public name of what computes ``case``, such as ``torch.nn.functional.conv2d``: the title of a bug report."""
        ...


@runtime_checkable
class Costly(Protocol):
    """A backend that is too slow for every configuration of a campaign, as a compiler is."""

    @property
    def share(self) -> float:
        """The part of a campaign's configurations that it runs, above 0 and at most 1; ``convfuzz check`` always runs it."""
        ...


@runtime_checkable
class Confined(Protocol):
    """A backend that computes a part of the operation and says which, so that cases are drawn for it."""

    @property
    def domain(self) -> Domain | None:
        """What it computes; ``None`` where it says nothing of it."""
        ...


@runtime_checkable
class Threaded(Protocol):
    """A backend whose number of threads can be set."""

    def with_threads(self, count: int) -> Backend:
        """Return the same backend with so many threads."""
        ...


@runtime_checkable
class Guarded(Protocol):
    """A backend that may read or write beyond its operands: each of its calls gets copies that lie against guard pages."""

    @property
    def buffer_needs(self) -> BufferNeeds | None:
        """The alignment that its operands need, and what else; ``None`` where they are not guarded."""
        ...
