{{/* Environment of the console. */}}
{{- define "galera.consoleVariables" -}}
{{- $console := .Values.console -}}
{{- $etcd := .Values.etcd -}}
{{- $secrets := "/run/secrets/galera" -}}
{{- with include "galera.etcdEndpoints" . }}
- name: GALERA_CONSOLE_ETCD_ENDPOINTS
  value: {{ . | quote }}
{{- end }}
{{- if eq $etcd.mode "embedded" }}
- name: GALERA_CONSOLE_ETCD_DATA_DIR
  value: /var/lib/galera-console/etcd
{{- else }}
{{- if or $etcd.ca (eq $etcd.mode "deployed") }}
- name: GALERA_CONSOLE_ETCD_CA
  value: {{ $secrets }}/etcd-ca
{{- end }}
{{- with $etcd.user }}
- name: GALERA_CONSOLE_ETCD_USER
  value: {{ . | quote }}
- name: GALERA_CONSOLE_ETCD_PASSWORD_FILE
  value: {{ $secrets }}/etcd-console
{{- end }}
{{- if eq $etcd.mode "deployed" }}
# Of etcd.quotaMiB, which etcd before 3.6 does not report.
- name: GALERA_CONSOLE_ETCD_QUOTA
  value: {{ int64 $etcd.quotaMiB }}MiB
{{- end }}
{{- end }}
- name: GALERA_CONSOLE_LISTEN
  value: "0.0.0.0:3000"
{{- if include "galera.servesTls" . }}
- name: GALERA_CONSOLE_TLS_CERT
  value: /run/secrets/tls/tls.crt
- name: GALERA_CONSOLE_TLS_KEY
  value: /run/secrets/tls/tls.key
{{- end }}
{{- with $console.publicUrl }}
- name: GALERA_CONSOLE_PUBLIC_URL
  value: {{ . | quote }}
{{- end }}
{{- with $console.trustedProxies }}
- name: GALERA_CONSOLE_TRUSTED_PROXIES
  value: {{ join "," . | quote }}
{{- end }}
{{- with include "galera.clusters" . }}
- name: GALERA_CONSOLE_CLUSTER
  value: {{ . | quote }}
{{- end }}
{{- with $console.clusterLabels }}
- name: GALERA_CONSOLE_CLUSTER_LABEL
  value: {{ join "," . | quote }}
{{- end }}
# Health checks of the kubelet and /metrics, without TLS.
- name: GALERA_CONSOLE_METRICS_LISTEN
  value: "0.0.0.0:3001"
{{- if $console.metrics.token }}
- name: GALERA_CONSOLE_METRICS_TOKEN_FILE
  value: {{ $secrets }}/metrics-token
{{- end }}
{{- with $console.otlp.endpoint }}
- name: GALERA_CONSOLE_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- if $console.otlp.headers }}
- name: GALERA_CONSOLE_OTLP_HEADERS_FILE
  value: {{ $secrets }}/otlp-headers
{{- end }}
- name: GALERA_CONSOLE_MYSQL_USER
  value: {{ $console.mysql.user | quote }}
- name: GALERA_CONSOLE_MYSQL_PASSWORD_FILE
  value: {{ if $console.mysql.passwordSecret.name }}/run/secrets/mysql/password{{ else }}{{ $secrets }}/console{{ end }}
{{- if $console.mysql.caSecret.name }}
- name: GALERA_CONSOLE_MYSQL_TLS_CA
  value: /run/secrets/mysql/ca
- name: GALERA_CONSOLE_MYSQL_TLS_VERIFY
  value: {{ $console.mysql.verify }}
{{- end }}
{{- if $console.recovery.enabled }}
- name: GALERA_CONSOLE_RECOVERY_USER
  value: {{ $console.recovery.user | quote }}
- name: GALERA_CONSOLE_RECOVERY_PASSWORD_FILE
  value: {{ $secrets }}/recovery
- name: GALERA_CONSOLE_RECOVERY_TRANSPORT
  value: {{ $console.recovery.transport }}
{{- end }}
{{- if $console.orders.enabled }}
- name: GALERA_CONSOLE_ORDER_KEY_FILE
  value: {{ $secrets }}/order-key
{{- end }}
{{- with $console.oidc }}
{{- with .issuer }}
- name: GALERA_CONSOLE_OIDC_ISSUER
  value: {{ . | quote }}
{{- end }}
{{- with .clientId }}
- name: GALERA_CONSOLE_OIDC_CLIENT_ID
  value: {{ . | quote }}
{{- end }}
{{- if .clientSecret.name }}
- name: GALERA_CONSOLE_OIDC_CLIENT_SECRET_FILE
  value: /run/secrets/oidc/client-secret
{{- end }}
{{- if .roles }}
- name: GALERA_CONSOLE_OIDC_ROLES
  value: /run/secrets/oidc/roles.toml
{{- end }}
{{- with .name }}
- name: GALERA_CONSOLE_OIDC_NAME
  value: {{ . | quote }}
{{- end }}
{{- if .caSecret.name }}
- name: GALERA_CONSOLE_OIDC_CA
  value: /run/secrets/oidc/ca
{{- end }}
{{- with .sessionLifetime }}
- name: GALERA_CONSOLE_OIDC_SESSION_LIFETIME
  value: {{ . | quote }}
{{- end }}
{{- end }}
- name: GALERA_CONSOLE_STATE_SECRET_FILE
  value: {{ $secrets }}/state-secret
