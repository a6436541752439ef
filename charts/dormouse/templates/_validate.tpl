{{/* What values.schema.json can't say. Each message names the value, what is wrong, and what to write. */}}
{{- define "dormouse.validate" -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "serviceAccount.create is false and serviceAccount.name is empty: name the service account that is there, or let the chart create one" -}}
{{- end -}}
{{- end -}}
