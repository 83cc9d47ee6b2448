"""Which of the batches that were drawn runs next: the one with the rarest pairs of feature values for the root of its cost.

A draw costs as much as running a small case. So few are made, and many configurations come of them: the layer of one with the dtype,
the layouts and the data of another, where the search space says that they may be exchanged.

One layer in five that ``default`` draws has more than half of the cost. Some mistakes show in such layers only, so that they are not
left out: a share of the time goes to the batches with the rarest pairs, whatever they cost.

Beside runtimes, which decline most of what is drawn, it is the best one for the runtime whose turn it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from convfuzz.backends import Backend
from convfuzz.campaign.expected_cost import cost_of, expected_cost, expected_work, parts_of
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.runtimes import NO_RUNTIMES, Batch, Runtimes, Turns, without_gradients
from convfuzz.case import Case
from convfuzz.case.batch import Exchangeable
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_integer

SHARE_AT_ANY_COST = 0.25
"""The share of a round's expected cost that goes to batches that are chosen whatever they cost."""
DEAR = 4.0
"""What a case is expected to cost that is large: one in five of ``default`` costs more."""
_ON_ALL_DATA = 8
"""One configuration of so many runs on all data recipes that it was drawn with, so that what is kept of an earlier call shows: its
weights, say. The others run on one of them, since another configuration finds more than other data (``benchmarks/steering.py``)."""
_MOST_WAITING = 24
"""So many batches wait, the latest: what is not worth its cost now may be so when others have run."""


@dataclass(frozen=True)
class Steering:
    """How a campaign chooses among what was drawn.

    ``weight_of_cost`` is the power of a case's expected cost that its rarity is divided by. By default it is the root: the whole
    cost runs many small layers and misses what takes a middling one, no cost spends the time on few large ones. ``on_all_data`` says
    of a configuration whether it runs on all data recipes that it was drawn with in any case, as is worth it where a compiler has
    to run first. Of ``runtimes`` each has a share of the cases.
    """

    weight_of_cost: float = 0.5
    on_all_data: Callable[[ConvConfig], bool] = lambda _: False
    runtimes: Runtimes = NO_RUNTIMES


USUAL = Steering()


class Budget:
    """What the batches of a round are expected to have cost, and how much of it is free for some at any cost."""

    def __init__(self) -> None:
        self._spent = self._spent_at_any_cost = 0.0

    @property
    def has_room_at_any_cost(self) -> bool:
        """Whether enough has been saved for a large batch; a larger one still is paid back before the next."""
        return self._spent_at_any_cost + DEAR <= SHARE_AT_ANY_COST * self._spent

    def spend(self, cost: float, *, at_any_cost: bool) -> None:
        """Count a batch."""
        self._spent += cost
        self._spent_at_any_cost += cost if at_any_cost else 0.0


@dataclass(frozen=True, eq=False)
class _Layer:
    """A batch that waits, whose operands are its own or, where it is exchangeable, to be chosen."""

    batch: Batch
    numbers: NDArray[np.intp]
    work: float
    answers: dict[tuple[str, ...], bool] = field(default_factory=dict)
    """Which runtimes compute it with operands of a kind: each is asked once."""

    @property
    def has_gradients(self) -> bool:
        return self.batch[0].grad


@dataclass(frozen=True, eq=False)
class _Operands:
    """What the operands of some batch are like: dtype, layouts, and the data recipes."""

    batch: Batch
    numbers: NDArray[np.intp]
    parts: float

    @property
    def allow_gradients(self) -> bool:
        return not is_integer(self.batch[0].config.dtype)

    @property
    def kind(self) -> tuple[str, ...]:
        """All that a configuration has of them."""
        config = self.batch[0].config
        return config.dtype, config.layout, config.weight_layout or ""

    def of(self, layer: _Layer) -> Batch:
        """Return the batch of a layer with these operands."""
        own, config = layer.batch[0], self.batch[0].config
        changed = own.config.replace(dtype=config.dtype, layout=config.layout, weight_layout=config.weight_layout)
        return tuple(Case(changed, case.recipe, own.grad and self.allow_gradients) for case in self.batch)


