"""What the Helm chart makes of values. `test_chart.py update` records the renderings with which other tests start programs."""

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
RECORDED = {"whole": HERE / "rendered.yaml", "sign-on": HERE / "rendered-sign-on.yaml"}
VALUES = sorted((HERE / "values").glob("*.yaml"))
# The oldest that Chart.yaml permits, some between, and the newest with a schema.
KUBERNETES = ["1.25", "1.28", "1.31", "1.34", "1.37"]
# Kinds of operators, which Kubernetes has no schemas of.
CUSTOM = {"Certificate", "ServiceMonitor"}
WORKLOADS = {"StatefulSet", "Job"}
# Where a cluster is reachable, Helm has its kinds.
CLUSTER = ["--api-versions", "v1/Pod", "--api-versions", "apps/v1/StatefulSet"]


def helm(*arguments):
    return subprocess.run(["helm", *map(str, arguments)], capture_output=True, text=True, check=False)


def template(values, *sets, chart=CHART, flags=()):
    arguments = ["template", "galera-console", chart, "--namespace", "databases", "--values", HERE / "values" / f"{values}.yaml", *flags]
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
    """Paths that the Secrets and ConfigMaps of the pod appear at; a directory where a Secret is mounted whole."""
    paths = set()
    volumes = {volume["name"]: volume for volume in pod(workload)["spec"].get("volumes", [])}
    for container in containers(workload):
        for mount in container["volumeMounts"]:
            volume = volumes.get(mount["name"], {})
            sources = [{"secret": volume["secret"]}] if "secret" in volume else volume.get("projected", {}).get("sources", [])
            for source in sources:
                items = (source.get("secret") or source["configMap"]).get("items")
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

    def test_sign_on_has_the_settings_and_files_of_its_values(self):
        objects = render("sign-on")
        console = workload(objects, "console")
        values = yaml.safe_load((HERE / "values/sign-on.yaml").read_text())["console"]["oidc"]
        found = {name.removeprefix("GALERA_CONSOLE_OIDC_"): value for name, value in variables(containers(console)[0]).items() if "_OIDC_" in name}
        self.assertEqual(
            found,
            {
                "ISSUER": values["issuer"],
                "CLIENT_ID": values["clientId"],
                "CLIENT_SECRET_FILE": "/run/secrets/oidc/client-secret",
                "ROLES": "/run/secrets/oidc/roles.toml",
                "NAME": values["name"],
                "CA": "/run/secrets/oidc/ca",
                "SESSION_LIFETIME": values["sessionLifetime"],
            },
        )
        [roles] = of_kind(objects, "ConfigMap")
        self.assertEqual(roles["data"], {"roles.toml": values["roles"]})
        [volume] = [volume for volume in pod(console)["spec"]["volumes"] if volume["name"] == "oidc"]
        self.assertEqual(
            volume["projected"]["sources"],
            [
                {"configMap": {"name": roles["metadata"]["name"], "items": [{"key": "roles.toml", "path": "roles.toml"}]}},
                {"secret": {"name": "galera-oidc", "items": [{"key": "client-secret", "path": "client-secret"}]}},
                {"secret": {"name": "galera-oidc", "items": [{"key": "ca.crt", "path": "ca"}]}},
            ],
        )

    def test_the_text_of_the_roles_is_kept_as_it_is(self):
        for text in ["\t[[rule]]\n  group = 'a: #b'\n\n", "rule = []", "# {{ .Values }}\r\n[[ rule ]]"]:
            [roles] = of_kind(render("sign-on", f"console.oidc.roles={json.dumps(text)}"), "ConfigMap")
            self.assertEqual(roles["data"]["roles.toml"], text)

    def test_changed_roles_restart_the_consoles_and_nothing_else(self):
        def pods(*sets):
            return {component(found): pod(found) for found in of_kind(render("whole", *sets), "StatefulSet")}

        sign_on = ['console.oidc.issuer="https://idp.example.org"', 'console.oidc.clientId="x"']
        one, other = (pods(*sign_on, f"console.oidc.roles={json.dumps(text)}") for text in ["[[rule]]", "[[rule]]\n"])
        self.assertNotEqual(one.pop("console"), other["console"])
        annotations = other.pop("console")["metadata"]["annotations"]
        self.assertEqual(one, other)
        self.assertEqual(annotations.keys(), {"checksum/oidc-roles", "example.org/checked"})

    def test_without_sign_on_and_files_nothing_of_them_is_rendered(self):
        for values in ["embedded-etcd", "external-etcd", "operators"]:
            text = template(values).stdout
            for word in ["oidc", "OIDC", "/run/secrets/extra", "kind: ConfigMap"]:
                self.assertNotIn(word, text)

    def test_extra_files_are_the_keys_of_secrets_and_config_maps(self):
        [volume] = [volume for volume in pod(workload(render("sign-on"), "console"))["spec"]["volumes"] if volume["name"] == "extra"]
        found = {}
        for source in volume["projected"]["sources"]:
            for kind, projection in source.items():
                for item in projection["items"]:
                    found[item["path"]] = {kind: projection["name"], "key": item["key"]}
        self.assertEqual(found, yaml.safe_load((HERE / "values/sign-on.yaml").read_text())["console"]["extraFiles"])

    def test_a_file_setting_may_name_any_mounted_file(self):
        for values, name, path in [
            ("external-etcd", "NOTIFY_CA", "/run/secrets/galera/etcd-ca"),
            ("external-etcd", "ETCD_CERT", "/run/secrets/tls/tls.crt"),
            ("operators", "OTLP_CA", "/run/secrets/mysql/ca"),
            ("sign-on", "NOTIFY_CA", "/run/secrets/oidc/ca"),
            ("sign-on", "CONFIG", "/run/secrets/extra/anchor-secret"),
            ("external-etcd", "AUDIT_ANCHOR_FILE", "/var/lib/galera-console/anchors"),
        ]:
            render(values, f"console.settings.{name}={json.dumps(path)}")

    def test_sign_on_may_be_in_settings_or_in_a_configuration_file(self):
        file = 'console.extraFiles={"roles.toml": {"configMap": "roles", "key": "roles.toml"}}'
        settings = {"OIDC_ISSUER": "https://idp.example.org", "OIDC_CLIENT_ID": "x", "OIDC_ROLES": "/run/secrets/extra/roles.toml"}
        render("external-etcd", file, f"console.settings={json.dumps(settings)}")
        file = 'console.extraFiles={"console.toml": {"secret": "settings", "key": "console.toml"}}'
        settings = {"CONFIG": "/run/secrets/extra/console.toml", "LOCAL_ACCOUNTS": "off", "APPROVAL_LINKS": "on"}
        render("external-etcd", file, f"console.settings={json.dumps(settings)}", 'console.publicUrl=""')

    def test_every_setting_that_names_a_file_is_checked(self):
        table = (ROOT / "docs/settings.md").read_text()
        files = re.findall(r"^\| `--[a-z0-9-]+ FILE` \| `GALERA_CONSOLE_([A-Z0-9_]+)`", table, re.MULTILINE)
        self.assertIn("CONFIG", files)
        for name in files:
            result = template("embedded-etcd", f'console.settings={{"{name}": "/etc/x"}}')
            self.assertIn(f"console.settings.{name} is ", result.stderr)
        for name in set(re.findall(r"`GALERA_CONSOLE_([A-Z0-9_]+)`", table)) - set(files):
            result = template("embedded-etcd", f'console.settings={{"{name}": "/etc/x"}}')
            self.assertNotIn("no file is mounted", result.stderr)

    def test_notes_name_the_redirect_uri_and_the_first_account(self):
        with tempfile.TemporaryDirectory() as directory:
            chart = Path(directory) / "galera-console"
            shutil.copytree(CHART, chart)
            included = '{{ include (print $.Template.BasePath "/NOTES.txt") . | nindent 2 }}'
            (chart / "templates/notes.yaml").write_text(f"kind: Notes\ntext: |-{included}\n")

            def notes(values):
                [found] = of_kind(render(values, chart=chart), "Notes")
                return found["text"]

            self.assertIn("https://galera.example.org/oidc/callback", notes("sign-on"))
            self.assertNotIn("user add", notes("sign-on"))
            self.assertIn("user add", notes("whole"))
            self.assertNotIn("oidc", notes("whole"))
            for values in ["sign-on", "whole"]:
                self.assertNotIn("\n\n\n", notes(values))

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

    def test_the_recorded_renderings_are_current(self):
        for values, recorded in RECORDED.items():
            self.assertEqual(recorded.read_text(), template(values).stdout, "run: scripts/test-chart update")


