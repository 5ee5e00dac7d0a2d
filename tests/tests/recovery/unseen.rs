//! What the console cannot see: a Primary component behind a broken network, and the answer to its own statement.

use std::cell::Cell;
use std::time::Duration;

use acceptance::lab::node::Node;
use acceptance::people::{People, stopped};
use acceptance::{Lab, eventually};
use anyhow::{Context, Result, ensure};
use galera::NodeId;
use galera::recover::action::{State, StepState};
use galera::recover::plan::{CheckCode, CheckStatus, Plan};

/// Longest wait for views and registrations to settle.
const SETTLED: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_out_of_sight_is_inferred_and_an_answer_that_never_comes_is_observed()
-> Result<()> {
    let lab = Lab::builder().doors().agents(true).start().await?;
    let console = lab.console().await?;
    let people = People::of(&console).await?;
    let unseen = [lab.node(2).id().clone(), lab.node(3).id().clone()];

    out_of_sight(&lab, &people, &unseen).await?;
    lab.node(1).isolate(false).await?;
    lab.galera().whole().await?;
    for number in [2, 3] {
        door(lab.node(number))?.pass();
        lab.agent(number).ensure_running()?;
    }
    answer_withheld(&lab, &people, &unseen).await
}

/// n2 and n3 are Primary, and the console reaches neither; n1, which it reaches, is not.
async fn out_of_sight(lab: &Lab, people: &People, unseen: &[NodeId]) -> Result<()> {
    for number in [2, 3] {
        door(lab.node(number))?.silence();
    }
    lab.node(1).isolate(true).await?;
    // Nothing else speaks against it in the end; whoever declares them stopped is contradicted by the registry.
    for declared in [&[][..], unseen] {
        let plan = refused_for(people, declared, |plan| {
            says(
                plan,
                &CheckCode::NOBODY_PRIMARY,
                "the live registration says Primary",
            )
        })
        .await?;
        let refusal = people
            .refused("bootstrap", &plan, &stopped(declared))
            .await?;
        ensure!(refusal.status == 422, "{refusal:?}");
    }
    // Without any agent's word they are merely unaccounted for, which is not dead.
    for number in [2, 3] {
        lab.agent(number).kill();
    }
    let plan = refused_for(people, &[], |plan| {
        passes(plan, &CheckCode::NOBODY_PRIMARY)
            && says(
                plan,
                &CheckCode::MEMBERS_ACCOUNTED,
                "may be Primary where the console cannot see it",
            )
    })
    .await?;
    let refusal = people.refused("bootstrap", &plan, &[]).await?;
    ensure!(refusal.status == 422, "{refusal:?}");
    for number in [2, 3] {
        let status = lab.node(number).wsrep().await?;
        ensure!(status["wsrep_cluster_status"] == "Primary", "{status:?}");
    }
    Ok(())
}

/// The plan once the views have settled and it says what is expected; it must not be executable at any time.
async fn refused_for(
    people: &People,
    declared: &[NodeId],
    expected: impl Fn(&Plan) -> bool,
) -> Result<Plan> {
    let offered = Cell::new(false);
    let plan = eventually("the plan to say why not", SETTLED, async || {
        let plan = people.plan("bootstrap", &stopped(declared)).await?;
        offered.set(offered.get() || plan.executable);
        let settled = passes(&plan, &CheckCode::SETTLED);
        ensure!(settled && expected(&plan), "{:#?}", plan.checks);
        Ok(plan)
    })
    .await?;
    ensure!(!offered.get(), "it was offered meanwhile");
    Ok(plan)
}

/// The statement reaches the database, which carries it out; its answer is lost.
async fn answer_withheld(lab: &Lab, people: &People, lost: &[NodeId]) -> Result<()> {
    lab.node(2).kill();
    lab.node(3).kill();
    door(lab.node(1))?.mute_after("pc.bootstrap");
    let declared = stopped(lost);
    let plan = people
        .executable_within(SETTLED, "bootstrap", &declared)
        .await?;
    let action = people.request("bootstrap", &plan, &declared).await?;
    people.act(&people.approver, &action, "approve").await?;
    let ended = people.ended(&action).await?.action;
    ensure!(ended.state == State::Succeeded, "{ended:#?}");
    let step = ended.steps.first().context("no step")?;
    ensure!(step.state == StepState::Unknown, "{step:?}");
    let answer = step.answer.as_deref().unwrap_or_default();
    ensure!(answer.contains("no answer"), "{answer:?}");
    let recorded = people.recorded(&action).await?;
    let sent = recorded
        .iter()
        .filter(|event| *event == "action_step")
        .count();
    ensure!(sent == 1, "{recorded:?}");
    lab.node(1).synced().await
}

fn door(node: &Node) -> Result<&acceptance::chaos::Proxy> {
    node.door().context("the lab has no doors")
}

fn passes(plan: &Plan, code: &CheckCode) -> bool {
    let check = plan.check(code);
    check.is_some_and(|check| check.status == CheckStatus::Pass)
}

fn says(plan: &Plan, code: &CheckCode, words: &str) -> bool {
    let check = plan.check(code);
    check.is_some_and(|check| !check.status.permits() && check.message.contains(words))
}
