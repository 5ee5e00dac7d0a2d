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
