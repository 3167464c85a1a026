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
app.kubernetes.io/name: {{ include "batchline.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- with .component }}
app.kubernetes.io/component: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Every label once: the chart's own, before those that the object alone has (`more`), before commonLabels. */}}
{{- define "batchline.labels" -}}
{{- $own := fromYaml (include "batchline.selector" .) -}}
{{- $_ := set $own "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- toYaml (mergeOverwrite (dict) .root.Values.commonLabels (default dict .more) $own) -}}
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

{{/* A size of Kubernetes in bytes: 20Gi, 500M, 1073741824 (which Helm may write as 1.073741824e+09). */}}
{{- define "batchline.bytes" -}}
{{- $text := toString . -}}
{{- if regexMatch `[eE][+-]?[0-9]+$` $text -}}
{{- float64 $text -}}
{{- else -}}
{{- $factor := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
  "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- mulf (regexFind `^[0-9.]+` $text | float64) (get $factor (regexFind `[A-Za-z]*$` $text) | float64) | ceil -}}
{{- end -}}
{{- end -}}

{{/* The two settings that a worker's end depends on, as text: those of `config`, else the defaults of batchline. */}}
{{- define "batchline.shutdownGrace" -}}
{{- $given := dig "shutdown_grace" nil .Values.config -}}
{{- kindIs "invalid" $given | ternary "25s" $given -}}
{{- end -}}

{{- define "batchline.createTimeout" -}}
{{- $given := dig "create_timeout" nil .Values.config -}}
{{- kindIs "invalid" $given | ternary "120s" $given -}}
{{- end -}}

{{/* How Pods of a Deployment are replaced. Recreate allows no rollingUpdate, which the defaults bring. */}}
{{- define "batchline.strategy" -}}
{{- eq .type "Recreate" | ternary (dict "type" "Recreate") . | toYaml -}}
{{- end -}}

{{/* The longest that a worker takes to end by itself: worker/batchline/app.py, _end. */}}
{{- define "batchline.longestEnd" -}}
{{- $grace := include "batchline.seconds" (dict "name" "shutdown_grace" "value" (include "batchline.shutdownGrace" .)) -}}
{{- $create := include "batchline.seconds" (dict "name" "create_timeout" "value" (include "batchline.createTimeout" .)) -}}
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
