{{- define "dormouse.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{/* The release's name, without saying dormouse twice. At most 53, so that suffixes such as -webhook fit. */}}
{{- define "dormouse.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else if contains (include "dormouse.name" .) .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "dormouse.name" .) | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Objects without a namespace are told apart by it too: two releases of one name may live in two. */}}
{{- define "dormouse.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "dormouse.fullname" .) -}}
{{- end -}}

{{- define "dormouse.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "dormouse.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of one component; may never change, since a Deployment's selector can't. */}}
{{- define "dormouse.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dormouse.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "dormouse.labels" -}}
{{- $own := dict
      "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63)
      "app.kubernetes.io/name" (include "dormouse.name" .root)
      "app.kubernetes.io/instance" .root.Release.Name
      "app.kubernetes.io/component" .component
      "app.kubernetes.io/part-of" "dormouse"
      "app.kubernetes.io/version" .root.Chart.AppVersion
      "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- toYaml (mergeOverwrite (deepCopy (.root.Values.commonLabels | default dict)) (.more | default dict) $own) -}}
{{- end -}}

{{- define "dormouse.annotations" -}}
{{- $all := mergeOverwrite (deepCopy (.root.Values.commonAnnotations | default dict)) (.more | default dict) -}}
{{- if $all }}
annotations:
  {{- toYaml $all | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* registry/repository:tag, or @digest when there is one: then the tag would only pretend to matter. */}}
{{- define "dormouse.image" -}}
{{- $image := .image -}}
{{- $name := $image.repository -}}
{{- with .root.Values.imageRegistry -}}
{{- $name = printf "%s/%s" (trimSuffix "/" .) $name -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Where models are watched; empty means the whole cluster. Sorted, so that a reordered list changes nothing. */}}
{{- define "dormouse.watched" -}}
{{- .Values.watch.namespaces | uniq | sortAlpha | join "," -}}
{{- end -}}

{{/* What is mounted as the operator's key when the operator doesn't make it. */}}
{{- define "dormouse.keySecret" -}}
{{- if eq .Values.key.source "certManager" -}}
{{- printf "%s-key-tls" (include "dormouse.fullname" .) -}}
{{- else -}}
{{- .Values.key.secretName -}}
{{- end -}}
{{- end -}}
