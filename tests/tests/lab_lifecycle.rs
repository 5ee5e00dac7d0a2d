//! The lab itself, without this project's programs.

use std::time::{Duration, SystemTime};

use acceptance::lab::clock::LabClock;
use acceptance::lab::directory::LabDirectory;
use acceptance::lab::process::Program;
use acceptance::{Lab, eventually};
use anyhow::{Result, ensure};

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_form_a_cluster_and_end_with_the_lab() -> Result<()> {
    let lab = Lab::builder()
        .etcd(3)
        .progress(|progress| println!("{progress:?}"))
        .start()
        .await?;
    let size = lab.node(3).wsrep().await?.remove("wsrep_cluster_size");
    ensure!(size.as_deref() == Some("3"), "{size:?}");

    lab.node(2).kill();
    lab.node(3).kill();
    eventually("n1 to lose quorum", Duration::from_secs(120), async || {
        let status = lab.node(1).wsrep().await?.remove("wsrep_cluster_status");
        ensure!(status.as_deref() == Some("non-Primary"), "{status:?}");
        Ok(())
    })
    .await?;
    let began = std::time::Instant::now();
    lab.repair().await?;
    println!("repair: {:?}", began.elapsed());

    let directory = lab.directory().to_path_buf();
    let pids: Vec<_> = lab.nodes().iter().filter_map(|node| node.pid()).collect();
    ensure!(pids.len() == 3);
    drop(lab);
    for pid in pids {
        ensure!(
            !std::path::Path::new(&format!("/proc/{pid}")).exists(),
            "{pid} is still running"
        );
    }
    ensure!(!directory.exists(), "{} is left", directory.display());
    Ok(())
}

#[tokio::test]
async fn a_clock_is_set_for_the_processes_that_read_it() -> Result<()> {
    let directory = LabDirectory::create()?;
    let clock = LabClock::create(directory.path(), "clock")?;
    for offset in [3_600, -90] {
        clock.set(offset)?;
        let log = directory.path().join(format!("date{offset}.log"));
        let date = Program::new("date", "date", &log)
            .arg("+%s")
            .own_envs(clock.environment());
        date.start()?.wait(Duration::from_secs(60)).await?;
        let shown: i64 = std::fs::read_to_string(&log)?.trim().parse()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let ahead = shown - i64::try_from(now.as_secs())?;
        ensure!(
            (ahead - offset).abs() <= 15,
            "{ahead} s instead of {offset} s"
        );
    }
    Ok(())
}
