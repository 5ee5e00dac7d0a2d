"""What the Helm chart makes of values. `test_chart.py update` records the rendering of values/whole.yaml."""

import copy
import json
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHART = ROOT / "deploy/helm/galera-console"
RECORDED = HERE / "rendered.yaml"
VALUES = sorted((HERE / "values").glob("*.yaml"))
# The oldest that Chart.yaml permits, some between, and the newest with a schema.
KUBERNETES = ["1.25", "1.28", "1.31", "1.34", "1.37"]
# Kinds of operators, which Kubernetes has no schemas of.
CUSTOM = {"Certificate", "ServiceMonitor"}
WORKLOADS = {"StatefulSet", "Job"}


def helm(*arguments):
    return subprocess.run(["helm", *map(str, arguments)], capture_output=True, text=True, check=False)


def template(values, *sets, chart=CHART):
    arguments = ["template", "galera-console", chart, "--namespace", "databases", "--values", HERE / "values" / f"{values}.yaml"]
    for pair in sets:
        arguments += ["--set-json", pair]
    return helm(*arguments)


def render(values, *sets, chart=CHART):
    result = template(values, *sets, chart=chart)
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def of_kind(objects, *kinds):
    return [found for found in objects if found["kind"] in kinds]


def pod(workload):
    return workload["spec"]["template"]


def containers(workload):
    return pod(workload)["spec"]["containers"]


def variables(container):
    return {entry["name"]: entry.get("value") for entry in container.get("env", [])}


def component(found):
    return found["metadata"]["labels"]["app.kubernetes.io/component"]


def workload(objects, name):
    [found] = [found for found in of_kind(objects, *WORKLOADS) if component(found) == name]
    return found


def mounted_files(workload):
    """Paths that the Secrets of the pod appear at; a directory where the Secret is mounted whole."""
    paths = set()
    volumes = {volume["name"]: volume for volume in pod(workload)["spec"].get("volumes", [])}
    for container in containers(workload):
        for mount in container["volumeMounts"]:
            volume = volumes.get(mount["name"], {})
            sources = [{"secret": volume["secret"]}] if "secret" in volume else volume.get("projected", {}).get("sources", [])
            for source in sources:
                items = source["secret"].get("items")
                paths |= {f"{mount['mountPath']}/{item['path']}" for item in items} if items else {mount["mountPath"] + "/"}
    return paths


