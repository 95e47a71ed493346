"""The command line's grammar. It imports none of the commands, so that `--help` costs nothing."""

from __future__ import annotations

import argparse
import os
from importlib.metadata import version
from typing import Any

__all__ = ("build_parser",)

_EPILOG = """\
Settings come from the environment and from a .env file nearby; options win over both.
OPENAI_API_KEY alone is enough for OpenAI; LLM_BASE_URL and LLM_MODEL name any other endpoint.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser; what it parses names its command's module as `module`."""
    parser = argparse.ArgumentParser(
        prog="hub",
        description="Stream LLM output to people, and let them come back to it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"llm-stream-hub {version('llm-stream-hub')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_serve, _add_work, _add_jobs, _add_chat, _add_batch, _add_cache, _add_tail, _add_doctor):
        add(commands)
    return parser


def _add_serve(commands: Any) -> None:
    parser = commands.add_parser(
        "serve",
        help="serve streams over HTTP, and the page",
        description="Serve streams over HTTP and SSE, and the chat page at /. With no endpoint configured, a small "
        "model on this machine answers.",
    )
    parser.add_argument("--host", help="address to listen on (HUB_HOST; default 127.0.0.1)")
    parser.add_argument(
        "--port", type=_port, help="port to listen on, 0 for a free one (HUB_PORT or PORT; default 8080)"
    )
    _add_endpoint_options(parser)
    _add_store(parser)
    parser.add_argument(
        "--generations",
        choices=("here", "workers"),
        help="where answers are generated: in this process, or in `hub work` (HUB_GENERATIONS; default here)",
    )
    parser.add_argument(
        "--workers",
        type=_processes,
        metavar="N",
        help="web processes that share the port; above 1 the store is Redis (HUB_WORKERS; default 1)",
    )
    parser.add_argument("--fd", type=int, metavar="N", help="serve on the listening socket with this number")
    parser.add_argument("--until-eof", action="store_true", help=argparse.SUPPRESS)  # how a web process is begun
    parser.add_argument(
        "--insecure",
        action="store_true",
        default=None,
        help="listen on an address others can reach without asking for keys (HUB_INSECURE=1)",
    )
    _add_verbose(parser)
    parser.set_defaults(module="hub.cli.serve")


def _add_work(commands: Any) -> None:
    parser = commands.add_parser(
        "work",
        help="generate streams that web processes are asked for",
        description="Take jobs that `hub serve --generations workers` puts on Redis, and write each stream. SIGTERM "
        "lets what runs end within HUB_DRAIN_TIMEOUT, and hands over the rest to other workers.",
    )
    parser.add_argument("--store", metavar="URL", help="where streams and jobs are kept: redis://… (HUB_STORE)")
    parser.add_argument(
        "--concurrency", type=_concurrency, metavar="N", help="streams at once (HUB_CONCURRENCY; default 100)"
    )
    parser.add_argument("--name", help="what the worker is called in `hub jobs` (default: host, process, at random)")
    _add_endpoint_options(parser)
    _add_verbose(parser)
    parser.set_defaults(module="hub.cli.work")


def _add_jobs(commands: Any) -> None:
    parser = commands.add_parser(
        "jobs",
        help="say what waits for workers, who works, what was set aside",
        description="Say how many streams wait for workers, since when the oldest does, who works, and which jobs were "
        "set aside since too many workers were lost with them.",
    )
    parser.add_argument("--store", metavar="URL", help="where streams and jobs are kept: redis://… (HUB_STORE)")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(module="hub.cli.jobs", action="survey")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")
    for action, what in (("retry", "ask again for a job that was set aside, as a new stream"), ("drop", "forget it")):
        each = actions.add_parser(action, help=what, description=f"{what[0].upper()}{what[1:]}.")
        which = each.add_mutually_exclusive_group(required=True)
        which.add_argument("stream_id", nargs="?", metavar="STREAM_ID", help="the job's stream")
        which.add_argument("--all", action="store_true", help="every one")
        each.set_defaults(action=action)


def _add_chat(commands: Any) -> None:
    parser = commands.add_parser(
        "chat",
        help="ask one question and stream the answer to the terminal",
        description="Ask one question and stream the answer to the terminal. Without a prompt, it is read from "
        "standard input. Ctrl-C stops the answer.",
    )
    parser.add_argument("prompt", nargs="?", help="what to ask")
    parser.add_argument("--system", metavar="TEXT", help="a system message before it")
    parser.add_argument(
        "--max-tokens", type=_max_tokens, metavar="N", help="tokens of the answer, at most (LLM_MAX_TOKENS)"
    )
    parser.add_argument(
        "--temperature", type=_temperature, metavar="T", help="sampling temperature, 0 to 2 (LLM_TEMPERATURE)"
    )
    parser.add_argument("--json", action="store_true", help="print the events, one JSON object a line")
    parser.add_argument(
        "--sink",
        action="append",
        default=[],
        dest="sinks",
        metavar="URL",
        help="send the events there too: redis://HOST/CHANNEL, pusher://CHANNEL, file:///PATH, https://…; may be given "
        "several times. Where one fails, the answer goes on, and the exit code is 1",
    )
    _add_endpoint_options(parser)
    _add_verbose(parser)
    parser.set_defaults(module="hub.cli.chat")


def _add_batch(commands: Any) -> None:
    parser = commands.add_parser(
        "batch",
        help="answer the requests of a file into another",
        description="Answer the requests of a file into another, both of one JSON object a line. Ctrl-C stops it when "
        "what is under way is done; the same command then does the rest. OUT.checkpoint has what is done.",
    )
    parser.add_argument("input", metavar="IN", help='requests: {"messages": …} or {"input": …}, with custom_id or not')
    parser.add_argument("output", metavar="OUT", help="answers, in the order of the requests")
    parser.add_argument(
        "--concurrency", type=_concurrency, default=8, metavar="N", help="requests under way at once (default 8)"
    )
    parser.add_argument("--retry-failed", action="store_true", help="ask again where an earlier run got an error")
    parser.add_argument("--force", action="store_true", help="replace an OUT that no earlier run wrote")
    parser.add_argument(
        "--api-batch", action="store_true", help="use OpenAI's Batch API: within a day, at half the price"
    )
    parser.add_argument(
        "--poll-interval",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="with --api-batch: wait before the first look at the batch, growing to 60 (default 5)",
    )
    _add_endpoint_options(parser)
    _add_verbose(parser)
    parser.set_defaults(module="hub.cli.batch")


def _add_cache(commands: Any) -> None:
    parser = commands.add_parser(
        "cache",
        help="say what a cache of answers holds, empty it, write it to a file",
        description="Say what a cache of answers holds, empty it, write it to a file: the cache that a client with "
        "the same settings has. Addresses, passwords and keys of servers come from the environment alone.",
    )
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_cache_stats(actions)
    _add_cache_clear(actions)
    _add_cache_export(actions)


def _add_cache_stats(actions: Any) -> None:
    parser = actions.add_parser(
        "stats",
        help="how many entries there are, and what they take",
        description="Say where the cache is, how many entries it has, and what they take.",
    )
    parser.add_argument(
        "--namespace", metavar="NAME", help="only the entries of this tenant, which are all read (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    _add_cache_options(parser, action="stats")


def _add_cache_clear(actions: Any) -> None:
    parser = actions.add_parser(
        "clear",
        help="remove entries",
        description="Remove the entries of a tenant, older ones included; asks before it does.",
    )
    _add_namespace_options(parser)
    parser.add_argument("--yes", action="store_true", help="don't ask")
    _add_cache_options(parser, action="clear")


def _add_cache_export(actions: Any) -> None:
    parser = actions.add_parser(
        "export",
        help="write entries as JSON Lines",
        description="Write the entries of a tenant, older ones included, as one JSON object a line. A file gets its "
        "name when all of it is written.",
    )
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="where to; - is standard output (default)")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    _add_namespace_options(parser)
    _add_cache_options(parser, action="export")


def _add_namespace_options(parser: argparse.ArgumentParser) -> None:
    """Whose entries."""
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument(
        "--namespace", metavar="NAME", help="the entries of this tenant (CACHE_NAMESPACE; default those without one)"
    )
    whose.add_argument("--all", action="store_true", help="the entries of every tenant")


def _add_cache_options(parser: argparse.ArgumentParser, *, action: str) -> None:
    """Which cache."""
    parser.add_argument(
        "--backend", choices=("memory", "fs", "pg_redis", "qdrant"), help="what keeps the answers (CACHE_BACKEND)"
    )
    parser.add_argument("--dir", metavar="DIR", help="the directory of fs (CACHE_DIR; default .llm_cache)")
    parser.add_argument(
        "--collection",
        metavar="NAME",
        help="the schema of pg_redis, the collection of qdrant (CACHE_COLLECTION; default llm_cache)",
    )
    parser.set_defaults(module="hub.cli.cache", action=action)


def _add_tail(commands: Any) -> None:
    parser = commands.add_parser(
        "tail",
        help="follow a stream of a running hub",
        description="Follow a stream of a running hub to its end, over cut connections too.",
    )
    parser.add_argument("stream_id", metavar="STREAM_ID")
    parser.add_argument("--after", type=int, default=-1, metavar="SEQ", help="begin behind this event (default: all)")
    parser.add_argument("--json", action="store_true", help="print the events, one JSON object a line")
    _add_hub_options(parser)
    parser.set_defaults(module="hub.cli.tail")


def _add_doctor(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="say what is configured, what answers, what doesn't and why",
        description="Say what is configured, what answers, what doesn't and why. Sends one short question with --ask.",
    )
    parser.add_argument("--ask", action="store_true", help="also send the endpoint a short question")
    _add_endpoint_options(parser)
    _add_hub_options(parser)
    parser.set_defaults(module="hub.cli.doctor")


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        metavar="URL",
        help="where streams are kept: memory, sqlite:///PATH, redis://HOST:PORT (HUB_STORE; default a file in your "
        "data folder)",
    )


