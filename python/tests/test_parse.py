"""DAG files of all generations through the parser, as the scheduler starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest
import zipfile
from pathlib import Path

from driver import PYTHON

OLD = """
    from airflow import DAG
    from airflow.operators.bash_operator import BashOperator
    from airflow.operators.python_operator import PythonOperator
    from airflow.utils.dates import days_ago
    from datetime import timedelta

    args = {"owner": "ana", "retries": 3, "retry_delay": timedelta(minutes=2), "unused": 1}
    print("hello from the file")
    dag = DAG("old", "An ETL", "@daily", default_args=args, start_date=days_ago(2), concurrency=4)
    def f(**context): pass
    e = BashOperator(task_id="extract", bash_command="echo {{ ds }}", dag=dag, retries=1)
    t = PythonOperator(task_id="transform", python_callable=f, provide_context=True, dag=dag,
                       templates_dict={"a": ["{{ ds }}"]})
    l = BashOperator(task_id="load", bash_command="echo x", dag=dag, trigger_rule="dummy")
    e >> t
    l.set_upstream(t)
"""

NEW = """
    import datetime
    from airflow.sdk import DAG, Label, Param, TaskGroup, TriggerRule, chain, task
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.providers.standard.operators.empty import EmptyOperator
    with DAG("new", schedule=datetime.timedelta(hours=6), params={"n": Param(3, type="integer")},
             start_date=datetime.datetime(2024, 1, 1), max_active_tasks=5, fail_fast=True):
        with TaskGroup("g") as g:
            a = EmptyOperator(task_id="a")
            b = EmptyOperator(task_id="b", trigger_rule=TriggerRule.ALL_DONE)
            a >> Label("then") >> b
        @task(multiple_outputs=True, queue="gpu", retry_exponential_backoff=True)
        def make(): "Makes."
        @task
        def use(x): ...
        made = make()
        use(made["k"]) >> g
        use.override(task_id="use_again")(made)
        use(1)
        BashOperator(task_id="sh", bash_command=made, env={"A": "x"}, execution_timeout=90)
