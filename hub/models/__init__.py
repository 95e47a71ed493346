"""Facts about models: profiles and a catalog of them, token counts, reported usage and prices."""

from __future__ import annotations

# Profiles are found by walking the subclasses of `ModelProfile`: those of the catalog have to be there first.
from hub.models import catalog as catalog

__all__ = ("catalog",)
