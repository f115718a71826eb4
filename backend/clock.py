"""The one clock of the backend: times as the store keeps them and the API answers them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def now() -> str:
    """Now, ISO 8601 in UTC with microseconds: as text it sorts as time does."""
    return text(datetime.now(timezone.utc))


def ago(seconds: float) -> str:
    """The time ``seconds`` before now."""
    return text(datetime.now(timezone.utc) - timedelta(seconds=seconds))


def text(moment: datetime) -> str:
    """A moment as the store writes it; one without a time zone is taken as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc).strftime(_FORMAT)


def parse(written: str) -> datetime:
    """Any ISO 8601 time as a moment in UTC. Raises ValueError when it is none."""
    moment = datetime.fromisoformat(written.strip().replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