"""


def parse(files: dict, name: str | None = None, env: dict | None = None) -> dict:
    """Writes files to a DAGs folder and parses the first, or the named one."""
    with tempfile.TemporaryDirectory() as folder:
        for file, text in files.items():
            path = Path(folder, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        out = Path(folder, "out.json")
        command = [sys.executable, "-m", "tradewind_host.parse", "--dags-folder", folder]
        command += ["--file", name or next(iter(files)), "--out", str(out)]
        env = {**os.environ, "PYTHONPATH": PYTHON, **(env or {})}
        subprocess.run(command, check=True, env=env, capture_output=True, timeout=60)
        return json.loads(out.read_text())


def archive(files: dict) -> bytes:
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w") as bundle:
            for name, text in files.items():
                bundle.writestr(name, textwrap.dedent(text))
        file.seek(0)
        return file.read()


def dag_file(body: str, head: str = "") -> str:
    """A 2.x file with one DAG around `body`."""
    lines = [
        "from datetime import datetime, timedelta",
        "from airflow import DAG",
        "from airflow.decorators import dag, task",
        "from airflow.models import BaseOperator, Variable",
        "from airflow.models.baseoperator import chain, chain_linear, cross_downstream",
        "from airflow.operators.bash import BashOperator",
        "from airflow.operators.empty import EmptyOperator",
        "from airflow.operators.python import PythonOperator",
        *textwrap.dedent(head).splitlines(),
        "with DAG('d', start_date=datetime(2024, 1, 1), schedule=None) as d:",
        *textwrap.indent(textwrap.dedent(body), "    ").splitlines(),
    ]
    return "\n".join(lines) + "\n"


class GenerationsTest(unittest.TestCase):
    def test_old_style(self):
        parsed = parse({"old.py": OLD})
        self.assertIsNone(parsed["error"])
        (dag,) = parsed["dags"]
        self.assertEqual((dag["dag_id"], dag["generation"]), ("old", "1.10"))
        self.assertEqual(
            dag["schedule"],
            {"kind": "cron", "expr": "0 0 * * *", "timezone": "UTC", "interval": True},
        )
        self.assertEqual((dag["schedule_text"], dag["description"]), ("@daily", "An ETL"))
        self.assertTrue(dag["catchup"])
        self.assertEqual((dag["max_active_tasks"], dag["max_active_tasks_per_run"]), (4, False))
        extract, transform, load = dag["tasks"]
        self.assertEqual([extract["retries"], transform["retries"]], [1, 3])
        self.assertEqual((transform["retry_delay"], transform["owner"]), (120.0, "ana"))
        self.assertEqual(
            transform["templates"], [{"path": ["templates_dict", "a", 0], "source": "{{ ds }}"}]
        )
        self.assertEqual([load["trigger_rule"], load["upstream"]], ["always", ["transform"]])
        self.assertEqual([extract["runtime"], transform["runtime"]], ["bash", "python"])

    def test_new_style(self):
        parsed = parse({"new.py": NEW})
        self.assertIsNone(parsed["error"])
        (dag,) = parsed["dags"]
        self.assertEqual(dag["generation"], "3")
        self.assertEqual(dag["schedule"], {"kind": "delta", "seconds": 21600.0, "interval": False})
        self.assertFalse(dag["catchup"])
        self.assertTrue(dag["max_active_tasks_per_run"] and dag["fail_fast"])
        self.assertEqual(dag["params"], {"n": 3})
        tasks = {t["task_id"]: t for t in dag["tasks"]}
        upstream = {name: t["upstream"] for name, t in tasks.items()}
        self.assertEqual(
            upstream,
            {
                "g.a": ["use"],
                "g.b": ["g.a"],
                "make": [],
                "use": ["make"],
                "use_again": ["make"],
                "use__1": [],
                "sh": ["make"],
            },
        )
        self.assertEqual((tasks["make"]["queue"], tasks["g.a"]["runtime"]), ("gpu", "empty"))
        self.assertEqual(tasks["make"]["retry_exponential_backoff"], 2.0)
        self.assertEqual(tasks["sh"]["execution_timeout"], 90.0)
        self.assertIn("task_ids='make'", tasks["sh"]["templates"][0]["source"])
        self.assertEqual(tasks["make"]["doc_md"], "Makes.")

    def test_detection(self):
        cases = {
            "from airflow.utils.dates import days_ago": "1.10",
            "from airflow.utils.dates import days_ago\nimport airflow.operators.bash": "2",
            "from airflow.operators import BashOperator": "1.10",
            "from airflow.operators import bash": "2",
            "from airflow.operators.dummy_operator import DummyOperator": "1.10",
            "from airflow.decorators import task": "2",
            "import airflow\nairflow.utils.dates.days_ago(1)": "1.10",
            "import airflow.sdk": "3",
            "": "2",
        }
        for head, generation in cases.items():
            text = f"{head}\nfrom airflow import DAG\nd = DAG('d', schedule_interval=None)\n"
            parsed = parse({"f.py": text})
            self.assertEqual(parsed["dags"][0]["generation"], generation, head)
        text = "from airflow import DAG\nd = DAG('d', 'text', None)\n"
        self.assertEqual(parse({"f.py": text})["dags"][0]["generation"], "1.10")

    def test_schedules(self):
        cases = {
            "schedule='@once'": {"kind": "once"},
            "schedule='@continuous', max_active_runs=1": {"kind": "continuous"},
            "schedule=None": {"kind": "none"},
            "schedule='5 4 * * sun'": {
                "kind": "cron",
                "expr": "5 4 * * sun",
                "timezone": "Europe/Lisbon",
                "interval": True,
            },
            "": {"kind": "delta", "seconds": 86400.0, "interval": True},
        }
        for argument, schedule in cases.items():
            text = f"""
                from zoneinfo import ZoneInfo
                from datetime import datetime
                from airflow import DAG
                d = DAG("d", start_date=datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/Lisbon")),
                        end_date=datetime(2024, 8, 1), {argument})
            """
            (dag,) = parse({"f.py": text})["dags"]
            self.assertEqual(dag["schedule"], schedule)
            self.assertEqual(dag["timezone"], "Europe/Lisbon")
            self.assertEqual(dag["start_date"], "2024-07-01T00:00:00+01:00")
            self.assertEqual(dag["end_date"], "2024-08-01T00:00:00+01:00")

    def test_start_date_from_tasks_and_default_args(self):
        text = """
            from datetime import datetime
            from airflow import DAG
            from airflow.operators.empty import EmptyOperator
            a = DAG("a", schedule="@daily", default_args={"start_date": "2024-02-01"})
            with DAG("b", schedule="@daily") as b:
                EmptyOperator(task_id="x", start_date=datetime(2024, 3, 2))
                EmptyOperator(task_id="y", start_date=datetime(2024, 3, 1))
        """
        dags = parse({"f.py": text})["dags"]
        self.assertEqual(
            [d["start_date"] for d in dags],
            ["2024-02-01T00:00:00+00:00", "2024-03-01T00:00:00+00:00"],
        )


class StructureTest(unittest.TestCase):
    def edges(self, body: str, head: str = "") -> dict:
        parsed = parse({"f.py": dag_file(body, head)})
        self.assertIsNone(parsed["error"])
        return {t["task_id"]: t["upstream"] for t in parsed["dags"][0]["tasks"]}

    def test_edge_forms(self):
        body = """
            a, b, c, d, e, f = (EmptyOperator(task_id=n) for n in "abcdef")
            a >> [b, c] >> d
            [e, f] << d
        """
        expected = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d"], "f": ["d"]}
        self.assertEqual(self.edges(body), expected)
        body = """
            a, b, c, d, e, f = (EmptyOperator(task_id=n) for n in "abcdef")
            chain(a, [b, c], [d, e], f)
        """
        expected = {"a": [], "b": ["a"], "c": ["a"], "d": ["b"], "e": ["c"], "f": ["d", "e"]}
        self.assertEqual(self.edges(body), expected)
        body = """
            a, b, c, d, e, f = (EmptyOperator(task_id=n) for n in "abcdef")
            chain_linear(a, [b, c], [d, e])
            cross_downstream([d, e], [f])
        """
        expected = {
            "a": [],
            "b": ["a"],
            "c": ["a"],
            "d": ["b", "c"],
            "e": ["b", "c"],
            "f": ["d", "e"],
        }
        self.assertEqual(self.edges(body), expected)

    def test_nested_groups_and_group_decorator(self):
        head = """
            from airflow.decorators import task_group
            from airflow.utils.task_group import TaskGroup
        """
        body = """
            with TaskGroup("o") as o:
                with TaskGroup("i") as i:
                    x = EmptyOperator(task_id="x")
                with TaskGroup("p", prefix_group_id=False):
                    y = EmptyOperator(task_id="y")
                i >> y
            @task_group
            def again():
                EmptyOperator(task_id="z")
            again() >> o >> again()
        """
        expected = {
            "o.i.x": ["again.z"],
            "y": ["o.i.x"],
            "again.z": [],
            "again__1.z": ["y"],
        }
        self.assertEqual(self.edges(body, head), expected)

    def test_default_args_reach_user_operators(self):
        head = """
            class Mine(BaseOperator):
                template_fields = ("sql",)
                template_ext = (".sql",)
                def __init__(self, sql, conn="none", **kwargs):
                    super().__init__(**kwargs)
                    self.sql, self.conn = sql, conn
            class Sub(Mine):
                def __init__(self, *, limit, **kwargs):
                    super().__init__(**kwargs)
                    self.sql += str(limit)
        """
        body = """
            d.default_args.update(conn="pg", limit=5, pool="db", weight_rule="absolute")
            s = Sub(task_id="s", sql="select {{ ds }} limit ")
            assert s.conn == "pg"
            Mine(task_id="f", sql="q.sql")
        """
        files = {"f.py": dag_file(body, head), "q.sql": "select 1"}
        first, second = parse(files)["dags"][0]["tasks"]
        self.assertEqual((first["pool"], first["weight_rule"]), ("db", "absolute"))
        self.assertEqual(first["templates"][0]["source"], "select {{ ds }} limit 5")
        self.assertEqual(second["templates"], [{"path": ["sql"], "source": "select 1"}])
        self.assertEqual((first["operator"], first["runtime"]), ("Sub", "python"))

    def test_setup_and_teardown(self):
        body = """
            make, use, drop = (EmptyOperator(task_id=n) for n in ("make", "use", "drop"))
            make >> use >> drop.as_teardown(setups=make, on_failure_fail_dagrun=True)
        """
        tasks = parse({"f.py": dag_file(body)})["dags"][0]["tasks"]
        self.assertTrue(tasks[0]["is_setup"])
        self.assertTrue(tasks[2]["is_teardown"] and tasks[2]["on_failure_fail_dagrun"])
        self.assertEqual(tasks[2]["trigger_rule"], "all_done_setup_success")
        self.assertEqual(tasks[2]["upstream"], ["make", "use"])

    def test_runtimes(self):
        body = """
            BashOperator(task_id="plain", bash_command="x", skip_exit_code=7, cwd="/tmp")
            BashOperator(task_id="calls", bash_command="x", on_failure_callback=print)
            EmptyOperator(task_id="empty")
            EmptyOperator(task_id="hook", on_success_callback=print)
        """
        tasks = {t["task_id"]: t for t in parse({"f.py": dag_file(body)})["dags"][0]["tasks"]}
        runtimes = {name: t["runtime"] for name, t in tasks.items()}
        self.assertEqual(
            runtimes, {"plain": "bash", "calls": "python", "empty": "empty", "hook": "python"}
        )
        self.assertEqual(tasks["plain"]["args"]["skip_on_exit_code"], [7])
        self.assertEqual(tasks["plain"]["args"]["cwd"], "/tmp")

    def test_dag_decorator_and_which_dags_count(self):
        text = """
            from datetime import datetime
            from airflow import DAG
            from airflow.decorators import dag, task
            @dag(start_date=datetime(2024, 1, 1), schedule=None, tags=["b", "a"])
            def decorated(limit=5):
                "Doc."
                @task.bash
                def show(x): return f"echo {x}"
                show(limit)
            decorated()
            def hidden():
                DAG("hidden", schedule=None)
            hidden()
            kept = DAG("kept", schedule=None)
        """
        dags = parse({"f.py": text})["dags"]
        self.assertEqual([d["dag_id"] for d in dags], ["decorated", "kept"])
        self.assertEqual((dags[0]["params"], dags[0]["doc_md"]), ({"limit": 5}, "Doc."))
        self.assertEqual(dags[0]["tags"], ["b", "a"])


class ErrorsTest(unittest.TestCase):
    def error(self, text: str, **files) -> dict:
        parsed = parse({"f.py": text, **files})
        self.assertIsNotNone(parsed["error"], parsed)
        return parsed["error"]

    def body_error(self, body: str) -> tuple[str, str]:
        """(message, source line)."""
        text = dag_file(body)
        error = self.error(text)
        self.assertIsNotNone(error["line"], error)
        return error["message"], text.splitlines()[error["line"] - 1].strip()

    def test_syntax_error(self):
        error = self.error("from airflow import DAG\nif True\n  pass\n")
        self.assertEqual(error["line"], 2)
        self.assertTrue(error["message"].startswith("SyntaxError"), error)

    def test_error_in_helper_module(self):
        helper = "def f():\n    raise KeyError('lost')\n"
        error = self.error("import helper\n\nhelper.f()\n", **{"helper.py": helper})
        self.assertEqual((error["line"], error["message"]), (3, "KeyError: 'lost'"))
        self.assertIn("helper.py", error["detail"])
        self.assertNotIn("loader.py", error["detail"])
        error = self.error("import airflow\nimport helper\n", **{"helper.py": "x = = 1\n"})
        self.assertEqual(error["line"], 2)
        self.assertIn("helper.py, line 1", error["message"])

    def test_cycle(self):
        body = """
            a, b, c = (EmptyOperator(task_id=n) for n in "abc")
            a >> b >> c
            c >> a
        """
        message, line = self.body_error(body)
        self.assertIn("a >> b >> c >> a", message)
        self.assertEqual(line, "c >> a")

    def test_messages_and_lines(self):
        cases = {
            "EmptyOperator(task_id='x', trigger_rule='most')": "trigger_rule 'most'",
            "EmptyOperator(task_id='x y')": "task_id 'x y'",
            "EmptyOperator(task_id='x', bogus=1)": "bogus",
            "BashOperator(task_id='x')": "bash_command",
            "BashOperator(task_id='x', bash_command='run.sh')": "template file 'run.sh'",
            "EmptyOperator(task_id='x', retries='many')": "retries",
            "EmptyOperator(task_id='x', params={'a': object()})": "params of task 'x'",
            "PythonOperator(task_id='x', python_callable=3)": "callable",
            "PythonOperator.partial(task_id='x')": "mapping",
            "task(lambda a: a)()": "missing a required argument: 'a'",
            "DAG('e', bogus=1)": "bogus",
            "DAG('e', schedule='@dayly')": "'@dayly'",
            "DAG('e', schedule='* *')": "'* *'",
            "DAG('e', schedule='@daily', schedule_interval=None)": "only one",
            "Variable.get('nope')": "AIRFLOW_VAR_NOPE",
            "import airflow.providers.amazon": "not part of Tradewind",
            "EmptyOperator(task_id='a') >> 3": "int",
            "raise SystemExit(4)": "code 4",
        }
        for body, expected in cases.items():
            with self.subTest(body):
                message, line = self.body_error(body)
                self.assertIn(expected, message)
                self.assertEqual(line, body)

    def test_duplicates(self):
        message, line = self.body_error(
            "EmptyOperator(task_id='x')\nBashOperator(task_id='x', bash_command='y')"
        )
        self.assertIn("DuplicateTaskIdFound", message)
        self.assertTrue(line.startswith("BashOperator"))
        text = "from airflow import DAG\na = DAG('x', schedule=None)\nb = DAG('x', schedule=None)\n"
        parsed = parse({"f.py": text})
        self.assertEqual((parsed["dags"], parsed["error"]["line"]), ([], 3))
        self.assertIn("used twice", parsed["error"]["message"])

    def test_a_bad_dag_leaves_the_others(self):
        text = """
            from airflow import DAG
            good = DAG("good", schedule=None)
            bad = DAG("bad", schedule="@daily")
            worse = DAG("worse", schedule=None, params={"x": {1, 2}})
        """
        parsed = parse({"f.py": text})
        self.assertEqual([d["dag_id"] for d in parsed["dags"]], ["good"])
        self.assertIn("start_date", parsed["error"]["message"])
        self.assertIn("worse", parsed["error"]["detail"])

    def test_unreadable_files(self):
        self.assertIn("null bytes", self.error("from airflow import DAG\0\n")["message"])
        broken = parse({"b.zip": b"no archive"})
        self.assertIn("BadZipFile", broken["error"]["message"])
        self.assertIn("FileNotFoundError", parse({"a.py": ""}, "absent.py")["error"]["message"])


class FilesTest(unittest.TestCase):
    def test_archive(self):
        member = """
            from airflow import DAG
            from airflow.operators.bash import BashOperator
            import inside, outside
            with DAG(inside.NAME, schedule=None):
                BashOperator(task_id="x", bash_command="run.sh")
        """
        data = archive(
            {
                "etl.py": member,
                "inside.py": "NAME = 'zipped'",
                "run.sh": "echo {{ ds }}",
                "bad.py": "import airflow\nDAG(",
                "sub/skipped.py": "from airflow import DAG\nraise ValueError",
            }
        )
        parsed = parse({"b.zip": data, "outside.py": ""})
        (dag,) = parsed["dags"]
        self.assertEqual((dag["dag_id"], dag["fileloc"]), ("zipped", "b.zip/etl.py"))
        self.assertEqual(dag["tasks"][0]["templates"][0]["source"], "echo {{ ds }}")
        self.assertIn("SyntaxError", parsed["error"]["message"])

    def test_script_file_and_folders(self):
        files = {
            "sub/f.py": dag_file("BashOperator(task_id='x', bash_command='s/run.sh')"),
            "sub/s/run.sh": "echo from file",
        }
        (dag,) = parse(files)["dags"]
        self.assertEqual(dag["fileloc"], "sub/f.py")
        expected = [{"path": ["bash_command"], "source": "echo from file"}]
        self.assertEqual(dag["tasks"][0]["templates"], expected)

    def test_variables_and_environment(self):
        text = dag_file("EmptyOperator(task_id=Variable.get('name'), pool=Variable.get('p', 'q'))")
        (dag,) = parse({"f.py": text}, env={"AIRFLOW_VAR_NAME": "from_env"})["dags"]
        self.assertEqual((dag["tasks"][0]["task_id"], dag["tasks"][0]["pool"]), ("from_env", "q"))
        env = {"AIRFLOW__SCHEDULER__CATCHUP_BY_DEFAULT": "False"}
        self.assertFalse(parse({"old.py": OLD}, env=env)["dags"][0]["catchup"])

    def test_warnings(self):
        body = "EmptyOperator(task_id='x', sla=timedelta(1), email='a@b')"
        head = "DAG('e', default_view='grid', on_failure_callback=print)"
        warnings = parse({"f.py": dag_file(body, head)})["warnings"]
        for word in ("default_view", "on_failure_callback", "sla", "e-mail"):
            self.assertTrue(any(word in text for text in warnings), (word, warnings))

    def test_pendulum_stand_in_comes_last(self):
        text = """
            import pendulum
            from airflow import DAG
            d = DAG("d", schedule=None, start_date=pendulum.datetime(2024, 1, 1, tz="Asia/Tokyo"),
                    description=pendulum.__version__)
        """
        (dag,) = parse({"f.py": text})["dags"]
        self.assertEqual(dag["timezone"], "Asia/Tokyo")
        own = {
            "f.py": text,
            "pendulum.py": "from airflow._core.datetimes import *\n"
            "__version__ = 'mine'\n"
            "def datetime(y, m, d, tz): return DateTime(y, m, d, tzinfo=get_zone(tz))",
        }
        if dag["description"].endswith("tradewind"):
            self.assertEqual(parse(own)["dags"][0]["description"], "mine")

    def test_examples(self):
        folder = Path(PYTHON, "tradewind_host", "example_dags")
        for path in sorted(folder.glob("example_*.py")):
            parsed = parse({path.name: path.read_bytes()})
            self.assertIsNone(parsed["error"])
            self.assertEqual([d["dag_id"] for d in parsed["dags"]], [path.stem])


if __name__ == "__main__":
    unittest.main()
