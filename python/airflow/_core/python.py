"""Operators around Python functions: plain, branching and short-circuiting."""

from __future__ import annotations

from collections.abc import Callable

from airflow._core.calls import call_with_context
from airflow._core.operator import BaseOperator
from airflow._core.registry import session
from airflow._core.skipping import SkipMixin
from airflow.exceptions import AirflowException


class PythonOperator(BaseOperator):
    """Calls a function; context values are passed to parameters of their names."""

    template_fields = ("templates_dict", "op_args", "op_kwargs")
    ui_color = "#ffefeb"

    def __init__(
        self,
        *,
        python_callable: Callable,
        op_args=None,
        op_kwargs=None,
        templates_dict=None,
        templates_exts=None,
        show_return_value_in_logs: bool = True,
        provide_context=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not callable(python_callable):
            raise AirflowException("`python_callable` param must be callable")
        if provide_context is not None:
            session().marks.add("provide_context")
        self.python_callable = python_callable
        self.op_args = op_args if op_args is not None else ()
        self.op_kwargs = op_kwargs if op_kwargs is not None else {}
        self.templates_dict = templates_dict
        if templates_exts:
            self.template_ext = tuple(templates_exts)
        self.show_return_value_in_logs = show_return_value_in_logs

    def execute(self, context):
        context["templates_dict"] = self.templates_dict
        result = self.execute_callable(context)
        if self.show_return_value_in_logs:
            self.log.info("Done. Returned value was: %.1000s", result)
        return result

    def execute_callable(self, context):
        return call_with_context(self.python_callable, self.op_args, self.op_kwargs, context)


class BranchMixin(SkipMixin):
    """Skips what a callable did not choose."""

    def do_branch(self, context, chosen):
        self.log.info("Branch into %s", chosen)
        self.skip_all_except(context["ti"], chosen)
        return chosen


class BranchPythonOperator(PythonOperator, BranchMixin):
    """The function returns the id, or ids, of what to run next; None or [] skips everything."""

    ui_color = "#e8f7e4"

    def execute(self, context):
        return self.do_branch(context, super().execute(context))


class ShortCircuitOperator(PythonOperator, SkipMixin):
    """Skips everything downstream when the function returns something false."""

    ui_color = "#e3e1f5"

    def __init__(self, *, ignore_downstream_trigger_rules: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.ignore_downstream_trigger_rules = ignore_downstream_trigger_rules

    def execute(self, context):
        result = super().execute(context)
        if result:
            return result
        self.skip_downstream(context["ti"], everything=self.ignore_downstream_trigger_rules)
        return result


class BaseBranchOperator(BaseOperator, BranchMixin):
    """Subclasses override `choose_branch(context)`."""

    def choose_branch(self, context):
        raise NotImplementedError

    def execute(self, context):
        return self.do_branch(context, self.choose_branch(context))
