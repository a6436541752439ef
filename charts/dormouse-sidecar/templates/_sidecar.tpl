{{/*
The sidecar in your own chart. In Chart.yaml:

    dependencies:
      - {name: dormouse-sidecar, version: 0.1.0, repository: …}

and in your pod template, where .Values.dormouse is {image: …, resources: …, pullPolicy: …, controlPort: …,
socket: …, runAsUser: …}, of which only `image` is required:

    metadata:
      labels:
        {{- include "dormouse.sidecar.labels" . | nindent 8 }}
    spec:
      securityContext: {fsGroup: 10001}        # or the same runAsUser in both containers
      initContainers:
        {{- include "dormouse.sidecar.container" .Values.dormouse | nindent 8 }}
      containers:
        - name: model
          env:
            {{- include "dormouse.sidecar.env" .Values.dormouse | nindent 12 }}
          volumeMounts:
            {{- include "dormouse.sidecar.volumeMounts" .Values.dormouse | nindent 12 }}
      volumes:
        {{- include "dormouse.sidecar.volumes" . | nindent 8 }}
*/}}

{{- define "dormouse.sidecar.socket" -}}
{{- default "/run/dormouse/model.sock" .socket -}}
{{- end -}}

{{/* PodMonitor and NetworkPolicy find the pod by it. */}}
{{- define "dormouse.sidecar.labels" -}}
dormouse.dev/sidecar: "true"
{{- end -}}

{{/* A native sidecar. It has no readiness probe: that it is away must not take the pod out of its Service. */}}
{{- define "dormouse.sidecar.container" -}}
- name: dormouse-sidecar
  image: {{ required "dormouse.image is empty: name the image of the sidecar, for example registry.example.com/ml/dormouse-sidecar:0.1.0" .image }}
  imagePullPolicy: {{ default "IfNotPresent" .pullPolicy }}
  restartPolicy: Always
  env:
    - name: DORMOUSE_POD_UID
      valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.uid}}
    - {name: DORMOUSE_SOCKET, value: {{ include "dormouse.sidecar.socket" . | quote }}}
    - {name: DORMOUSE_CONTROL_PORT, value: {{ default 7443 .controlPort | toString | quote }}}
  ports:
    - {name: dormouse-orders, containerPort: {{ default 7443 .controlPort }}, protocol: TCP}
    - {name: dormouse-scrape, containerPort: 9743, protocol: TCP}
  livenessProbe:
    httpGet: {path: /healthz, port: 9743}
    periodSeconds: 15
    timeoutSeconds: 5
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ default 10001 .runAsUser }}
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
  resources:
    {{- toYaml (default (dict "requests" (dict "cpu" "10m" "memory" "64Mi") "limits" (dict "memory" "192Mi")) .resources) | nindent 4 }}
  volumeMounts:
    {{- include "dormouse.sidecar.volumeMounts" . | nindent 4 }}
    - {name: dormouse-trust, mountPath: /etc/dormouse/trust, readOnly: true}
{{- end -}}

{{/* For the model's container. */}}
{{- define "dormouse.sidecar.env" -}}
- {name: DORMOUSE_SOCKET, value: {{ include "dormouse.sidecar.socket" . | quote }}}
{{- end -}}

{{/* For the model's container: where the two meet. */}}
{{- define "dormouse.sidecar.volumeMounts" -}}
- {name: dormouse-run, mountPath: {{ include "dormouse.sidecar.socket" . | dir | quote }}}
{{- end -}}

{{/* The trust is optional: a pod starts whether or not the operator was ever there. */}}
{{- define "dormouse.sidecar.volumes" -}}
- {name: dormouse-run, emptyDir: {}}
- {name: dormouse-trust, configMap: {name: dormouse-operator-trust, optional: true}}
{{- end -}}
