//! Who kills workers and cuts links during a soak, and takes the samples.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tradewind_services::Proxy;

use super::vitals::Vitals;
use super::{Account, Plan, Queues};
use crate::celery::Setting;
use crate::fleet::Role;
use crate::poll::pause;

/// How long a link stays cut.
const CUT: Duration = Duration::from_millis(300);
/// Between two samples.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct State {
    vitals: Vec<Vitals>,
    told: Instant,
    random: u64,
}

/// Shared by the thread that makes trouble and the task that counts.
#[derive(Debug)]
pub(super) struct Trouble {
    plan: Plan,
    begun: Instant,
    stop: AtomicBool,
    kills: AtomicUsize,
    poisoned: AtomicUsize,
    cuts: AtomicUsize,
    state: Mutex<State>,
}

impl Trouble {
    pub(super) fn new(plan: Plan, vitals: Vec<Vitals>) -> Self {
        let begun = Instant::now();
        Self {
            plan,
            begun,
            stop: AtomicBool::new(false),
            kills: AtomicUsize::new(0),
            poisoned: AtomicUsize::new(0),
            cuts: AtomicUsize::new(0),
            state: Mutex::new(State { vitals, told: begun, random: 0x9E37_79B9_7F4A_7C15 }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// From half of `time` to one and a half of it, at random (xorshift; which moments are hit depends on
    /// the machine anyway).
    fn about(&self, time: Duration) -> Duration {
        let mut state = self.lock();
        let mut x = state.random;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.random = x;
        time / 2 + time * u32::try_from(x % 1000).unwrap_or(0) / 1000
    }

    /// Kills, cuts, replaces the dead and looks, until told to stop.
    pub(super) fn make(&self, workers: &Setting, queues: &Queues, proxy: &Proxy) {
        let consumed = format!("{},{}", queues.main, queues.ward);
        let lease = self.plan.lease.as_millis().to_string();
        let spawn = |number: usize| {
            let name = format!("celery@victim{number}");
            let variables = [
                ("FLEET_EVENTS", "0"),
                ("FLEET_QUEUE", consumed.as_str()),
                ("FLEET_LEASE_MS", &lease),
            ];
            workers.spawn_rust(&name, &variables)
        };
        let mut victims: Vec<Role> = (0..self.plan.victims).map(spawn).collect();
        let mut kill_at = Instant::now() + self.about(self.plan.kill_every);
        let mut cut_at = Instant::now() + self.about(self.plan.cut_every);
        let mut sample_at = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            for (number, victim) in victims.iter_mut().enumerate() {
                if !victim.alive() {
                    self.poisoned.fetch_add(1, Ordering::Relaxed);
                    *victim = spawn(number);
                }
            }
            if now >= kill_at {
                let number = self.kills.fetch_add(1, Ordering::Relaxed) % self.plan.victims;
                victims[number].kill9();
                victims[number] = spawn(number);
                kill_at = now + self.about(self.plan.kill_every);
            }
            if now >= cut_at {
                proxy.cut();
                pause(CUT);
                proxy.restore();
                self.cuts.fetch_add(1, Ordering::Relaxed);
                cut_at = now + self.about(self.plan.cut_every);
            }
            if now >= sample_at {
                self.lock().vitals.iter_mut().for_each(Vitals::sample);
                sample_at = now + SAMPLE_EVERY;
            }
            pause(Duration::from_millis(20));
        }
    }

    /// Says how far it is, if it is time.
    pub(super) fn tell(&self, progress: impl FnOnce() -> String) {
        let mut state = self.lock();
        if state.told.elapsed() < self.plan.tell_every {
            return;
        }
        state.told = Instant::now();
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let vitals: Vec<String> = state.vitals.iter().map(Vitals::now).collect();
        println!(
            "{:>5} s: {}; {} killed, {} poisoned, {} cuts; {}",
            self.begun.elapsed().as_secs(),
            progress(),
            of(&self.kills),
            of(&self.poisoned),
            of(&self.cuts),
            vitals.join("; ")
        );
    }

    /// Puts its own figures into the account.
    pub(super) fn enter(&self, account: &mut Account) {
        account.kills = self.kills.load(Ordering::Relaxed);
        account.poisoned = self.poisoned.load(Ordering::Relaxed);
        account.cuts = self.cuts.load(Ordering::Relaxed);
        account.vitals = std::mem::take(&mut self.lock().vitals);
    }
}
