//! Budgets in Redis, which several gateways share.
//!
//! A request is one round trip, whatever number of policies it has to pass: one script reads, decides
//! and writes for all of them, in one step that nothing comes between, by the server's clock. Gateways
//! whose clocks differ decide alike.
//!
//! A budget is the key `PREFIX:POLICY:{SUBJECT}`. The braces make the subject the hash tag, so that what
//! counts for one subject has one slot. All keys of a request are on one server: policies that count
//! different subjects could not be charged in one step otherwise. So this speaks to one primary, alone
//! or with replicas, and not to the nodes of a Redis Cluster. A key expires when its budget has drained.
//!
//! An answer that came too late may have charged its request, which is then decided again without
//! Redis. So a request may count twice, and never not at all.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::Script;

use super::{
    charge::{Charge, Charges},
    link::{Link, Open},
    metrics::{Fallback, LimitMetrics},
    policy::Policies,
    refusals::Refusals,
};

const SCRIPT: &str = include_str!("redis.lua");

/// The script, loaded where the server does not have it.
pub(super) fn script() -> Script {
    Script::new(SCRIPT)
}

/// The budgets, as far as they can be reached.
pub(super) struct RedisStore {
    link: Arc<Link>,
    script: Script,
    prefix: String,
    policies: Arc<Policies>,
    timeout: Duration,
    refusals: Refusals,
}

impl RedisStore {
    pub(super) fn new(link: Arc<Link>, prefix: String, policies: Arc<Policies>, timeout: Duration) -> Self {
        Self { link, script: script(), prefix, policies, timeout, refusals: Refusals::new() }
    }

    /// Charges the request if all of its policies admit it.
    ///
    /// # Errors
    /// When Redis did not decide. That takes no longer than the timeout, and nothing at all while Redis
    /// is known to be unreachable.
    pub(super) async fn charge(&self, charges: &mut Charges<'_>, metrics: &LimitMetrics) -> Result<bool, Fallback> {
        // Use only drains meanwhile, so what was refused until then still is: Redis need not be asked.
        let refused = charges.iter().find_map(|charge| self.refusals.find(charge));
        if let Some(refused) = refused {
            *charges = Charges::new([refused]);
            return Ok(false);
        }
        let open = self.link.get().ok_or(Fallback::Down)?;
        let asked = Instant::now();
        let answer = tokio::time::timeout(self.timeout, self.ask(&open, charges)).await;
        let (admitted, used) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                self.link.failed(&open, &error);
                return Err(Fallback::Error);
            }
            Err(_elapsed) => {
                self.link.timed_out(&open);
                return Err(Fallback::Timeout);
            }
        };
        self.link.answered(&open);
        metrics.store_duration.observe(asked.elapsed().as_secs_f64());
        for (charge, used) in charges.iter_mut().zip(used) {
            charge.used = used + f64::from(u8::from(admitted));
        }
        if !admitted {
            // The server's clock stood later than `asked`, so this errs towards asking too early.
            charges.iter().for_each(|charge| self.refusals.remember(charge, asked));
        }
        Ok(admitted)
    }

    async fn ask(&self, open: &Open, charges: &Charges<'_>) -> redis::RedisResult<(bool, Vec<f64>)> {
        let mut invocation = self.script.prepare_invoke();
        for charge in charges.iter() {
            invocation.key(self.key(charge)).arg(charge.flow.per_us).arg(charge.flow.burst);
        }
        let mut answer: Vec<f64> = invocation.invoke_async(&mut open.connection()).await?;
        if answer.len() != charges.iter().count() + 1 {
            return Err((redis::ErrorKind::UnexpectedReturnType, "an answer for each policy was expected").into());
        }
        let admitted = answer.remove(0) > 0.0;
        Ok((admitted, answer))
    }

    fn key(&self, charge: &Charge<'_>) -> String {
        let name = &self.policies.get(charge.policy).name;
        let mut key = format!("{}:{name}:{{", self.prefix);
        charge.subject.write_redis(&mut key);
        key.push('}');
        key
    }
}
