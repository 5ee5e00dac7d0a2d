//! Another release of MariaDB, Galera and etcd than the installed one; `make test-matrix` plays all of them.

use acceptance::lab::release::ServerRelease;
use acceptance::version_matrix::{MatrixLab, Scenario};
use anyhow::Result;

/// MariaDB 11.8 has provider options as variables, which is another bootstrap statement, and lacks names that 10.11 has.
#[tokio::test(flavor = "multi_thread")]
async fn mariadb_11_8_loses_quorum_and_is_recovered() -> Result<()> {
    let lab = MatrixLab::form(ServerRelease::Trixie).await?;
    lab.play(Scenario::ApprovedStatement).await?;
    lab.finish().await.map(drop)
}
