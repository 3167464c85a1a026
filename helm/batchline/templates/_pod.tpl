{{/*
The pod of a worker, the exporter or the test.
root: the chart's context; settings: the merged values; component; args; port (0: serves nothing); portVariable; grace (seconds);
keys: whether it is given the API keys; broker: whether it is given the broker's URL; steps: whether it takes steps, and ends when
these have ended; storeSecret, storeKey: where its URL of the store is; restart: the restart policy.
*/}}
{{- define "batchline.podSpec" -}}
{{- $values := .root.Values -}}
{{- $broker := .broker | ternary $values.broker.existingSecret "" -}}
serviceAccountName: {{ include "batchline.serviceAccountName" .root | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .restart }}
restartPolicy: {{ . | quote }}
{{- end }}
{{- with .grace }}
terminationGracePeriodSeconds: {{ . }}
{{- end }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with $values.securityContext.runAsUser }}
  runAsUser: {{ int64 . }}
  runAsGroup: {{ int64 . }}
  {{- end }}
  {{- with $values.securityContext.fsGroup }}
  fsGroup: {{ int64 . }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
containers:
  - name: {{ .component | quote }}
    image: {{ include "batchline.image" (dict "image" $values.image "version" .root.Chart.AppVersion) | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args:
      {{- toYaml .args | nindent 6 }}
    securityContext:
      {{- include "batchline.containerSecurity" . | nindent 6 }}
    env:
      - name: BATCHLINE_CONFIG
        value: /etc/batchline/config/batchline.yaml
      # What is set here wins over extraEnvFrom; what is empty counts as not set.
      - name: BATCHLINE_REDIS_URL
        value: ""
      - name: BATCHLINE_REDIS_URL_FILE
        value: /etc/batchline/store/url
      - name: BATCHLINE_BROKER_URL
        value: ""
      - name: BATCHLINE_BROKER_URL_FILE
        value: {{ not (empty $broker) | ternary "/etc/batchline/broker/url" "" | quote }}
      {{- if .steps }}
      - name: BATCHLINE_SHUTDOWN_GRACE
        value: {{ include "batchline.shutdownGrace" .root | quote }}
      - name: BATCHLINE_CREATE_TIMEOUT
        value: {{ include "batchline.createTimeout" .root | quote }}
      {{- end }}
      {{- if .port }}
      - name: {{ .portVariable }}
        value: {{ .port | quote }}
      {{- end }}
      {{- with .settings.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with .settings.extraEnvFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if .port }}
    ports:
      - name: metrics
        containerPort: {{ .port }}
        protocol: TCP
    startupProbe:
      {{- include "batchline.probe" (dict "path" "/livez" "numbers" .settings.probes.startup) | nindent 6 }}
    livenessProbe:
      {{- include "batchline.probe" (dict "path" "/livez" "numbers" .settings.probes.liveness) | nindent 6 }}
    readinessProbe:
      {{- include "batchline.probe" (dict "path" "/readyz" "numbers" .settings.probes.readiness) | nindent 6 }}
    {{- end }}
    resources:
      {{- toYaml .settings.resources | nindent 6 }}
    volumeMounts:
      - name: config
        mountPath: /etc/batchline/config
        readOnly: true
      - name: store
        mountPath: /etc/batchline/store
        readOnly: true
      {{- if $broker }}
      - name: broker
        mountPath: /etc/batchline/broker
        readOnly: true
      {{- end }}
      {{- if $values.store.tls.existingSecret }}
      - name: tls
        mountPath: /etc/batchline/tls
        readOnly: true
      {{- end }}
      {{- if and .keys $values.apiKeys }}
      - name: keys
        mountPath: /etc/batchline/keys
        readOnly: true
      {{- end }}
      - name: tmp
        mountPath: /tmp
      {{- with .settings.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "batchline.fullname" .root | quote }}
  - name: store
    secret:
      secretName: {{ .storeSecret | quote }}
      defaultMode: 0440
      items:
        - key: {{ .storeKey | quote }}
          path: url
  {{- if $broker }}
  - name: broker
    secret:
      secretName: {{ $broker | quote }}
      defaultMode: 0440
      items:
        - key: {{ $values.broker.key | quote }}
          path: url
  {{- end }}
  {{- if $values.store.tls.existingSecret }}
  - name: tls
    secret:
      secretName: {{ $values.store.tls.existingSecret | quote }}
      defaultMode: 0440
      items:
        - key: {{ $values.store.tls.key | quote }}
          path: ca.crt
  {{- end }}
  {{- if and .keys $values.apiKeys }}
  - name: keys
    projected:
      defaultMode: 0440
      sources:
        {{- range $account, $key := $values.apiKeys }}
        - secret:
            name: {{ $key.existingSecret | quote }}
            items:
              - key: {{ $key.key | quote }}
                path: {{ $account | quote }}
        {{- end }}
  {{- end }}
  - name: tmp
    emptyDir:
      sizeLimit: {{ .settings.tmpSize | quote }}
  {{- with .settings.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- include "batchline.placement" . }}
{{- end -}}

{{- define "batchline.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "batchline.probe" -}}
httpGet:
  path: {{ .path }}
  port: metrics
{{ toYaml .numbers }}
{{- end -}}

{{/* Where a pod may run. */}}
{{- define "batchline.placement" -}}
{{- with .settings.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $own := fromYaml (include "batchline.selector" .) }}
{{- $spread := list }}
{{- if .settings.spreadOverNodes }}
{{- $spread = append $spread (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway") }}
{{- end }}
{{- with concat $spread .settings.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  {{- $selected := hasKey . "labelSelector" | ternary . (merge (dict "labelSelector" (dict "matchLabels" $own)) .) }}
  - {{- toYaml $selected | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Annotations and labels of a pod. A changed ConfigMap brings new pods: settings are read once, at the start. */}}
{{- define "batchline.podMetadata" -}}
{{- $checksum := dict "checksum/config" (include (print .root.Template.BasePath "/configmap.yaml") .root | sha256sum) -}}
annotations:
  {{- toYaml (merge $checksum .settings.podAnnotations) | nindent 2 }}
labels:
  {{- toYaml (fromYaml (include "batchline.labels" (dict "root" .root "component" .component "more" .settings.podLabels))) | nindent 2 }}
{{- end -}}
