//! Tasks that put other tasks in their place, or send them.

use serde::Deserialize;
use serde_json::{Value, json};
use tradewind_proto::celery::Signature;
use tradewind_worker::fleet::{Context, Outcome, TaskError, Tasks};

use super::{echo, named};

#[derive(Deserialize)]
struct Nesting {
    replacements: u64,
    nesting: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct AddToAll {
    nums: Vec<Value>,
    val: Value,
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    state: bool,
}

#[derive(Deserialize)]
struct ReplaceWith {
    replace_with: Option<Signature>,
}

fn task(name: &str) -> Signature {
    Signature::new(named(name))
}

fn add(x: Value, y: Value) -> Signature {
    task("add").args([x, y])
}

pub(super) fn register(tasks: &mut Tasks) {
    tasks.add(&named("chain_add"), async |context: Context, (x, y): (Value, Value)| {
        context.send(Signature::chain([add(x.clone(), x), task("add").arg(y)])).await?;
        Ok(())
    });
    tasks.add(&named("chord_add"), async |context: Context, (x, y): (Value, Value)| {
        context.send(Signature::chord([add(x.clone(), x)], task("add").arg(y))).await?;
        Ok(())
    });
    tasks.add(&named("build_chain_inside_task"), async |context: Context, (): ()| {
        let group = Signature::group([task("add").arg(3), task("add").arg(4)]);
        let steps = [add(json!(1), json!(1)), task("add").arg(2), group, task("add").arg(5)];
        Ok(context.send(Signature::chain(steps)).await?.to_value())
    });
    chords(tasks);
    simple(tasks);
    chains(tasks);
    tasks.add(&named("second_order_replace1"), async |_, State { state }: State| -> Outcome {
        if state {
            return echo::push("redis-echo", "Out A").await;
        }
        echo::push("redis-echo", "In A").await?;
        let again = task("second_order_replace1").kwarg("state", true).immutable();
        replace(Signature::chain([task("second_order_replace2"), again]))
    });
    tasks.add(&named("second_order_replace2"), async |_, State { state }: State| -> Outcome {
        if state {
            return echo::push("redis-echo", "Out B").await;
        }
        echo::push("redis-echo", "In B").await?;
        let again = task("second_order_replace2").kwarg("state", true).immutable();
        replace(Signature::chain([task("redis_echo").arg("In/Out C"), again]))
    });
}

fn chords(tasks: &mut Tasks) {
    tasks.add(&named("add_to_all_to_chord"), async |context: Context, call: AddToAll| {
        for num in call.nums {
            context.add_to_chord(add(num, call.val.clone())).await?;
        }
        Ok(0)
    });
    tasks.add(&named("add_chord_to_chord"), async |context: Context, call: AddToAll| {
        let header = call.nums.into_iter().map(|num| add(num, call.val.clone()));
        context.add_to_chord(Signature::chord(header, task("tsum"))).await?;
        Ok(0)
    });
}

fn replace(by: Signature) -> Outcome {
    Err(TaskError::replace(by))
}

fn simple(tasks: &mut Tasks) {
    tasks.add(&named("add_replaced"), async |_, (x, y): (Value, Value)| replace(add(x, y)));
    tasks.add(&named("add_to_all"), async |_, AddToAll { nums, val }: AddToAll| {
        replace(Signature::group(nums.into_iter().map(|num| add(num, val.clone()))))
    });
    tasks.add(&named("fail_replaced"), async |_, args: Vec<Value>| {
        replace(task("fail").args(args).immutable())
    });
    tasks.add(&named("record_replaced_task_nesting"), async |context: Context, call: Nesting| {
        let level = context.request().headers.get("replaced_task_nesting").cloned();
        let mut nesting = call.nesting.unwrap_or_default();
        nesting.push(level.unwrap_or(json!(0)));
        match call.replacements.checked_sub(1) {
            None => Ok(json!(nesting)),
            Some(rest) => {
                let next = task("record_replaced_task_nesting").arg(rest).arg(nesting);
                replace(next)
            }
        }
    });
    tasks.add(&named("replace_with_stamped_task"), async |_, call: ReplaceWith| {
        let stamp = "This is the replaced task";
        let by = call.replace_with.unwrap_or_else(|| task("replaced_with_me"));
        replace(
            by.option("stamped_headers", json!(["StampOnReplace"])).option("StampOnReplace", stamp),
        )
    });
}

fn chains(tasks: &mut Tasks) {
    tasks.add(&named("add_replaced_with_chain"), async |_, (x, y): (Value, Value)| {
        replace(Signature::chain([add(x, y), task("identity")]))
    });
    // `*args, link_msg=None`
    tasks.add_raw(&named("replace_with_chain"), |context| {
        Box::pin(async move {
            let chain = Signature::chain([first(&context), task("identity")]);
            replace(chain.link(echo_of(&context)))
        })
    });
    tasks.add_raw(&named("replace_with_chain_which_raises"), |context| {
        Box::pin(async move {
            let chain = Signature::chain([first(&context), task("raise_error")]);
            replace(chain.link_error(echo_of(&context)))
        })
    });
    tasks.add(&named("replace_with_empty_chain"), async |_, _args: Vec<Value>| {
        replace(Signature::chain([]))
    });
    tasks.add(&named("replace_with_chain_which_contains_a_group"), async |_, (): ()| {
        let group = Signature::group([task("add").arg(1), task("add").arg(1)]);
        replace(Signature::chain([add(json!(1), json!(2)), group]))
    });
}

fn first(context: &Context) -> Signature {
    task("identity").args(context.request().args.iter().cloned())
}

/// An echo of the result, or of a given text.
fn echo_of(context: &Context) -> Signature {
    match context.request().kwargs.get("link_msg").filter(|message| !message.is_null()) {
        Some(message) => task("redis_echo").arg(message.clone()).immutable(),
        None => task("redis_echo"),
    }
}
