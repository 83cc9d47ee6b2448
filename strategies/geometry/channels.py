"""Channels and groups: dense, grouped, depthwise, and depthwise with several outputs per input channel."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from convfuzz.strategies.geometry.sizes import Sizes
from convfuzz.strategies.weighted import weighted


class Channels(NamedTuple):
    """A way to connect channels; ``fan`` is the number of (input, output) channel pairs that a kernel connects."""

    in_channels: int
    out_channels: int
    groups: int = 1

    @property
    def fan(self) -> int:
        """Return out_channels · in_channels / groups."""
        return self.out_channels * self.in_channels // self.groups


class Room(NamedTuple):
    """What the budget leaves for the channels: of input, of output, of pairs, and of groups."""

    inputs: int
    outputs: int
    pairs: int
    groups: int


SCHEMES = weighted({"dense": 10, "grouped": 5, "depthwise": 3, "multiplied": 2})
LAYER_SCHEMES = weighted({"dense": 4, "grouped": 1, "depthwise": 4, "multiplied": 1})


def draw_channels(draw: st.DrawFn, scheme: str, sizes: Sizes, room: Room) -> Channels:
    """Draw channels of the given scheme that fit the room."""
    least = min(room.inputs, room.outputs, room.pairs, room.groups)
    if scheme == "dense" or least < 2:
        inputs = draw(sizes.channels.upto(min(room.inputs, room.pairs)))
        return Channels(inputs, draw(sizes.channels.upto(min(room.outputs, room.pairs // inputs))))
    if scheme == "grouped":
        groups = draw(sizes.groups.upto(least))
        inputs = draw(sizes.per_group.upto(min(room.inputs, room.pairs) // groups))
        outputs = draw(sizes.per_group.upto(min(room.outputs, room.pairs // inputs) // groups))
        return Channels(groups * inputs, groups * outputs, groups)
    groups = draw(sizes.channels.upto(least))
    multiplier = draw(sizes.multiplier.upto(min(room.outputs, room.pairs) // groups)) if scheme == "multiplied" else 1
    return Channels(groups, groups * multiplier, groups)
