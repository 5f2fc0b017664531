{{/* One alert, unless it is disabled. Takes {root, name, expr, for, severity, summary, description}. */}}
{{- define "shoal.alert" -}}
{{- $rules := .root.Values.monitoring.rules -}}
{{- if not (has .name $rules.disabled) -}}
- alert: {{ .name }}
  expr: |
    {{- .expr | nindent 4 }}
  {{- with .for }}
  for: {{ . }}
  {{- end }}
  labels:
    {{- mergeOverwrite (dict "severity" .severity) (deepCopy $rules.alertLabels) | toYaml | nindent 4 }}
  annotations:
    summary: {{ .summary | quote }}
    description: {{ .description | quote }}
    runbook_url: {{ $rules.runbookURL }}#{{ .name | lower }}
{{- end -}}
{{- end -}}

{{/* The share of requests that failed with 5xx, over a window. Takes {series, window}. */}}
{{- define "shoal.failures" -}}
sum by (namespace, job) (rate(shoal_http_requests_total{ {{- .series }},code=~"5.."}[{{ .window }}])) / sum by (namespace, job) (rate(shoal_http_requests_total{ {{- .series }}}[{{ .window }}]))
{{- end -}}

{{/* That two windows burn the error budget some times too fast. Takes {root, series, long, short, times}. */}}
{{- define "shoal.burn" -}}
{{- $most := divf (mulf .times (subf 100 .root.Values.monitoring.rules.availability)) 100 -}}
({{ include "shoal.failures" (dict "series" .series "window" .long) }}) > {{ $most }}
and
({{ include "shoal.failures" (dict "series" .series "window" .short) }}) > {{ $most }}
{{- end -}}

{{/* Every alert, as a YAML list. Each has a section of its own in docs/RUNBOOKS.md. */}}
{{- define "shoal.alerts" -}}
{{- $s := printf "namespace=%q,job=%q" .Release.Namespace (include "shoal.job" .) -}}
{{- $rules := .Values.monitoring.rules -}}
{{- $edge := "{{ $labels.pod }}" -}}
{{- $value := "{{ $value | humanize }}" -}}
{{- $share := "{{ $value | humanizePercentage }}" -}}

{{- /* Is it there? */}}
{{ include "shoal.alert" (dict "root" . "name" "ShoalAbsent" "for" "10m" "severity" "critical"
  "expr" (printf "absent(shoal_build_info{%s})" $s)
  "summary" "No Shoal edge is seen at all."
  "description" "Prometheus has had no metrics of any edge for 10 minutes: all edges are down, or they are not scraped.") }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalEdgeDown" "for" "5m" "severity" "warning"
  "expr" (printf "up{%s} == 0" $s)
  "summary" "A Shoal edge is down."
  "description" (printf "Edge %s has not answered its scrapes for 5 minutes. Its siblings serve its share meanwhile." $edge)) }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalEdgeRestarts" "severity" "warning"
  "expr" (printf "changes(process_start_time_seconds{%s}[1h]) > 3" $s)
  "summary" "A Shoal edge restarts again and again."
  "description" (printf "Edge %s has started %s times within an hour." $edge $value)) }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalMembersLost" "for" "5m" "severity" "warning"
  "expr" (printf "shoal_swarm_members{%s} + 1\n  < on (namespace, job) group_left ()\ncount by (namespace, job) (up{%s} == 1)" $s $s)
  "summary" "A Shoal edge has lost siblings that are running."
  "description" (printf "Edge %s counts %s edges with itself, and more are up. What is at home on the others is fetched from the origin again." $edge $value)) }}

{{- /* Is it good for visitors? */}}
{{ include "shoal.alert" (dict "root" . "name" "ShoalErrorBudgetBurnsFast" "for" "2m" "severity" "critical"
  "expr" (include "shoal.burn" (dict "root" . "series" $s "long" "1h" "short" "5m" "times" 14.4))
  "summary" "Visitors get many errors."
  "description" (printf "%s of the requests failed with 5xx during the last hour: at this rate a month's budget of errors is gone in two days." $share)) }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalErrorBudgetBurnsSlowly" "for" "15m" "severity" "warning"
  "expr" (include "shoal.burn" (dict "root" . "series" $s "long" "6h" "short" "30m" "times" 6))
  "summary" "Visitors get more errors than the budget allows."
  "description" (printf "%s of the requests failed with 5xx during the last six hours: at this rate a month's budget of errors is gone in five days." $share)) }}

