{{/* What values.schema.json can't say. Each message names the value, what is wrong, and what to write. */}}
{{- define "dormouse.validate" -}}
{{- $values := .Values -}}
{{- if and (not $values.serviceAccount.create) (not $values.serviceAccount.name) -}}
{{- fail "serviceAccount.name is empty and serviceAccount.create is false: name the service account that is there, or let the chart create one" -}}
{{- end -}}
{{- if and (gt (int $values.replicas) 1) (not $values.lease.enabled) -}}
{{- fail (printf "replicas is %d and lease.enabled is false: each of them would send orders and write status; set lease.enabled=true or replicas=1" (int $values.replicas)) -}}
{{- end -}}
{{- range $at, $image := dict "image" $values.image "sidecar.image" $values.sidecar.image "console.image" $values.console.image -}}
{{- if and $image.digest (not (regexMatch "^sha256:[0-9a-f]{64}$" $image.digest)) -}}
{{- fail (printf "%s.digest is %q: write sha256: and 64 hexadecimal digits, as `docker buildx imagetools inspect` shows it, or leave it empty" $at $image.digest) -}}
{{- end -}}
{{- if regexMatch "(@|:[^/]*$)" $image.repository -}}
{{- fail (printf "%s.repository is %q: write the tag into %s.tag or the digest into %s.digest" $at $image.repository $at $at) -}}
{{- end -}}
{{- end -}}
{{- if regexMatch "^[a-z]+://" $values.imageRegistry -}}
{{- fail (printf "imageRegistry is %q: an image's name has no scheme, write for example registry.example.com/ml" $values.imageRegistry) -}}
{{- end -}}
{{- range concat $values.watch.namespaces $values.networkPolicy.models.namespaces -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" .) -}}
{{- fail (printf "%q is no name of a namespace (in watch.namespaces or networkPolicy.models.namespaces): write lower-case letters, digits and hyphens; patterns are not known, and an empty list is the whole cluster" .) -}}
{{- end -}}
{{- end -}}
{{- with $values.prometheus -}}
{{- if not (regexMatch "^https?://[^/]+" .url) -}}
{{- fail (printf "prometheus.url is %q: write its address, for example http://prometheus.monitoring:9090" .url) -}}
{{- end -}}
{{- if regexMatch "/api/v1/?$" .url -}}
{{- fail (printf "prometheus.url is %s: leave /api/v1 out, it is put behind it" .url) -}}
{{- end -}}
{{- if regexMatch "^https?://[^/]*@" .url -}}
{{- fail "prometheus.url has credentials in it, which everybody could read in the pod: put them into a Secret and name it in prometheus.basicAuth.secretName" -}}
{{- end -}}
{{- range $name, $_ := .headers -}}
{{- if eq (lower $name) "authorization" -}}
{{- fail "prometheus.headers has Authorization, which everybody could read in the pod: name a Secret in prometheus.bearerToken.secretName or prometheus.secretHeaders" -}}
{{- end -}}
{{- end -}}
{{- if and .bearerToken.secretName .basicAuth.secretName -}}
{{- fail "prometheus.bearerToken.secretName and prometheus.basicAuth.secretName are both set: both are the header Authorization; leave one of the two empty" -}}
{{- end -}}
{{- if and .basicAuth.secretName (not .basicAuth.username) -}}
{{- fail "prometheus.basicAuth.username is empty: basic authentication needs it beside the password in prometheus.basicAuth.secretName" -}}
{{- end -}}
{{- if and .basicAuth.username (not .basicAuth.secretName) -}}
{{- fail "prometheus.basicAuth.secretName is empty: name the Secret that has the password of prometheus.basicAuth.username" -}}
{{- end -}}
{{- if and (or .tls.caSecretName .tls.clientSecretName .tls.serverName) (not (hasPrefix "https://" .url)) -}}
{{- fail (printf "prometheus.tls is set and prometheus.url is %s: TLS needs an address that begins with https://" .url) -}}
{{- end -}}
{{- end -}}
{{- if $values.networkPolicy.enabled -}}
{{- if not (or $values.networkPolicy.models.namespaces $values.watch.namespaces) -}}
{{- fail "networkPolicy.models.namespaces is empty and the whole cluster is watched: list the namespaces whose model pods are to be protected, since a NetworkPolicy belongs to one namespace" -}}
{{- end -}}
{{- end -}}
{{- if and (eq $values.key.source "existingSecret") (not $values.key.secretName) -}}
{{- fail "key.source is existingSecret and key.secretName is empty: name the Secret (kubernetes.io/tls) with the operator's key, or use operator, which makes one" -}}
{{- end -}}
{{- if and (eq $values.key.source "operator") $values.key.secretName -}}
{{- fail (printf "key.secretName is %s and key.source is operator, which makes its own key: set key.source=existingSecret, or leave key.secretName empty" $values.key.secretName) -}}
{{- end -}}
{{- if and (eq $values.key.source "certManager") (not $values.key.issuerRef.name) -}}
{{- fail "key.source is certManager: set key.issuerRef.name to the Issuer that signs, or use operator" -}}
{{- end -}}
{{- with $values.webhook -}}
{{- if .enabled -}}
{{- if and (eq .certificate.source "existingSecret") (not (and .certificate.secretName .certificate.caBundle)) -}}
{{- fail "webhook.certificate.source is existingSecret: set webhook.certificate.secretName (kubernetes.io/tls) and webhook.certificate.caBundle (the PEM of its authority), or use selfSigned" -}}
{{- end -}}
{{- if and (eq .certificate.source "certManager") (not .certificate.issuerRef.name) -}}
{{- fail "webhook.certificate.source is certManager: set webhook.certificate.issuerRef.name to the Issuer that signs, or use selfSigned" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
