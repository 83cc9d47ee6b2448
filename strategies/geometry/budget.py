"""What a budget of operations and elements buys: the batch, the channels and the spatial sizes of a given geometry.

They are drawn in this order, each cut at what it can cost, so that nothing is drawn and thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from hypothesis import strategies as st

from convfuzz.strategies.choices import Plan
from convfuzz.strategies.geometry.channels import Channels, Room, draw_channels
from convfuzz.strategies.geometry.sizes import Sizes
from convfuzz.strategies.geometry.windows import Window


def spend(
    draw: st.DrawFn, plan: Plan, windows: Sequence[Window], scheme: str, sizes: Sizes, *, square: bool = False
) -> tuple[int | None, Channels, tuple[int, ...]]:
    """Draw batch, channels and input size within the limits of ``plan``; ``square`` gives all axes one size, with one window for all.

    Two thirds of the operations are for the taps, at two operations each wherever a kernel is placed for a sample and a
    channel pair; one third is for the bias of each output.
    """
    flops, share = draw(plan.budgets)
    most = plan.options.max_elements
    taps = prod(window.kernel for window in windows)
    inputs = prod(window.least for window in windows)
    outputs = prod(window.outputs(window.least) for window in windows)
    places = prod(window.places(window.least) for window in windows)
    placed = max(flops // (3 * taps), places)
    written = min(most, max(flops // 3, outputs))
    batch = draw(sizes.batch.upto(min(placed // places, written // outputs, most // inputs)))
    samples = batch or 1
    room = Room(
        inputs=most // (samples * inputs),
        outputs=written // (samples * outputs),
        pairs=min(int((placed // (places * samples)) ** share), most // taps),
        groups=plan.options.max_groups,
    )
    channels = draw_channels(draw, scheme, sizes, room)
    draw_input_size = _draw_square_size if square else _draw_input_size
    input_size = draw_input_size(
        draw,
        plan,
        windows,
        inputs=most // (samples * channels.in_channels),
        outputs=written // (samples * channels.out_channels),
        places=placed // (samples * channels.fan),
    )
    return batch, channels, input_size


def _draw_input_size(draw: st.DrawFn, plan: Plan, windows: Sequence[Window], *, inputs: int, outputs: int, places: int) -> tuple[int, ...]:
    """Draw the size of each axis so that there are no more input sites, output sites and places of the kernel than given.

    The last axis may take all that is left, an earlier one no more than its share and some: most kernels vectorise along
    the last.
    """
    drawn = []
    for axis, window in enumerate(windows):
        rest = windows[axis + 1 :]
        most = window.largest(
            inputs=inputs // prod(w.least for w in rest),
            outputs=outputs // prod(w.outputs(w.least) for w in rest),
            places=places // prod(w.places(w.least) for w in rest),
        )
        if rest:
            most = int(most ** (0.5 + 0.5 / (len(rest) + 1)))
        size = max(draw(plan.sizes.spatial.upto(most)), window.least)
        drawn.append(size)
        inputs //= size
        outputs //= window.outputs(size)
        places //= window.places(size)
    return tuple(drawn)


def _draw_square_size(draw: st.DrawFn, plan: Plan, windows: Sequence[Window], *, inputs: int, outputs: int, places: int) -> tuple[int, ...]:
    """Draw one size for all axes, each of which may take the same share of the sites and places."""
    window, share = windows[0], 1 / len(windows)
    most = window.largest(inputs=_root(inputs, share), outputs=_root(outputs, share), places=_root(places, share))
    return (max(draw(plan.sizes.spatial.upto(most)), window.least),) * len(windows)


def _root(number: int, share: float) -> int:
    """Return the integer part of a root, with room for its rounding: that of 7³ is 7."""
    return int(number**share + 1e-9)
