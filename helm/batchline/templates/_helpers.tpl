{{- define "batchline.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for every suffix (a role's name has at most 20 characters). */}}
{{- define "batchline.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if contains $name .Release.Name }}{{ $full = .Release.Name }}{{ end -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* What a Deployment selects by. It can never change while a release lives: neither versions nor values belong here. */}}
{{- define "batchline.selector" -}}
app.kubernetes.io/name: {{ include "batchline.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "batchline.labels" -}}
{{ include "batchline.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "batchline.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .version .image.tag }}
{{- end -}}
{{- end -}}

{{- define "batchline.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "batchline.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* A time of the settings in seconds, rounded up: 25, 90s, 1.5m, 6h. What is no time is refused, as batchline would. */}}
{{- define "batchline.seconds" -}}
{{- $text := lower (toString .value) | trim -}}
{{- if not (regexMatch `^[0-9]+(\.[0-9]+)?\s*[smhd]?$` $text) -}}
{{- fail (printf "config.%s: %q is not a time: write seconds, or text such as 90s, 15m, 6h, 1d" .name $text) -}}
{{- else -}}
{{- $factor := get (dict "s" 1 "m" 60 "h" 3600 "d" 86400) (default "s" (regexFind `[smhd]$` $text)) -}}
{{- mulf (regexFind `^[0-9.]+` $text | float64) $factor | ceil -}}
{{- end -}}
{{- end -}}

{{/* The longest that a worker takes to end by itself: worker/batchline/app.py, _end. */}}
{{- define "batchline.longestEnd" -}}
{{- $config := .Values.config -}}
{{- $grace := include "batchline.seconds" (dict "name" "shutdown_grace" "value" (dig "shutdown_grace" nil $config | default "25s")) -}}
{{- $create := include "batchline.seconds" (dict "name" "create_timeout" "value" (dig "create_timeout" nil $config | default "120s")) -}}
{{- add (int $grace) (int $create) -}}
{{- end -}}

{{/* The settings of a role: those of `pod`, over them those of `worker`, over them its own. As YAML. */}}
{{- define "batchline.role" -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.pod) (deepCopy .root.Values.worker) (deepCopy .role)) -}}
{{- end -}}

{{/* Names of the roles that are enabled, as a JSON list. */}}
{{- define "batchline.enabledRoles" -}}
{{- $names := list -}}
{{- range $name, $role := .Values.roles -}}
{{- if $role.enabled }}{{ $names = append $names $name }}{{ end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* Secret and key that hold the store's URL. */}}
{{- define "batchline.storeSecret" -}}
{{- $bundled := .Values.store.bundled -}}
{{- if $bundled.enabled -}}
{{- default (printf "%s-store" (include "batchline.fullname" .)) $bundled.auth.existingSecret -}}
{{- else -}}
{{- .Values.store.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "batchline.storeKey" -}}
{{- .Values.store.bundled.enabled | ternary "url" .Values.store.key -}}
{{- end -}}

{{/* Whether the cluster has a kind of the Prometheus Operator. */}}
{{- define "batchline.hasMonitoring" -}}
{{- if .root.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" .kind) }}yes{{ end -}}
{{- end -}}

{{- define "batchline.hasKeda" -}}
{{- if .Capabilities.APIVersions.Has "keda.sh/v1alpha1/ScaledObject" }}yes{{ end -}}
{{- end -}}

{{/* Whether something else than the Deployment decides how many pods a role has. A ScaledObject that cannot be made does not. */}}
{{- define "batchline.isScaled" -}}
{{- if eq .settings.autoscaling.type "hpa" }}yes{{ end -}}
{{- if and (eq .settings.autoscaling.type "keda") (include "batchline.hasKeda" .root) }}yes{{ end -}}
{{- end -}}
