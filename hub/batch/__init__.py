"""Many calls at once: a bounded number under way, results in order or as they come, continued where a run stopped.

    results = await run_batch((partial(client.invoke, messages=each) for each in conversations), concurrency=16)

`BatchJob` does the same through OpenAI's Batch API, at half the price and within a day.
"""

from __future__ import annotations

from hub.batch.checkpoint import Checkpoint
from hub.batch.openai_batch import BatchJob
from hub.batch.parts import Limits
from hub.batch.progress import Progress, log_report, quiet
from hub.batch.runner import iter_batch, run_batch
from hub.errors import CheckpointError

__all__ = (
    "BatchJob",
    "Checkpoint",
    "CheckpointError",
    "Limits",
    "Progress",
    "iter_batch",
    "log_report",
    "quiet",
    "run_batch",
)
