//! The cutover: the rows of a slice get another owner, while both sides run and nobody loses a write.
//!
//! ```text
//!            strangler                     gateways            old owner's database     new owner's database
//!   plan     lag, quarantine, drift, a clean comparison, rows that the monolith could not hold
//!   prepare  the stream back is begun, the doors are hung                               (shut)
//!   hooks    before
//!   fence    ───── place ─────────────────► writes wait
//!            ◄──── drained ──────────────── none in flight
//!   hooks    settle: what services write behind their answers
//!   lock     ────────────────────────────────────────────────► writers wait, reads go on
//!   drain    mark ─► wait until the stream has applied it ───────────────────────────► all rows are here
//!            meanwhile ──────────────────────────────────────► door shut, unseen;
//!                                                              newest rows, sequences
//!   tail     the newest rows once more, quarantine, sequences
//!            meanwhile ──────────────────────────────────────────────────────────────► door open, unseen
//!   open     ────────────────────────────────────────────────────────────────────────► door open
//!   flip     ───── owner, connection, routes, in one revision ► new state
//!   shut     ────────────────────────────────────────────────► door shut, lock gone
//!   lift     ───── lift ──────────────────► writes go on, to the new owner
//!   hooks    after
//! ```
//!
//! What stands beside each other from the lock on is done at the same time, and so are the journal's entries: `deciding`
//! with the opening, `decided` with the shutting. Before the fence connections are made, statements are written and run
//! once, and clients of hooks are made ready.
//!
//! Rolling back is the same with the two databases in each other's place. [`Cutover::cut_over`], [`Cutover::roll_back`] and
//! [`Cutover::complete`] may each be called again after a kill at any instruction.
//!
//! # Why there are never two owners
//! The **lock** is a transaction that holds `SHARE ROW EXCLUSIVE` on the slice's tables: whoever writes them
//! waits, a gateway that knows nothing of a fence and the monolith's own jobs included. It ends with its
//! connection, and the server ends it when the tool is silent for longer than the fence may stand, so nothing
//! is left behind by a tool that was killed, stopped or cut off. The **door** is a trigger that refuses writes;
//! it is shut in that very transaction, which commits when the new owner is in force. From then on only the
//! stream back writes there, as a replica, for which triggers do not fire.
//!
//! # States
//! | step | set by | kept | killed here |
//! |---|---|---|---|
//! | — | | | nothing has happened |
//! | `hooks` | before the hooks are called | journal | the next call takes them back (`undone`) and begins anew |
//! | `held` | before the fence is placed | journal; the fence in the gateways, the lock in a session | fence and lock end by themselves; then as above |
//! | `deciding` | before the flip is asked for | journal | the rollout says whether it happened: finished, or taken back |
//! | `decided` | when the flip is known | journal | the next call shuts the old door, lifts, calls `after` |
//! | `done`, `undone` | at the end | journal | nothing is left to do |
//!
//! Between the flip and the commit that shuts the old door lie the milliseconds of one answer. Killed there,
//! the old owner's tables are open to whoever writes them without a gateway until the next call; gateways send
//! their writes to the new owner. That call says so when it shuts the door.
//!
//! # Bounds
//! Everything from the fence on has [`Settings::hold`]; whatever is not done by then is undone, and nothing
//! has changed.

mod door;
mod error;
mod executor;
mod gateway;
mod hooks;
mod journal;
mod lock;
mod plan;
mod resume;
mod sequence;
mod situation;
mod tail;
mod unfit;

use std::time::Duration;

pub use error::CutoverError;
pub use executor::{Cutover, Report, Step, Watch};
pub use gateway::{DataStage, Fence, FencedGateway, GatewayClient, GatewayError, SliceView};
pub use hooks::{Hook, HookError, HookPoint, Hooks, Way};
pub use journal::{Attempt, AttemptStep};
pub use plan::{Compared, Obstacle, Plan, Situation, StreamSituation};
pub use unfit::{Unfit, UnfitRows};

/// What a cutover is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The longest that writes are held. Whatever is not done by then is undone.
    pub hold: Duration,
    /// How long a fence outlives the tool.
    pub lease: Duration,
    /// The stream must catch up with the old owner within this time before anything is held.
    pub max_lag: Duration,
    /// How long preparations may wait for others: for open transactions, for locks.
    pub patience: Duration,
    /// How long a writer of the old owner's that is under way is waited for at a time.
    pub lock_wait: Duration,
    /// Rows of each table that are compared once more while writes are held, the newest by key.
    pub tail_rows: u32,
    /// Whether all rows are compared before anything is held.
    pub verify: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(5),
            lease: Duration::from_millis(1_500),
            max_lag: Duration::from_secs(2),
            patience: Duration::from_secs(30),
            lock_wait: Duration::from_millis(250),
            tail_rows: 200,
            verify: true,
        }
    }
}
