"""Events as signed requests to a URL, after the Standard Webhooks scheme. It needs the extra `webhook`."""

from __future__ import annotations

from sinks.webhook.signature import new_secret, verify
from sinks.webhook.sink import WebhookSink

__all__ = ("WebhookSink", "new_secret", "verify")
