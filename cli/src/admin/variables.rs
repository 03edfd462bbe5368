//! `variables get | set`.

use tradewind_store::Store;

use crate::failure::Failure;

pub(crate) async fn get(store: &dyn Store, key: &str) -> Result<(), Failure> {
    match store.variable(key).await? {
        Some(value) => println!("{value}"),
        None => return Err(Failure::not_found(format!("Variable {key} does not exist"))),
    }
    Ok(())
}

pub(crate) async fn set(store: &dyn Store, key: &str, value: &str) -> Result<(), Failure> {
    store.set_variable(key, value).await?;
    println!("Variable {key} created");
    Ok(())
}
