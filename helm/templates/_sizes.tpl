{{/* A quantity (512Mi, 1.5Gi, 20G, a number) in bytes. Takes {name, value}. */}}
{{- define "shoal.bytes" -}}
{{- $text := .value | toString -}}
{{- if not (kindIs "string" .value) -}}{{- $text = int64 .value | toString -}}{{- end -}}
{{- if not (regexMatch "^[0-9]+(\\.[0-9]+)?([kMGTP]|[KMGTP]i)?$" $text) -}}
{{- fail (printf "%s: %q is not a size as Kubernetes writes it; expected one such as 512Mi or 20Gi" .name $text) -}}
{{- end -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- $unit := regexFind "[kKMGTP]i?" $text | upper -}}
{{- $step := ternary 1024 1000 (hasSuffix "I" $unit) -}}
{{- $bytes := float64 $number -}}
{{- range until (index (dict "" 0 "K" 1 "M" 2 "G" 3 "T" 4 "P" 5) (trimSuffix "I" $unit)) -}}
{{- $bytes = mulf $bytes $step -}}
{{- end -}}
{{- $bytes | floor | int64 -}}
{{- end -}}

{{/* The container's memory limit in bytes; nothing without one. */}}
{{- define "shoal.memoryLimit" -}}
{{- with (.Values.resources.limits | default dict).memory -}}
{{- include "shoal.bytes" (dict "name" "resources.limits.memory" "value" .) -}}
{{- end -}}
{{- end -}}

{{/*
What the Go runtime tries to stay below: nine tenths of the limit. The rest is for
what it does not count, such as the kernel's buffers for the Pod's connections.
*/}}
{{- define "shoal.goMemoryLimit" -}}
{{- with include "shoal.memoryLimit" . -}}{{- div (mul (int64 .) 9) 10 -}}{{- end -}}
{{- end -}}

{{/*
Bytes that the process needs beside its content and an eighth of it
(docs/OPERATE.md): 64 and 32 MiB, 56 KiB for each request that waits for content, and 54
for each block on disk, taken to be 64 KiB long, as in websites of small files.
*/}}
{{- define "shoal.memoryBeside" -}}
{{- $requests := mul (int64 .Values.config.gateway.max_requests) 57344 -}}
{{- $index := mul (div (include "shoal.cacheDisk" . | int64) 65536) 54 -}}
{{- add 100663296 $requests $index -}}
{{- end -}}

{{/* Bytes of content in memory: what fits into what the runtime may use. */}}
{{- define "shoal.cacheMemory" -}}
{{- $most := 0 -}}
{{- with include "shoal.goMemoryLimit" . -}}
{{- $most = div (mul (sub (int64 .) (include "shoal.memoryBeside" $ | int64)) 8) 9 -}}
{{- if lt $most 16777216 -}}
{{- $disk := printf "persistence.size: %v" $.Values.persistence.size -}}
{{- with $.Values.cache.disk -}}{{- $disk = printf "cache.disk: %v" . -}}{{- end -}}
{{- fail (printf "resources.limits.memory: %v is too little: an edge needs 64 MiB, %d MiB for config.gateway.max_requests (%d, of 56 KiB each), %d MiB for the index of its disk (%s), and some for content; raise the limit, or lower one of the others" $.Values.resources.limits.memory (div (mul (int64 $.Values.config.gateway.max_requests) 57344) 1048576) (int64 $.Values.config.gateway.max_requests) (div (mul (div (include "shoal.cacheDisk" $ | int64) 65536) 54) 1048576) $disk) -}}
{{- end -}}
{{- end -}}
{{- $asked := .Values.cache.memory | toString -}}
{{- if $asked -}}
{{- $bytes := include "shoal.bytes" (dict "name" "cache.memory" "value" .Values.cache.memory) | int64 -}}
{{- if and $most (gt $bytes $most) -}}
{{- fail (printf "cache.memory: %v does not fit into resources.limits.memory (%v), which leaves room for %d bytes; raise the limit, or leave cache.memory empty" .Values.cache.memory .Values.resources.limits.memory $most) -}}
{{- end -}}
{{- $bytes -}}
{{- else if $most -}}
{{- $most -}}
{{- else -}}
268435456
{{- end -}}
{{- end -}}

{{/* Bytes of content on disk: safely less than the volume holds. The edge needs 16 MiB. */}}
{{- define "shoal.cacheDisk" -}}
{{- $size := include "shoal.bytes" (dict "name" "persistence.size" "value" .Values.persistence.size) | int64 -}}
{{- if lt $size 33554432 -}}
{{- fail (printf "persistence.size: %v is %d bytes, and the smallest volume for an edge has 32Mi" .Values.persistence.size $size) -}}
{{- end -}}
{{- $asked := .Values.cache.disk | toString -}}
{{- if $asked -}}
{{- $bytes := include "shoal.bytes" (dict "name" "cache.disk" "value" .Values.cache.disk) | int64 -}}
{{- if lt $bytes 16777216 -}}
{{- fail (printf "cache.disk: %v is %d bytes, and an edge needs at least 16Mi" .Values.cache.disk $bytes) -}}
{{- end -}}
{{- if gt (mul $bytes 100) (mul $size 95) -}}
{{- fail (printf "cache.disk: %v is more than 95%% of persistence.size (%v), and a full volume caches nothing new; raise the size, or leave cache.disk empty" .Values.cache.disk .Values.persistence.size) -}}
{{- end -}}
{{- $bytes -}}
{{- else -}}
{{- div (mul $size 85) 100 -}}
{{- end -}}
{{- end -}}
