"""What a backend was compared on, and whether that says anything about it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from convfuzz.case.config import ConvConfig
from convfuzz.case.parameters import parameters

NOT_IN_SHARE = "not in its share"
"""How the reason begins for which a slow backend is spared a configuration; it would have computed it."""
ENDS_ITS_PROCESS = "known to end its process"
"""How the reason begins for which a backend is spared a case: it has ended processes on such cases, and runs them now and then only."""

ENOUGH = 50
"""Configurations that a comparison rests on: a bug that shows on 6 % of them is among so many with a probability of 95 %, for
0.94^50 = 0.045."""
NEARLY_ALL = 9
"""A kernel declines nearly all cases where it declines more than so many for each that it computes."""
REPEATED = 10
"""More comparisons than this for each configuration say nothing new about it: a search space runs a configuration on two or three data."""
CHANCE = 0.005
"""Where a single value is less likely than this to be the only one by chance, it is no chance."""
JUDGED = ("input channels", "output channels", "groups", "input size", "kernel size", "stride", "dilation", "padding", "output")
"""The parameters of which one value alone is a corner; dtype, layout and the like are a search space's to choose."""
_MOST_CONFIGS = 100_000


@dataclass
class Coverage:
    """The configurations that a backend was compared on, by each parameter's value, and those that it is known to accept.

    ``configs`` holds a number for each configuration, up to 100,000 of them.
    """

    configs: set[int] = field(default_factory=set)
    compared: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    accepted: dict[str, Counter[str]] = field(default_factory=dict)
    _latest: ConvConfig | None = field(default=None, repr=False)

    def add(self, config: ConvConfig) -> None:
        """Count one more comparison; those of one configuration follow one another, and the configuration counts once."""
        if config is self._latest or not config.is_valid:
            return
        self._latest = config
        number = hash(config)
        if number in self.configs or len(self.configs) >= _MOST_CONFIGS:
            return
        self.configs.add(number)
        for name, value in parameters(config).items():
            self.compared[name][value] += 1

    def know(self, accepted: Mapping[str, Mapping[str, int]]) -> None:
        """Take note of what a search has found that the backend accepts; several processes find the same."""
        self.accepted = {name: Counter(values) for name, values in accepted.items()}

    def update(self, other: Coverage) -> None:
        """Add what another run has compared."""
        self.configs |= other.configs
        for name, values in other.compared.items():
            self.compared[name].update(values)
        for name, values in other.accepted.items():
            self.accepted.setdefault(name, Counter()).update(values)

    @property
    def known(self) -> int:
        """How many configurations are known to be accepted."""
        return max((values.total() for values in self.accepted.values()), default=0)

    def never(self, parameter: str) -> list[str]:
        """Return the values of a parameter that are accepted and were never compared."""
        return [value for value in self.accepted.get(parameter, ()) if value not in self.compared.get(parameter, ())]

    def single_values(self) -> list[str]:
        """Say of which parameters one value alone was compared where others are accepted, and that is not by chance.

        A value that is found in a part s of the configurations that are accepted is the only one among n by chance with
        probability s^n.
        """
        said = []
        for name in JUDGED:
            values, accepted = self.compared.get(name, ()), self.accepted.get(name, Counter())
            if len(values) != 1 or len(accepted) < 2:
                continue
            (value,) = values
            if (accepted[value] / accepted.total()) ** len(self.configs) < CHANCE:
                others = [other for other in accepted if other != value]
                more = f" and {len(others) - 6} more" if len(others) > 6 else ""
                said.append(f"{name} {value} alone, where {', '.join(others[:6])}{more} are accepted too")
        return said


def proves_little(coverage: Coverage, compared: int, declined: int) -> str:
    """Say why ``compared`` cases of a kernel, which has ``declined`` others, prove little about it; empty where they do not.

    The numbers are derived in ``docs/kernels.md``.
    """
    configs = len(coverage.configs)
    some = f"{compared:,} compared case{'s'[: compared != 1]} of {configs:,} configuration{'s'[: configs != 1]}"
    single = coverage.single_values()
    if single:
        return f"{some} had {'; '.join(single)}"
    if configs < ENOUGH and declined > NEARLY_ALL * compared:
        return f"{some}: it declined {declined:,} of {compared + declined:,} cases"
    if configs < min(ENOUGH, coverage.known) and compared > REPEATED * configs:
        return f"{some} only, where more than {min(ENOUGH, coverage.known) - 1:,} are accepted"
    return ""
