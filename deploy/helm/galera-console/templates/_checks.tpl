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
{{- range $name := list "passwordSecret" "caSecret" -}}
{{- $secret := index $console.mysql $name -}}
{{- if and $secret.name (not $secret.key) -}}
{{- fail (printf "console.mysql.%s.name is set, but console.mysql.%s.key is empty: name the key in the Secret" $name $name) -}}
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
{{- $sets := include "galera.consoleVariables" . -}}
{{- range $name, $_ := $console.settings -}}
{{- if contains (printf "name: GALERA_CONSOLE_%s\n" $name) $sets -}}
{{- fail (printf "console.settings.%s is set by the chart: use the chart's value for it" $name) -}}
{{- end -}}
{{- end -}}
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