{{- /* Does it spare the origin? */}}
{{ include "shoal.alert" (dict "root" . "name" "ShoalOriginAmplification" "for" "30m" "severity" "warning"
  "expr" (printf "sum by (namespace, job) (rate(shoal_origin_bytes_total{%s}[30m])) / sum by (namespace, job) (rate(shoal_http_response_bytes_total{%s}[30m])) > %v\nand\nsum by (namespace, job) (rate(shoal_origin_bytes_total{%s}[30m])) > 131072" $s $s $rules.originAmplification $s)
  "summary" "The edges read more from the origin than visitors read from them."
  "description" (printf "For each byte sent to visitors, %s bytes were read from the origins." $value)) }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalHomesUnreachable" "for" "10m" "severity" "warning"
  "expr" (printf "sum by (namespace, job, pod) (rate(shoal_swarm_rescues_total{%s}[10m])) > 0.1" $s)
  "summary" "A Shoal edge asks the origin for what is at home on other edges."
  "description" (printf "Edge %s cannot reach the homes of %s blocks per second and asks the origin for them, which other edges may do as well." $edge $value)) }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalZonesCrossed" "for" "1h" "severity" "warning"
  "expr" (printf "sum by (namespace, job) (rate(shoal_swarm_zone_bytes_total{%s,scope=\"remote\"}[1h])) / sum by (namespace, job) (rate(shoal_http_response_bytes_total{%s}[1h])) > 0.25\nand\nsum by (namespace, job) (rate(shoal_swarm_zone_bytes_total{%s,scope=\"remote\"}[1h])) > 1048576" $s $s $s)
  "summary" "Much of what visitors get crosses zones."
  "description" (printf "For each byte sent to visitors, %s bytes came from another zone during the last hour. Warm zones get by with 0.05." $value)) }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalHitRatioLow" "for" "1h" "severity" "warning"
  "expr" (printf "100 * (1 - sum by (namespace, job) (rate(shoal_http_requests_total{%s,cache=\"origin\"}[1h])) / sum by (namespace, job) (rate(shoal_http_requests_total{%s,cache=~\"hit|disk|sibling|origin\"}[1h]))) < %v\nand\nsum by (namespace, job) (rate(shoal_http_requests_total{%s}[1h])) > 1" $s $s $rules.hitRatio $s)
  "summary" "Few requests are answered without the origin."
  "description" (printf "Only %s%% of the requests for content were answered without asking an origin during the last hour." $value)) }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalOriginDown" "for" "10m" "severity" "warning"
  "expr" (printf "max by (namespace, job, origin) (shoal_origin_breaker_state{%s}) == 2" $s)
  "summary" "An origin fails."
  "description" "Origin {{ $labels.origin }} has failed so often that edges give it rest. What the fleet holds is served; the rest comes from other origins or fails.") }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalOriginWrongBytes" "severity" "critical"
  "expr" (printf "sum by (namespace, job, origin) (increase(shoal_origin_requests_total{%s,outcome=\"mismatch\"}[15m])) > 0\nor\nsum by (namespace, job, origin) (shoal_origin_requests_total{%s,outcome=\"mismatch\"} unless shoal_origin_requests_total{%s,outcome=\"mismatch\"} offset 15m) > 0" $s $s $s)
  "summary" "An origin sends bytes that are not what was asked for."
  "description" (printf "Origin {{ $labels.origin }} sent %s blocks in 15 minutes whose bytes do not have the hash they were asked by. None was stored or served." $value)) }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalNamesStale" "for" "1h" "severity" "warning"
  "expr" (printf "max by (namespace, job) (shoal_names_stale{%s}) > 0" $s)
  "summary" "Names cannot be looked up, and old answers are served."
  "description" (printf "%s DNSLink or IPNS names could not be looked up for an hour. Their sites do not change meanwhile." $value)) }}

{{- /* Do the disks hold? */}}
{{ include "shoal.alert" (dict "root" . "name" "ShoalDiskFull" "for" "5m" "severity" "critical"
  "expr" (printf "shoal_store_disk_full{%s} == 1" $s)
  "summary" "A Shoal edge's disk is full."
  "description" (printf "The volume of edge %s has no space left although the cache is meant to be smaller: content is served but nothing new is kept." $edge)) }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalPinnedShareHigh" "for" "15m" "severity" "warning"
  "expr" (printf "100 * shoal_store_pinned_bytes{%s} / shoal_store_capacity_bytes{%s} > %v" $s $s $rules.pinnedShare)
  "summary" "Pinned content leaves little room on a Shoal edge."
  "description" (printf "%s%% of the disk cache of edge %s are pinned. Imports fail when there is no room left, and little remains to cache in." $value $edge)) }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalPinnedBlocksMissing" "for" "30m" "severity" "critical"
  "expr" (printf "shoal_store_pinned_missing_blocks{%s} > 0" $s)
  "summary" "Pinned content is damaged on a Shoal edge."
  "description" (printf "%s pinned blocks of edge %s went bad on its disk and have not come back from a sibling or an origin." $value $edge)) }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalPinsFailed" "for" "15m" "severity" "warning"
  "expr" (printf "max by (namespace, job) (shoal_pins{%s,status=\"failed\"}) > 0" $s)
  "summary" "Pins have failed."
  "description" (printf "%s pins could not be made whole: nobody has some block of them, or there is no room." $value)) }}
{{ include "shoal.alert" (dict "root" . "name" "ShoalDiskFailing" "severity" "warning"
  "expr" (printf "increase(shoal_store_corrupt_records_total{%s}[1h]) + increase(shoal_store_read_failures_total{%s}[1h]) + increase(shoal_store_write_failures_total{%s}[1h]) > 0" $s $s $s)
  "summary" "A Shoal edge's disk fails."
  "description" (printf "Edge %s met %s records with wrong checksums, failed reads or failed writes within an hour. What was damaged is fetched again." $edge $value)) }}
{{- end -}}
