"""How long the parts of sharing wait."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("Timing",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds. A leader that died is noticed after `lease` and one `look_interval` more, at most.

    Attributes:
        lease_ttl: A leader that says nothing for so long counts as dead; so does one that was held still.
        beat_interval: Between two signs of life of a leader.
        look_interval: Between two looks of a follower.
        step_timeout: That the register or the store may take for one step; then the call goes on by itself.
        linger_ttl: For which an answer that has ended may still be followed, until it is stored.
        gather_delay: For which events gather before they go into the log where somebody follows, at most.
        alone_delay: The same where nobody follows.
        away_delay: For which no further call tries to share, after sharing failed.
        goodbye_timeout: To tell the register that a process leaves.
    """

    lease_ttl: float = 3.5
    beat_interval: float = 1.0
    look_interval: float = 0.8
    step_timeout: float = 1.0
    linger_ttl: float = 6.0
    gather_delay: float = 0.05
    alone_delay: float = 0.5
    away_delay: float = 5.0
    goodbye_timeout: float = 0.5
