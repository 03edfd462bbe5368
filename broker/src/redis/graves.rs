//! Dead letters in Redis: the lists of `<queue>.dlq`, oldest letter at the right end.

use super::link::unavailable;
use super::{Inner, envelope};
use crate::limits::dead_letter_queue;
use crate::{DeadLetter, Error, Selection, dead};

/// Letters of one read and of one script call.
const CHUNK: usize = 200;

/// A letter and where it lies.
struct Found {
    raw: Vec<u8>,
    told: DeadLetter,
}

/// What is to be done with the selected ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Replay,
    Drop,
}

impl Inner {
    async fn letters_of(&self, list: &str) -> Result<usize, Error> {
        self.link.command(redis::cmd("LLEN").arg(list)).await
    }

    /// The next letters of a list behind the `skip` oldest ones, at most `max`.
    async fn letters(
        &self,
        grave: &str,
        list: &str,
        skip: usize,
        max: usize,
    ) -> Result<Vec<Found>, Error> {
        let place = |from_right: usize| i64::try_from(from_right).map_or(i64::MIN, |n| -n);
        let mut read = redis::cmd("LRANGE");
        read.arg(list).arg(place(skip + max)).arg(place(skip + 1));
        let raw: Vec<Vec<u8>> = self.link.command(&read).await?;
        let found = raw.into_iter().rev().map(|raw| {
            let told = match envelope::decode(&raw) {
                Ok((message, _)) => dead::describe(&message, grave),
                Err(reason) => dead::describe_raw(&raw, reason, grave),
            };
            Found { raw, told }
        });
        Ok(found.collect())
    }

    pub(super) async fn dead_letters(
        &self,
        queue: &str,
        max: usize,
        after: Option<&str>,
    ) -> Result<Vec<DeadLetter>, Error> {
        let grave = dead_letter_queue(queue);
        let mut all = Vec::new();
        for list in self.keys.lists(&grave) {
            let mut skip = 0;
            // Without a place to start from, what is behind `max` is of no interest.
            while after.is_some() || all.len() < max {
                let found = self.letters(&grave, &list, skip, CHUNK).await?;
                skip += found.len();
                let done = found.len() < CHUNK;
                all.extend(found.into_iter().map(|found| found.told));
                if done {
                    break;
                }
            }
        }
        Ok(dead::page(all, max, after))
    }

    /// Replays or drops the selected letters that are there now.
    pub(super) async fn settle_dead(
        &self,
        queue: &str,
        selection: &Selection,
        fate: Fate,
    ) -> Result<u64, Error> {
        let grave = dead_letter_queue(queue);
        let mut count = 0;
        for list in self.keys.lists(&grave) {
            let mut left = self.letters_of(&list).await?;
            let mut skip = 0;
            while left > 0 {
                let mut found = self.letters(&grave, &list, skip, CHUNK.min(left)).await?;
                if found.is_empty() {
                    break;
                }
                left -= found.len();
                let seen = found.len();
                found.retain(|found| selection.has(&found.told));
                skip += seen - found.len();
                if !found.is_empty() {
                    count += self.exhume(&list, &found, fate).await?;
                }
            }
        }
        Ok(count)
    }

    /// One script call: each letter is in its old or in its new list, never in none or both.
    async fn exhume(&self, list: &str, letters: &[Found], fate: Fate) -> Result<u64, Error> {
        let mut script = self.scripts.bury.prepare_invoke();
        script.key(list);
        for (place, Found { raw, told }) in letters.iter().enumerate() {
            script.arg(1).arg(&raw[..]);
            if fate == Fate::Drop {
                script.arg(0).arg("").arg("");
                continue;
            }
            let (text, priority) = envelope::revive(raw, &told.queue);
            // The first key is the list of the letters.
            let target = place + 2;
            script.key(self.keys.list_for(&told.queue, priority));
            script.arg(target).arg(text).arg(self.keys.wake(&told.queue));
        }
        let moved: u64 = self.link.run("settling dead letters", &script).await?;
        if moved > letters.len() as u64 {
            return Err(unavailable("the script for dead letters answered too much"));
        }
        Ok(moved)
    }
}
