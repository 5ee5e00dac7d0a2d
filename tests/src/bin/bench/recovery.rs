//! How long a cluster that lost two of three nodes takes from the approval to being Primary again, and how much of that is
//! the console's own.

use std::time::{Duration, Instant};

use acceptance::lab::node::NodeStart;
use acceptance::recovery_team::{RecoveryTeam, attest_stopped};
use acceptance::{Lab, eventually};
use anyhow::{Context, Result, ensure};
use galera::recover::action::{Action, ActionState};

use crate::figures::{DurationSample, MeasuredFigure};

const RUNS: usize = 5;
/// Longest wait for a plan: views must have been the same for some seconds.
const PLAN_TIMEOUT: Duration = Duration::from_secs(40);
/// Limit from the approval to Primary again.
const PRIMARY_LIMIT: Duration = Duration::from_secs(5);
/// What the console itself may take of it.
const CONSOLE_LIMIT: Duration = Duration::from_millis(300);

/// Kills two of three and recovers them, [`RUNS`] times.
pub(crate) async fn measure() -> Result<Vec<MeasuredFigure>> {
    println!("==> Two of three killed and recovered, {RUNS} times");
    let lab = Lab::builder().start().await?;
    let console = lab.console().await?;
    let team = RecoveryTeam::sign_in(&console).await?;
    let lost = attest_stopped(&[lab.node(2).id().clone(), lab.node(3).id().clone()]);
    let (mut primary, mut own) = (DurationSample::default(), DurationSample::default());
    for _ in 0..RUNS {
        lab.node(2).kill();
        lab.node(3).kill();
        let plan = team
            .executable_plan_within(PLAN_TIMEOUT, "bootstrap", &lost)
            .await?;
        let action = team.request("bootstrap", &plan, &lost).await?;
        let approved = Instant::now();
        team.act(&team.approver, &action, "approve").await?;
        // Queried directly: the console's own view is not what is measured.
        eventually("n1 to be Primary", PRIMARY_LIMIT * 2, async || {
            let status = lab.node(1).wsrep().await?.remove("wsrep_cluster_status");
            ensure!(
                status.as_deref() == Some("Primary"),
                "it reports {status:?}"
            );
            Ok(())
        })
        .await?;
        primary.add(approved.elapsed());
        let ended = team.wait_for_end(&action).await?.action;
        ensure!(ended.state == ActionState::Succeeded, "{ended:#?}");
        own.add(approval_to_intention(&ended)?);
        for number in [2, 3] {
            lab.node(number).start(NodeStart::Join).await?;
        }
        lab.galera().wait_until_synced().await?;
    }
    println!(
        "    approval → Primary {:?} to {:?}; approval → statement {:?} to {:?}",
        primary.quantile(0.0),
        primary.quantile(1.0),
        own.quantile(0.0),
        own.quantile(1.0)
    );
    Ok(vec![
        MeasuredFigure::duration(
            "two of three lost: approval to Primary again, longest of 5",
            primary.quantile(1.0),
            PRIMARY_LIMIT,
        ),
        MeasuredFigure::duration(
            "of which the console's own share, longest of 5",
            own.quantile(1.0),
            CONSOLE_LIMIT,
        ),
    ])
}

/// From the approval to the recorded intention. The statement is sent immediately afterwards; the rest of the time is
/// the group's.
fn approval_to_intention(action: &Action) -> Result<Duration> {
    let approval = action.approvals.last().context("no approval")?;
    let step = action.steps.first().context("no step")?;
    let intended = step.intended_at.context("nothing was intended")?;
    Ok(approval.at.age(intended))
}
