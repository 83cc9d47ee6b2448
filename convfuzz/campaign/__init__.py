"""Many cases in many processes: rounds, workers, the supervisor, and how an interrupted run is resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convfuzz.campaign.supervisor import Campaign

__all__ = ["Campaign"]


def __getattr__(name: str) -> Any:
    """Look :class:`~convfuzz.campaign.supervisor.Campaign` up when it is asked for: a worker, which is in here too, needs none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from convfuzz.campaign.supervisor import Campaign  # noqa: PLC0415

    return Campaign
