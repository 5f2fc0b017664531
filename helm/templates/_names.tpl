{{/* The name of the application, for labels. */}}
{{- define "shoal.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
The name of the objects: at most 52 characters, because the label
controller-revision-hash of a StatefulSet's Pods adds 11 to it and may have 63. A
name that is cut ends in a hash of the whole one, so that two long releases that
begin alike do not meet.
*/}}
{{- define "shoal.fullname" -}}
{{- $name := include "shoal.name" . -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if contains $name .Release.Name -}}{{- $full = .Release.Name -}}{{- end -}}
{{- if .Values.fullnameOverride -}}{{- $full = .Values.fullnameOverride -}}{{- end -}}
{{- if gt (len $full) 52 -}}
{{- $full = printf "%s-%s" ($full | trunc 43 | trimSuffix "-" | trimSuffix ".") (sha256sum $full | trunc 8) -}}
{{- end -}}
{{- $full -}}
{{- end -}}

{{/*
The service that lists the edges for each other. It must have one port and no
other: an SRV query for its name answers with all of its ports.
*/}}
{{- define "shoal.headless" -}}{{ include "shoal.fullname" . }}-headless{{- end -}}

{{- define "shoal.admin" -}}{{ include "shoal.fullname" . }}-admin{{- end -}}

{{- define "shoal.secretName" -}}
{{- .Values.secrets.existingSecret | default (include "shoal.fullname" .) -}}
{{- end -}}

{{- define "shoal.serviceAccountName" -}}
{{- $own := ternary (include "shoal.fullname" .) "default" .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default $own -}}
{{- end -}}

{{- define "shoal.job" -}}{{ .Values.monitoring.job | default (include "shoal.fullname" .) }}{{- end -}}

{{/* Labels that never change, so that selectors and volume claims can use them. */}}
{{- define "shoal.selectorLabels" -}}
app.kubernetes.io/name: {{ include "shoal.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of the edges, as opposed to the test's Pod. */}}
{{- define "shoal.edgeLabels" -}}
{{ include "shoal.selectorLabels" . }}
app.kubernetes.io/component: edge
{{- end -}}

{{/* The metadata of an object. Takes {root, name, labels, annotations}. */}}
{{- define "shoal.metadata" -}}
{{- $root := .root -}}
name: {{ .name }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- $labels := dict
    "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
    "app.kubernetes.io/version" ($root.Chart.AppVersion | replace "+" "_" | trunc 63)
    "app.kubernetes.io/managed-by" $root.Release.Service
    "app.kubernetes.io/part-of" "shoal" }}
  {{- $labels = mergeOverwrite $labels (deepCopy $root.Values.commonLabels) (deepCopy (.labels | default dict)) (include "shoal.selectorLabels" $root | fromYaml) }}
  {{- toYaml $labels | nindent 2 }}
{{- with mergeOverwrite (deepCopy $root.Values.commonAnnotations) (deepCopy (.annotations | default dict)) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image reference. Takes {image, tag}. */}}
{{- define "shoal.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .tag }}
{{- end -}}
{{- end -}}
