"""The task host, driven over its real protocol."""

from __future__ import annotations

import os
import signal
import statistics
import textwrap
import unittest

from driver import Worker, is_alive

DAG_FILE = textwrap.dedent(
    """
    import logging, os, subprocess, sys, time
    print("junk at import")
    sys.stderr.write("more junk\\n")
    os.write(1, b'{"op": "exited"}\\n')
    import datetime
    from decimal import Decimal
    from airflow import DAG
    from airflow.decorators import task
    from airflow.exceptions import AirflowFailException, AirflowSkipException
    from airflow.hooks.base import BaseHook
    from airflow.models import BaseOperator, Variable
    from airflow.sensors.base import PokeReturnValue
    from airflow.sensors.python import PythonSensor
    from airflow.operators.bash import BashOperator
    from airflow.operators.empty import EmptyOperator
    from airflow.operators.python import (
        BranchPythonOperator, PythonOperator, ShortCircuitOperator, get_current_context)

    def fail(context):
        print("callback saw", type(context["exception"]).__name__)

    class Greeter(BaseOperator):
        template_fields = ("name", "deep")
        def __init__(self, name, deep=None, **kwargs):
            super().__init__(**kwargs)
            self.name, self.deep = name, deep
        def execute(self, context):
            self.log.info("hello %s", self.name)
            return [self.name, self.deep]

    def noop():
        return None

    def show(ds, run_id, *, extra, **context):
        return {"ds": ds, "run": run_id, "extra": extra, "try": context["ti"].try_number,
                "next": context["next_ds"], "prev": context["prev_ds"],
                "ex": str(context["execution_date"]), "env": os.environ["AIRFLOW_CTX_TASK_ID"],
                "id": os.environ["TRADEWIND_ATTEMPT_ID"]}

    def boom():
        raise ValueError("no such number")

    with DAG("d", start_date=datetime.datetime(2024, 1, 1), schedule="@daily") as dag:
        PythonOperator(task_id="noop", python_callable=noop)
        PythonOperator(task_id="show", python_callable=show, op_kwargs={"extra": "{{ ds }}"})
        PythonOperator(task_id="boom", python_callable=boom, on_failure_callback=fail)
        PythonOperator(task_id="retry", python_callable=boom, on_retry_callback=[fail])
        PythonOperator(task_id="big", python_callable=lambda: "x" * 300000)
        PythonOperator(task_id="notjson", python_callable=lambda: {"a": [object()]})
        PythonOperator(task_id="exit3", python_callable=lambda: os._exit(3))
        PythonOperator(task_id="exit0", python_callable=lambda: os._exit(0))
        PythonOperator(task_id="sysexit", python_callable=lambda: sys.exit(0))
        PythonOperator(task_id="kill", python_callable=lambda: os.kill(os.getpid(), 9))
        Greeter(task_id="greet", name="{{ ds }}", deep={"a": [1, ("{{ x }}", 2)]})
        left, right, join, tail = (
            EmptyOperator(task_id=n) for n in ("left", "right", "join", "tail"))
        branch = BranchPythonOperator(task_id="branch", python_callable=lambda params: params["to"])
        branch >> [left, right, join]
        left >> join >> tail
        right >> join
        ShortCircuitOperator(task_id="short", python_callable=lambda: False) >> branch

        @task
        def skip():
            raise AirflowSkipException("nothing to do")

        @task
        def failhard():
            raise AirflowFailException("give up")

        @task(multiple_outputs=True)
        def produce():
            return {"when": datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
                    "amount": Decimal("1.50"), "pair": (1, 2), "tags": {"a"}}

        @task
        def consume(item, ti=None):
            ti.xcom_push("mine", 7)
            return {"got": repr(item), "own": ti.xcom_pull(task_ids="consume", key="mine"),
                    "many": ti.xcom_pull(task_ids=["noop", "absent"]),
                    "ctx": get_current_context()["ti"] is ti}

        @task
        def variables():
            return [Variable.get("a"), Variable.get("b", deserialize_json=True),
                    Variable.get("none", default_var="dflt"),
                    get_current_context()["var"]["value"].a]

        @task
        def connections():
            return BaseHook.get_connection("db").host

        @task
        def broken_variable():
            Variable.get("broken")

        @task
        def talk():
            print("out")
            print("err", file=sys.stderr)
            logging.getLogger("user").info("logged")
            subprocess.run(["sh", "-c", "echo from child; echo child err >&2"])

        @task
        def hang():
            child = subprocess.Popen(["sleep", "1000"])
            print(f"child {child.pid}", flush=True)
            time.sleep(1000)

        @task
        def leave_behind():
            child = subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
            print(f"child {child.pid}", flush=True)

        @task.bash(append_env=True, env={"WHO": "me"})
        def shell():
            return "echo first; echo $WHO"

        skip(); failhard(); consume(produce()["pair"]); variables(); talk(); hang()
        leave_behind(); shell(); broken_variable(); connections()
        asked = []
        def third_time(**context):
            asked.append(1)
            return PokeReturnValue(len(asked) == 3, xcom_value=len(asked))
        PythonSensor(task_id="waits", python_callable=third_time, poke_interval=0)
        PythonSensor(task_id="late", python_callable=lambda: False, timeout=0, poke_interval=1)
        PythonSensor(task_id="soft", python_callable=lambda: False, timeout=0, poke_interval=1,
                     soft_fail=True)
        BashOperator(task_id="sh", bash_command="echo {{ macros.nothing }}",
                     on_success_callback=lambda context: print("after success"))
        BashOperator(task_id="sh99", bash_command="exit 99", on_success_callback=lambda c: None)
    """
)


