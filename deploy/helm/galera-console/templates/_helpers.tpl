{{/* Name of the objects. */}}
{{- define "galera.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* A quantity of bytes, as "1.5Gi", in whole MiB. */}}
{{- define "galera.mebibytes" -}}
{{- $unit := regexFind "[A-Za-z]*$" . -}}
{{- $number := . | trimSuffix $unit | float64 -}}
{{- $index := 0 -}}
{{- range $i, $letter := list "" "K" "M" "G" "T" "P" "E" -}}
{{- if eq $letter (trimSuffix "i" $unit) -}}{{- $index = $i -}}{{- end -}}
{{- end -}}
{{- range until $index -}}
{{- $number = mulf $number (ternary 1024 1000 (hasSuffix "i" $unit)) -}}
{{- end -}}
{{- divf $number 1048576 | floor | int64 -}}
{{- end -}}

{{/* Labels by which objects select pods: (list . "console"). They never change, as a workload's selector cannot. */}}
{{- define "galera.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of an object: (list . "console"). */}}
{{- define "galera.labels" -}}
{{- $root := index . 0 -}}
{{ include "galera.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of a pod: without versions, so that a new chart alone restarts nothing. */}}
{{- define "galera.podLabels" -}}
{{ include "galera.selector" . }}
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An image: (list . "console"). */}}
{{- define "galera.image" -}}
{{- $root := index . 0 -}}
{{- $image := index $root.Values.image (index . 1) -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "galera.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "galera.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* The restricted Pod Security Standard, for the pod of a user: (list . 990). */}}
{{- define "galera.podSecurity" -}}
{{- $id := index . 1 -}}
serviceAccountName: {{ include "galera.serviceAccount" (index . 0) }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with (index . 0).Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $id }}
  runAsGroup: {{ $id }}
  fsGroup: {{ $id }}
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "galera.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where pods run: (list . "console" .Values.console). */}}
{{- define "galera.scheduling" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}{{- $values := index . 2 -}}
affinity:
{{- if $values.affinity }}
  {{- toYaml $values.affinity | nindent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{ include "galera.selector" (list $root $component) | nindent 14 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* A claim of a StatefulSet: (dict "size" … "storageClass" …). */}}
{{- define "galera.claim" -}}
metadata:
  name: data
spec:
  accessModes: [ReadWriteOnce]
  {{- with .storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests: {storage: {{ .size }}}
{{- end -}}

{{/* Items of a Secret's volume, each a file of its standard name: (list . "console" "etcdCa"). */}}
{{- define "galera.secretItems" -}}
{{- $keys := (index . 0).Values.secrets.keys -}}
{{- range rest . }}
- {key: {{ index $keys . }}, path: {{ kebabcase . }}}
{{- end }}
{{- end -}}

{{/* Whether pods of the console serve https. */}}
{{- define "galera.servesTls" -}}
{{- if or .Values.console.tls.secretName .Values.console.tls.certManager.enabled -}}true{{- end -}}
{{- end -}}

{{- define "galera.tlsSecret" -}}
{{ .Values.console.tls.secretName | default (printf "%s-tls" (include "galera.fullname" .)) }}
{{- end -}}

{{/* The host of publicUrl, without port. */}}
{{- define "galera.publicHost" -}}
{{- with .Values.console.publicUrl -}}
{{- regexReplaceAll ":[0-9]+$" (urlParse .).host "" -}}
{{- end -}}
{{- end -}}

{{- define "galera.etcdEndpoints" -}}
{{- if eq .Values.etcd.mode "deployed" -}}
{{- $service := printf "%s-etcd" (include "galera.fullname" .) -}}
{{- $urls := list -}}
{{- range until 3 -}}
{{- $urls = append $urls (printf "https://%s-%d.%s:2379" $service . $service) -}}
{{- end -}}
{{- join "," $urls -}}
{{- else -}}
{{- join "," .Values.etcd.endpoints -}}
{{- end -}}
{{- end -}}

{{/* wsrep_cluster_name of an operator's cluster. */}}
{{- define "galera.operatorClusterName" -}}
{{- if .clusterName -}}
{{ .clusterName }}
{{- else if eq .operator "mariadb-operator" -}}
mariadb-operator
{{- else -}}
{{ .name }}-pxc
{{- end -}}
{{- end -}}

{{/* Host names of the pods of an operator's cluster, separated by commas. */}}
{{- define "galera.operatorMembers" -}}
{{- $cluster := . -}}
{{- $hosts := list -}}
{{- range until (int .replicas) -}}
{{- if eq $cluster.operator "mariadb-operator" -}}
{{- $hosts = append $hosts (printf "%s-%d.%s-internal.%s.svc" $cluster.name . $cluster.name $cluster.namespace) -}}
{{- else -}}
{{- $hosts = append $hosts (printf "%s-pxc-%d.%s-pxc.%s.svc" $cluster.name . $cluster.name $cluster.namespace) -}}
{{- end -}}
{{- end -}}
{{- join "," $hosts -}}
{{- end -}}

{{/* GALERA_CONSOLE_CLUSTER: clusters separated by spaces. */}}
{{- define "galera.clusters" -}}
{{- $clusters := list -}}
{{- range $name, $members := .Values.console.clusters -}}
{{- $clusters = append $clusters (printf "%s=%s" $name (join "," $members)) -}}
{{- end -}}
{{- range .Values.console.operatorClusters -}}
{{- $clusters = append $clusters (printf "%s=%s" (include "galera.operatorClusterName" .) (include "galera.operatorMembers" .)) -}}
{{- end -}}
{{- join " " $clusters -}}
{{- end -}}
