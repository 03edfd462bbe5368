//! The store seam of one simulated process: faults around the real SQLite driver, and a look at every
//! promise after every commit.

mod admin;
pub(crate) mod attempts;
mod planning;
mod runs;

use std::future::Future;
use std::sync::Arc;

use tokio::time::sleep;
use tradewind_store::Error;

use crate::faults::{Fate, Fault, SLOW, STORE};
use crate::life::Life;
use crate::world::World;

/// A process's handle on the store.
#[derive(Debug, Clone)]
pub(crate) struct FaultyStore {
    pub(crate) world: Arc<World>,
    pub(crate) life: Arc<Life>,
}

impl FaultyStore {
    /// One call. `seen` looks at the effect, whatever becomes of the answer.
    async fn call<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, Error>>,
        seen: impl FnOnce(&World, &T),
    ) -> Result<T, Error> {
        let call = async {
            let World { faults, rng, .. } = &*self.world;
            let delay = faults.delay(STORE, rng);
            sleep(delay / 2).await;
            // A frozen process does not begin anything.
            self.life.gate().await;
            if faults.is_out(Fault::StoreOutage) {
                return Err(Error::Unavailable("simulated outage".to_owned()));
            }
            let fate = faults.fate(STORE, rng);
            if fate != Fate::Works || delay >= SLOW {
                self.world.troubled(what);
            }
            self.world.call(&self.life, what);
            if fate == Fate::Refused {
                self.world.note(format!("{} {what}: refused", self.life.name));
                return Err(Error::Unavailable("simulated failure before the effect".to_owned()));
            }
            let answer = work.await;
            if let Ok(value) = &answer {
                seen(&self.world, value);
            }
            sleep(delay / 2).await;
            if fate == Fate::AnswerLost {
                self.world.note(format!("{} {what}: answer lost", self.life.name));
                return Err(Error::Unavailable("simulated loss of the answer".to_owned()));
            }
            answer
        };
        self.life.call(call).await
    }

    /// One call that changes nothing.
    async fn read<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.call(what, work, |_, _| ()).await
    }
}
