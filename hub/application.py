"""An application's own generator, named by `HUB_APP=module:attribute`: the same for web processes and workers."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hub.config import Settings
from hub.errors import ConfigurationError
from hub.generation import Generator, misshapen

__all__ = ("open_application",)


@asynccontextmanager
async def open_application(app: str, settings: Settings) -> AsyncIterator[Generator]:
    """The generator that `module:attribute` names, for the length of the block.

    The attribute is a generator, which is anything with a method `stream`; or it is called with the settings, and
    gives one: directly, as an awaitable, or as an async context manager, which is entered. The working folder is on
    the import path.

    Args:
        app: `module:attribute`, where the attribute may have dots.
        settings: What a callable is given.

    Raises:
        ConfigurationError: There is no such module or attribute, it is neither of these, or its `stream` can be seen to
            return no generation. What the application's own code raises comes as it is.
    """
    target = _load(app)
    if not inspect.isclass(target) and _is_generator(target):
        yield _checked(app, target)
        return
    if not callable(target):
        raise ConfigurationError(
            f"HUB_APP={app}: {type(target).__name__} has no method `stream`, and can't be called to get something "
            "that has one."
        )
    made = target(settings)
    if inspect.isawaitable(made):
        made = await made
    if hasattr(made, "__aenter__"):
        async with made as entered:
            yield _checked(app, entered)
    else:
        yield _checked(app, made)


def _checked(app: str, made: Any) -> Generator:
    if inspect.isclass(made) or not _is_generator(made):
        raise ConfigurationError(f"HUB_APP={app}: what it gives, {type(made).__name__}, has no method `stream`.")
    if (reason := misshapen(made)) is not None:
        raise ConfigurationError(f"HUB_APP={app}: {reason}")
    return made  # type: ignore[no-any-return]


def _load(app: str) -> Any:
    """The attribute of that name."""
    module_name, _, attribute = app.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(f"HUB_APP={app}: it looks like module:attribute, as in mine.agents:generator.")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        # A module that the application's own code lacks is that code's error.
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            raise
        raise ConfigurationError(f"HUB_APP={app}: there is no module {exc.name} in {folder} or installed.") from exc
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as exc:
            raise ConfigurationError(f"HUB_APP={app}: the module {module_name} has no {attribute}.") from exc
    return found


def _is_generator(value: object) -> bool:
    return callable(getattr(value, "stream", None))
