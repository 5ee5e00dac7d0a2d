//! Commands that break or restore something, typed by a person or sent by a browser test.

use std::sync::atomic::Ordering;

use acceptance::lab::node::{GaleraNode, NodeStart};
use acceptance::lab::traffic::TrafficRate;
use anyhow::{Context, Result, bail};
use tokio_util::sync::CancellationToken;

use crate::environment::DemoEnvironment;

const HELP: &str = "\
kill|stop|pause|resume|start|wipe|isolate|heal|bootstrap|desync|resync n1
                            act on a node (start does not wait)
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
    stage: &DemoEnvironment,
    line: &str,
    quit: &CancellationToken,
) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let lab = &stage.lab;
    match words.as_slice() {
        ["help"] => return Ok(HELP.to_owned()),
        ["status"] => return Ok(stage.describe(None).to_string()),
        ["quit"] => quit.cancel(),
        ["whole"] => lab.galera().wait_until_synced().await?,
        ["repair"] => {
            lab.repair().await?;
            if stage.console.pid().is_none() {
                stage.console.launch()?;
            }
            stage.console.wait_until_ready().await?;
        }
        ["etcd", verb, rest @ ..] => etcd(stage, verb, rest).await?,
        ["agent", verb, number] => agent(stage, verb, number).await?,
        ["console", "restart", options @ ..] => {
            stage.console.stop().await?;
            stage.console.launch_with(options)?;
            stage.console.wait_until_ready().await?;
        }
        ["console", verb] => console(stage, verb).await?,
        ["traffic", "off"] => stage.traffic.set_rate(TrafficRate::NONE),
        ["traffic", rate, rest @ ..] => stage.traffic.set_rate(TrafficRate {
            per_second: rate.parse().context("the rate must be a number of transactions per second")?,
            size: rest
                .first()
                .map_or(Ok(TrafficRate::TRICKLE.size), |size| size.parse())?,
        }),
        ["transfer", speed] => transfer(stage, speed)?,
        ["revive", "off"] => stage.revive_after.store(0, Ordering::Relaxed),
        ["revive", seconds] => stage
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
        [verb, name] => return node(stage, verb, name).await,
        _ => bail!("unknown command; type help"),
    }
    Ok(format!("done: {}", line.trim()))
}

async fn node(stage: &DemoEnvironment, verb: &str, name: &str) -> Result<String> {
    let node = find(stage, name)?;
    let pid = node.pid();
    match verb {
        "kill" => node.kill(),
        "stop" => node.stop().await?,
        "pause" => node.pause()?,
        "resume" => node.resume()?,
        "start" => node.launch(NodeStart::Join).await?,
        "found" => node.launch(NodeStart::FoundSeparately).await?,
        "wipe" => node.wipe()?,
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

fn find<'s>(stage: &'s DemoEnvironment, name: &str) -> Result<&'s GaleraNode> {
    let mut nodes = stage.lab.nodes().iter();
    nodes
        .find(|node| node.name() == name)
        .with_context(|| format!("unknown node {name:?}"))
}

async fn etcd(stage: &DemoEnvironment, verb: &str, number: &[&str]) -> Result<()> {
    let etcd = stage.lab.etcd();
    let members = match number {
        [] => etcd.members(),
        [number] => {
            let number: usize = number.parse().context("the number of an etcd member")?;
            let index = number
                .checked_sub(1)
                .context("members are counted from 1")?;
            std::slice::from_ref(
                etcd.members()
                    .get(index)
                    .context("unknown etcd member")?,
            )
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

async fn agent(stage: &DemoEnvironment, verb: &str, number: &str) -> Result<()> {
    let number: usize = number
        .trim_start_matches('n')
        .parse()
        .context("the number of a node")?;
    let index = number.checked_sub(1).context("nodes are counted from 1")?;
    let agent = stage
        .lab
        .agents()
        .get(index)
        .context("unknown agent")?;
    match verb {
        "kill" => agent.kill(),
        "stop" => agent.stop().await?,
        "start" => agent.ensure_running()?,
        _ => bail!("unknown command agent {verb:?}; type help"),
    }
    Ok(())
}

async fn console(stage: &DemoEnvironment, verb: &str) -> Result<()> {
    let console = &stage.console;
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

fn transfer(stage: &DemoEnvironment, speed: &str) -> Result<()> {
    let speed = match speed {
        "off" => None,
        speed => Some(speed.parse().context("bytes a second")?),
    };
    stage
        .lab
        .nodes()
        .iter()
        .try_for_each(|node| node.limit_ist(speed))
}
