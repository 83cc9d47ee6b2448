"""Whether a transform computes the layer, Winograd's or Fourier's: numbers leak into results that have no use for them."""

from __future__ import annotations

import numpy as np

from convfuzz.oracle import reference
from convfuzz.revealing.element import Element
from convfuzz.revealing.sheet import Notes

_DRAWS = 4


def measure_transform(element: Element, notes: Notes) -> bool:
    """Return whether results show weights or inputs that they multiply by zero, or do not read at all.

    One element of the input is not zero; so each result is one product, or zero. The weights differ widely in size. A direct
    sum gives each product to within its formats; a transform adds and takes away what the large weights make, and is off by the
    rounding of those. An error of the size of the large ones themselves is a wrong tap and no transform.
    """
    config, form = element.config, element.form
    draws = np.random.default_rng(2)
    large = element.one({0: 2.0**20}) if form.emax > 15 else 0.0  # beyond float16's range, which some compute in
    spread = 12.0 if not 2.0**19 < large < 2.0**21 else 30.0 if form.emax < 1000 else 80.0
    worst = 0.0
    for _ in range(_DRAWS):
        drawn = element.blank()
        at = tuple(draws.integers(size) // 2 for size in config.input_shape)
        drawn["x"][at] = 1.0 + draws.random()
        sizes = 2.0 ** (spread * draws.choice([-1.0, 0.0, 1.0], config.weight_shape))
        drawn["w"] = sizes * (1.0 + draws.random(config.weight_shape)) * draws.choice([-1.0, 1.0], config.weight_shape)
        tensors = element.lay_out(drawn)
        y = element.run(tensors).astype(np.float64)
        exact = reference(config, tensors.x, tensors.w, tensors.b).y
        off = np.abs(y - exact)
        excess = np.where(off > 2.0**-5 * np.abs(exact) + form.tiny, off, 0.0)
        worst = max(worst, float(excess.max(initial=0.0) / np.abs(exact).max()))
    notes.saw("single products beside weights that multiply zeros only", f"off by {worst:g} of the largest" if worst else "unaffected")
    if worst > 2.0**-6:
        notes.not_understood.append(f"single products are off by {worst:g} of the largest one: this is no rounding")
        return False
    return worst > 0.0
