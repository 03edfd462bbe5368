"""Runs every capture with this interpreter's Celery, on both brokers: `capture_all.py FOLDER`.

Needs the servers of `services run`, which `cargo xtask capture` starts.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
READY_LIMIT = 60.0


def environment(broker, kind):
    """Variables of one capture; every one has its own queue, and Redis its own database."""
    variables = {**os.environ, "FLEET_QUEUE": f"capture-{kind}", "PYTHONDONTWRITEBYTECODE": "1"}
    if broker == "redis":
        base = os.environ["TRADEWIND_TEST_REDIS_URL"].rsplit("/", 1)[0]
        number = {"messages": 10, "results": 11, "events": 12, "control": 13}[kind]
        variables["FLEET_BROKER"] = variables["FLEET_RESULTS"] = f"{base}/{number}"
    else:
        variables["FLEET_BROKER"] = os.environ["TRADEWIND_TEST_AMQP_URL"]
        variables["FLEET_RESULTS"] = "rpc://"
    return variables


def script(name, *args, env):
    """Starts one of our scripts."""
    return subprocess.Popen([sys.executable, str(HERE / name), *args], env=env, cwd=HERE)


def wait_for_worker(env):
    """Until a worker answers a ping."""
    end = time.monotonic() + READY_LIMIT
    ping = [sys.executable, "-m", "celery", "-A", "fleet_app", "inspect", "ping", "-t", "2"]
    while subprocess.run(ping, env=env, cwd=HERE, stdout=subprocess.DEVNULL).returncode != 0:
        if time.monotonic() > end:
            raise SystemExit("no worker answered")


def main():
    """Messages need no worker; the rest has one of its own."""
    folder = Path(sys.argv[1]).resolve()
    for broker in ("redis", "rabbitmq"):
        for kind in ("messages", "results", "events", "control"):
            env = environment(broker, kind)
            worker = None
            if kind != "messages":
                worker = script("capture_worker.py", *["-E"][: kind == "events"], env=env)
                wait_for_worker(env)
            try:
                code = script("capture.py", kind, "--out", str(folder), env=env).wait()
            finally:
                if worker:
                    worker.terminate()
                    worker.wait()
            if code:
                raise SystemExit(code)
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    code = script("capture_amqp.py", str(folder), env=env).wait()
    if code:
        raise SystemExit(code)


main()
