"""The authoring interface of 3.x."""

from airflow._core.connections import BaseHook, Connection
from airflow._core.dag import DAG, dag
from airflow._core.edges import EdgeModifier, Label, chain, chain_linear, cross_downstream
from airflow._core.group import TaskGroup
from airflow._core.operator import BaseOperator
from airflow._core.params import Param, ParamsDict
from airflow._core.python import BaseBranchOperator
from airflow._core.rules import DagRunState, TaskInstanceState, TriggerRule, WeightRule
from airflow._core.runtime import get_current_context
from airflow._core.sensors import BaseSensorOperator, PokeReturnValue
from airflow._core.skipping import SkipMixin
from airflow._core.taskflow import setup, task, task_group, teardown
from airflow._core.variables import Variable
from airflow._core.xcomarg import XComArg

__all__ = [
    "DAG",
    "BaseBranchOperator",
    "BaseOperator",
    "DagRunState",
    "EdgeModifier",
    "Label",
    "Param",
    "ParamsDict",
    "SkipMixin",
    "TaskGroup",
    "TaskInstanceState",
    "TriggerRule",
    "Variable",
    "WeightRule",
    "XComArg",
    "chain",
    "chain_linear",
    "cross_downstream",
    "dag",
    "get_current_context",
    "setup",
    "task",
    "task_group",
    "teardown",
]

# Only a name for annotations: a context is a plain dict.
Context = dict
__all__ += ["BaseHook", "BaseSensorOperator", "Connection", "Context", "PokeReturnValue"]
