"""Lists of cases that run as they stand: layers of networks, in ``networks.toml``, and what convfuzz has found, in ``found.txt``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from convfuzz.case import Case


@dataclass(frozen=True)
class Network:
    """A network that people ship, or several of a kind: where it is described, and its kinds of layers as cases."""

    name: str
    source: str
    layers: tuple[Case, ...]


@cache
def published_networks() -> tuple[Network, ...]:
    """Return the networks in the order of their file."""
    listed = tomllib.loads(_text("networks.toml"))["network"]
    return tuple(Network(one["name"], one["source"], tuple(map(Case.parse, one["layers"]))) for one in listed)


@cache
def network_layers() -> tuple[Case, ...]:
    """Return the layers of all networks, each once."""
    return tuple(dict.fromkeys(layer for network in published_networks() for layer in network.layers))


@cache
def found_cases() -> tuple[Case, ...]:
    """Return a case for each bug that is known of a released framework; ``benchmarks/findings.py --write`` makes the list."""
    return tuple(dict.fromkeys(Case.parse(line) for line in _text("found.txt").splitlines() if not line.startswith("#")))


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
