//! `db migrate`, `db check`.

use tradewind_store::Store;

use crate::failure::Failure;

pub(crate) async fn migrate(store: &dyn Store) -> Result<(), Failure> {
    let applied = store.migrate().await?;
    for name in &applied {
        println!("Applied migration {name}");
    }
    if applied.is_empty() {
        println!("Database is up to date");
    } else {
        println!("Database migrating done!");
    }
    Ok(())
}

pub(crate) async fn check(store: &dyn Store) -> Result<(), Failure> {
    store.health().await?;
    store.check_schema().await?;
    println!("Connection successful.");
    Ok(())
}
