"""Version of the authoring interface. `+tradewind` marks it as not Apache Airflow."""

version = "2.11.0+tradewind"
