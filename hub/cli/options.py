"""Options that several commands share."""

from __future__ import annotations

import argparse
import os

__all__ = ("add_endpoint_options", "add_hub_options", "positive_port")


def add_endpoint_options(parser: argparse.ArgumentParser) -> None:
    """Who answers."""
    parser.add_argument(
        "--base-url", metavar="URL", default=None, help="the endpoint's address (OPENAI_BASE_URL or LLM_BASE_URL)"
    )
    parser.add_argument("--model", help="the model's name at the endpoint (LLM_MODEL)")
    parser.add_argument(
        "--api-key-env",
        metavar="NAME",
        default=os.environ.get("HUB_API_KEY_ENV"),
        help="the environment variable that holds the endpoint's key (HUB_API_KEY_ENV; default OPENAI_API_KEY or "
        "LLM_API_KEY)",
    )


def add_hub_options(parser: argparse.ArgumentParser) -> None:
    """Which running hub to talk to."""
    parser.add_argument(
        "--url",
        default=os.environ.get("HUB_URL", "http://127.0.0.1:8080"),
        help="the hub's address (HUB_URL; default http://127.0.0.1:8080)",
    )
    parser.add_argument(
        "--key-env",
        metavar="NAME",
        default="HUB_API_KEY",
        help="the environment variable that holds the key for the hub (default HUB_API_KEY)",
    )


def positive_port(text: str) -> int:
    """A TCP port."""
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port
