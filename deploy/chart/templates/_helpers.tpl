{{- define "aks-audit-log.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "aks-audit-log.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "aks-audit-log.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "aks-audit-log.selectorLabels" -}}
app.kubernetes.io/name: {{ include "aks-audit-log.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "aks-audit-log.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "aks-audit-log.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: forwarder
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "aks-audit-log.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "aks-audit-log.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "aks-audit-log.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "aks-audit-log.secretName" -}}
{{- if .Values.secret.create }}
{{- include "aks-audit-log.fullname" . }}
{{- else }}
{{- required "secret.existingSecret is required unless secret.create is true" .Values.secret.existingSecret }}
{{- end }}
{{- end }}

{{/* What the Secret holds, as JSON: a mapping of variables to keys. */}}
{{- define "aks-audit-log.secretKeys" -}}
{{- $keys := dict }}
{{- if .Values.secret.create }}
{{- range $name, $value := .Values.secret.values }}
{{- if $value }}{{ $_ := set $keys $name $name }}{{ end }}
{{- end }}
{{- else }}
{{- range $name, $key := .Values.secret.keys }}
{{- if $key }}{{ $_ := set $keys $name $key }}{{ end }}
{{- end }}
{{- end }}
{{- toJson $keys }}
{{- end }}

{{/* SHUTDOWNGRACE in seconds, rounded up: milliseconds, or one number with a unit. */}}
{{- define "aks-audit-log.graceSeconds" -}}
{{- $text := default "20000" .Values.config.SHUTDOWNGRACE | toString | trim }}
{{- if regexMatch "^[0-9]+$" $text }}
{{- divf (float64 $text) 1000 | ceil | int }}
{{- else if regexMatch "^[0-9]+ms$" $text }}
{{- divf (float64 (trimSuffix "ms" $text)) 1000 | ceil | int }}
{{- else if regexMatch "^[0-9.]+s$" $text }}
{{- float64 (trimSuffix "s" $text) | ceil | int }}
{{- else if regexMatch "^[0-9.]+m$" $text }}
{{- mulf (float64 (trimSuffix "m" $text)) 60 | ceil | int }}
{{- else }}
{{- fail (printf "config.SHUTDOWNGRACE %q: write milliseconds, or one number with ms, s or m" $text) }}
{{- end }}
{{- end }}

{{/* After SHUTDOWNGRACE, the last checkpoints and the release of the partitions may take 15 s. */}}
{{- define "aks-audit-log.terminationGracePeriodSeconds" -}}
{{- $least := add (include "aks-audit-log.graceSeconds" . | int) 15 }}
{{- $seconds := .Values.terminationGracePeriodSeconds }}
{{- if kindIs "invalid" $seconds }}
{{- add $least 10 }}
{{- else if le (int $seconds) (int $least) }}
{{- fail (printf "terminationGracePeriodSeconds has to be more than SHUTDOWNGRACE and 15 s: more than %d" (int $least)) }}
{{- else }}
{{- int $seconds }}
{{- end }}
{{- end }}

{{/* Refuses values that the program would refuse at its start, or that would silently do something else. */}}
{{- define "aks-audit-log.validate" -}}
{{- $keys := include "aks-audit-log.secretKeys" . | fromJson }}
{{- $config := .Values.config }}
{{- if and .Values.secret.create .Values.secret.existingSecret }}
{{- fail "secret.create and secret.existingSecret exclude each other" }}
{{- end }}
{{- if not (hasKey $keys "EHUBNAMESPACECONNECTIONSTRING") }}
{{- fail "EHUBNAMESPACECONNECTIONSTRING is missing: set secret.values or secret.keys" }}
{{- end }}
{{- if and (hasKey $keys "BLOBSTORAGECONNECTIONSTRING") $config.CHECKPOINTFILE }}
{{- fail "config.CHECKPOINTFILE takes the place of BLOBSTORAGECONNECTIONSTRING: set one of them" }}
{{- end }}
{{- if not (or (hasKey $keys "BLOBSTORAGECONNECTIONSTRING") $config.CHECKPOINTFILE) }}
{{- fail "BLOBSTORAGECONNECTIONSTRING is missing: set secret.values or secret.keys (or config.CHECKPOINTFILE)" }}
{{- end }}
{{- if and $config.CHECKPOINTFILE (or .Values.keda.enabled (gt (int .Values.replicas) 1)) }}
{{- fail "config.CHECKPOINTFILE is for one replica: several need Blob Storage" }}
{{- end }}
{{- if and $config.WEBSINKURL (hasKey $keys "WEBSINKURL") }}
{{- fail "WEBSINKURL is set twice: in config and in the Secret" }}
{{- end }}
{{- if not (or $config.WEBSINKURL (hasKey $keys "WEBSINKURL")) }}
{{- fail "WEBSINKURL is missing: set config.WEBSINKURL, or have it in the Secret" }}
{{- end }}
{{- if and $config.WEBSINKURL (contains "@" $config.WEBSINKURL) }}
{{- fail "config.WEBSINKURL holds credentials: put it into the Secret" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.service.enabled) }}
{{- fail "serviceMonitor needs service.enabled" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- fail "serviceMonitor and podMonitor together would scrape twice" }}
{{- end }}
{{- if and .Values.workloadIdentity.enabled (not .Values.workloadIdentity.clientId) }}
{{- fail "workloadIdentity.enabled needs workloadIdentity.clientId" }}
{{- end }}
{{- if and .Values.keda.enabled (lt (int .Values.keda.maxReplicas) (int .Values.keda.minReplicas)) }}
{{- fail "keda.maxReplicas is less than keda.minReplicas" }}
{{- end }}
{{- end }}
