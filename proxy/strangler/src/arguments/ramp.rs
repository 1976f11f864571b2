//! The words of `strangler ramp`.

use clap::{Args, Subcommand};

use super::ChangeTerms;

/// What to do with a ramp.
#[derive(Debug, Subcommand)]
pub(crate) enum RampCommand {
    /// Begin to raise a route's weight step by step, as its plan in the gateway's configuration says
    Start(RampArguments),
    /// Show where ramps stand: step, evidence, what they wait for
    Status {
        /// Name of the route [default: every route with a guard]
        route: Option<String>,
    },
    /// Stay at the present weight; the guard goes on
    Pause(RampArguments),
    /// Go on after a pause: the step starts over
    Resume(RampArguments),
    /// Approve the end of a step that asks for it
    Approve(RampArguments),
    /// Vouch for the present step and go on to the next at once
    Promote(RampArguments),
    /// End the ramp with everything back on legacy
    Abort(RampArguments),
}

#[derive(Debug, Args)]
pub(crate) struct RampArguments {
    /// Name of the route
    pub(crate) route: String,
    #[command(flatten)]
    pub(crate) terms: ChangeTerms,
}
