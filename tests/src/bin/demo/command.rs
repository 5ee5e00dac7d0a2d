//! Commands that break or restore something, typed by a person or sent by a browser test.

use std::sync::atomic::Ordering;
use std::time::Duration;

use acceptance::lab::node::{GaleraNode, NodeStart};
use acceptance::lab::traffic::TrafficRate;
use anyhow::{Context, Result, bail, ensure};
use galera::view::VerdictState;
use tokio_util::sync::CancellationToken;

use crate::environment::DemoEnvironment;

/// Longest wait for the console to see a healthy cluster after a repair.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(20);

const HELP: &str = "\
kill|stop|pause|resume|start|wipe|isolate|heal|bootstrap|desync|resync n1
                            act on a node (start does not wait)
refound n1                  found the cluster again with a new data directory: another history
whole                       wait until all nodes are Synced in one Primary component
repair                      restore everything that was broken
etcd kill|start|pause|resume [1]     act on all etcd members, or on one
agent kill|stop|start 1              act on a node's agent
console kill|stop|start|restart      act on the console; restart takes extra options of serve
traffic off | traffic RATE [BYTES]   set transactions per second and their size
transfer off | transfer BYTES        limit incremental state transfers to BYTES per second
put KEY VALUE | delete KEY           change a registry key
revive off | revive SECONDS          restart dead nodes automatically
status                      print everything as JSON
quit                        stop the demo, like Ctrl-C";

/// Executes one command and returns a description of its effect.
///
/// # Errors
/// If the command is unknown or fails.
pub(crate) async fn execute(
    demo: &DemoEnvironment,
    line: &str,
    quit: &CancellationToken,
) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let lab = &demo.lab;
    match words.as_slice() {
        ["help"] => return Ok(HELP.to_owned()),
        ["status"] => return Ok(demo.describe(None).to_string()),
        ["quit"] => quit.cancel(),
        ["whole"] => lab.galera().wait_until_synced().await?,
        ["repair"] => {
            lab.repair().await?;
            if demo.console.pid().is_none() {
                demo.console.launch()?;
            }
            demo.console.wait_until_ready().await?;
            // What was broken on purpose is no alarm of what follows.
            // Accounts are read again some moments after etcd has returned.
            let sign_in = async || demo.console.sign_in("operator").await;
            let operator = acceptance::eventually("signing in", REPAIR_TIMEOUT, sign_in).await?;
            acceptance::eventually("a healthy cluster", REPAIR_TIMEOUT, async || {
                operator.acknowledge_alarms(lab.cluster()).await?;
                let view = operator.cluster(lab.cluster()).await?;
                let verdict = &view.verdict;
                ensure!(verdict.state == VerdictState::Healthy, "{verdict:?}");
                Ok(())
            })
            .await?;
        }
        ["etcd", verb, rest @ ..] => etcd(demo, verb, rest).await?,
        ["agent", verb, number] => agent(demo, verb, number).await?,
        ["console", "restart", options @ ..] => {
            demo.console.stop().await?;
            demo.console.launch_with(options)?;
            demo.console.wait_until_ready().await?;
        }
        ["console", verb] => console(demo, verb).await?,
        ["traffic", "off"] => demo.traffic.set_rate(TrafficRate::NONE),
        ["traffic", rate, rest @ ..] => demo.traffic.set_rate(TrafficRate {
            per_second: rate
                .parse()
                .context("the rate must be a number of transactions per second")?,
            size: rest
                .first()
                .map_or(Ok(TrafficRate::TRICKLE.size), |size| size.parse())?,
        }),
        ["transfer", speed] => transfer(demo, speed)?,
        ["revive", "off"] => demo.revive_after.store(0, Ordering::Relaxed),
        ["revive", seconds] => demo
            .revive_after
            .store(seconds.parse().context("seconds")?, Ordering::Relaxed),
        // The value is the rest of the line, unmodified.
        ["put", key, ..] => {
            let value = line.split_once(key).map_or("", |(_, rest)| rest.trim());
            lab.registry()?.put(*key, value, None).await?;
        }
        ["delete", key] => {
            let delete = registry::Transaction::new().then([registry::WriteOp::delete(*key)]);
            lab.registry()?.transact(&delete).await?;
        }
        [verb, name] => return node(demo, verb, name).await,
        _ => bail!("unknown command; type help"),
    }
    Ok(format!("done: {}", line.trim()))
}

