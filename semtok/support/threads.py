"""Work by threads, a bounded amount ahead of whoever takes the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(call: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`map` by threads, in order: no more than two results for each worker are ahead of the caller.

    No thread outlives the iterator. An error of `call` is raised where its result would come.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="semtok")
    try:
        for item in items:
            waiting.append(pool.submit(call, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
