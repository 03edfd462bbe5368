"""XCom names. Values are reached through the task instance."""

from airflow._core.xcomarg import XCOM_RETURN_KEY

__all__ = ["XCOM_RETURN_KEY", "XCom"]


class XCom:
    """Not a database table here: use `ti.xcom_push` and `ti.xcom_pull` in a task."""

    @classmethod
    def get_one(cls, *_args, **_kwargs):
        raise NotImplementedError("use ti.xcom_pull() in a task")

    get_many = get_value = set = get_one
