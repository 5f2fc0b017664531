{{/*
What values.schema.json could only refuse without saying why: values that do not go
with each other.
*/}}
{{- define "shoal.checks" -}}
{{- $fullname := include "shoal.fullname" . -}}
{{- with .Values.persistence.existingClaim -}}
{{- $why := printf "and persistence.existingClaim names the one claim %s, which one edge at a time may use" . -}}
{{- $instead := printf "for more edges leave it empty, and make claims named data-%s-0, data-%s-1, ..., which they take" $fullname $fullname -}}
{{- if $.Values.autoscaling.enabled -}}
{{- fail (printf "autoscaling.enabled: true, %s; switch autoscaling off and set replicaCount to 1; %s" $why $instead) -}}
{{- else if gt (int $.Values.replicaCount) 1 -}}
{{- fail (printf "replicaCount: %d, %s; set replicaCount to 1; %s" (int $.Values.replicaCount) $why $instead) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled -}}
{{- fail "monitoring: serviceMonitor.enabled and podMonitor.enabled are both true, which would count every sample twice; keep one of them" -}}
{{- end -}}
{{- include "shoal.once" (dict "name" "config.sites" "list" .Values.config.sites) -}}
{{- include "shoal.once" (dict "name" "config.gateway.hosts" "list" .Values.config.gateway.hosts) -}}
{{- end -}}

{{/* That no host is listed twice, which the edge refuses. Takes {name, list}. */}}
{{- define "shoal.once" -}}
{{- $seen := dict -}}
{{- range .list -}}
{{- if hasKey $seen .host -}}{{- fail (printf "%s: %s is listed twice; keep one of them" $.name .host) -}}{{- end -}}
{{- $_ := set $seen .host true -}}
{{- end -}}
{{- end -}}
