"""A Dramatiq broker on Redis whose idle consumers are woken, where Dramatiq's own ask again and again.

Whoever has sent messages says so on a channel of Redis. What is said there carries nothing and may be lost:
a consumer looks by itself after half a second of silence.
"""

from collections.abc import Mapping
from typing import Any

from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import q_name
from dramatiq.errors import ConnectionClosed
from redis.exceptions import ConnectionError

_LOOK_AGAIN = 0.5  # seconds of silence after which a consumer looks by itself
_LOOK_WHEN_FULL = 0.02  # seconds between two looks at whether a thread became free; asks nobody


class WakingBroker(RedisBroker):
    """`RedisBroker`, and `wake` to be called after messages were sent.

    `at_once` says, for queues of jobs that wait for somebody else, how many of theirs a process takes at a time:
    the threads of a process are shared by all queues, and those that wait must not take the place of those that
    work.
    """

    at_once: Mapping[str, int] = {}

    @property
    def channel(self) -> str:
        return f"{self.namespace}:sent"

    def wake(self) -> None:
        """Make idle consumers look at once. Raises what redis-py raises when Redis is away."""
        self.client.publish(self.channel, b"")

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Any:
        if queue_name != q_name(queue_name):  # of delayed messages, and we send none
            return super().consume(queue_name, prefetch, timeout)
        return _Woken(self, queue_name, min(prefetch, self.at_once.get(queue_name, prefetch)))


class _Woken(_RedisConsumer):
    """The consumer of one queue. Only its own thread waits; `ack` and `nack` come from others."""

    def __init__(self, broker: WakingBroker, queue_name: str, prefetch: int) -> None:
        # Without a timeout it never sleeps, so that `_wait` is the only place where it does.
        super().__init__(broker, queue_name, prefetch, timeout=0)  # type: ignore[no-untyped-call]
        self._sent = broker.client.pubsub(ignore_subscribe_messages=True)
        try:
            self._sent.subscribe(broker.channel)
        except ConnectionError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]

    def __next__(self) -> Any:
        message = super().__next__()  # type: ignore[no-untyped-call]
        if message is None:
            self._wait()
        return message

    def _wait(self) -> None:
        """Until something was sent, or until it is time to look anyway."""
        full = self.outstanding_message_count >= self.prefetch
        try:
            self._sent.get_message(timeout=_LOOK_WHEN_FULL if full else _LOOK_AGAIN)
            while self._sent.get_message() is not None:  # said several times, looked at once
                pass
        except ConnectionError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._sent.close()
