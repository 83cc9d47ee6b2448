"""Judging outputs of a large layer on a sample of their elements: tile by tile, each of which is a small layer."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import msgspec
import numpy as np
import numpy.typing as npt

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_complex, is_integer
from convfuzz.judging.comparing import comparable
from convfuzz.judging.float_judge import FloatJudge
from convfuzz.judging.integer_judge import IntegerJudge
from convfuzz.judging.judgement import Judgement, said_integers, said_non_finite, said_rounded
from convfuzz.judging.models import MODELS
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.pass_sums import LayerSums
from convfuzz.judging.tiles import Tile, tiles
from convfuzz.judging.transforms import magnitudes
from convfuzz.system.json_records import Real
from convfuzz.tensors.generator import Array, Tensors
from convfuzz.verdicts import Discrepancy, Verdict

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MOST_BYTES = 2**30
"""What judging a layer whole may take beyond its tensors; larger layers are judged on a sample."""
_FOR_OPERAND, _FOR_RESULT, _FOR_SUM = 40, 104, 32
"""Bytes for each element, measured: of an operand in float64 and packed, of the result that is judged, and of sums that are kept."""


def is_large(case: Case) -> bool:
    """Whether a case is valid and judging it whole takes more memory than there is for that, so that a sample of its elements is judged."""
    return case.config.is_valid and judging_nbytes(case) > MOST_BYTES


def judging_nbytes(case: Case) -> int:
    """Return about how many bytes it takes to judge a valid case whole, beyond its tensors and outputs."""
    config = case.config
    x, w, y = (_elements(shape) for shape in (config.padded_shape, config.weight_shape, config.output_shape))
    results = [y, x, w] if case.grad else [y]
    operands = x + w + (y if case.grad else 0)
    needed = _FOR_OPERAND * operands + _FOR_RESULT * max(results) + _FOR_SUM * (sum(results) - max(results))
    return needed * (2 if is_complex(config.dtype) else 1)


def _elements(shape: Sequence[int]) -> int:
    return math.prod(max(size, 0) for size in shape)


@dataclass(frozen=True, eq=False)
class _JudgedTile:
    tile: Tile
    judge: FloatJudge | IntegerJudge

    def judged(self, output: Array, numerics: Numerics) -> Judgement:
        return self.judge.judge(comparable(self.tile.of(output)), numerics)

    def index(self, index: Sequence[int]) -> tuple[int, ...]:
        """Return where an element of the tile is in the whole result; nowhere where none is meant."""
        if not index:
            return ()
        starts = [place.start for place in self.tile.place]
        return tuple(i + start for i, start in zip(index, [*starts, *[0] * (len(index) - len(starts))], strict=True))


class SampledPass:
    """Judges outputs of one pass by a sample of their elements, which depends on the case's configuration alone.

    ``seconds`` is how long the reference took.
    """

    def __init__(self, case: Case, tensors: Tensors, in_pass: str, *, integers: bool) -> None:
        config = case.config
        parts = 1 + is_complex(config.dtype)
        self.seconds = 0.0
        self._elements = parts * _elements(case.shape_of(in_pass))
        self._is_integer = is_integer(config.dtype)
        whole = cache(lambda: magnitudes(config, tensors, in_pass))
        self._tiles: list[_JudgedTile] = []
        for tile in tiles_of(case, tensors, in_pass):
            layer = LayerSums(tile.config, tile.tensors, integers=integers)
            sums = layer.of(in_pass)
            sums.are_of_tile(_maps_of(tile, config, in_pass, whole), max(_elements(config.input_size), _elements(config.output_size)))
            self.seconds += layer.seconds
            self._tiles.append(_JudgedTile(tile, IntegerJudge(sums) if self._is_integer else FloatJudge(sums)))

    def judge(self, output: Array, numerics: Numerics) -> Judgement:
        """Judge the tiles of an output one by one, and say what they amount to together."""
        judged = [(one, one.judged(output, numerics)) for one in self._tiles]
        if not judged:
            return Judgement(verdict=Verdict.AGREE, discrepancy=Discrepancy(elements=0))
        of, gravest = min(judged, key=lambda pair: _rank(pair[1]))
        alike = [one for _, one in judged if one.verdict is gravest.verdict]
        found = self._together(judged)
        together = msgspec.structs.replace(
            gravest, discrepancy=found, proven=any(one.proven for one in alike), shown=gravest.shown and all(one.shown for one in alike)
        )
        return msgspec.structs.replace(together, reason=self._said(together, of, output))

    def sampled(self, output: Array) -> Array:
        """Return the judged elements of an output, one after the other."""
        return np.concatenate([one.tile.of(output).reshape(-1) for one in self._tiles] or [output.reshape(-1)[:0]])

    def worst(self, output: Array, most: int) -> list[tuple[tuple[int, ...], float, float]]:
        """Return the judged elements that are furthest off: index, expected and actual value."""
        found = []
        for one in self._tiles:
            y, actual = one.judge.expected.y, comparable(one.tile.of(output))
            with np.errstate(all="ignore"):
                same = (actual == y) | (np.isnan(actual) & np.isnan(y))
                error = np.where(same, 0.0, np.nan_to_num(np.abs(actual.astype(np.float64) - y), nan=np.inf)).reshape(-1)
            for flat in np.argsort(-error, kind="stable")[:most]:
                if error[flat] > 0.0:
                    at = np.unravel_index(flat, y.shape)
                    found.append((float(error[flat]), one.index([int(i) for i in at]), float(y[at]), float(actual[at])))
        return [(index, y, actual) for _, index, y, actual in sorted(found, key=lambda each: -each[0])[:most]]

    def _together(self, judged: Sequence[tuple[_JudgedTile, Judgement]]) -> Discrepancy:
        """Add up what was found in the tiles."""
        found = [(of, one.discrepancy) for of, one in judged if one.discrepancy is not None and one.discrepancy.elements]
        of, worst = max(found, key=lambda pair: pair[1].max_abs)
        shown_of, shown = next((pair for pair in found if pair[1].non_finite), (of, worst))
        ratio_of, ratio = max(found, key=lambda pair: pair[1].ratio or 0.0)
        units = [one.u_s for _, one in found if one.u_s is not None]
        return Discrepancy(
            elements=sum(one.elements for _, one in found),
            out_of=self._elements,
            max_abs=worst.max_abs,
            index=shown_of.index(shown.index),
            expected=shown.expected,
            actual=shown.actual,
            ulps=worst.ulps,
            u_s=max(units) if units else None,
            ratio=ratio.ratio,
            ratio_index=ratio_of.index(ratio.ratio_index),
            over=sum(one.over for _, one in found),
            non_finite=sum(one.non_finite for _, one in found),
            undecided=sum(one.undecided for _, one in found),
            required_rtol=Real(max(one.required_rtol for _, one in found)),
        )

    def _said(self, together: Judgement, of: _JudgedTile, output: Array) -> str:
        found = together.discrepancy
        assert found is not None, "a tile was measured"
        if together.verdict is Verdict.NON_FINITE:
            return said_non_finite(found)
        if self._is_integer and together.verdict is Verdict.WRONG:
            at = tuple(i - start for i, start in zip(found.index, [place.start for place in of.tile.place], strict=False))
            at += found.index[len(at) :]
            return said_integers(found, of.judge.expected.y[at], of.tile.of(output)[at])
        if together.suspect:
            return said_rounded(found, proven=together.proven)
        return together.reason


def tiles_of(case: Case, tensors: Tensors, in_pass: str) -> Iterator[Tile]:
    """Yield the tiles of one pass that are judged."""
    return tiles(case.config, tensors, in_pass, zlib.crc32(str(case.config).encode()))


def _rank(judgement: Judgement) -> tuple[int, int, float]:
    """Return what is least for the gravest: of one verdict, for the widest model, which explains the others too, and the largest error."""
    found, names = judgement.discrepancy, list(MODELS)
    model = names.index(judgement.model) if judgement.model in names else len(names)
    return judgement.verdict.gravity, -model, 0.0 if found is None else -float(found.max_abs)


def _maps_of(tile: Tile, config: ConvConfig, in_pass: str, whole: Callable[[], tuple[Floats, Bools]]) -> Callable[[], tuple[Floats, Bools]]:
    """Return what a transform sees of the large layer where a tile is: its maps, whole."""
    place = tile.place if in_pass in ("grad_weight", "grad_bias") else tile.place[: -config.dims]

    def maps() -> tuple[Floats, Bools]:
        magnitude, smeared = whole()
        return (magnitude[place], smeared[place]) if magnitude.ndim else (magnitude, smeared)

    return maps
