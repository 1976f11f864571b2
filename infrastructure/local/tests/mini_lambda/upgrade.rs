//! The gateway of a running stack is replaced: it is a part like before, and nobody notices.

use std::time::Instant;

use testkit::eventually;

use super::{
    operator::Operator,
    site::{PATIENCE, Site, is_dead},
    traffic::{Traffic, failures},
};

#[tokio::test]
async fn load_a_stack_goes_on_with_a_gateway_that_was_replaced() {
    let system = Site::new().start().await;
    let (operator, functions) = (Operator::of(&system), system.echoes(4).await);
    let gateway = system.stack.process("gateway").expect("a part of the document");
    let traffic = Traffic::start(&system, &functions, 4);
    traffic.calls_since(Instant::now(), 20).await;
    for _ in 0..2 {
        let old = gateway.pid().expect("it runs");
        let upgraded = operator.json(&["upgrade"]).await;
        let new = gateway.pid().expect("it runs");
        assert_eq!(upgraded["successor_pid"].as_u64(), Some(u64::from(new)), "the stack knows who serves");
        assert_ne!(new, old);
        traffic.calls_since(Instant::now(), 20).await;
        eventually(PATIENCE, || async { is_dead(old) }).await;
        traffic.calls_since(Instant::now(), 20).await;
        assert!(gateway.is_ready() && gateway.pid() == Some(new), "the end of the old one is not the part's");
    }
    let calls = traffic.stop().await;
    assert!(failures(&calls).is_empty(), "{:#?}", failures(&calls));

    // As before a killed gateway comes back, and the stack stops with it in order.
    let replaced = gateway.pid();
    system.kill("gateway").await;
    eventually(PATIENCE, || async { gateway.is_ready() && gateway.pid().is_some_and(|now| Some(now) != replaced) })
        .await;
    operator.json(&["upgrade"]).await;
    let last = gateway.pid().expect("it runs");
    system.stack.stop().await;
    assert!(is_dead(last), "whoever had taken over ends with the stack");
}
