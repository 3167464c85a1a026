{{/* What the schema cannot say: values that contradict each other, each with a message that says what to set. */}}
{{- define "batchline.check" -}}
{{- include "batchline.checkRequired" . -}}
{{- include "batchline.checkConfig" . -}}
{{- range $name, $role := .Values.roles -}}
{{- if $role.enabled -}}
{{- $settings := fromYaml (include "batchline.role" (dict "root" $ "role" $role)) -}}
{{- include "batchline.checkEnv" (dict "where" (printf "roles.%s" $name) "env" $settings.extraEnv) -}}
{{- include "batchline.checkGrace" (dict "root" $ "name" $name "given" $settings.terminationGracePeriodSeconds) -}}
{{- include "batchline.checkScaling" (dict "name" $name "scaling" $settings.autoscaling) -}}
{{- end -}}
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
{{- if and (not (has $account (list "openai" "anthropic"))) (not (get $own "provider")) -}}
{{- fail (printf "apiKeys.%s: there is no such account; set config.accounts.%s.provider" $account $account) -}}
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