class Refusals(unittest.TestCase):
    """Each names the value, and a remedy."""

    def refused(self, values, sets, *words, flags=()):
        with self.subTest(sets=sets):
            result = template(values, *sets, flags=flags)
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

    def test_files_that_are_not_mounted(self):
        remedy = "console.extraFiles"
        for values, setting, path, *words in [
            ("external-etcd", "SMTP_PASSWORD_FILE", "/etc/smtp", remedy, '"/etc/smtp"', "/run/secrets/extra/"),
            ("external-etcd", "NOTIFY_CA", "/run/secrets/extra/ca.crt", remedy),
            ("external-etcd", "MYSQL_TLS_KEY", "/run/secrets/mysql/ca", remedy),
            ("external-etcd", "OIDC_ROLES", "/etc/galera-console/roles.toml", remedy),
            ("external-etcd", "CONFIG", "/etc/galera-console/console.toml", remedy),
            ("external-etcd", "ETCD_CERT", "", remedy, '""'),
            ("embedded-etcd", "TLS_CERT", "/run/secrets/tls/tls.crt", remedy),
            ("sign-on", "OTLP_CA", "/run/secrets/extra/company-ca", remedy),
            ("sign-on", "OTLP_CA", "/run/secrets/extra/", remedy),
            ("external-etcd", "AUDIT_ANCHOR_FILE", "/run/secrets/extra/anchors", "cannot write", "/var/lib/galera-console"),
            ("external-etcd", "AUDIT_ANCHOR_FILE", "/var/lib/galera-console/../anchors", "cannot write"),
        ]:
            self.refused(values, [f"console.settings.{setting}={json.dumps(path)}"], f"console.settings.{setting} is ", *words)
        for source, *words in [
            ({"key": "k"}, "neither secret nor configMap", "with the key k"),
            ({"key": "k", "secret": "s", "configMap": "c"}, "both secret and configMap", "remove one"),
        ]:
            self.refused("external-etcd", [f"console.extraFiles.ca={json.dumps(source)}"], "console.extraFiles.ca has", *words)

    def test_incomplete_sign_on(self):
        settings = 'console.settings={"OIDC_ISSUER": "https://idp.example.org"}'
        without = ["console.oidc.issuer=null", "console.settings={}"]
        for sets, *words in [
            (['console.oidc.clientId=""'], "console.oidc.issuer is set, but console.oidc.clientId is empty", "set it to"),
            (['console.oidc.roles=""'], "console.oidc.issuer is set, but console.oidc.roles is empty", "set it to"),
            (['console.oidc.roles="claim = \'groups\'"'], "console.oidc.roles has no [[rule]]", "add one"),
            (['console.publicUrl=""'], "console.oidc.issuer is set, but console.publicUrl is empty", "set it to"),
            (['console.oidc={"issuer": null, "clientId": null}', settings], "console.settings.OIDC_ISSUER is set, but console.oidc.clientId is empty"),
            (['console.oidc.clientSecret.key=""'], "console.oidc.clientSecret.key is empty", "name the key"),
            (['console.oidc.clientSecret.name=""'], "console.oidc.clientSecret.name is empty", "name the Secret"),
            (['console.oidc.caSecret.key=""'], "console.oidc.caSecret.key is empty"),
            (['console.settings.OIDC_CLIENT_ID="x"'], "console.settings.OIDC_CLIENT_ID is set by the chart"),
            ([*without, "console.publicUrl=null"], "console.oidc.clientId is set, but console.oidc.issuer is empty", "or remove console.oidc.clientId"),
        ]:
            self.refused("sign-on", sets, *words)
        for sets, *words in [
            (['console.oidc.roles="[[rule]]"'], "console.oidc.roles is set, but console.oidc.issuer is empty"),
            (['console.oidc.clientSecret={"name": "a", "key": "b"}'], "console.oidc.clientSecret is set, but console.oidc.issuer is empty"),
            (['console.settings={"OIDC_NAME": "x"}'], "console.settings.OIDC_NAME is set, but console.oidc.issuer is empty"),
            (['console.settings={"LOCAL_ACCOUNTS": "off"}'], "console.settings.LOCAL_ACCOUNTS is off", "configure console.oidc"),
            (['console.settings={"APPROVAL_LINKS": "on"}', 'console.publicUrl=""'], "console.settings.APPROVAL_LINKS is on", "console.publicUrl"),
        ]:
            self.refused("external-etcd", sets, *words)

    def test_kinds_that_the_cluster_does_not_have(self):
        certificate, monitor = "cert-manager.io/v1/Certificate", "monitoring.coreos.com/v1/ServiceMonitor"
        self.refused("whole", [], "console.tls.certManager.enabled is true", "install cert-manager", flags=CLUSTER)
        flags = [*CLUSTER, "--api-versions", certificate]
        self.refused("whole", [], "console.metrics.serviceMonitor.enabled is true", "Prometheus Operator", flags=flags)
        result = template("whole", flags=[*flags, "--api-versions", monitor])
        self.assertEqual(result.stdout, template("whole").stdout, result.stderr)
        self.assertEqual(template("external-etcd", flags=CLUSTER).returncode, 0)

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
            (['console.oidc.issuer="http://idp.example.org"'], "console.oidc.issuer"),
            (['console.oidc.scopes=["openid"]'], "console.oidc", "scopes"),
            (['console.settings={"LOCAL_ACCOUNTS": false}'], "console.settings.LOCAL_ACCOUNTS"),
            (['console.extraFiles={"a/b": {"secret": "s", "key": "k"}}'], "console.extraFiles", "a/b"),
            (['console.extraFiles={"a": {"secret": "s"}}'], "console.extraFiles.a", "key is required"),
            (['console.extraFiles={"a": {"secret": "S", "key": "k"}}'], "console.extraFiles.a.secret"),
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
        for values, recorded in RECORDED.items():
            recorded.write_text(template(values).stdout)
    else:
        unittest.main()