async fn node(demo: &DemoEnvironment, verb: &str, name: &str) -> Result<String> {
    let node = find(demo, name)?;
    let pid = node.pid();
    match verb {
        "kill" => node.kill(),
        "stop" => node.stop().await?,
        "pause" => node.pause()?,
        "resume" => node.resume()?,
        "start" => node.launch(NodeStart::Join).await?,
        "found" => node.launch(NodeStart::FoundSeparately).await?,
        "wipe" => node.wipe()?,
        "refound" => {
            node.initialise().await?;
            node.launch(NodeStart::Found).await?;
        }
        "isolate" => node.isolate(true).await?,
        "heal" => node.isolate(false).await?,
        "bootstrap" => node.bootstrap().await?,
        "desync" => node.desync(true).await?,
        "resync" => node.desync(false).await?,
        _ => bail!("unknown command {verb:?}; type help"),
    }
    let pid = pid
        .or_else(|| node.pid())
        .map_or_else(String::new, |pid| format!(" (pid {pid})"));
    Ok(format!("done: {verb} {name}{pid}"))
}

fn find<'s>(demo: &'s DemoEnvironment, name: &str) -> Result<&'s GaleraNode> {
    let mut nodes = demo.lab.nodes().iter();
    nodes
        .find(|node| node.name() == name)
        .with_context(|| format!("unknown node {name:?}"))
}

async fn etcd(demo: &DemoEnvironment, verb: &str, number: &[&str]) -> Result<()> {
    let etcd = demo.lab.etcd();
    let members = match number {
        [] => etcd.members(),
        [number] => {
            let number: usize = number.parse().context("the number of an etcd member")?;
            let index = number
                .checked_sub(1)
                .context("members are counted from 1")?;
            std::slice::from_ref(etcd.members().get(index).context("unknown etcd member")?)
        }
        _ => bail!("one member or all of them"),
    };
    for member in members {
        match verb {
            "kill" => member.kill(),
            "pause" => member.pause()?,
            "resume" => member.resume()?,
            // A single member serves only with a majority, so all are started before any is waited for.
            "start" => member.launch()?,
            _ => bail!("unknown command etcd {verb:?}; type help"),
        }
    }
    Ok(())
}

async fn agent(demo: &DemoEnvironment, verb: &str, number: &str) -> Result<()> {
    let number: usize = number
        .trim_start_matches('n')
        .parse()
        .context("the number of a node")?;
    let index = number.checked_sub(1).context("nodes are counted from 1")?;
    let agent = demo.lab.agents().get(index).context("unknown agent")?;
    match verb {
        "kill" => agent.kill(),
        "stop" => agent.stop().await?,
        "start" => agent.ensure_running()?,
        _ => bail!("unknown command agent {verb:?}; type help"),
    }
    Ok(())
}

async fn console(demo: &DemoEnvironment, verb: &str) -> Result<()> {
    let console = &demo.console;
    match verb {
        "kill" => console.kill(),
        "stop" => console.stop().await.map(drop)?,
        "start" => {
            console.launch()?;
            console.wait_until_ready().await?;
        }
        _ => bail!("unknown command console {verb:?}; type help"),
    }
    Ok(())
}

fn transfer(demo: &DemoEnvironment, speed: &str) -> Result<()> {
    let speed = match speed {
        "off" => None,
        speed => Some(speed.parse().context("bytes a second")?),
    };
    demo.lab
        .nodes()
        .iter()
        .try_for_each(|node| node.limit_ist(speed))
}
