"""Checks of what follows a task: links, chains, groups, chords."""

import uuid

from celery import chain, chord, group
from celery.exceptions import ChordError
from celery.result import GroupResult, result_from_tuple

import fleet_app as tasks
from checks_tasks import WAIT, raising, same, until


def checks(app):
    """Name → check."""
    found = {}

    def check(function):
        found[function.__name__] = function
        return function

    @check
    def link_and_children():
        result = tasks.add.apply_async((1, 1), link=tasks.mul.s(10))
        same(result.get(timeout=WAIT), 2)
        same(len(result.children), 1)
        same(result.children[0].get(timeout=WAIT), 20)

    @check
    def immutable_link():
        result = tasks.add.apply_async((1, 1), link=tasks.mul.si(3, 4))
        result.get(timeout=WAIT)
        same(result.children[0].get(timeout=WAIT), 12)

    @check
    def errback_gets_the_failed_id():
        # Its reply goes to us: with rpc, only what was asked for by this client can be read.
        mark = f"errback-{uuid.uuid4()}"
        errback = tasks.echo.s().set(task_id=mark, reply_to=app.thread_oid)
        app.backend.on_task_call(app.amqp.producer_pool.acquire(block=True), mark)
        result = tasks.fail.apply_async(("x",), link_error=errback)
        with raising(ValueError):
            result.get(timeout=WAIT)
        same(app.AsyncResult(mark).get(timeout=WAIT), result.id)

    @check
    def chain_of_three():
        result = chain(tasks.add.s(1, 1), tasks.mul.s(10), tasks.add.s(3)).apply_async()
        same(result.get(timeout=WAIT), 23)
        same(result.parent.get(timeout=WAIT), 20)
        same(result.parent.parent.get(timeout=WAIT), 2)

    @check
    def chain_has_root_and_parents():
        result = chain(
            tasks.ids.si(1), tasks.collect_ids.s(2), tasks.collect_ids.s(3)
        ).apply_async()
        [[first, second], third] = result.get(timeout=WAIT)
        one, two = result.parent.parent.id, result.parent.id
        same((first, second, third), ([1, one, None], [2, one, one], [3, one, two]))

    @check
    def chain_stops_at_a_failure():
        result = chain(tasks.add.s(1, 1), tasks.fail.si("no"), tasks.add.s(3)).apply_async()
        with raising(ValueError):
            result.get(timeout=WAIT)

    @check
    def long_chain():
        result = chain(tasks.add.s(0, 1), *[tasks.add.s(1) for _ in range(19)]).apply_async()
        same(result.get(timeout=WAIT), 20)

    @check
    def group_of_ten():
        result = group(tasks.add.s(n, n) for n in range(10)).apply_async()
        same(result.get(timeout=WAIT), [2 * n for n in range(10)])
        same((result.completed_count(), result.successful()), (10, True))

    @check
    def chunks_map_and_starmap():
        pairs = [(n, n) for n in range(6)]
        same(tasks.add.chunks(pairs, 3).apply_async().get(timeout=WAIT), [[0, 2, 4], [6, 8, 10]])
        same(tasks.echo.map([1, 2]).apply_async().get(timeout=WAIT), [1, 2])
        same(tasks.add.starmap(pairs[:2]).apply_async().get(timeout=WAIT), [0, 2])

    if app.conf.result_backend.startswith("rpc"):
        # Celery's rpc results know no chords and no stored groups, and the result of a link goes to
        # the worker that sent it.
        del found["link_and_children"], found["immutable_link"]
        return found

    @check
    def chunks_by_name():
        call = {"task": tasks.add.s(), "it": [[n, n] for n in range(5)], "n": 2}
        group_tuple = app.send_task("celery.chunks", kwargs=call).get(timeout=WAIT)
        sent = result_from_tuple(group_tuple, app=app)
        # A second `get` in one check may wait for ever in Celery 5.6; looking does not.
        until("the chunks", sent.ready)
        same([part.result for part in sent.results], [[0, 2], [4, 6], [8]])

    @check
    def group_is_saved_and_restored():
        result = group(tasks.add.s(n, n) for n in range(3)).apply_async()
        result.save()
        same(result.get(timeout=WAIT), [0, 2, 4])
        same(GroupResult.restore(result.id, app=app).get(timeout=WAIT), [0, 2, 4])

    @check
    def chord_of_ten():
        result = chord((tasks.add.s(n, n) for n in range(10)), tasks.tsum.s()).apply_async()
        same(result.get(timeout=WAIT), 90)

    @check
    def chord_keeps_numbers():
        numbers = [2**70, -(2**65), 0.1 + 0.2, 2**53 + 1]
        result = chord([tasks.echo.s(number) for number in numbers], tasks.echo.s()).apply_async()
        same(result.get(timeout=WAIT), numbers)

    @check
    def chord_of_one():
        result = chord([tasks.add.s(1, 1)], tasks.tsum.s()).apply_async()
        same(result.get(timeout=WAIT), 2)

    @check
    def chord_with_a_failed_part():
        result = chord([tasks.add.s(1, 1), tasks.fail.s("no")], tasks.tsum.s()).apply_async()
        # The client looks at the parts first, and raises what it finds there.
        with raising((ChordError, ValueError)):
            result.get(timeout=WAIT)
        # Looked up, not waited for: two handles of one result confuse each other in Celery 5.6.
        until("the body to fail", lambda: app.AsyncResult(result.id).state == "FAILURE")
        found = app.AsyncResult(result.id).result
        assert isinstance(found, ChordError), repr(found)

    @check
    def chord_in_a_chain():
        result = chain(
            tasks.add.s(1, 1), group(tasks.mul.s(2), tasks.mul.s(3)), tasks.tsum.s(), tasks.add.s(1)
        ).apply_async()
        same(result.get(timeout=WAIT), 11)

    @check
    def chord_at_the_end_of_a_chain():
        result = chain(
            tasks.add.s(1, 1), group(tasks.mul.s(2), tasks.mul.s(3)), tasks.tsum.s()
        ).apply_async()
        same(result.get(timeout=WAIT), 10)

    @check
    def chord_of_chains():
        parts = [chain(tasks.add.s(n, 1), tasks.mul.s(10)) for n in range(3)]
        same(chord(parts, tasks.tsum.s()).apply_async().get(timeout=WAIT), 60)

    @check
    def chord_of_chords():
        inner = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.tsum.s())
        result = chord([inner, tasks.add.s(3, 3)], tasks.tsum.s()).apply_async()
        same(result.get(timeout=WAIT), 12)

    @check
    def group_after_a_task():
        result = chain(tasks.add.s(1, 1), group(tasks.mul.s(2), tasks.mul.s(3))).apply_async()
        same(result.get(timeout=WAIT), [4, 6])

    @check
    def chord_with_retries():
        result = chord([tasks.retry_once.si(), tasks.add.s(1, 1)], tasks.tsum.s()).apply_async()
        same(result.get(timeout=WAIT), 3)

    return found
