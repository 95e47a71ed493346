"""Answers kept in PostgreSQL with Redis before it: asked again, by whichever process, they cost nothing.

    pip install -e '.[postgres]'
    export PG_DSN=postgresql://user:password@localhost:5432/database REDIS_URL=redis://localhost:6379/0
    python examples/cached_answers.py "What is the capital of France?"

The first run asks the endpoint, later ones the cache. Stop Redis in between, or PostgreSQL: the answer still comes.
`--fresh` asks anew and keeps the older answer beside the new one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time

from hub import Completion, OpenAIClient
from hub.errors import HubError


async def ask(question: str, *, model: str | None, fresh: bool) -> None:
    """Tell the answer as it comes, then where it came from."""
    messages = [{"role": "user", "content": question}]
    began = time.perf_counter()
    async with OpenAIClient(
        model,
        cache_backend="pg_redis",
        pg_dsn=os.environ["PG_DSN"],
        redis_url=os.environ["REDIS_URL"],
        redis_ttl_seconds=600,
        cache_collection="cached_answers",
    ) as client:
        completion = Completion()
        async for event in client.stream(
            messages=messages, hash_as_identifier=True, cache_response=True, rewrite_cache=fresh
        ):
            completion.add(event)
            if event.type == "text_delta":
                print(event.text, end="", flush=True)
            elif event.type == "error":
                print(f"\n{event.message}", file=sys.stderr)
        result = completion.result()
    print("\n")
    print(f"from    {'the cache' if result.cached else 'the endpoint'}")
    print(f"took    {time.perf_counter() - began:.3f} s")
    if result.usage is not None:
        print(f"cost    {result.usage.cost_usd} USD")
        if result.cached:
            print(f"instead of {result.usage.original_cost_usd} USD")


def main() -> int:
    """Ask what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question")
    parser.add_argument("--model", help="by default LLM_MODEL")
    parser.add_argument("--fresh", action="store_true", help="ask anew, and keep the older answer")
    options = parser.parse_args()
    if missing := [name for name in ("PG_DSN", "REDIS_URL") if not os.environ.get(name)]:
        parser.error(f"set {' and '.join(missing)}")
    try:
        asyncio.run(ask(options.question, model=options.model, fresh=options.fresh))
    except HubError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
