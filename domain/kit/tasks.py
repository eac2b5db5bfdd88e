"""Ending tasks that would go on for ever."""

import asyncio

_AGAIN = 0.5  # seconds


async def end(*tasks: "asyncio.Task[None]") -> None:
    """Cancel the tasks and wait until they have ended, whatever they end with.

    They are cancelled more than once. A cancellation gets lost where a connection that is lost in the same moment
    turns it into its own error, and in the `asyncio.wait_for` of Python 3.11, which libraries call, when what it
    waits for is done just then.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN)
