"""What an unmodified Celery client can ask of a fleet: one check per promise.

Run by tests/tests/celery_client.rs with each version of Celery and each broker. Prints one JSON
object, name of the check → "ok" or what went wrong. `client_checks.py NAME…` runs some.
"""

import json
import sys
import threading
import time
import traceback

import checks_canvas
import checks_control
import checks_tasks
from fleet_app import app

SLOW_SECONDS = 90.0


def run(check):
    """One check, in a thread of its own, so that one that hangs is named too."""
    verdict = []

    def body():
        try:
            check()
            verdict.append("ok")
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)
            lines = [f"{f.name}:{f.lineno}" for f in where if "checks_" in f.filename]
            verdict.append(f"{type(error).__name__}: {error} ({', '.join(lines)})")

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(SLOW_SECONDS)
    return verdict[0] if verdict else f"no end within {SLOW_SECONDS} s"


def main():
    """All checks that this broker and backend can serve, in order."""
    checks = {}
    for module in (checks_tasks, checks_canvas, checks_control):
        checks.update(module.checks(app))
    wanted = sys.argv[1:] or list(checks)
    verdicts = {}
    for name in wanted:
        begun = time.monotonic()
        verdicts[name] = run(checks[name])
        print(f"{name}: {verdicts[name]} ({time.monotonic() - begun:.1f} s)", file=sys.stderr)
    print(json.dumps(verdicts))


main()