def _processes(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 256")
    return int(text)


def _add_endpoint_options(parser: argparse.ArgumentParser) -> None:
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


def _add_hub_options(parser: argparse.ArgumentParser) -> None:
    """Which running hub to talk to."""
    parser.add_argument(
        "--url",
        default=os.environ.get("HUB_URL", f"http://127.0.0.1:{os.environ.get('HUB_PORT', '8080')}"),
        help="the hub's address (HUB_URL; default http://127.0.0.1:8080, or HUB_PORT there)",
    )
    parser.add_argument(
        "--key-env",
        metavar="NAME",
        default="HUB_API_KEY",
        help="the environment variable that holds the key for the hub (default HUB_API_KEY)",
    )


def _add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="tell on standard error what goes on: retries, for one"
    )


def _max_tokens(text: str) -> int:
    """A number of tokens."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError("a number of tokens is a whole number, 0 or more")
    return int(text)


def _concurrency(text: str) -> int:
    """A number of requests."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError("a number of requests is a whole number, 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    """A time to wait."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("seconds are a number from 0 to 86400")
    return seconds


def _temperature(text: str) -> float:
    """A sampling temperature."""
    try:
        temperature = float(text)
    except ValueError:
        temperature = -1.0
    if not 0 <= temperature <= 2:
        raise argparse.ArgumentTypeError("a temperature is a number from 0 to 2")
    return temperature


def _port(text: str) -> int:
    """A TCP port."""
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port
