"""A stage for the tests: the cores it may run on, while it is loaded and then.

Threads that wait stand for those that a library starts while it is loaded.
"""

from __future__ import annotations

import json
import os
import threading

from render.job import Job, Placement, Record

JOB = Job
FIRST = sorted(os.sched_getaffinity(0))
for _ in range(3):
    threading.Thread(target=threading.Event().wait, daemon=True).start()


class CoresRecord(Record):
    did: str
    """As JSON, `first`: the cores while it was loaded; `now`: those of each thread."""


def process(job: Job, place: Placement) -> Record:
    threads = sorted(map(int, os.listdir("/proc/self/task")))
    now = [sorted(os.sched_getaffinity(thread)) for thread in threads]
    return CoresRecord(did=json.dumps({"first": FIRST, "now": now}))