class HostTest(unittest.TestCase):
    """One host for all tests that do not harm it."""

    @classmethod
    def setUpClass(cls):
        cls.worker = Worker({"d.py": DAG_FILE})

    @classmethod
    def tearDownClass(cls):
        cls.worker.__exit__()

    def go(self, task_id: str, **more):
        return self.worker.run("d.py", "d", task_id, **more)

    def test_context_and_rendered_values(self):
        rendered = [{"path": ["op_kwargs", "extra"], "value": "2024-01-02"}]
        attempt = self.go("show", rendered=rendered)
        self.assertEqual(attempt.done["state"], "success", attempt.text)
        value = attempt.values()["return_value"]
        self.assertEqual(value["ds"], "2024-01-02")
        self.assertEqual(value["extra"], "2024-01-02")
        self.assertEqual((value["prev"], value["next"]), ("2024-01-01", "2024-01-03"))
        self.assertEqual(value["ex"], "2024-01-02T00:00:00+00:00")
        self.assertEqual((value["env"], value["id"]), ("show", attempt.id))

    def test_rendered_values_are_put_by_path(self):
        rendered = [
            {"path": ["name"], "value": "you"},
            {"path": ["deep", "a", 1, 0], "value": "inner"},
        ]
        attempt = self.go("greet", rendered=rendered)
        value = attempt.values()["return_value"]
        self.assertEqual(value[0], "you")
        self.assertEqual(value[1]["a"][1], {"__type": "tuple", "__var": ["inner", 2]})
        self.assertIn("hello you", attempt.text)

    def test_failure_has_traceback_and_callback(self):
        attempt = self.go("boom")
        self.assertEqual(attempt.done["state"], "failed")
        self.assertEqual(attempt.done["message"], "ValueError: no such number")
        self.assertIn("in boom", attempt.text)
        self.assertNotIn("execution.py", attempt.text)
        self.assertIn("callback saw ValueError", attempt.text)

    def test_retry_callback_while_tries_are_left(self):
        attempt = self.go("retry", context={"max_tries": 1})
        self.assertIn("callback saw ValueError", attempt.text)
        attempt = self.go("retry", context={"max_tries": 1, "try_number": 2})
        self.assertNotIn("callback saw", attempt.text)

    def test_skip_and_fail_exceptions(self):
        self.assertEqual(self.go("skip").done["state"], "skipped")
        attempt = self.go("failhard")
        self.assertEqual(attempt.done["state"], "failed_no_retry")
        self.assertIn("give up", attempt.done["message"])

    def test_xcom_limits_and_types(self):
        big = self.go("big")
        self.assertEqual(big.done["state"], "failed")
        self.assertIn("262144", big.done["message"])
        self.assertEqual(big.done["xcoms"], [])
        bad = self.go("notjson")
        self.assertEqual(bad.done["state"], "failed")
        self.assertIn("value['a'][0] is a builtins.object", bad.done["message"])

    def test_xcoms_flow_between_tasks(self):
        produced = self.go("produce").values()
        self.assertEqual(produced["amount"], {"__type": "decimal", "__var": "1.50"})
        self.assertEqual(set(produced["return_value"]), {"when", "amount", "pair", "tags"})
        self.worker.xcoms["produce", "pair"] = produced["pair"]
        self.worker.xcoms["noop", "return_value"] = 5
        attempt = self.go("consume")
        self.assertEqual(attempt.done["state"], "success", attempt.text)
        self.assertEqual(
            attempt.values()["return_value"],
            {"got": "(1, 2)", "own": 7, "many": [5, None], "ctx": True},
        )
        asked = [r for r in self.worker.requests if r["type"] == "xcom"]
        self.assertEqual(asked[-1]["run_id"], "scheduled__2024-01-02T00:00:00+00:00")

    def test_variables_come_from_the_worker(self):
        self.worker.variables.update(a="1", b='{"x": 2}')
        attempt = self.go("variables")
        self.assertEqual(attempt.values()["return_value"], ["1", {"x": 2}, "dflt", "1"])
        broken = self.go("broken_variable")
        self.assertEqual(broken.done["state"], "failed")
        self.assertIn("store away", broken.done["message"])

    def test_connections_come_from_the_environment(self):
        attempt = self.go("connections")
        self.assertEqual(attempt.done["state"], "failed")
        self.assertIn("AIRFLOW_CONN_DB", attempt.done["message"])

    def test_sensors_wait_inside_their_process(self):
        self.assertEqual(self.go("waits").values()["return_value"], 3)
        self.assertIn("AirflowSensorTimeout", self.go("late").done["message"])
        self.assertEqual(self.go("soft").done["state"], "skipped")

    def test_branch_skips_what_was_not_chosen(self):
        attempt = self.go("branch", context={"params": {"to": "left"}})
        self.assertEqual(attempt.done["skip"], ["right"])
        attempt = self.go("branch", context={"params": {"to": ["left", "right"]}})
        self.assertEqual(attempt.done["skip"], [])
        for nothing in (None, []):
            attempt = self.go("branch", context={"params": {"to": nothing}})
            self.assertEqual(attempt.done["skip"], ["join", "left", "right"])
        attempt = self.go("branch", context={"params": {"to": "nowhere"}})
        self.assertEqual(attempt.done["state"], "failed")
        self.assertIn("nowhere", attempt.done["message"])

    def test_short_circuit_skips_everything_downstream(self):
        attempt = self.go("short")
        self.assertEqual(attempt.done["skip"], ["branch", "join", "left", "right", "tail"])

    def test_crashes_are_reported_with_their_cause(self):
        attempt = self.go("exit3")
        self.assertEqual((attempt.exited["code"], attempt.done), (3, None))
        attempt = self.go("exit0")
        self.assertEqual(attempt.exited["code"], 0)
        attempt = self.go("kill")
        self.assertEqual(attempt.exited["code"], -9)
        self.assertIn("SIGKILL", attempt.exited["error"])
        attempt = self.go("sysexit")
        self.assertEqual(attempt.done["state"], "failed")

    def test_log_has_output_of_task_and_children(self):
        text = self.go("talk").text
        for line in ("out\n", "err\n", "logged\n", "from child\n", "child err\n"):
            self.assertIn(line, text)
        self.assertNotIn("junk", text)

    def test_bash_in_python(self):
        attempt = self.go("shell")
        self.assertEqual(attempt.done["state"], "success", attempt.text)
        self.assertEqual(attempt.values()["return_value"], "me")
        rendered = [{"path": ["bash_command"], "value": "echo $AIRFLOW_CTX_DAG_ID"}]
        attempt = self.go("sh", rendered=rendered)
        self.assertEqual(attempt.values()["return_value"], "d")
        self.assertIn("after success", attempt.text)
        self.assertEqual(self.go("sh99").done["state"], "skipped")

    def test_unrendered_fields_use_jinja_or_say_why_not(self):
        item = {"path": ["name"], "source": "{{ [ds, 1] | join('-') }}", "error": "no filter"}
        attempt = self.go("greet", mode="render", unrendered=[item])
        try:
            import jinja2  # noqa: F401
        except ImportError:
            self.assertEqual(attempt.done["state"], "failed")
            self.assertIn("name could not be rendered: no filter", attempt.done["message"])
            return
        self.assertEqual(attempt.done["state"], "success", attempt.text)
        expected = [{"path": ["name"], "value": "2024-01-02-1"}]
        self.assertEqual(attempt.done["rendered"], expected)
        self.assertEqual(attempt.done["xcoms"], [])
        item = {"path": ["name"], "source": "{{ missing }}", "error": "?"}
        attempt = self.go("greet", unrendered=[item])
        self.assertIn("name could not be rendered", attempt.done["message"])

    def test_what_a_task_leaves_behind_is_killed(self):
        attempt = self.go("leave_behind")
        child = int(attempt.text.split("child ")[1].split()[0])
        self.worker.wait(lambda: not is_alive(child))

    def test_unknown_task(self):
        attempt = self.go("absent")
        self.assertEqual(attempt.done["state"], "failed")
        self.assertIn("no task 'absent'", attempt.done["message"])

    def test_sigterm_runs_on_kill_and_fails_the_task(self):
        attempt = self.worker.start("d.py", "d", "hang")
        self.worker.wait(lambda: b"child" in attempt.log)
        os.kill(attempt.pid, signal.SIGTERM)
        self.worker.wait(lambda: attempt.done)
        self.assertIn("SIGTERM", attempt.done["message"])

    def test_many_at_once(self):
        attempts = [self.worker.start("d.py", "d", "noop") for _ in range(40)]
        self.worker.wait(lambda: all(a.done for a in attempts))
        self.assertEqual({a.done["state"] for a in attempts}, {"success"})

    def test_latency(self):
        self.go("noop")
        seconds = [self.go("noop").seconds for _ in range(30)]
        median = statistics.median(seconds) * 1000
        print(f"run command to done frame: median {median:.1f} ms, best {min(seconds) * 1000:.1f}")
        # A loaded machine must not fail the suite; 15 ms is the goal on a quiet one.
        self.assertLess(median, 150)


