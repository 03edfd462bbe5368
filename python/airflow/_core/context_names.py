"""Names of the task context, which task functions may take as parameters."""

CONTEXT_NAMES = frozenset(
    """
    conf conn dag dag_run data_interval_end data_interval_start ds ds_nodash exception
    execution_date expanded_ti_count inlets logical_date macros map_index_template
    next_ds next_ds_nodash next_execution_date outlets params prev_data_interval_end_success
    prev_data_interval_start_success prev_ds prev_ds_nodash prev_end_date_success
    prev_execution_date prev_execution_date_success prev_start_date_success run_id task
    task_instance task_instance_key_str templates_dict test_mode ti tomorrow_ds
    tomorrow_ds_nodash try_number ts ts_nodash ts_nodash_with_tz var yesterday_ds
    yesterday_ds_nodash
    """.split()
)
