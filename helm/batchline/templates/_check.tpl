{{/* What the schema cannot say: values that contradict each other, each with a message that says what to set. */}}
{{- define "batchline.check" -}}
{{- include "batchline.checkRequired" . -}}
{{- include "batchline.checkName" . -}}
{{- include "batchline.checkConfig" . -}}
{{- include "batchline.checkUsers" . -}}
{{- if .Values.store.bundled.enabled }}{{ include "batchline.checkVolume" .Values.store.bundled }}{{ end -}}
{{- if .Values.networkPolicy.enabled }}{{ include "batchline.checkReach" . }}{{ end -}}
{{- range $name, $role := .Values.roles -}}
{{- if $role.enabled -}}
{{- $settings := fromYaml (include "batchline.role" (dict "root" $ "role" $role)) -}}
{{- include "batchline.checkEnv" (dict "where" (printf "roles.%s" $name) "env" $settings.extraEnv) -}}
{{- include "batchline.checkGrace" (dict "root" $ "name" $name "given" $settings.terminationGracePeriodSeconds) -}}
{{- include "batchline.checkScaling" (dict "name" $name "scaling" $settings.autoscaling) -}}
{{- include "batchline.checkTmp" (dict "where" (printf "roles.%s" $name) "settings" $settings) -}}
{{- if has "accumulate" $role.only }}{{ include "batchline.checkSpool" (dict "root" $ "where" (printf "roles.%s.extraVolumeMounts or pod.extraVolumeMounts" $name) "settings" $settings) }}{{ end -}}
{{- if has "accumulate" $role.only }}{{ include "batchline.checkRoom" (dict "root" $ "name" $name "settings" $settings) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- include "batchline.checkTmp" (dict "where" "exporter" "settings" (mergeOverwrite (deepCopy .Values.pod) (deepCopy .Values.exporter))) -}}
{{- if .Values.doctor.enabled -}}
{{- include "batchline.checkTmp" (dict "where" "pod" "settings" .Values.pod) -}}
{{- include "batchline.checkSpool" (dict "root" $ "where" "pod.extraVolumeMounts (the helm test looks at it, too, unless doctor.enabled is false)" "settings" .Values.pod) -}}
{{- end -}}
{{- include "batchline.checkEnv" (dict "where" "exporter" "env" .Values.exporter.extraEnv) -}}
{{- include "batchline.checkEnv" (dict "where" "pod" "env" .Values.pod.extraEnv) -}}
{{- end -}}

