"""`BashOperator`. The worker runs plain ones itself; `execute` here serves subclasses, callbacks
and `@task.bash`, with the same rules."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile

from airflow._core.operator import BaseOperator
from airflow._core.registry import session
from airflow.exceptions import AirflowException, AirflowSkipException

SKIP_EXIT_CODE = 99


def _codes(value) -> list[int]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


class BashOperator(BaseOperator):
    """Runs a shell command; its last line of output is the result."""

    template_fields = ("bash_command", "env", "cwd")
    template_ext = (".sh", ".bash")
    ui_color = "#f0ede4"

    def __init__(
        self,
        *,
        bash_command,
        env=None,
        append_env: bool = False,
        output_encoding: str = "utf-8",
        skip_on_exit_code=SKIP_EXIT_CODE,
        skip_exit_code=None,
        cwd=None,
        output_processor=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.bash_command = bash_command
        self.env = env
        self.append_env = bool(append_env)
        self.output_encoding = output_encoding
        self.skip_on_exit_code = _codes(
            skip_on_exit_code if skip_exit_code is None else skip_exit_code
        )
        self.cwd = cwd
        self.output_processor = output_processor
        self._process = None
        if output_encoding.lower().replace("-", "") != "utf8":
            session().warn(f"task {self.task_id!r}: output is always read as UTF-8")

    def execute(self, context):
        if not isinstance(self.bash_command, str) or not self.bash_command.strip():
            raise AirflowException("bash_command must be a text that is not empty")
        if self.cwd is not None and not os.path.isdir(self.cwd):
            raise AirflowException(f"can not find the cwd: {self.cwd}")
        with tempfile.TemporaryDirectory(prefix="airflowtmp") as folder:
            last_line, code = self._run(self.cwd or folder)
        if code in self.skip_on_exit_code:
            raise AirflowSkipException(f"bash command returned exit code {code}: skipping")
        if code != 0:
            raise AirflowException(f"bash command failed with exit code {code}")
        return self.output_processor(last_line) if self.output_processor else last_line

    def _environment(self) -> dict:
        if self.env is None:
            return dict(os.environ)
        passed = {k: v for k, v in os.environ.items() if k.startswith("AIRFLOW_CTX_")}
        base = dict(os.environ) if self.append_env else passed
        return {**base, **{str(k): str(v) for k, v in self.env.items()}}

    def _run(self, folder: str) -> tuple[str, int]:
        self.log.info("running command: %s", self.bash_command)
        self._process = subprocess.Popen(
            [shutil.which("bash") or "bash", "-c", self.bash_command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=self._environment(),
            start_new_session=False,
        )
        line = ""
        for raw in self._process.stdout:
            line = raw.decode("utf-8", errors="backslashreplace").rstrip()
            print(line, flush=True)
        code = self._process.wait()
        self.log.info("command exited with return code %s", code)
        return line, code

    def on_kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