- name: GALERA_CONSOLE_DATA_DIR
  value: /var/lib/galera-console
- name: GALERA_CONSOLE_LOG_FORMAT
  value: json
{{- end -}}

{{/* Keys of secrets.name that the console reads, in the order of values.yaml. */}}
{{- define "galera.consoleSecrets" -}}
{{- $console := .Values.console -}}
{{- $keys := list . "stateSecret" -}}
{{- if not $console.mysql.passwordSecret.name -}}{{- $keys = append $keys "console" -}}{{- end -}}
{{- if $console.recovery.enabled -}}{{- $keys = append $keys "recovery" -}}{{- end -}}
{{- if $console.orders.enabled -}}{{- $keys = append $keys "orderKey" -}}{{- end -}}
{{- if $console.metrics.token -}}{{- $keys = append $keys "metricsToken" -}}{{- end -}}
{{- if $console.otlp.headers -}}{{- $keys = append $keys "otlpHeaders" -}}{{- end -}}
{{- if ne .Values.etcd.mode "embedded" -}}
{{- if or .Values.etcd.ca (eq .Values.etcd.mode "deployed") -}}{{- $keys = append $keys "etcdCa" -}}{{- end -}}
{{- if .Values.etcd.user -}}{{- $keys = append $keys "etcdConsole" -}}{{- end -}}
{{- end -}}
{{- include "galera.secretItems" $keys -}}
{{- end -}}

{{- define "galera.oidcRoles" -}}
{{ include "galera.fullname" . }}-oidc-roles
{{- end -}}

{{/* Sources of the projected volume at /run/secrets/oidc; none without such files. */}}
{{- define "galera.oidcFiles" -}}
{{- with .Values.console.oidc }}
{{- if .roles }}
- configMap: {name: {{ include "galera.oidcRoles" $ }}, items: [{key: roles.toml, path: roles.toml}]}
{{- end }}
{{- if .clientSecret.name }}
- secret: {name: {{ .clientSecret.name | quote }}, items: [{key: {{ .clientSecret.key | quote }}, path: client-secret}]}
{{- end }}
{{- if .caSecret.name }}
- secret: {name: {{ .caSecret.name | quote }}, items: [{key: {{ .caSecret.key | quote }}, path: ca}]}
{{- end }}
{{- end }}
{{- end -}}

{{/* Sources of the projected volume at /run/secrets/extra. */}}
{{- define "galera.extraFiles" -}}
{{- range $file, $source := .Values.console.extraFiles }}
{{- with $source.secret }}
- secret: {name: {{ . | quote }}, items: [{key: {{ $source.key | quote }}, path: {{ $file | quote }}}]}
{{- end }}
{{- with $source.configMap }}
- configMap: {name: {{ . | quote }}, items: [{key: {{ $source.key | quote }}, path: {{ $file | quote }}}]}
{{- end }}
{{- end }}
{{- end -}}

{{/* Annotations of the console's pods. The digest restarts them when the roles change. */}}
{{- define "galera.consoleAnnotations" -}}
{{- $annotations := dict -}}
{{- with .Values.console.oidc.roles -}}{{- $_ := set $annotations "checksum/oidc-roles" (sha256sum .) -}}{{- end -}}
{{- with merge $annotations .Values.console.podAnnotations -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{/* Paths of the files that are mounted into the console, one a line. */}}
{{- define "galera.consoleFiles" -}}
{{- $console := .Values.console -}}
{{- range include "galera.consoleSecrets" . | fromYamlArray }}
/run/secrets/galera/{{ .path }}
{{- end }}
{{- if include "galera.servesTls" . }}
/run/secrets/tls/tls.crt
/run/secrets/tls/tls.key
/run/secrets/tls/ca.crt
{{- end }}
{{- if $console.mysql.passwordSecret.name }}
/run/secrets/mysql/password
{{- end }}
{{- if $console.mysql.caSecret.name }}
/run/secrets/mysql/ca
{{- end }}
{{- range include "galera.oidcFiles" . | fromYamlArray }}
/run/secrets/oidc/{{ (index (.secret | default .configMap).items 0).path }}
{{- end }}
{{- range $file, $_ := $console.extraFiles }}
/run/secrets/extra/{{ $file }}
{{- end }}
{{- end -}}
