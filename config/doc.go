// Package config turns what an operator wrote into settings that the components can
// be built from.
//
// Settings come from four places, each over the one before: the defaults (which
// are the components' own), the file (config.yaml), the environment (SHOAL_*), and
// the command line (--set key=value). All four go through one decoder, so that a
// key, a value and an error look the same wherever they came from:
//
//	config.yaml:14: cache.disk: "10 potatoes" is not a size; expected a number of bytes or one with a unit, such as 512MiB or 10GiB
//
// Values may have every form of YAML 1.2: flow and block, plain, quoted and block scalars,
// tags of the core schema, anchors, aliases and merge keys. What a plain value is, follows
// the core schema alone: yes is a text and 0123 a decimal number. A number or a switch in
// quotes is a text, and an error that says so; line breaks at the end of a block scalar are
// left away. What aliases stand for is bounded.
//
// Decoding is strict: an unknown key, a value of the wrong type and a setting out
// of its range are errors that name the key, the value and what was expected.
// Nothing is built from a configuration with an error in it.
//
// The environment variable of a setting is its key in capitals, with underscores
// for dots: gateway.retrieval_timeout is SHOAL_GATEWAY_RETRIEVAL_TIMEOUT. Lists
// are written as YAML: SHOAL_SITES='[{host: www.example.org, content: /ipfs/bafy...}]'.
// A variable that starts with SHOAL_ and names no setting is no error, but a warning
// ([UnknownVariables]); nothing is said of those that Kubernetes puts into a Pod beside
// a Service called shoal (SHOAL_SERVICE_HOST, SHOAL_PORT).
//
// A setting that holds a secret is a [Secret], which never prints itself, and has
// a sibling key ending in _file that names a file to read it from. Only this
// package reads the environment and the secrets' files.
package config
