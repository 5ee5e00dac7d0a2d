//! Pages about building, installing and starting.

use crate::block_table::{MissingRequirement, PageEntry, StartingPoint, executed, not_executed};

pub(super) const README: PageEntry = PageEntry {
    page: "README.md",
    starting_point: StartingPoint::NewHost,
    before: "",
    blocks: &[
        not_executed("make demo", MissingRequirement::Make),
        executed("galera-console user add ada").printing(&["ada"]),
        executed("galera-console serve --listen").printing(&["galera-console listens on https://"]),
        executed("galera-console serve --cluster")
            .after("cp /etc/galera-console/mysql-password .")
            .printing(&["galera-console listens on http://127.0.0.1:3000"]),
        executed("CLUSTER_NAME=lab DISCOVERY_SERVICE="),
    ],
};

pub(super) const DEPLOYMENTS: PageEntry = PageEntry {
    page: "deploy/README.md",
    starting_point: StartingPoint::NewHost,
    before: "",
    blocks: &[
        not_executed("make images\ndeploy/secrets files", MissingRequirement::Docker),
        not_executed("make images\ndeploy/secrets swarm", MissingRequirement::Docker),
        not_executed("docker network create", MissingRequirement::Docker),
        not_executed("docker run -d", MissingRequirement::Docker),
        not_executed("CONSOLE_HOST=", MissingRequirement::Kubernetes),
        not_executed("apt install ./galera-agent", MissingRequirement::Systemd),
        executed("useradd --system"),
        not_executed(
            "install -m 600 /dev/stdin /etc/galera-agent/notify",
            MissingRequirement::Systemd,
        ),
        not_executed("apt install ./galera-console", MissingRequirement::Systemd),
        executed("galera-console secret new"),
        // The etcd of the page about hardening, with the account and the role that it made.
        executed("export GALERA_CONSOLE_CONFIG=").after(
            "cp \"$REPOSITORY/deploy/systemd/console.toml\" /etc/galera-console/\n\
             cp /etc/galera-console/ca.pem /etc/galera-console/etcd-ca.pem\n\
             printf console-of-etcd >/etc/galera-console/etcd-password\n\
             chmod 600 /etc/galera-console/etcd-password\n\
             etcdctl --endpoints https://etcd1:2379 --cacert /etc/galera-console/ca.pem --user root:root-of-etcd del --prefix /galera-console/",
        ),
        not_executed("systemctl enable --now galera-console", MissingRequirement::Systemd),
    ],
};

pub(super) const KUBERNETES: PageEntry = PageEntry {
    page: "docs/kubernetes.md",
    starting_point: StartingPoint::NewHost,
    before: "",
    blocks: &[
        not_executed("helm install", MissingRequirement::Kubernetes),
        executed("ETCD_HOSTS=")
            .after("mkdir deploy; cp \"$REPOSITORY/deploy/secrets\" deploy/")
            .printing(&["etcd-ca", "etcd-cert"]),
    ],
};

pub(super) const RELEASING: PageEntry = PageEntry {
    page: "docs/releasing.md",
    starting_point: StartingPoint::NewHost,
    before: "",
    blocks: &[
        not_executed("minisign -G", MissingRequirement::Make),
        // A release in small: a file, its checksum and the signature.
        executed("minisign -V")
            .after(
                "echo content >file; sha256sum file >SHA256SUMS\n\
                 minisign -G -W -p release.pub -s release.key\n\
                 minisign -S -s release.key -m SHA256SUMS",
            )
            .printing(&["file: OK"]),
        not_executed("SOURCE_DATE_EPOCH=", MissingRequirement::Docker),
    ],
};

pub(super) const SERIES: PageEntry = PageEntry {
    page: "docs/series.md",
    starting_point: StartingPoint::NewHost,
    before: "",
    blocks: &[executed("galera-console serve --data-dir")],
};

pub(super) const TELEMETRY: PageEntry = PageEntry {
    page: "docs/telemetry.md",
    starting_point: StartingPoint::NewHost,
    before: "",
    blocks: &[
        not_executed("make build FEATURES=otlp", MissingRequirement::Make),
        executed("OTEL_RESOURCE_ATTRIBUTES="),
    ],
};
