"""A small ETL in the style of Airflow 1.10: three shell commands, one after the other.

`extract` makes a CSV file of orders in a temporary folder and passes its path on as its XCom (the
last line of its output), `transform` sums the amounts by city, `load` puts the result into an
SQLite table and prints it.
"""

from datetime import timedelta

from airflow import DAG
from airflow.operators.bash_operator import BashOperator
from airflow.utils.dates import days_ago

default_args = {
    "owner": "airflow",
    "depends_on_past": False,
    "retries": 1,
    "retry_delay": timedelta(minutes=1),
}

dag = DAG(
    "example_etl",
    default_args=default_args,
    description="Extract, transform, load with shell commands",
    schedule_interval="@daily",
    start_date=days_ago(2),
    tags=["example"],
    # New DAGs start paused; this one is here to be seen running.
    is_paused_upon_creation=False,
)

dag.doc_md = __doc__

extract = BashOperator(
    task_id="extract",
    bash_command="""
set -eu
file="$(mktemp -d)/orders-{{ ds_nodash }}.csv"
printf 'city,amount\\nLisboa,12\\nPorto,7\\nLisboa,30\\nFaro,5\\n' > "$file"
echo "$file"
""",
    dag=dag,
)

transform = BashOperator(
    task_id="transform",
    bash_command="""
set -eu
in="{{ ti.xcom_pull(task_ids='extract') }}"
out="${in%.csv}-by-city.csv"
tail -n +2 "$in" | awk -F, '{ sum[$1] += $2 } END { for (c in sum) print c "," sum[c] }' \
    | sort > "$out"
echo "$out"
""",
    dag=dag,
)

load = BashOperator(
    task_id="load",
    bash_command="""
set -eu
in="{{ ti.xcom_pull(task_ids='transform') }}"
python3 - "$in" <<'END'
import csv, sqlite3, sys
rows = list(csv.reader(open(sys.argv[1])))
table = sqlite3.connect(sys.argv[1] + ".db")
table.execute("create table if not exists sales (city text primary key, amount real)")
table.executemany("insert or replace into sales values (?, ?)", rows)
table.commit()
for city, amount in table.execute("select city, amount from sales order by city"):
    print(f"{city}: {amount:g}")
print(f"{len(rows)} rows loaded for {{ ds }}")
END
rm -r "$(dirname "$in")"
""",
    dag=dag,
)

extract >> transform >> load