class Renderings(unittest.TestCase):
    def each(self):
        for path in VALUES:
            with self.subTest(values=path.stem):
                yield path, render(path.stem)

    def test_helm_lint_passes(self):
        for path in VALUES:
            with self.subTest(values=path.stem):
                result = helm("lint", CHART, "--strict", "--quiet", "--values", path)
                self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_every_object_is_valid_in_every_supported_kubernetes(self):
        for _, objects in self.each():
            for found in objects:
                if found["kind"] in CUSTOM:
                    continue
                for version in KUBERNETES:
                    kubernetes_validate.validate(found, version, strict=True)

    def test_names_are_unique_and_fit(self):
        for _, objects in self.each():
            names = [(found["kind"], found["metadata"]["name"]) for found in objects]
            self.assertEqual(len(names), len(set(names)), names)
            for _, name in names:
                self.assertRegex(name, r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")

    def test_pods_meet_the_restricted_standard(self):
        for _, objects in self.each():
            for found in of_kind(objects, *WORKLOADS):
                spec = pod(found)["spec"]
                self.assertFalse(spec["automountServiceAccountToken"])
                self.assertTrue(spec["securityContext"]["runAsNonRoot"])
                self.assertGreater(spec["securityContext"]["runAsUser"], 0)
                self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & spec.keys())
                for container in spec["containers"]:
                    security = container["securityContext"]
                    self.assertFalse(security["allowPrivilegeEscalation"])
                    self.assertTrue(security["readOnlyRootFilesystem"])
                    self.assertEqual(security["capabilities"], {"drop": ["ALL"]})
                    self.assertIn("memory", container["resources"]["limits"])

    def test_selectors_select_pods_and_ports_exist(self):
        for _, objects in self.each():
            pods = [pod(found) for found in of_kind(objects, *WORKLOADS)]

            def selected(labels, pods=pods):
                return [found for found in pods if labels.items() <= found["metadata"]["labels"].items()]

            def ports(found):
                return {port["name"] for container in found["spec"]["containers"] for port in container.get("ports", [])}

            for found in of_kind(objects, "Service"):
                [target] = selected(found["spec"]["selector"])
                for port in found["spec"]["ports"]:
                    named = port.get("targetPort", port["name"])
                    self.assertIn(named, ports(target))
            for found in of_kind(objects, "StatefulSet", "PodDisruptionBudget"):
                self.assertEqual(len(selected(found["spec"]["selector"]["matchLabels"])), 1)
            for found in of_kind(objects, "NetworkPolicy"):
                [target] = selected(found["spec"]["podSelector"]["matchLabels"])
                for rule in found["spec"]["ingress"]:
                    self.assertLessEqual({port["port"] for port in rule["ports"]}, ports(target))
                    for peer in rule.get("from", []):
                        if labels := peer.get("podSelector", {}).get("matchLabels"):
                            self.assertTrue(selected(labels), labels)
            services = {found["metadata"]["name"]: found for found in of_kind(objects, "Service")}
            for found in of_kind(objects, "StatefulSet"):
                self.assertEqual(services[found["spec"]["serviceName"]]["spec"]["clusterIP"], "None")
            for found in of_kind(objects, "Ingress"):
                for rule in found["spec"]["rules"]:
                    for path in rule["http"]["paths"]:
                        backend = path["backend"]["service"]
                        names = {port["name"] for port in services[backend["name"]]["spec"]["ports"]}
                        self.assertIn(backend["port"]["name"], names)
            for found in of_kind(objects, "ServiceMonitor"):
                labels = found["spec"]["selector"]["matchLabels"]
                monitored = [name for name, service in services.items() if labels.items() <= service["metadata"]["labels"].items()]
                self.assertEqual(len(monitored), 1, "each replica is to be scraped once")

    def test_every_file_of_a_variable_is_mounted(self):
        for _, objects in self.each():
            for found in of_kind(objects, *WORKLOADS):
                files = mounted_files(found)
                named = set()
                for container in containers(found):
                    values = [value for value in variables(container).values() if value]
                    for value in values + container.get("args", []):
                        named |= set(re.findall(r"/run/secrets/[\w./-]+", value))
                for path in named:
                    whole = any(path.startswith(directory) for directory in files if directory.endswith("/"))
                    self.assertTrue(path in files or whole, f"{path} is not mounted: {sorted(files)}")
                unused = {path for path in files if not path.endswith("/")} - named
                self.assertEqual(unused, set(), "mounted without need")

    def test_variables_are_settings_of_the_programs(self):
        console = set(re.findall(r"`(GALERA_CONSOLE_[A-Z0-9_]+)`", (ROOT / "docs/settings.md").read_text()))
        agent_page = (ROOT / "docs/agent.md").read_text()
        for _, objects in self.each():
            for found in of_kind(objects, *WORKLOADS):
                for container in containers(found):
                    names = set(variables(container))
                    self.assertEqual(len(names), len(container.get("env", [])), "a variable is set twice")
                    if component(found) in {"console", "etcd-accounts"}:
                        self.assertLessEqual(names, console)
                    elif component(found) == "node":
                        for name in names:
                            self.assertIn(name.removesuffix("_FILE"), agent_page)

    def test_nodes_have_no_key_of_the_console_and_the_console_none_of_the_nodes(self):
        objects = render("whole")
        node = mounted_files(workload(objects, "node"))
        console = mounted_files(workload(objects, "console"))
        for private in ["order-key", "state-secret", "etcd-console", "metrics-token"]:
            self.assertNotIn(f"/run/secrets/galera/{private}", node)
        for private in ["mysql-root", "state-transfer", "etcd-agent", "etcd-root"]:
            self.assertNotIn(f"/run/secrets/galera/{private}", console)

    def test_a_new_version_of_the_chart_alone_restarts_nothing(self):
        with tempfile.TemporaryDirectory() as directory:
            newer = Path(directory) / "galera-console"
            shutil.copytree(CHART, newer)
            text = (newer / "Chart.yaml").read_text()
            (newer / "Chart.yaml").write_text(re.sub(r"^version: .*$", "version: 99.0.0", text, flags=re.MULTILINE))
            before, after = render("whole"), render("whole", chart=newer)
            self.assertNotEqual(before, after)
            for name in ["console", "node", "etcd"]:
                self.assertEqual(pod(workload(before, name)), pod(workload(after, name)))

    def test_the_quota_of_etcd_is_what_the_console_assumes_and_fits_the_volume(self):
        for sets in [[], ["etcd.quotaMiB=640"], ["etcd.quotaMiB=2048", 'etcd.persistence.size="2.5Gi"'], ['etcd.persistence.size="1T"']]:
            with self.subTest(sets=sets):
                objects = render("whole", *sets)
                [etcd], [console] = (containers(workload(objects, name)) for name in ("etcd", "console"))
                quota = int(variables(etcd)["ETCD_QUOTA_BACKEND_BYTES"])
                self.assertEqual(variables(console)["GALERA_CONSOLE_ETCD_QUOTA"], f"{quota >> 20}MiB")
                self.assertEqual(quota % (1 << 20), 0)
        self.assertNotIn("GALERA_CONSOLE_ETCD_QUOTA", variables(containers(workload(render("external-etcd"), "console"))[0]))

    def test_clusters_of_operators_have_the_names_of_their_pods(self):
        [container] = containers(workload(render("operators"), "console"))
        self.assertEqual(
            variables(container)["GALERA_CONSOLE_CLUSTER"].split(" "),
            [
                "mariadb-operator=mariadb-0.mariadb-internal.databases.svc,mariadb-1.mariadb-internal.databases.svc",
                "cluster1-pxc=cluster1-pxc-0.cluster1-pxc.pxc.svc,cluster1-pxc-1.cluster1-pxc.pxc.svc,"
                "cluster1-pxc-2.cluster1-pxc.pxc.svc",
                "other=cluster2-pxc-0.cluster2-pxc.pxc.svc",
            ],
        )

    def test_traces_are_exported_with_headers_from_the_secret_over_https_only(self):
        plain = render("whole", 'console.otlp.endpoint="http://collector.observability.svc:4318"')
        [container] = containers(workload(plain, "console"))
        self.assertEqual(variables(container)["GALERA_CONSOLE_OTLP_ENDPOINT"], "http://collector.observability.svc:4318")
        self.assertNotIn("GALERA_CONSOLE_OTLP_HEADERS_FILE", variables(container))
        secret = render("whole", 'console.otlp.endpoint="https://collector:4318"', "console.otlp.headers=true")
        file = variables(containers(workload(secret, "console"))[0])["GALERA_CONSOLE_OTLP_HEADERS_FILE"]
        self.assertIn(file, mounted_files(workload(secret, "console")))

    def test_settings_of_the_schema_are_those_of_the_console(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        known = schema["properties"]["console"]["properties"]["settings"]["propertyNames"]["enum"]
        table = re.findall(r"^\| `--[^`]*` \| `GALERA_CONSOLE_([A-Z0-9_]+)`", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
        self.assertEqual(known, table)

    def test_the_schema_has_every_value_and_no_other(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        values = yaml.safe_load((CHART / "values.yaml").read_text())

        def compare(schema, values, path):
            properties = schema.get("properties")
            if properties is None:
                return
            self.assertEqual(set(properties) - {"global"}, set(values), path)
            self.assertIs(schema["additionalProperties"], False, path)
            for name, value in values.items():
                if isinstance(value, dict):
                    compare(properties[name], value, f"{path}.{name}")

        compare(schema, values, "values")

    def test_versions_are_those_of_the_workspace(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        workspace = re.search(r'^\[workspace\.package\][^\[]*^version = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE | re.DOTALL)
        self.assertEqual({chart["version"], chart["appVersion"]}, {workspace.group(1)})

    def test_the_recorded_rendering_is_current(self):
        self.assertEqual(RECORDED.read_text(), template("whole").stdout, "run: scripts/test-chart update")


class Refusals(unittest.TestCase):
    """Each names the value, and a remedy."""

    def refused(self, values, sets, *words):
        with self.subTest(sets=sets):
            result = template(values, *sets)
            self.assertNotEqual(result.returncode, 0, result.stdout)
            for word in words:
                self.assertIn(word, result.stderr)

    def test_contradictions(self):
        for values, sets, *words in [
            ("external-etcd", ["etcd.endpoints=[]"], "etcd.endpoints is empty", "etcd.mode"),
            ("external-etcd", ['etcd.mode="embedded"'], "etcd.endpoints is set, but etcd.mode is embedded"),
            ("whole", ['etcd.endpoints=["https://etcd:2379"]'], "etcd.endpoints is set, but etcd.mode is deployed"),
            ("whole", ['etcd.user=""'], "etcd.user is empty"),
            ("external-etcd", ["etcd.ca=false"], "etcd.ca is false"),
            ("external-etcd", ['etcd.endpoints=["http://etcd:2379"]'], "without encryption", "etcd.user"),
            ("whole", ["etcd.quotaMiB=641"], "etcd.quotaMiB is 641", "etcd.persistence.size is 1Gi"),
            ("whole", ['etcd.persistence.size="0.9G"'], "etcd.quotaMiB is 512", "etcd.persistence.size is 0.9G"),
            ("whole", ['console.settings={"ETCD_QUOTA": "2GiB"}'], "console.settings.ETCD_QUOTA is set by the chart"),
            ("embedded-etcd", ["console.replicas=2"], "console.replicas is 2"),
            ("embedded-etcd", ["console.persistence.enabled=false"], "console.persistence.enabled is false"),
            ("embedded-etcd", ["nodes.enabled=true"], "nodes.enabled is true", "etcd.mode"),
            ("whole", ['console.tls.secretName="x"'], "exclude each other"),
            ("whole", ['console.tls.certManager.issuerRef.name=""'], "issuerRef.name is empty"),
            ("external-etcd", ['console.tls.secretName=""'], "http to browsers", "console.tls.secretName"),
            ("embedded-etcd", ['console.ingress.tlsSecretName=""'], "console.ingress.tlsSecretName is empty"),
            ("embedded-etcd", ['console.publicUrl=""'], "console.ingress.host", "console.publicUrl"),
            ("embedded-etcd", ['console.ingress.host="other.example.org"'], "console.ingress.host is other.example.org"),
            ("embedded-etcd", ['console.publicUrl="http://galera.example.org"'], "console.publicUrl is http://"),
            ("external-etcd", ['console.recovery.transport="verified"'], "console.mysql.caSecret.name is empty"),
            ("operators", ['console.mysql.passwordSecret.key=""'], "console.mysql.passwordSecret.key is empty"),
            ("operators", ['console.mysql.caSecret.key=""'], "console.mysql.caSecret.key is empty"),
            ("external-etcd", ['console.settings={"STATE_SECRET_FILE": "/x"}'], "console.settings.STATE_SECRET_FILE is set by the chart"),
            ("whole", ["console.otlp.headers=true"], "console.otlp.endpoint does not begin with https://"),
            ("whole", ["nodes.expectedMembers=6"], "nodes.expectedMembers is 6, but nodes.replicas is 5"),
            ("whole", ["nodes.replicas=2", "nodes.expectedMembers=0"], "nodes.replicas is 2"),
            ("whole", ["console.orders.enabled=false"], "console.orders.enabled is false"),
        ]:
            self.refused(values, sets, *words)

    def test_two_clusters_of_one_name(self):
        twice = json.loads('{"operator": "mariadb-operator", "namespace": "databases", "replicas": 3}')
        clusters = [dict(copy.deepcopy(twice), name=name) for name in ("a", "b")]
        sets = [f"console.operatorClusters={json.dumps(clusters)}"]
        self.refused("external-etcd", sets, "both have the wsrep_cluster_name mariadb-operator", "clusterName")
        clusters = [dict(clusters[0], clusterName="shop")]
        self.refused("external-etcd", [f"console.operatorClusters={json.dumps(clusters)}"], "console.clusters.shop", "wsrep_cluster_name shop")

    def test_values_that_do_not_exist_or_have_another_form(self):
        for sets, *words in [
            (["console.replica=3"], "console", "replica"),
            (["console.replicas=0"], "console.replicas"),
            (['console.replicas="two"'], "console.replicas"),
            (['console.settings={"APROVALS": "2"}'], "console.settings", "APROVALS"),
            (['console.clusters={"shop": []}'], "console.clusters.shop"),
            (['console.clusters={"shop": ["a b"]}'], "console.clusters.shop"),
            (['console.clusters={"sh op": ["a"]}'], "console.clusters", "sh op"),
            (['console.publicUrl="galera.example.org"'], "console.publicUrl"),
            (['etcd.mode="none"'], "etcd.mode"),
            (['etcd.endpoints=["etcd:2379"]'], "etcd.endpoints.0"),
            (['nodes.autoBootstrap="always"'], "nodes.autoBootstrap"),
            (['image.console.digest="latest"'], "image.console.digest"),
            (['secrets.keys.console="a/b"'], "secrets.keys.console"),
            (['secrets.keys.orderkey="x"'], "secrets.keys"),
            (['console.operatorClusters=[{"operator": "other", "name": "a", "namespace": "b", "replicas": 3}]'], "operatorClusters.0.operator"),
            (['console.operatorClusters=[{"operator": "mariadb-operator", "name": "a"}]'], "operatorClusters.0"),
        ]:
            self.refused("external-etcd", sets, *words)


class Documentation(unittest.TestCase):
    """The examples of docs/kubernetes.md."""

    def examples(self, kind):
        text = (ROOT / "docs/kubernetes.md").read_text()
        found = re.findall(rf"^```yaml\n# {kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        self.assertTrue(found, kind)
        return found

    def test_values_are_accepted(self):
        for example in self.examples("values"):
            with self.subTest(example=example), tempfile.TemporaryDirectory() as directory:
                values = Path(directory) / "values.yaml"
                values.write_text(example)
                result = helm("template", "galera-console", CHART, "--values", values)
                self.assertEqual(result.returncode, 0, result.stderr)

    def test_the_side_car_is_a_container_with_variables_of_the_agent(self):
        agent_page = (ROOT / "docs/agent.md").read_text()
        [example] = self.examples("side-car")
        container = yaml.safe_load(example)
        spec = {"containers": [container], "volumes": [{"name": mount["name"], "emptyDir": {}} for mount in container["volumeMounts"]]}
        found = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "example"}, "spec": spec}
        for version in KUBERNETES:
            kubernetes_validate.validate(found, version, strict=True)
        for name in set(variables(container)) - {"POD_NAME"}:
            self.assertIn(f"`{name}`", agent_page)

    def test_keys_of_the_secret_are_those_of_the_values(self):
        keys = yaml.safe_load((CHART / "values.yaml").read_text())["secrets"]["keys"].values()
        table = (ROOT / "docs/kubernetes.md").read_text()
        for key in keys:
            self.assertIn(f"`{key}`", table)


if __name__ == "__main__":
    if sys.argv[1:] == ["update"]:
        RECORDED.write_text(template("whole").stdout)
    else:
        unittest.main()
