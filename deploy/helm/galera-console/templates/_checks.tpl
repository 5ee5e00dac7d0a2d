{{/*
Contradictions between values, which the schema cannot express. Each message names the value and the remedy.
*/}}
{{- define "galera.checks" -}}
{{- $etcd := .Values.etcd -}}
{{- $console := .Values.console -}}
{{- if and (eq $etcd.mode "external") (not $etcd.endpoints) -}}
{{- fail "etcd.mode is external, but etcd.endpoints is empty: list the URLs of your etcd, or set etcd.mode to deployed or embedded" -}}
{{- end -}}
{{- if and (ne $etcd.mode "external") $etcd.endpoints -}}
{{- fail (printf "etcd.endpoints is set, but etcd.mode is %s: set etcd.mode to external, or remove the endpoints" $etcd.mode) -}}
{{- end -}}
{{- range $etcd.endpoints -}}
{{- if and (hasPrefix "https://" .) (not $etcd.ca) -}}
{{- fail (printf "etcd.endpoints has %s, but etcd.ca is false: put the authority's certificate into the Secret and set etcd.ca to true" .) -}}
{{- end -}}
{{- if and (hasPrefix "http://" .) $etcd.user -}}
{{- fail (printf "etcd.endpoints has %s, over which the password of etcd.user would be sent without encryption: use https, or set etcd.user to \"\"" .) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $etcd.mode "deployed") (not $etcd.user) -}}
{{- fail "etcd.mode is deployed, but etcd.user is empty: the chart's etcd requires accounts; set etcd.user to console" -}}
{{- end -}}
{{- if eq $etcd.mode "deployed" -}}
{{- $room := include "galera.mebibytes" $etcd.persistence.size | int64 -}}
{{- if gt (add (int64 $etcd.quotaMiB) 384) $room -}}
{{- fail (printf "etcd.quotaMiB is %d, but etcd.persistence.size is %s: the database and up to 384 MiB of etcd's log would fill the volume before the quota is reached; lower the quota, or enlarge the volume" (int64 $etcd.quotaMiB) $etcd.persistence.size) -}}
{{- end -}}
{{- end -}}
{{- if eq $etcd.mode "embedded" -}}
{{- if ne (int $console.replicas) 1 -}}
{{- fail (printf "etcd.mode is embedded, but console.replicas is %d: an embedded etcd belongs to one console; set console.replicas to 1, or use another etcd.mode" (int $console.replicas)) -}}
{{- end -}}
{{- if not $console.persistence.enabled -}}
{{- fail "etcd.mode is embedded, but console.persistence.enabled is false: accounts and the audit trail would be lost with the pod; set it to true" -}}
{{- end -}}
{{- if .Values.nodes.enabled -}}
{{- fail "nodes.enabled is true, but etcd.mode is embedded: nodes cannot reach an embedded etcd; set etcd.mode to deployed or external" -}}
{{- end -}}
{{- end -}}
{{- if and $console.tls.secretName $console.tls.certManager.enabled -}}
{{- fail "console.tls.secretName and console.tls.certManager.enabled exclude each other: remove one of them" -}}
{{- end -}}
{{- if and $console.tls.certManager.enabled (not $console.tls.certManager.issuerRef.name) -}}
{{- fail "console.tls.certManager.enabled is true, but console.tls.certManager.issuerRef.name is empty: name an Issuer or ClusterIssuer" -}}
{{- end -}}
{{- if not (or (include "galera.servesTls" .) $console.ingress.enabled) -}}
{{- fail "the console would serve http to browsers: set console.tls.secretName or console.tls.certManager.enabled, or enable console.ingress with TLS" -}}
{{- end -}}
{{- if $console.ingress.enabled -}}
{{- if not (or $console.ingress.host (include "galera.publicHost" .)) -}}
{{- fail "console.ingress.enabled is true, but neither console.ingress.host nor console.publicUrl is set: set console.publicUrl to the address that browsers use" -}}
{{- end -}}
{{- if not $console.ingress.tlsSecretName -}}
{{- fail "console.ingress.enabled is true, but console.ingress.tlsSecretName is empty: passwords would be sent without encryption; name the Secret of the Ingress's certificate" -}}
{{- end -}}
{{- if and $console.ingress.host $console.publicUrl (ne $console.ingress.host (include "galera.publicHost" .)) -}}
{{- fail (printf "console.ingress.host is %s, but console.publicUrl is %s: requests to the one would be refused; make them equal, or remove console.ingress.host" $console.ingress.host $console.publicUrl) -}}
{{- end -}}
{{- end -}}
{{- if and $console.publicUrl (not (hasPrefix "https://" $console.publicUrl)) -}}
{{- fail (printf "console.publicUrl is %s: session cookies need https" $console.publicUrl) -}}
{{- end -}}
{{- if and (eq $console.recovery.transport "verified") $console.recovery.enabled (not $console.mysql.caSecret.name) -}}
{{- fail "console.recovery.transport is verified, but console.mysql.caSecret.name is empty: name the Secret with the authority of the databases' certificates, or set the transport to any" -}}
{{- end -}}
{{- range $value, $secret := dict "mysql.passwordSecret" $console.mysql.passwordSecret "mysql.caSecret" $console.mysql.caSecret "oidc.clientSecret" $console.oidc.clientSecret "oidc.caSecret" $console.oidc.caSecret -}}
{{- if and $secret.name (not $secret.key) -}}
{{- fail (printf "console.%s.name is set, but console.%s.key is empty: name the key in the Secret" $value $value) -}}
{{- end -}}
{{- if and $secret.key (not $secret.name) -}}
{{- fail (printf "console.%s.key is set, but console.%s.name is empty: name the Secret, or remove the key" $value $value) -}}
{{- end -}}
{{- end -}}
{{- $names := dict -}}
{{- range $name, $_ := $console.clusters -}}
{{- $_ := set $names $name (printf "console.clusters.%s" $name) -}}
{{- end -}}
{{- range $index, $cluster := $console.operatorClusters -}}
{{- $name := include "galera.operatorClusterName" $cluster -}}
{{- $place := printf "console.operatorClusters[%d] (%s)" $index $cluster.name -}}
{{- with get $names $name -}}
{{- fail (printf "%s and %s both have the wsrep_cluster_name %s: the console identifies a cluster by it; change it in the databases and set clusterName, or install a console for each" . $place $name) -}}
{{- end -}}
{{- $_ := set $names $name $place -}}
{{- end -}}
{{- if and $console.otlp.headers (not (hasPrefix "https://" $console.otlp.endpoint)) -}}
{{- fail "console.otlp.headers is true, but console.otlp.endpoint does not begin with https://: the headers would cross the network unencrypted; set an https address, or headers to false" -}}
{{- end -}}
{{- range $file, $source := $console.extraFiles -}}
{{- if and $source.secret $source.configMap -}}
{{- fail (printf "console.extraFiles.%s has both secret and configMap: remove one of them" $file) -}}
{{- end -}}
{{- if not (or $source.secret $source.configMap) -}}
{{- fail (printf "console.extraFiles.%s has neither secret nor configMap: name the Secret or the ConfigMap with the key %s" $file $source.key) -}}
{{- end -}}
{{- end -}}
{{- $sets := include "galera.consoleVariables" . -}}
{{- $files := include "galera.consoleFiles" . | splitList "\n" | compact -}}
{{- range $name, $value := $console.settings -}}
{{- if contains (printf "name: GALERA_CONSOLE_%s\n" $name) $sets -}}
{{- fail (printf "console.settings.%s is set by the chart: use the chart's value for it" $name) -}}
{{- end -}}
{{- $path := toString $value -}}
{{- if eq $name "AUDIT_ANCHOR_FILE" -}}
{{- if not (hasPrefix "/var/lib/galera-console/" (clean $path)) -}}
{{- fail (printf "console.settings.AUDIT_ANCHOR_FILE is %q, which the console cannot write: use a file in /var/lib/galera-console" $path) -}}
{{- end -}}
{{- else if or (regexMatch "_(FILE|CA|CERT|KEY)$" $name) (has $name (list "OIDC_ROLES" "CONFIG")) -}}
{{- if not (has $path $files) -}}
{{- fail (printf "console.settings.%s is %q, where no file is mounted: add a file to console.extraFiles, and set the path to /run/secrets/extra/ and its name" $name $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "galera.signOnChecks" . -}}
{{- include "galera.kindChecks" . -}}
{{- if .Values.nodes.enabled -}}
{{- if gt (int .Values.nodes.expectedMembers) (int .Values.nodes.replicas) -}}
{{- fail (printf "nodes.expectedMembers is %d, but nodes.replicas is %d: the cluster would wait for members that do not exist" (int .Values.nodes.expectedMembers) (int .Values.nodes.replicas)) -}}
{{- end -}}
{{- if lt (int .Values.nodes.replicas) 3 -}}
{{- fail (printf "nodes.replicas is %d: with fewer than three nodes the loss of one stops the others; use at least 3" (int .Values.nodes.replicas)) -}}
{{- end -}}
{{- if not $console.orders.enabled -}}
{{- fail "nodes.enabled is true, but console.orders.enabled is false: a stopped cluster could not be bootstrapped from the console; set it to true" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Sign-on and approval links. A configuration file may set what is missing here. */}}
{{- define "galera.signOnChecks" -}}
{{- $console := .Values.console -}}
{{- $settings := $console.settings -}}
{{- $oidc := $console.oidc -}}
{{- if and $oidc.roles (not (regexMatch "(?m)^\\s*(\\[\\[\\s*rule\\s*\\]\\]|rule\\s*=)" $oidc.roles)) -}}
{{- fail "console.oidc.roles has no [[rule]], so that no person could sign in: add one with group and roles" -}}
{{- end -}}
{{- if not (hasKey $settings "CONFIG") -}}
{{- $publicUrl := or $console.publicUrl (get $settings "PUBLIC_URL") -}}
{{- if or $oidc.issuer (get $settings "OIDC_ISSUER") -}}
{{- $issuer := ternary "oidc.issuer" "settings.OIDC_ISSUER" (not (empty $oidc.issuer)) -}}
{{- if not (or $oidc.clientId (get $settings "OIDC_CLIENT_ID")) -}}
{{- fail (printf "console.%s is set, but console.oidc.clientId is empty: set it to the ID of the client that is registered at the provider" $issuer) -}}
{{- end -}}
{{- if not (or $oidc.roles (get $settings "OIDC_ROLES")) -}}
{{- fail (printf "console.%s is set, but console.oidc.roles is empty: set it to the text of a roles file, which gives groups of the provider their roles" $issuer) -}}
{{- end -}}
{{- if not $publicUrl -}}
{{- fail (printf "console.%s is set, but console.publicUrl is empty: set it to the address that browsers use, to whose /oidc/callback the provider redirects" $issuer) -}}
{{- end -}}
{{- else -}}
{{- $given := list -}}
{{- range $name := list "clientId" "name" "sessionLifetime" "roles" -}}
{{- if index $oidc $name -}}{{- $given = append $given (printf "oidc.%s" $name) -}}{{- end -}}
{{- end -}}
{{- range $name := list "clientSecret" "caSecret" -}}
{{- if (index $oidc $name).name -}}{{- $given = append $given (printf "oidc.%s" $name) -}}{{- end -}}
{{- end -}}
{{- range $name, $_ := $settings -}}
{{- if hasPrefix "OIDC_" $name -}}{{- $given = append $given (printf "settings.%s" $name) -}}{{- end -}}
{{- end -}}
{{- range $given -}}
{{- fail (printf "console.%s is set, but console.oidc.issuer is empty: set it to the issuer of the provider's /.well-known/openid-configuration, or remove console.%s" . .) -}}
{{- end -}}
{{- if eq (get $settings "LOCAL_ACCOUNTS" | toString) "off" -}}
{{- fail "console.settings.LOCAL_ACCOUNTS is off, but console.oidc.issuer is empty: no person could sign in; configure console.oidc, or remove LOCAL_ACCOUNTS" -}}
{{- end -}}
{{- end -}}
{{- if and (eq (get $settings "APPROVAL_LINKS" | toString) "on") (not $publicUrl) -}}
{{- fail "console.settings.APPROVAL_LINKS is on, but console.publicUrl is empty: set it to the address that browsers use, to which the links lead" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Kinds of operators that the cluster does not have. Without a cluster, as in `helm template`, its kinds are unknown: Helm
then has the versions of Kubernetes's groups, but no kind.
*/}}
{{- define "galera.kindChecks" -}}
{{- $versions := .Capabilities.APIVersions -}}
{{- if $versions.Has "apps/v1/StatefulSet" -}}
{{- if and .Values.console.tls.certManager.enabled (not ($versions.Has "cert-manager.io/v1/Certificate")) -}}
{{- fail "console.tls.certManager.enabled is true, but the cluster has no Certificate of cert-manager.io/v1: install cert-manager first, or set console.tls.secretName instead" -}}
{{- end -}}
{{- if and .Values.console.metrics.serviceMonitor.enabled (not ($versions.Has "monitoring.coreos.com/v1/ServiceMonitor")) -}}
{{- fail "console.metrics.serviceMonitor.enabled is true, but the cluster has no ServiceMonitor of monitoring.coreos.com/v1: install the Prometheus Operator first, or set it to false" -}}
{{- end -}}
{{- end -}}
{{- end -}}
