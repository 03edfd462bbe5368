"""Params by their module path."""

from airflow._core.params import Param, ParamsDict
from airflow._core.xcomarg import DagParam

__all__ = ["DagParam", "Param", "ParamsDict"]
