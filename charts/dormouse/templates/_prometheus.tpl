{{/* Credentials come as mounted files: the operator needs no right to read the Secrets. */}}
{{- define "dormouse.prometheusArgs" -}}
{{- $at := "/etc/dormouse/prometheus" -}}
{{- with .Values.prometheus -}}
- --prometheus-url={{ .url }}
{{- if .bearerToken.secretName }}
- --prometheus-bearer-token-file={{ $at }}/bearer/token
{{- end }}
{{- if .basicAuth.secretName }}
- {{ printf "--prometheus-username=%s" .basicAuth.username | quote }}
- --prometheus-password-file={{ $at }}/basic/password
{{- end }}
{{- if .tls.caSecretName }}
- --prometheus-ca-file={{ $at }}/ca/ca.crt
{{- end }}
{{- if .tls.clientSecretName }}
- --prometheus-cert-file={{ $at }}/client/tls.crt
- --prometheus-key-file={{ $at }}/client/tls.key
{{- end }}
{{- with .tls.serverName }}
- --prometheus-server-name={{ . }}
{{- end }}
{{- with include "dormouse.prometheusSelector" $ }}
- {{ printf "--prometheus-selector=%s" . | quote }}
{{- end }}
{{- range $name, $value := .headers }}
- {{ printf "--prometheus-header=%s=%s" $name $value | quote }}
{{- end }}
{{- range $index, $header := .secretHeaders }}
- {{ printf "--prometheus-header-file=%s=%s/headers/%d" $header.name $at $index | quote }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "dormouse.podMonitor" -}}
{{- include "dormouse.fullname" . }}-sidecars
{{- end -}}

{{/* Which job is believed. The Prometheus operator names that of a PodMonitor after its namespace and name. */}}
{{- define "dormouse.prometheusSelector" -}}
{{- if not (kindIs "invalid" .Values.prometheus.selector) -}}
{{- .Values.prometheus.selector -}}
{{- else if .Values.monitoring.podMonitor.enabled -}}
{{- printf "job=\"%s/%s\"" .Release.Namespace (include "dormouse.podMonitor" .) -}}
{{- end -}}
{{- end -}}

{{/* One projected folder; empty when no credentials are needed. */}}
{{- define "dormouse.prometheusSources" -}}
{{- with .Values.prometheus -}}
{{- with .bearerToken }}{{ if .secretName }}
- secret: {name: {{ .secretName | quote }}, items: [{key: {{ .key | quote }}, path: bearer/token}]}
{{- end }}{{ end }}
{{- with .basicAuth }}{{ if .secretName }}
- secret: {name: {{ .secretName | quote }}, items: [{key: {{ .key | quote }}, path: basic/password}]}
{{- end }}{{ end }}
{{- with .tls }}
{{- if .caSecretName }}
- secret: {name: {{ .caSecretName | quote }}, items: [{key: {{ .caKey | quote }}, path: ca/ca.crt}]}
{{- end }}
{{- if .clientSecretName }}
- secret: {name: {{ .clientSecretName | quote }}, items: [{key: tls.crt, path: client/tls.crt}, {key: tls.key, path: client/tls.key}]}
{{- end }}
{{- end }}
{{- range $index, $header := .secretHeaders }}
- secret: {name: {{ $header.secretName | quote }}, items: [{key: {{ $header.key | quote }}, path: headers/{{ $index }}}]}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The volume with that folder, and where it is mounted; nothing when no credentials are needed. */}}
{{- define "dormouse.prometheusVolume" -}}
{{- with include "dormouse.prometheusSources" . -}}
- name: prometheus-credentials
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end -}}
{{- end -}}

{{- define "dormouse.prometheusMount" -}}
{{- if include "dormouse.prometheusSources" . -}}
- {name: prometheus-credentials, mountPath: /etc/dormouse/prometheus, readOnly: true}
{{- end -}}
{{- end -}}
