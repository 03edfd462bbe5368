//! Which queue a task goes to: the first matching route, else the task's own queue.

use tradewind_proto::dag::TaskSpec;

use crate::glob;
use crate::options::Route;

/// The queue for a task of a DAG.
pub(crate) fn queue_for(routes: &[Route], dag_id: &str, task: &TaskSpec) -> String {
    let name = format!("{dag_id}.{}", task.task_id);
    routes
        .iter()
        .find(|route| matches(route, &name, &task.operator))
        .map_or_else(|| task.queue.clone(), |route| route.queue.clone())
}

fn matches(route: &Route, name: &str, operator: &str) -> bool {
    let fits = |pattern: &Option<String>, text: &str| {
        pattern.as_deref().is_none_or(|pattern| glob::matches(pattern, text))
    };
    fits(&route.task, name) && fits(&route.operator, operator)
}

#[cfg(test)]
mod tests {
    use tradewind_proto::dag::TaskSpec;

    use super::{Route, queue_for};

    fn task(operator: &str) -> TaskSpec {
        serde_json::from_value(serde_json::json!({
            "task_id": "load", "operator": operator, "runtime": "bash", "queue": "own",
        }))
        .expect("task")
    }

    #[test]
    fn the_first_match_wins_and_no_match_keeps_the_own_queue() {
        let routes = [
            Route { task: Some("etl.*".into()), operator: None, queue: "heavy".into() },
            Route { task: None, operator: Some("*Spark*".into()), queue: "spark".into() },
            Route { task: Some("etl.load".into()), operator: None, queue: "never".into() },
        ];
        assert_eq!(queue_for(&routes, "etl", &task("SparkOperator")), "heavy");
        assert_eq!(queue_for(&routes, "ml", &task("SparkOperator")), "spark");
        assert_eq!(queue_for(&routes, "ml", &task("BashOperator")), "own");
    }

    #[test]
    fn both_patterns_of_a_route_must_match() {
        let route = Route {
            task: Some("etl.*".into()),
            operator: Some("BashOperator".into()),
            queue: "q".into(),
        };
        assert_eq!(queue_for(std::slice::from_ref(&route), "etl", &task("BashOperator")), "q");
        assert_eq!(queue_for(&[route], "etl", &task("PythonOperator")), "own");
    }
}