{{- define "batchline.checkRequired" -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository: set where your image of batchline is; the project publishes none" -}}
{{- end -}}
{{- if and .Values.store.existingSecret .Values.store.bundled.enabled -}}
{{- fail "store: existingSecret and bundled.enabled are both set; a release has one store, leave one of them out" -}}
{{- end -}}
{{- if not (or .Values.store.existingSecret .Values.store.bundled.enabled) -}}
{{- fail "store: set existingSecret (a Secret with the store's URL), or bundled.enabled for a quick start" -}}
{{- end -}}
{{- end -}}

{{- define "batchline.checkConfig" -}}
{{- range $name := list "redis_url" "redis_url_file" -}}
{{- if hasKey $.Values.config $name }}{{ fail (printf "config.%s: a ConfigMap is no place for it; put the URL into a Secret and name that in store.existingSecret" $name) }}{{ end -}}
{{- end -}}
{{- range $name := list "broker_url" "broker_url_file" -}}
{{- if hasKey $.Values.config $name }}{{ fail (printf "config.%s: a ConfigMap is no place for it; put the URL into a Secret and name that in broker.existingSecret" $name) }}{{ end -}}
{{- end -}}
{{- range $name := list "worker_port" "exporter_port" -}}
{{- if hasKey $.Values.config $name }}{{ fail (printf "config.%s: the chart sets it, so that probes and Services agree with it; leave it out" $name) }}{{ end -}}
{{- end -}}
{{- $accounts := default dict (get .Values.config "accounts") -}}
{{- range $account, $_ := .Values.apiKeys -}}
{{- $own := default dict (get $accounts $account) -}}
{{- if or (get $own "api_key_file") (get $own "api_key_env") -}}
{{- fail (printf "apiKeys.%s: config.accounts.%s names another key (api_key_file or api_key_env); leave one of them out" $account $account) -}}
{{- end -}}
{{- if and (not (has $account (list "openai" "anthropic" "gemini"))) (not (get $own "provider")) -}}
{{- fail (printf "apiKeys.%s: there is no such account; set config.accounts.%s.provider" $account $account) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Names of Services begin with a letter and have no dots; a release's name may. */}}
{{- define "batchline.checkName" -}}
{{- $name := include "batchline.fullname" . -}}
{{- if not (regexMatch `^[a-z]([-a-z0-9]*[a-z0-9])?$` $name) -}}
{{- fail (printf "the name %q (of the release) is none for a Service: it must begin with a letter, and have small letters, digits and hyphens only; set fullnameOverride" $name) -}}
{{- end -}}
{{- end -}}

{{- define "batchline.checkUsers" -}}
{{- $given := .Values.securityContext -}}
{{- if and $given.runAsUser (not $given.fsGroup) -}}
{{- fail "securityContext.fsGroup: it is null and runAsUser is not; mounted Secrets are readable by their group only, so the user could not read them: set both, or both to null where the platform chooses them" -}}
{{- end -}}
{{- end -}}

{{- define "batchline.checkVolume" -}}
{{- $maxmemory := div (mul (int .memoryMiB) 5) 8 -}}
{{- if lt (include "batchline.bytes" .persistence.size | float64) (mulf $maxmemory 4 1048576) -}}
{{- fail (printf "store.bundled.persistence.size: %v is less than four times maxmemory (%d MiB, five eighths of memoryMiB): while the append-only file is rewritten the old one and the new one exist; set %dMi or more" .persistence.size $maxmemory (mul $maxmemory 4)) -}}
{{- end -}}
{{- end -}}

{{/* A pod is evicted when /tmp and its logs together have more than its limit: the spool would never be full before. */}}
{{- define "batchline.checkTmp" -}}
{{- $limit := dig "resources" "limits" "ephemeral-storage" nil .settings -}}
{{- if and $limit (gt (include "batchline.bytes" .settings.tmpSize | float64) (include "batchline.bytes" $limit | float64)) -}}
{{- fail (printf "%s: tmpSize is %v, and resources.limits.ephemeral-storage only %v: the pod would be evicted before /tmp is full; set a higher limit, or a smaller tmpSize" .where .settings.tmpSize $limit) -}}
{{- end -}}
{{- end -}}

{{/* The root of a container is read-only: a spool that is not on a volume cannot be written. Only accumulate writes there. */}}
{{- define "batchline.checkSpool" -}}
{{- $spool := include "batchline.spoolDir" . -}}
{{- if $spool -}}
{{- $places := list "/tmp" -}}
{{- range .settings.extraVolumeMounts }}{{ if not .readOnly }}{{ $places = append $places .mountPath }}{{ end }}{{ end -}}
{{- $found := false -}}
{{- range $places }}{{ if hasPrefix (printf "%s/" (clean . | trimSuffix "/")) (printf "%s/" (clean $spool)) }}{{ $found = true }}{{ end }}{{ end -}}
{{- if not $found -}}
{{- fail (printf "config.spool_dir: %s is neither under /tmp nor under a mountPath that can be written, of %s: the rest of a container is read-only; mount a volume there, or leave spool_dir out" $spool .where) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The folder that is set for the spool; empty: /tmp. */}}
{{- define "batchline.spoolDir" -}}
{{- $spool := get .root.Values.config "spool_dir" -}}
{{- range .settings.extraEnv }}{{ if eq .name "BATCHLINE_SPOOL_DIR" }}{{ $spool = default $spool .value }}{{ end }}{{ end -}}
{{- default "" $spool -}}
{{- end -}}

{{/* While the rows of a batch are put in order they are in the spool twice (worker/batchline/engine/ordering.py). */}}
{{- define "batchline.checkRoom" -}}
{{- $spool := printf "%s/" (include "batchline.spoolDir" . | default "/tmp" | clean) -}}
{{- $elsewhere := not (hasPrefix "/tmp/" $spool) -}}
{{- range .settings.extraVolumeMounts }}{{ if hasPrefix (printf "%s/" (clean .mountPath | trimSuffix "/")) $spool }}{{ $elsewhere = true }}{{ end }}{{ end -}}
{{- if not $elsewhere -}}
{{- $largest := include "batchline.largestBatch" .root | float64 -}}
{{- $need := divf (mulf 2 (int .settings.concurrency) $largest) 1048576 | ceil | int -}}
{{- if gt (mulf $need 1048576) (include "batchline.bytes" .settings.tmpSize | float64) -}}
{{- fail (printf "roles.%s: tmpSize is %v, and %d steps (concurrency) of up to %d MiB (max_bytes of flush, of an account or of a lane) may have %d MiB of rows there, each batch twice while it is put in order: the pod would be evicted; set tmpSize: %dMi or more and resources.limits.ephemeral-storage above it, a lower concurrency, or config.spool_dir on a volume" .name .settings.tmpSize (int .settings.concurrency) (divf $largest 1048576 | ceil | int) $need $need) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The highest max_bytes at which a batch is cut, in bytes: of `flush`, else its default; or of an account or lane. */}}
{{- define "batchline.largestBatch" -}}
{{- $config := .Values.config -}}
{{- $general := get (default dict (get $config "flush")) "max_bytes" | default "180MiB" -}}
{{- $sizes := list (include "batchline.size" $general | float64) -}}
{{- range concat (values (default dict (get $config "accounts"))) (default list (get $config "lanes")) -}}
{{- with get (default dict (get (default dict .) "flush")) "max_bytes" }}{{ $sizes = append $sizes (include "batchline.size" . | float64) }}{{ end -}}
{{- end -}}
{{- $largest := 0.0 -}}
{{- range $sizes }}{{ $largest = maxf $largest . }}{{ end -}}
{{- $largest -}}
{{- end -}}

{{/* A size of batchline in bytes: 180MiB, 64MB, 1048576. What is none is 0: batchline itself says so at its start. */}}
{{- define "batchline.size" -}}
{{- if kindIs "string" . -}}
{{- $factor := dict "" 1 "k" 1e3 "m" 1e6 "g" 1e9 "ki" 1024 "mi" 1048576 "gi" 1073741824 -}}
{{- $text := trim . | lower -}}
{{- $is := regexMatch `^[0-9]+(\.[0-9]+)?\s*([kmg]i?)?b?$` $text -}}
{{- $is | ternary (mulf (regexFind `^[0-9.]+` $text | default "0" | float64) (get $factor (regexFind `[kmg]i?` $text) | float64)) 0.0 -}}
{{- else -}}
{{- float64 . -}}
{{- end -}}
{{- end -}}

{{/* The policy opens port 443 to providers; an account on another port would wait for connections that never come. */}}
{{- define "batchline.checkReach" -}}
{{- range $account, $given := default dict (get .Values.config "accounts") -}}
{{- $url := get (default dict $given) "base_url" -}}
{{- if $url -}}
{{- $parts := urlParse $url -}}
{{- $port := regexFind `:[0-9]+$` $parts.host | trimPrefix ":" | default (eq (lower $parts.scheme) "http" | ternary "80" "443") | int -}}
{{- if and (ne $port 443) (not (include "batchline.isOpen" (dict "rules" $.Values.networkPolicy.extraEgress "port" $port))) -}}
{{- fail (printf "networkPolicy.extraEgress: config.accounts.%s.base_url is on port %d, which the policy does not open; add a rule, e.g. {to: [{podSelector: {matchLabels: {app: %s}}}], ports: [{port: %d, protocol: TCP}]}" $account $port $account $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether a rule has the port (of pods, where it leads to pods), or no ports, which is all of them. */}}
{{- define "batchline.isOpen" -}}
{{- $port := .port -}}
{{- range .rules -}}
{{- if not .ports }}yes{{ end -}}
{{- range .ports -}}
{{- if and (ne (default "TCP" .protocol) "UDP") (or (not .port) (kindIs "string" .port)) }}yes{{ end -}}
{{- if and (ne (default "TCP" .protocol) "UDP") .port (le (int .port) $port) (ge (int (default .port .endPort)) $port) }}yes{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Variables win over the ConfigMap, so those that the chart reckons with may not be set behind its back. */}}
{{- define "batchline.checkEnv" -}}
{{- $advice := dict
  "BATCHLINE_CONFIG" "set config" "BATCHLINE_SHUTDOWN_GRACE" "set config.shutdown_grace" "BATCHLINE_CREATE_TIMEOUT" "set config.create_timeout"
  "BATCHLINE_WORKER_PORT" "leave it out" "BATCHLINE_EXPORTER_PORT" "leave it out"
  "BATCHLINE_REDIS_URL" "set store.existingSecret" "BATCHLINE_REDIS_URL_FILE" "set store.existingSecret"
  "BATCHLINE_BROKER_URL" "set broker.existingSecret" "BATCHLINE_BROKER_URL_FILE" "set broker.existingSecret" -}}
{{- range .env -}}
{{- if hasKey $advice .name }}{{ fail (printf "%s.extraEnv: %s is the chart's own; %s" $.where .name (get $advice .name)) }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "batchline.checkGrace" -}}
{{- $least := int (include "batchline.longestEnd" .root) -}}
{{- if and .given (le (int .given) $least) -}}
{{- fail (printf "roles.%s: terminationGracePeriodSeconds is %d, and a worker may take %d s to end (config.shutdown_grace and config.create_timeout): a create call would be cut off and have to be looked for; set more, or null" .name (int .given) $least) -}}
{{- end -}}
{{- end -}}

{{- define "batchline.checkScaling" -}}
{{- $scaling := .scaling -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "roles.%s.autoscaling: minReplicas is more than maxReplicas" .name) -}}
{{- end -}}
{{- if eq $scaling.type "keda" -}}
{{- if not $scaling.keda.serverAddress }}{{ fail (printf "roles.%s.autoscaling.keda.serverAddress: set the address of Prometheus" .name) }}{{ end -}}
{{- if not $scaling.query }}{{ fail (printf "roles.%s.autoscaling.query: set what is measured" .name) }}{{ end -}}
{{- end -}}
{{- if and (eq $scaling.type "hpa") (not $scaling.metric.name) -}}
{{- fail (printf "roles.%s.autoscaling.metric.name: set the external metric that is measured" .name) -}}
{{- end -}}
{{- end -}}