SMALL = textwrap.dedent(
    """
    from airflow.sdk import DAG, task
    with DAG("{dag}"):
        @task
        def which():
            return "{value}"
        which()
    """
)


class LifecycleTest(unittest.TestCase):
    """Hosts that are stopped, starved or fed broken files."""

    def test_two_versions_of_one_file(self):
        with Worker({"v.py": SMALL.format(dag="v", value="one")}) as worker:
            first = worker.spec("v.py")["dags"][0]["source_hash"]
            one = worker.run("v.py", "v", "which", source_hash=first)
            worker.write("v.py", SMALL.format(dag="v", value="two"))
            second = worker.spec("v.py")["dags"][0]["source_hash"]
            two = worker.run("v.py", "v", "which", source_hash=second)
            again = worker.run("v.py", "v", "which", source_hash=first)
            values = [a.values()["return_value"] for a in (one, two, again)]
            self.assertEqual(values, ["one", "two", "one"])
            skewed = worker.run("v.py", "v", "which", source_hash="0" * 64)
            self.assertEqual(skewed.values()["return_value"], "two")
            self.assertIn("differs from the version scheduled", skewed.text)

    def test_import_failure_is_told_to_every_attempt(self):
        with Worker({"bad.py": "import airflow\nraise RuntimeError('broken file')\n"}) as worker:
            attempts = [worker.start("bad.py", "x", "y") for _ in range(3)]
            worker.wait(lambda: all(a.exited for a in attempts))
            for attempt in attempts:
                self.assertEqual(attempt.exited["code"], 1)
                self.assertIn("bad.py, line 2", attempt.exited["error"])
                self.assertIn("broken file", attempt.exited["error"])
            missing = worker.run("absent.py", "x", "y", source_hash="1" * 64)
            self.assertIn("absent.py", missing.exited["error"])
            worker.write("bad.py", SMALL.format(dag="x", value="mended"))
            mended = worker.run("bad.py", "x", "which")
            self.assertEqual(mended.values()["return_value"], "mended")

    def test_least_recently_used_zygotes_end_when_idle(self):
        files = {f"f{n}.py": SMALL.format(dag=f"f{n}", value=n) for n in range(4)}
        with Worker(files, "--max-zygotes", "2") as worker:
            for n in (0, 1, 2, 3, 0):
                attempt = worker.run(f"f{n}.py", f"f{n}", "which")
                self.assertEqual(attempt.values()["return_value"], str(n))
            # Not even as zombies.
            worker.wait(lambda: len(all_children(worker.host.pid)) <= 2)

    def test_death_of_the_worker_kills_everything(self):
        for how in ("close stdin", "kill root", "stop"):
            with self.subTest(how), Worker({"d.py": DAG_FILE}) as worker:
                attempt = worker.start("d.py", "d", "hang")
                worker.wait(lambda a=attempt: b"child" in a.log)
                child = int(attempt.text.split("child ")[1].split()[0])
                zygotes = children(worker.host.pid)
                pids = [*zygotes, attempt.pid, child]
                self.assertTrue(all(map(is_alive, pids)))
                if how == "close stdin":
                    worker.host.stdin.close()
                elif how == "kill root":
                    worker.host.kill()
                else:
                    worker.command(op="stop")
                worker.wait(lambda p=pids: not any(map(is_alive, p)))
                code = worker.host.wait(10)
                self.assertEqual(code, -9 if how == "kill root" else 0)

    def test_death_of_a_zygote_is_reported(self):
        with Worker({"d.py": DAG_FILE}) as worker:
            attempt = worker.start("d.py", "d", "hang")
            worker.wait(lambda: b"child" in attempt.log)
            os.kill(children(worker.host.pid)[0], signal.SIGKILL)
            worker.wait(lambda: attempt.exited and not is_alive(attempt.pid))
            self.assertEqual(worker.run("d.py", "d", "noop").done["state"], "success")

    def test_slow_import_dies_with_the_root(self):
        slow = "import time, os\nopen(os.environ['MARK'], 'w').close()\ntime.sleep(1000)\n"
        with Worker({"slow.py": "", "m.py": ""}) as worker:
            mark = worker.folder / "mark"
            worker.write("slow.py", slow.replace("os.environ['MARK']", repr(str(mark))))
            worker.start("slow.py", "x", "y")
            worker.wait(mark.exists)
            zygotes = children(worker.host.pid)
            worker.host.stdin.close()
            worker.wait(lambda: not any(map(is_alive, zygotes)))

    def test_import_that_takes_too_long(self):
        files = {"slow.py": "import time\ntime.sleep(1000)\n"}
        with Worker(files, "--import-timeout", "0.2") as worker:
            attempt = worker.run("slow.py", "x", "y")
            self.assertIn("took more than 0.2 s", attempt.exited["error"])
            worker.wait(lambda: not all_children(worker.host.pid))

    def test_junk_on_stdin_is_ignored(self):
        with Worker({"s.py": SMALL.format(dag="s", value="fine")}) as worker:
            worker.host.stdin.write(b"nonsense\n[1]\n" + b'{"op": "dance"}\n')
            worker.host.stdin.flush()
            self.assertEqual(worker.run("s.py", "s", "which").values()["return_value"], "fine")


def all_children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def children(pid: int) -> list[int]:
    return [child for child in all_children(pid) if is_alive(child)]


if __name__ == "__main__":
    unittest.main()
