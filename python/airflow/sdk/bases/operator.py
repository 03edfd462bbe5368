"""`BaseOperator` and the chain helpers by their 3.x path."""

from airflow._core.edges import chain, chain_linear, cross_downstream
from airflow._core.operator import BaseOperator

__all__ = ["BaseOperator", "chain", "chain_linear", "cross_downstream"]
