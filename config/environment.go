package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Prefix is what the environment variables of all settings begin with.
const Prefix = "SHOAL_"

// clientVariables belong to the command line's clients and are no settings.
var clientVariables = []string{"SHOAL_TOKEN", "SHOAL_EDGE", "SHOAL_CONFIG"}

// Variable returns the name of the environment variable that sets key.
func Variable(key string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// variables returns the keys of all settings by their environment variables.
func variables() map[string]string {
	keys := map[string]string{}
	for _, key := range leaves("", reflect.TypeFor[Config]()) {
		keys[Variable(key)] = key
	}
	return keys
}

// UnknownVariables returns the variables in environ ("NAME=value", as os.Environ
// returns them) that start with SHOAL_ and name no setting, sorted: misspelt ones, in
// all likelihood. Those that Kubernetes makes for a Service called shoal or shoal-admin
// are not among them.
func UnknownVariables(environ []string) []string {
	settings, services := variables(), serviceVariables(environ)
	var unknown []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, Prefix) || settings[name] != "" || slices.Contains(clientVariables, name) || services(name) {
			continue
		}
		unknown = append(unknown, name)
	}
	slices.Sort(unknown)
	return unknown
}

// ofService matches what follows a Service's name in the variables that the kubelet
// makes for it (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
var ofService = regexp.MustCompile(`^_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// serviceVariables returns what tells a variable that the kubelet made from others. A
// Service never comes without its host and its port: SHOAL_PORT alone is somebody's
// mistake.
func serviceVariables(environ []string) func(name string) bool {
	names := map[string]bool{}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		names[name] = true
	}
	var services []string
	for name := range names {
		if service, ok := strings.CutSuffix(name, "_SERVICE_HOST"); ok && names[service+"_SERVICE_PORT"] {
			services = append(services, service)
		}
	}
	return func(name string) bool {
		return slices.ContainsFunc(services, func(service string) bool {
			rest, ok := strings.CutPrefix(name, service)
			return ok && ofService.MatchString(rest)
		})
	}
}
