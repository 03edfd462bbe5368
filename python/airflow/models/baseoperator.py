"""`BaseOperator` and the chain helpers."""

from airflow._core.edges import chain, chain_linear, cross_downstream
from airflow._core.operator import BaseOperator

__all__ = ["BaseOperator", "chain", "chain_linear", "cross_downstream"]