class Candidates:
    """The batches of a round that were drawn and have not run.

    Exchangeable ones wait as layers on one side and as operands on the other, and are put together when they run: each layer and
    each operands run once at most, so that what is rare in a search space does not crowd out what is common there.
    """

    def __init__(self, coverage: PairCoverage, steering: Steering = USUAL) -> None:
        self._coverage, self._steering = coverage, steering
        self._budget = Budget()
        self._turns = Turns(steering.runtimes) if steering.runtimes.backends else None
        self._whole: list[tuple[_Layer, _Operands]] = []
        self._layers: list[_Layer] = []
        self._operands: list[_Operands] = []
        self._lists: list[Batch] = []
        self._turn = 0

    def add(self, batches: Iterable[Batch]) -> None:
        """Add batches that are not there yet; where there are too many, the eldest leave."""
        known = {layer.batch for layer in (*self._layers, *(layer for layer, _ in self._whole))}
        for batch in dict.fromkeys(batches):
            if is_list(batch):
                self._lists.append(batch)
            elif batch and batch not in known:
                layer, operands = self._taken_apart(batch)
                if isinstance(batch, Exchangeable):
                    self._layers.append(layer)
                    self._operands.append(operands)
                else:
                    self._whole.append((layer, operands))
        for waiting in (self._whole, self._layers, self._operands):
            del waiting[:-_MOST_WAITING]

    def take(self) -> Batch | None:
        """Take the batch that runs next, lists of configurations first; ``None`` where there is none."""
        while self._lists:
            batch = self._lists.pop(0)
            if not is_done(batch, self._coverage):
                return batch
        if not self._layers and not self._whole:
            return None
        at_any_cost = self._budget.has_room_at_any_cost
        worths = [self._worths(self._layers, self._operands, at_any_cost=at_any_cost).ravel()] if self._layers else []
        if self._whole:
            layers, operands = zip(*self._whole, strict=True)
            worths.append(self._worths(layers, operands, at_any_cost=at_any_cost).diagonal())
        best, is_for_runtime = self._best(np.concatenate(worths))
        if best is None:
            return None
        pairs = len(self._layers) * len(self._operands)
        if best < pairs:
            of_layer, of_operands = divmod(best, len(self._operands))
            layer, chosen = self._layers.pop(of_layer), self._operands.pop(of_operands)
            batch = without_gradients(chosen.of(layer)) if is_for_runtime else chosen.of(layer)
        else:
            batch = self._whole.pop(best - pairs)[0].batch
        due = self._due(batch)
        self._budget.spend(batch_cost(due), at_any_cost=at_any_cost)
        if self._turns:
            self._turns.count(due)
        return due

    def _best(self, worths: NDArray[np.float64]) -> tuple[int | None, bool]:
        """Return which of what waits runs next, and whether for a runtime; none where runtimes are alone and compute none of it."""
        runtimes = self._turns.next() if self._turns else ()
        ordered = np.argsort(-worths, kind="stable").tolist() if runtimes else []
        for runtime in runtimes:
            if (place := next((place for place in ordered if self._computes(runtime, place)), None)) is not None:
                return place, True
        is_lost = bool(runtimes) and self._steering.runtimes.are_alone
        return None if is_lost else int(np.argmax(worths)), False

    def _computes(self, runtime: Backend, place: int) -> bool:
        """Whether a runtime computes what stands at a place: the forward pass of what may be put together, another batch as it is."""
        pairs = len(self._layers) * len(self._operands)
        if place < pairs:
            of_layer, of_operands = divmod(place, len(self._operands))
            layer, operands = self._layers[of_layer], self._operands[of_operands]
            key = (runtime.name, *operands.kind)
        else:
            layer, operands = self._whole[place - pairs]
            key = (runtime.name,)
        if key not in layer.answers:
            batch = without_gradients(operands.of(layer)) if place < pairs else layer.batch
            layer.answers[key] = bool(runtime.supports(batch[0]))
        return layer.answers[key]

    def _due(self, batch: Batch) -> Batch:
        """Return what runs of a batch: one of its data recipes, each in its turn, or all of them."""
        self._turn += 1
        if self._turn % _ON_ALL_DATA == 0 or self._steering.on_all_data(batch[0].config):
            return batch
        return (batch[(self._turn - 1) % len(batch)],)

    def _taken_apart(self, batch: Batch) -> tuple[_Layer, _Operands]:
        config = batch[0].config
        of_layer, of_operands = self._coverage.parts(config)
        return _Layer(batch, of_layer, expected_work(config)), _Operands(batch, of_operands, parts_of(config.dtype))

    def _worths(self, layers: Sequence[_Layer], operands: Sequence[_Operands], *, at_any_cost: bool) -> NDArray[np.float64]:
        """Return what each layer is worth with each of the operands: how rare it is, for the root of the cost."""
        rarities = self._coverage.rarities(np.array([one.numbers for one in layers]), np.array([one.numbers for one in operands]))
        if at_any_cost:
            return rarities
        work = np.outer([layer.work for layer in layers], [one.parts for one in operands])
        grad = np.outer([float(layer.has_gradients) for layer in layers], [float(one.allow_gradients) for one in operands])
        worths: NDArray[np.float64] = rarities / cost_of(work, grad) ** self._steering.weight_of_cost
        return worths


def batch_cost(batch: Batch) -> float:
    """Return what running a batch is expected to cost."""
    return sum(map(expected_cost, batch))


def part_of_list(batch: Batch, worker: int, workers: int) -> Batch:
    """Return every so-manieth of a list's cases, so that the workers of a campaign run it together; another batch as it is."""
    return batch[worker::workers] if is_list(batch) else batch


def is_list(batch: Batch) -> bool:
    """Whether a batch is a list of configurations, such as the corpus, and not one with several data recipes."""
    return len({case.config for case in batch}) > 1


def is_done(batch: Batch, coverage: PairCoverage) -> bool:
    """Whether a batch is a list of configurations of which each has been tried, or all that meets in it."""
    return is_list(batch) and not any(coverage.has_new_pair(case.config) for case in batch)
