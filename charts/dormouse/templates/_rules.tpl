{{/* What the operator may do where models are. It can change no pod, and read no Secret. */}}
{{- define "dormouse.modelRules" -}}
- apiGroups: [dormouse.dev]
  resources: [managedmodels]
  verbs: [list, watch]
- apiGroups: [dormouse.dev]
  resources: [managedmodels/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# The public half of the operator's key, for sidecars to mount. Server-side apply names the object when it
# creates it, so that `create` is kept to this one name as well.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [dormouse-operator-trust]
  verbs: [get, create, patch]
# A series of one Event is counted up in place.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
