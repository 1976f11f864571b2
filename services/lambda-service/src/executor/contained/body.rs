//! A worker's container, as the worker protocol sees it.

use containers::Container;
use sandbox::{Accounts, Body, Ending};

/// A container, and what the kernel counts of it.
#[derive(Debug)]
pub struct ContainerBody {
    container: Container,
    accounts: Accounts,
}

impl ContainerBody {
    pub(super) fn new(container: Container, first_process: Option<u32>) -> Self {
        let accounts = first_process.map(|pid| Accounts::of_process(pid, container.id()));
        Self { accounts: accounts.unwrap_or_default(), container }
    }

    /// The container's id.
    pub(super) fn id(&self) -> &str {
        self.container.id()
    }
}

impl Body for ContainerBody {
    async fn ended(&self) {
        self.container.ended().await;
    }

    fn has_ended(&self) -> bool {
        self.container.has_ended()
    }

    async fn ending(&mut self) -> Ending {
        let end = self.container.end_of_it().await;
        Ending { exit_code: end.exit_code, ran_out_of_memory: end.ran_out_of_memory }
    }

    fn accounts(&self) -> Option<&Accounts> {
        Some(&self.accounts)
    }

    async fn end(self) {
        self.container.remove().await;
    }
}
