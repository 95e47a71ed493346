"""`hub chat`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
from contextlib import AsyncExitStack

from hub.answerer import EndpointChoice, open_answerer
from hub.cli.chat_sinks import ChatSinks
from hub.cli.notices import Notices, log_to_standard_error
from hub.config import Settings
from hub.errors import InvalidRequestError
from hub.events import Done, Error, LLMEvent, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta, encode_event

__all__ = ("run",)


def run(options: argparse.Namespace) -> int:
    """Ask, and print the answer as it comes."""
    try:
        prompt = options.prompt if options.prompt is not None else sys.stdin.read().strip()
        f"{prompt}{options.system or ''}".encode()  # bytes of another encoding come as lone surrogates
    except UnicodeError as exc:
        raise InvalidRequestError("The prompt is not text in this terminal's encoding.") from exc
    if not prompt:
        raise InvalidRequestError("Nothing to ask: pass a prompt, or write it to standard input.")
    messages = [{"role": "system", "content": options.system}] if options.system else []
    messages.append({"role": "user", "content": prompt})
    return asyncio.run(_chat(options, messages))


async def _chat(options: argparse.Namespace, messages: list[dict[str, str]]) -> int:
    settings = Settings.load()
    notices = log_to_standard_error(logging.WARNING)
    async with AsyncExitStack() as stack:
        stack.callback(notices.resume)
        choice = EndpointChoice(options.base_url, options.model, options.api_key_env)
        client, answering = await open_answerer(stack, settings, choice)
        if answering.source != "endpoint":
            print(answering.notice, file=sys.stderr)
        printer = _JSONPrinter() if options.json else _TextPrinter(notices)
        stream = client.stream(messages=messages, max_tokens=options.max_tokens, temperature=options.temperature)
        sinks = await stack.enter_async_context(ChatSinks(options.sinks, stream.stream_id))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, stream.stop)
        async with stream as events:
            async for event in events:
                printer.show(event)
                await sinks.send(event)
        loop.add_signal_handler(signal.SIGINT, _hurry, sinks)
        warnings = await sinks.finish()
        for warning in warnings:
            print(f"hub: {warning}", file=sys.stderr)
        return printer.exit_code or int(bool(warnings))


def _hurry(sinks: ChatSinks) -> None:
    """Leave the sinks little time, and the next Ctrl-C to the system, which ends the process."""
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sinks.hurry()
    print("hub: The sinks have one second more; Ctrl-C again ends it at once.", file=sys.stderr, flush=True)


class _JSONPrinter:
    exit_code = 0

    def show(self, event: LLMEvent) -> None:
        print(encode_event(event).decode(), flush=True)
        if isinstance(event, Done):
            self.exit_code = {"completed": 0, "cancelled": 130}.get(event.status, 1)


class _TextPrinter:
    """The answer on standard output, everything about it on standard error."""

    exit_code = 0

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._began_at = time.perf_counter()
        self._first_at: float | None = None
        self._answering = False
        self._reasoning = False

    def show(self, event: LLMEvent) -> None:
        match event:
            case TextDelta() | RefusalDelta():
                self._answer(event.text)
            case ReasoningDelta():
                self._mark()
                self._reasoning = True
                self._notices.pause()
                print(event.text, end="", flush=True, file=sys.stderr)
            case ToolCallDelta():
                if event.name:
                    self._end_line()
                self._answer(f"[{event.name}] {event.arguments}" if event.name else event.arguments)
            case Error():
                self._end_line()
                print(f"hub: {event.message} ({event.code})", file=sys.stderr)
            case Done():
                self._summarise(event)

    def _mark(self) -> None:
        if self._first_at is None:
            self._first_at = time.perf_counter()

    def _answer(self, text: str) -> None:
        self._mark()
        if self._reasoning and not self._answering:
            self._end_line()
        self._answering = True
        self._notices.pause()
        print(text, end="", flush=True)

    def _end_line(self) -> None:
        """End the line that was begun, if one was."""
        if self._answering or self._reasoning:
            print(flush=True, file=sys.stdout if self._answering else sys.stderr)
        self._answering = self._reasoning = False
        self._notices.resume()

    def _summarise(self, done: Done) -> None:
        self._end_line()
        self.exit_code = {"completed": 0, "cancelled": 130}.get(done.status, 1)
        parts = [done.status if done.status != "completed" else str(done.finish_reason)]
        if (usage := done.usage) is not None:
            about = "about " if usage.estimated else ""
            cost = f"${usage.cost_usd:.6f}" if usage.cost_usd is not None else "cost unknown"
            parts += [f"{about}{usage.input_tokens} tokens in, {about}{usage.output_tokens} out", cost]
        if self._first_at is not None:
            now = time.perf_counter()
            parts.append(f"first token after {self._first_at - self._began_at:.2f} s")
            if usage is not None and usage.output_tokens > 1 and now > self._first_at:
                parts.append(f"{usage.output_tokens / (now - self._first_at):.0f} tokens/s")
        print("· ".join(["", " · ".join(parts)]), file=sys.stderr)
