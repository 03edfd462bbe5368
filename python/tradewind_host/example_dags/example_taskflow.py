"""The TaskFlow style: functions are tasks, their results are passed on."""

import pendulum

from airflow.sdk import dag, task


@dag(
    schedule="@hourly",
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    tags=["example"],
)
def example_taskflow():
    """Reads some measurements, summarizes them, and reports."""

    @task
    def measure() -> list[float]:
        return [20.5, 21.0, 19.25, 22.75]

    @task
    def summarize(values: list[float]) -> dict[str, float]:
        return {"low": min(values), "high": max(values), "mean": sum(values) / len(values)}

    @task
    def report(low: float, high: float, run_id: str):
        print(f"{run_id}: between {low} and {high} degrees")

    summary = summarize(measure())
    report(summary["low"], summary["high"])


example_taskflow()
