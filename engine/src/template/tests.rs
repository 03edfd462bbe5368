//! Templates as DAG authors write them.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};
use tradewind_proto::state::RunType;
use uuid::Uuid;

use super::*;

#[derive(Default)]
struct Fixed {
    variables: BTreeMap<&'static str, &'static str>,
    xcoms: Vec<(&'static str, Json)>,
    broken: bool,
}

impl Lookups for Fixed {
    fn xcom_pull(&self, query: XcomQuery) -> Result<XcomReply, String> {
        if self.broken {
            return Err("connection refused".to_owned());
        }
        let known = (query.dag_id.as_str(), query.key.as_str()) == ("etl", "return_value");
        let wanted = |name: &str| known && query.task_ids.iter().any(|t| t == name);
        let found = self.xcoms.iter().filter(|(name, _)| wanted(name));
        Ok(XcomReply { values: found.map(|(n, v)| ((*n).to_owned(), -1, v.clone())).collect() })
    }

    fn variable(&self, key: &str) -> Result<Option<String>, String> {
        if self.broken {
            return Err("connection refused".to_owned());
        }
        Ok(self.variables.get(key).map(|v| (*v).to_owned()))
    }
}

fn fixed() -> Arc<Fixed> {
    Arc::new(Fixed {
        variables: BTreeMap::from([("mode", "dev"), ("cfg", r#"{"path": "/data", "n": [1, 2]}"#)]),
        xcoms: vec![("a", json!("one")), ("b", json!({"k": [1, 2.5, null, true]}))],
        broken: false,
    })
}

fn object(json: Json) -> Map<String, Json> {
    json.as_object().expect("an object").clone()
}

fn context() -> TemplateContext {
    let ts = |text: &str| Some(text.parse::<Timestamp>().expect("a timestamp"));
    TemplateContext {
        run: RunContext {
            run: Uuid::nil(),
            dag_id: "etl".to_owned(),
            run_id: "scheduled__2024-01-01T00:00:00+00:00".to_owned(),
            run_type: RunType::Scheduled,
            logical_date: ts("2024-01-01T00:00:00Z"),
            data_interval_start: ts("2024-01-01T00:00:00Z"),
            data_interval_end: ts("2024-01-02T00:00:00Z"),
            run_after: ts("2024-01-02T00:00:00Z").expect("given"),
            start_date: ts("2024-01-02T00:00:03.5Z"),
            conf: object(json!({"path": "/in", "n": 3, "names": ["x", "y"]})),
            params: object(json!({"flag": true, "rate": 0.1, "none": null, "text": "it's"})),
            try_number: 2,
            max_tries: 3,
            map_index: -1,
            timezone: "UTC".to_owned(),
            upstream: vec![],
            prev_success_interval: None,
        },
        task_id: "load".to_owned(),
        operator: "BashOperator".to_owned(),
        previous_date: ts("2023-12-31T00:00:00Z"),
    }
}

fn try_render(source: &str) -> Result<String, TemplateError> {
    render(source, &context(), fixed())
}

fn check(cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        assert_eq!(try_render(source).as_deref(), Ok(*expected), "{source}");
    }
}

#[test]
fn dates_have_airflows_names() {
    check(&[
        ("{{ ds }} {{ ds_nodash }}", "2024-01-01 20240101"),
        ("{{ ts }}", "2024-01-01T00:00:00+00:00"),
        ("{{ ts_nodash }} {{ ts_nodash_with_tz }}", "20240101T000000 20240101T000000+0000"),
        ("{{ yesterday_ds }} {{ tomorrow_ds_nodash }}", "2023-12-31 20240102"),
        ("{{ next_ds }} {{ prev_ds }}", "2024-01-02 2023-12-31"),
        ("{{ execution_date }}", "2024-01-01T00:00:00+00:00"),
        ("{{ data_interval_end | ds }}", "2024-01-02"),
        ("{{ dag_run.start_date }}", "2024-01-02T00:00:03.500000+00:00"),
        ("{{ prev_data_interval_start_success }}", "None"),
        ("{{ next_execution_date.isoformat() }}", "2024-01-02T00:00:00+00:00"),
    ]);
}

#[test]
fn dates_compute() {
    check(&[
        ("{{ data_interval_start + macros.timedelta(days=1) }}", "2024-01-02T00:00:00+00:00"),
        (
            "{{ (data_interval_start - macros.timedelta(hours=1)).isoformat() }}",
            "2023-12-31T23:00:00+00:00",
        ),
        (
            "{{ (logical_date + macros.timedelta(days=-1)).strftime('%Y/%m/%d %H:%M:%S.%f %j %a %b') }}",
            "2023/12/31 00:00:00.000000 365 Sun Dec",
        ),
        ("{{ (data_interval_end - data_interval_start).total_seconds() }}", "86400.0"),
        ("{{ (data_interval_end - data_interval_start).days + 1 }}", "2"),
        (
            "{{ macros.ds_add(ds, -5) }} {{ macros.ds_add('2024-02-28', 2) }}",
            "2023-12-27 2024-03-01",
        ),
        ("{{ macros.ds_format(ds, '%Y-%m-%d', '%d.%m.%y') }}", "01.01.24"),
        ("{{ macros.datetime(2024, 2, 3, hour=4) }}", "2024-02-03 04:00:00"),
        (
            "{{ macros.datetime.strptime(ds, '%Y-%m-%d') + macros.timedelta(1) }}",
            "2024-01-02 00:00:00",
        ),
        (
            "{{ macros.timedelta(days=1, minutes=90) }} {{ macros.timedelta(hours=-1) }}",
            "1 day, 1:30:00 -1 day, 23:00:00",
        ),
        ("{{ logical_date.in_timezone('Europe/Berlin') }}", "2024-01-01T01:00:00+01:00"),
        ("{{ logical_date.add(months=1, days=2).to_date_string() }}", "2024-02-03"),
        ("{{ logical_date.subtract(hours=1).hour }}", "23"),
        ("{{ logical_date.replace(day=15, hour=6) | ts_nodash }}", "20240115T060000"),
        (
            "{{ logical_date.end_of('month').day }} {{ logical_date.start_of('week').date() }}",
            "31 2024-01-01",
        ),
        (
            "{{ logical_date.weekday() }} {{ logical_date.year }} {{ logical_date.int_timestamp }}",
            "0 2024 1704067200",
        ),
        (
            "{{ logical_date.timestamp() }} {{ logical_date.timestamp() | int }}",
            "1704067200.0 1704067200",
        ),
        (
            "{{ data_interval_start < data_interval_end }} {{ logical_date == execution_date }}",
            "True True",
        ),
        ("{{ logical_date.date() + macros.timedelta(days=1) }}", "2024-01-02"),
        ("{% set d = logical_date - macros.timedelta(days=7) %}{{ d.strftime('%-d') }}", "25"),
        (
            "{{ logical_date.to_iso8601_string() }} {{ logical_date.to_datetime_string() }}",
            "2024-01-01T00:00:00Z 2024-01-01 00:00:00",
        ),
    ]);
}

#[test]
fn values_print_as_python_prints_them() {
    check(&[
        ("{{ params.flag }} {{ params.none }} {{ params.rate }}", "True None 0.1"),
        ("{{ dag_run.conf }}", "{'path': '/in', 'n': 3, 'names': ['x', 'y']}"),
        ("{{ params }}", "{'flag': True, 'rate': 0.1, 'none': None, 'text': \"it's\"}"),
        ("{{ dag_run.conf['names'][0:1] }} {{ [1, 2, 3][1:] }}", "['x'] [2, 3]"),
        (
            "{{ 1e16 }} {{ 0.00001 }} {{ 2.0 }} {{ 7 // 2 }} {{ 7 / 2 }} {{ -7 % 3 }}",
            "1e+16 1e-05 2.0 3 3.5 2",
        ),
        ("{{ (1, 2) }} {{ (1,) }} {{ [] }} {{ {} }}", "(1, 2) (1,) [] {}"),
        ("{{ dag }} {{ task }}", "<DAG: etl> <Task(BashOperator): load>"),
        ("{{ 'a' ~ none ~ true ~ 1.0 }}", "aNoneTrue1.0"),
        ("{{ true + 1 }} {{ 1 + 2 * 3 - 4 }} {{ 1.5 + 1 }} {{ 2 ** 3 + 1 }}", "2 3 2.5 9"),
        ("{{ [none, true] | join('-') }} {{ none | string }}", "None-True None"),
        ("{{ dag_run.conf | tojson }}", r#"{"n": 3, "names": ["x", "y"], "path": "/in"}"#),
        ("{{ {'b': 'é<', 'a': 1.0} | tojson }}", r#"{"a": 1.0, "b": "\u00e9\u003c"}"#),
    ]);
}

#[test]
fn python_methods_work_on_texts_and_dicts() {
    check(&[
        ("{{ ds.replace('-', '/') }} {{ ds[0:4] }} {{ ds[:-3] }}", "2024/01/01 2024 2024-01"),
        ("{{ ds.split('-')[1] }} {{ 'a,b,c'.rsplit(',', 1) }}", "01 ['a,b', 'c']"),
        ("{{ ' x '.strip() }}{{ 'xxaxx'.lstrip('x') }}", "xaxx"),
        (
            "{{ 'ab cd'.title() }} {{ 'AB'.lower() }} {{ 'ab'.upper().startswith('A') }}",
            "Ab Cd ab True",
        ),
        ("{{ '7'.zfill(3) }} {{ '-'.join(['a', 'b']) }} {{ 'abc'.find('c') }}", "007 a-b 2"),
        ("{{ '{}-{:02d}-{x}'.format('a', 5, x='y') }}", "a-05-y"),
        ("{{ '%s is %05d' % ('x', 42) }} {{ '%s' % ds }}", "x is 00042 2024-01-01"),
        (
            "{{ dag_run.conf.get('path') }} {{ dag_run.conf.get('gone', 'd') }} {{ params.get('gone') }}",
            "/in d None",
        ),
        (
            "{% for k, v in dag_run.conf.items() %}{{ k }}={{ v }};{% endfor %}",
            "path=/in;n=3;names=['x', 'y'];",
        ),
        ("{{ params.keys() | list | first }} {{ params.values() | length }}", "flag 4"),
    ]);
}

#[test]
fn runs_tasks_variables_and_xcoms_are_there() {
    check(&[
        (
            "{{ dag.dag_id }}.{{ task.task_id }} {{ ti.try_number }} {{ task_instance.map_index }}",
            "etl.load 2 -1",
        ),
        (
            "{{ run_id }} {{ dag_run.run_id == run_id }} {{ dag_run.run_type }}",
            "scheduled__2024-01-01T00:00:00+00:00 True scheduled",
        ),
        ("{{ dag_run.conf['path'] }} {{ dag_run.conf.path }}", "/in /in"),
        (
            "{{ var.value.mode }} {{ var.value.get('gone', 'd') }} {{ var.json.cfg.path }} {{ var.json.cfg['n'][1] }}",
            "dev d /data 2",
        ),
        ("{{ var.json.get('gone', {'a': 1}).a }}", "1"),
        (
            "{{ ti.xcom_pull(task_ids='a') }} {{ ti.xcom_pull('b')['k'] }}",
            "one [1, 2.5, None, True]",
        ),
        (
            "{{ ti.xcom_pull(task_ids=['b', 'gone', 'a'])[2] }} {{ ti.xcom_pull(task_ids='gone') }}",
            "one None",
        ),
        (
            "{{ ti.xcom_pull(task_ids='a', key='other') }} {{ ti.xcom_pull(task_ids='a', dag_id='x') }}",
            "None None",
        ),
        ("{{ task_instance_key_str }}", "etl__load__20240101"),
        ("{% if params.flag and not params.none %}yes{% else %}no{% endif %}", "yes"),
        ("{# note #}{% raw %}{{ ds }}{% endraw %}\n", "{{ ds }}"),
    ]);
}

#[test]
fn undefined_names_are_errors() {
    for source in [
        "{{ gone }}",
        "{{ dag_run.conf['gone'] }}",
        "{{ params.gone }}",
        "{{ ti.gone }}",
        "{{ gone + 1 }}",
        "{{ 'a' ~ gone }}",
        "{{ var.value.gone }}",
        "{{ [gone] }}",
    ] {
        let error = try_render(source).expect_err(source);
        assert!(matches!(error, TemplateError::Undefined(_)), "{source}: {error:?}");
    }
    check(&[("{{ gone | default('d') }} {{ gone is defined }}", "d False")]);
}

#[test]
fn what_is_not_supported_is_an_error_and_never_a_guess() {
    for source in [
        "{{ macros.uuid.uuid4() }}",
        "{{ conn.pg.host }}",
        "{{ ds | no_such_filter }}",
        "{{ ds.encode() }}",
        "{% include 'x' %}",
        "{{ ds",
        "{{ dag_run }}",
        "{{ ti }}",
        "{{ [logical_date] }}",
        "{{ ds + 1 }}",
        "{{ ti.xcom_pull() }}",
        "{{ logical_date.format('YYYY') }}",
        "{{ data_interval_end - data_interval_start }}",
        "{{ logical_date - macros.datetime(2024, 1, 1) }}",
        "{{ logical_date.strftime('%c') }}",
        "{{ macros.datetime(2024, 1, 1).in_timezone('UTC') }}",
        "{{ 1 % 0 }}",
        "{{ macros.datetime.now() }}",
    ] {
        let error = try_render(source).expect_err(source);
        assert!(!error.is_retryable(), "{source}: {error:?}");
    }
}

#[test]
fn date_names_are_absent_without_a_logical_date() {
    let mut context = context();
    context.run.logical_date = None;
    for name in ["ds", "ts", "logical_date", "execution_date", "yesterday_ds", "next_ds"] {
        let result = render(&format!("{{{{ {name} }}}}"), &context, fixed());
        assert!(matches!(result, Err(TemplateError::Undefined(_))), "{name}: {result:?}");
    }
    let date = render("{{ dag_run.logical_date }}", &context, fixed());
    assert_eq!(date.as_deref(), Ok("None"));
}

#[test]
fn a_failed_lookup_may_be_tried_again() {
    let broken = || Arc::new(Fixed { broken: true, ..Fixed::default() });
    for source in [
        "{{ var.value.mode }}",
        "{{ var.json.get('x') }}",
        "{{ ti.xcom_pull('a') }}",
        "{{ var.value.a ~ 'x' }}",
    ] {
        let error = render(source, &context(), broken()).expect_err(source);
        assert!(error.is_retryable(), "{source}: {error:?}");
        assert!(error.to_string().contains("connection refused"), "{error}");
    }
    assert_eq!(render("no template", &context(), broken()).as_deref(), Ok("no template"));
}

#[test]
fn a_runaway_template_runs_out_of_fuel() {
    let source = "{% for a in range(9999) %}{% for b in range(9999) %}{% set x = a %}{% endfor %}{% endfor %}";
    assert_eq!(try_render(source), Err(TemplateError::OutOfFuel));
}

#[test]
fn rewritten_operators_compute_what_the_engine_computes() {
    let env = minijinja::Environment::new();
    for source in [
        "{{ 1 + 2 - 3 }}",
        "{{ 10 - 4 - 3 }}",
        "{{ 2 * 3 + 4 % 3 }}",
        "{{ -3 + 2 }}",
        "{{ 7 - -2 }}",
        "{{ (1 + 2) * 3 }}",
        "{{ 1 + 2 == 3 and not 4 - 4 }}",
        "{{ 5 % 3 * 2 }}",
        "{{ 'a' ~ 1 + 2 }}",
        "{{ [1 + 1, {'a': 2 - 1}, (3 % 2,)] }}",
        "{{ 'x' if 1 - 1 else 'y' + 'z' }}",
        "{{ [1] + [2] }}",
        "{{ 2 ** 2 + 1 }}",
        "{% for i in [1, 2] + [3] %}{{ i + 1 }},{% endfor %}",
        "{{ 'ab'[1 - 1:] }}",
        "{{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 % 2 }}",
        "{{ 3|string ~ 'a' }}",
        "{%- set a = 1 + 1 -%}  {{- a -}}",
    ] {
        let native = env.render_str(source, ()).map_err(|_| ());
        assert_eq!(try_render(source).map_err(|_| ()), native, "{source}");
    }
}

#[test]
fn deep_or_long_expressions_are_errors_and_no_crash() {
    for count in [29, 100, 199, 299, 50_000] {
        for source in [
            format!("{{{{ {}1 + 1{} }}}}", "(".repeat(count), ")".repeat(count)),
            format!("{{{{ {}1{} }}}}", "[".repeat(count), "]".repeat(count)),
            format!("{{{{ 1{} }}}}", " + 1".repeat(count)),
            format!("{{{{ 1{} }}}}", " * 1".repeat(count)),
            format!(
                "{{{{ {}1{}{} }}}}",
                "(".repeat(count),
                ")".repeat(count),
                " + 1".repeat(count)
            ),
            format!("{{{{ {}1{} }}}}", "(1 + ".repeat(count), ")".repeat(count)),
            format!("{{{{ ds{} }}}}", "|upper".repeat(count)),
            format!("{{{{ {}1 }}}}", "not ".repeat(count)),
            format!("{{{{ {}1 }}}}", "1 if 0 else ".repeat(count)),
            format!("{}x{}", "{% if 1 %}".repeat(count), "{% endif %}".repeat(count)),
            format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(count)),
        ] {
            let result = try_render(&source);
            assert!(count < 100 || !matches!(result, Err(TemplateError::Lookup(_))), "{result:?}");
        }
    }
    let simple = format!("{{{{ 1{} }}}}", " * 1".repeat(200));
    assert_eq!(try_render(&simple).as_deref(), Ok("1"));
}
