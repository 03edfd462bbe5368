"""Sends a few tasks and waits for them; prints their ids by name, for tests of monitors."""

import json

import fleet_app as tasks

sent = {
    "add": tasks.add.delay(2, 3),
    "kwargs": tasks.return_kwargs.delay(a="x", b=1),
    "fail": tasks.fail.delay("broken pipe"),
    "retry_once": tasks.retry_once.delay(),
}
for result in sent.values():
    result.get(timeout=60, propagate=False)
print(json.dumps({"ids": {name: result.id for name, result in sent.items()}}))
