"""What an unmodified Celery client can ask of a fleet: one check per promise.

Run by tests/tests/celery_client.rs with each version of Celery and each broker. Prints one JSON
object, name of the check → "ok" or what went wrong. `client_checks.py NAME…` runs some.
"""

import json
import signal
import sys
import time
import traceback

import checks_canvas
import checks_control
import checks_tasks
from fleet_app import app

SLOW_SECONDS = 90.0


def too_slow(_signal, _frame):
    """Ends a check that hangs."""
    raise TimeoutError(f"no end within {SLOW_SECONDS} s")


def run(check):
    """One check, here and not in a thread: rpc replies belong to the thread that asked."""
    signal.setitimer(signal.ITIMER_REAL, SLOW_SECONDS)
    try:
        check()
        return "ok"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        lines = [f"{f.name}:{f.lineno}" for f in where if "checks_" in f.filename]
        return f"{type(error).__name__}: {error} ({', '.join(lines)})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main():
    """All checks that this broker and backend can serve, in order."""
    checks = {}
    for module in (checks_tasks, checks_canvas, checks_control):
        checks.update(module.checks(app))
    wanted = sys.argv[1:] or list(checks)
    signal.signal(signal.SIGALRM, too_slow)
    verdicts = {}
    for name in wanted:
        begun = time.monotonic()
        verdicts[name] = run(checks[name])
        print(f"{name}: {verdicts[name]} ({time.monotonic() - begun:.1f} s)", file=sys.stderr)
    print(json.dumps(verdicts))


main()
