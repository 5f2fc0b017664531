{{/* The configuration file of an edge: config, with what the chart decides. */}}
{{- define "shoal.config" -}}
{{- $service := include "shoal.fullname" . -}}
{{- $hosts := list (dict "host" "localhost" "subdomains" true) -}}
{{- range list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) -}}
{{- $hosts = append $hosts (dict "host" . "subdomains" false) -}}
{{- end -}}
{{- $named := list -}}
{{- range .Values.config.gateway.hosts -}}{{- $named = append $named .host -}}{{- end -}}
{{- $all := .Values.config.gateway.hosts -}}
{{- range $hosts -}}
{{- if not (has .host $named) -}}{{- $all = append $all . -}}{{- end -}}
{{- end -}}
{{- $decided := dict
  "data" "/data"
  "gateway" (dict
    "listen" ":8080"
    "hosts" $all
    "shutdown_delay" (printf "%ds" (int .Values.drain.shutdownDelaySeconds))
    "drain_timeout" (printf "%ds" (int .Values.drain.timeoutSeconds)))
  "cache" (dict
    "memory" (include "shoal.cacheMemory" . | int64)
    "disk" (include "shoal.cacheDisk" . | int64))
  "swarm" (dict
    "listen" .Values.swarm.listen
    "dns" (include "shoal.headless" .)
    "secret_file" "/run/secrets/shoal/swarm-secret")
  "admin" (dict
    "listen" ":8081"
    "token_file" "/run/secrets/shoal/admin-token") -}}
{{- if .Values.secrets.pinTokensKey -}}
{{- $_ := set $decided "pin" (dict "token_file" "/run/secrets/shoal/pin-tokens") -}}
{{- end -}}
{{- mergeOverwrite (deepCopy .Values.config) $decided | toYaml -}}
{{- end -}}

{{/* Whether volumes are still there after an uninstallation. */}}
{{- define "shoal.outlives" -}}
{{- with .Values.persistence -}}
{{- if or .existingClaim (and .enabled (eq .retention.whenDeleted "Retain")) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The Pod's grace period: the whole of a stop. The kubelet counts the preStop hook,
too.
*/}}
{{- define "shoal.gracePeriod" -}}
{{- with .Values.drain -}}
{{- add (int .preStopSeconds) (int .shutdownDelaySeconds) (int .timeoutSeconds) (int .marginSeconds) -}}
{{- end -}}
{{- end -}}

{{/* The host names of an Ingress or a route, as JSON: those given, or the sites'. Takes {root, hosts, name}. */}}
{{- define "shoal.hosts" -}}
{{- $hosts := .hosts -}}
{{- if not $hosts -}}
{{- range .root.Values.config.sites -}}{{- $hosts = append $hosts .host -}}{{- end -}}
{{- end -}}
{{- if not $hosts -}}
{{- fail (printf "%s: empty, and config.sites names no host either; expected at least one host name" .name) -}}
{{- end -}}
{{- $hosts | uniq | toJson -}}
{{- end -}}

{{/*
The TCP ports of everything outside that config names, as a JSON list: origins,
resolvers and siblings elsewhere.
*/}}
{{- define "shoal.outsidePorts" -}}
{{- $ports := list -}}
{{- $urls := concat .Values.config.names.resolvers (list .Values.config.names.ipns_gateway) -}}
{{- range .Values.config.origins -}}
{{- if eq .type "gateway" -}}{{- $urls = append $urls .url -}}{{- end -}}
{{- if eq .type "bitswap" -}}{{- $ports = append $ports (regexFind "/tcp/[0-9]+" .addr | trimPrefix "/tcp/") -}}{{- end -}}
{{- end -}}
{{- range .Values.config.swarm.peers -}}{{- $ports = append $ports (regexFind "[0-9]+$" .) -}}{{- end -}}
{{- range compact $urls -}}
{{- $url := urlParse . -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "80" "443" (eq $url.scheme "http"))) -}}
{{- end -}}
{{- if .Values.networkPolicy.originPorts -}}{{- $ports = list -}}{{- range .Values.networkPolicy.originPorts -}}{{- $ports = append $ports (int . | toString) -}}{{- end -}}{{- end -}}
{{- $ports | compact | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* The UDP ports of siblings elsewhere that config names, as a JSON list. */}}
{{- define "shoal.siblingPorts" -}}
{{- $ports := list -}}
{{- range .Values.config.swarm.peers -}}{{- $ports = append $ports (regexFind "[0-9]+$" .) -}}{{- end -}}
{{- $ports | compact | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* The dashboard. It picks its edges by namespace and job, so one serves all releases. */}}
{{- define "shoal.dashboard" -}}{{ .Files.Get "dashboards/shoal.json" | fromJson | toJson }}{{- end -}}
