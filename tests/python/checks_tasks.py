"""Checks of single tasks: arguments, results, states, options."""

import contextlib
import datetime
import time
import uuid

from celery import chain
from celery.exceptions import (
    NotRegistered,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
)

import fleet_app as tasks

WAIT = 30.0
# No task below ends a whole second after it was sent: Celery 5.6 looks for rpc replies in steps of
# a second, and loses one that comes at the end of a step.


def until(what, look, limit=WAIT):
    """Polls for something that another process does."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {limit} s in vain for {what}")


def same(found, wanted):
    """Equality that says what was found."""
    assert found == wanted, f"{found!r} instead of {wanted!r}"


@contextlib.contextmanager
def raising(kind):
    """The block must raise; the exception is found in `.error`."""
    caught = type("Caught", (), {})()
    try:
        yield caught
    except kind as error:
        caught.error = error
        return
    raise AssertionError(f"no {kind} was raised")


def checks(app):
    """Name → check."""
    found = {}

    def check(function):
        found[function.__name__] = function
        return function

    is_rpc = app.conf.result_backend.startswith("rpc")

    @check
    def delay_and_get():
        result = tasks.add.delay(2, 3)
        same(result.get(timeout=WAIT), 5)
        same((result.state, result.successful(), result.ready()), ("SUCCESS", True, True))

    @check
    def send_task_by_name():
        same(app.send_task("fleet.mul", (6, 7)).get(timeout=WAIT), 42)

    @check
    def keyword_arguments():
        same(tasks.add.delay(x=1, y=2).get(timeout=WAIT), 3)
        same(tasks.return_kwargs.delay(a=1, b=[None]).get(timeout=WAIT), {"a": 1, "b": [None]})

    @check
    def values_come_back_unchanged():
        numbers = [2**63, -(2**63), 2**64, -(2**63) - 1, 10**100, 0.1 + 0.2, 5e-324, 1.7e308]
        nested = {"a": [{"b": [1.5]}]}
        for value in [None, True, -(2**53), 0.1, "grüße 世界 🚢", [], {}, nested, numbers]:
            same(tasks.echo.delay(value).get(timeout=WAIT), value)
        chained = chain(tasks.echo.s(2**70), tasks.echo.s()).apply_async()
        same(chained.get(timeout=WAIT), 2**70)

    @check
    def a_number_that_a_task_cannot_hold_is_refused():
        with raising(TypeError) as caught:
            tasks.add.delay(2**70, 1).get(timeout=WAIT)
        assert "i128" in str(caught.error), caught.error

    @check
    def a_large_argument():
        text = "x" * 300_000
        same(tasks.echo.delay(text).get(timeout=WAIT), text)

    @check
    def many_tasks():
        results = [tasks.add.delay(n, n) for n in range(100)]
        same([result.get(timeout=WAIT) for result in results], [2 * n for n in range(100)])

    @check
    def failure_has_class_text_and_traceback():
        result = tasks.fail.delay("broken pipe")
        with raising(ValueError) as caught:
            result.get(timeout=WAIT)
        same(str(caught.error), "broken pipe")
        same(result.state, "FAILURE")
        assert "broken pipe" in result.traceback, result.traceback

    @check
    def wrong_arguments_are_a_type_error():
        with raising(TypeError):
            app.send_task("fleet.add", (1,)).get(timeout=WAIT)

    @check
    def unknown_task_is_not_registered():
        result = app.send_task("no.such.task")
        with raising(NotRegistered):
            result.get(timeout=WAIT)
        same(result.state, "FAILURE")

    @check
    def countdown():
        begun = time.monotonic()
        same(tasks.add.apply_async((1, 1), countdown=1.5).get(timeout=WAIT), 2)
        assert time.monotonic() - begun >= 0.9, "it ran too early"

    @check
    def eta():
        begun = time.monotonic()
        due = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1.5)
        same(tasks.add.apply_async((1, 1), eta=due).get(timeout=WAIT), 2)
        assert time.monotonic() - begun >= 0.9, "it ran too early"

    @check
    def expired_is_revoked():
        # The due time comes after the expiry, and no broker drops it before that.
        past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=10)
        result = tasks.noop.apply_async(headers={"expires": past.isoformat()})
        with raising(TaskRevokedError) as caught:
            result.get(timeout=WAIT)
        same(str(caught.error), "expired")
        same(result.state, "REVOKED")

    @check
    def not_yet_expired_runs():
        same(tasks.add.apply_async((1, 1), expires=600).get(timeout=WAIT), 2)

    @check
    def priority_reaches_the_task():
        same(tasks.priority.apply_async(priority=5).get(timeout=WAIT), 5)

    @check
    def retry_runs_again():
        same(tasks.retry_once.delay().get(timeout=WAIT), 1)

    @check
    def retries_end_with_the_error():
        result = tasks.retry_always.delay()
        with raising(KeyError) as caught:
            result.get(timeout=WAIT)
        same((caught.error.args, result.state), (("never",), "FAILURE"))

    @check
    def progress_is_a_state():
        result = tasks.progress.delay(1.5)
        seen = until("PROGRESS", lambda: result.state == "PROGRESS" and result.info)
        same(seen, {"done": 1, "total": 2})
        same(result.get(timeout=WAIT), "done")

    @check
    def ignored_results_are_not_stored():
        result = tasks.add.apply_async((1, 1), ignore_result=True)
        mark = f"ignored-{uuid.uuid4()}"
        tasks.add.apply_async((1, 1), ignore_result=True, link=tasks.echo.si(1).set(task_id=mark))
        if not is_rpc:
            same(app.AsyncResult(mark).get(timeout=WAIT), 1)
        tasks.noop.delay().get(timeout=WAIT)
        same(app.AsyncResult(result.id).state, "PENDING")

    @check
    def forget_removes_the_result():
        result = tasks.add.delay(1, 1)
        result.get(timeout=WAIT)
        result.forget()
        same(app.AsyncResult(result.id).state, "PENDING")

    @check
    def ids_of_a_single_task():
        result = tasks.ids.delay(7)
        same(result.get(timeout=WAIT), [7, result.id, None])

    @check
    def soft_time_limit():
        result = tasks.sleep.apply_async((30,), soft_time_limit=1.4, time_limit=25)
        with raising(SoftTimeLimitExceeded):
            result.get(timeout=20)

    @check
    def hard_time_limit():
        result = tasks.sleep.apply_async((30,), time_limit=1.6)
        with raising(TimeLimitExceeded):
            result.get(timeout=20)

    @check
    def compressed_and_msgpack_bodies():
        zipped = tasks.echo.apply_async(("z" * 500,), compression="zlib")
        same(zipped.get(timeout=WAIT), "z" * 500)
        packed = tasks.echo.apply_async(({"a": [1, "ü"]},), serializer="msgpack")
        same(packed.get(timeout=WAIT), {"a": [1, "ü"]})

    @check
    def protocol_1():
        app.conf.task_protocol = 1
        app.amqp.__dict__.pop("create_task_message", None)
        try:
            same(tasks.add.delay(20, 3).get(timeout=WAIT), 23)
        finally:
            app.conf.task_protocol = 2
            app.amqp.__dict__.pop("create_task_message", None)

    if is_rpc:
        # Replies are messages: nothing is there to be forgotten, and what is between may be missed.
        del found["forget_removes_the_result"], found["progress_is_a_state"]
    return found
