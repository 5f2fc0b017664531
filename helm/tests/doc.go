// Package chart holds the tests of the Helm chart. They need no cluster: the chart
// is rendered with Helm's own packages and decoded strictly into Kubernetes' own
// types, and what the chart says about the edge is put to a real edge, built from
// the source beside it.
//
//	render_test.go      renders a release and decodes what comes out
//	objects_test.go     what must hold for every mode in ci/
//	names_test.go       long names, two releases in one namespace
//	upgrade_test.go     what an upgrade keeps
//	schema_test.go      values that must be refused, and that the schema is closed
//	sizes_test.go       memory, disk and time that are derived
//	network_test.go     who may reach which port
//	edge_test.go        the rendered settings in real edges
//	monitoring_test.go  rules and dashboard against the metrics of a real edge
//	dashboard_test.go   whether a person can read the dashboard
//	alerts_test.go      alerts that fire when they should and are silent otherwise
//	series_test.go      a memory for Prometheus' query engine
//	kubelet_test.go     what a kubelet needs before it starts a Pod
//	recipes_test.go     the commands in README.md, in a shell; what an uninstallation leaves
//	readme_test.go      the table in README.md; go test -run Readme -update writes it
//
// It is a module of its own so that Helm's and Kubernetes' packages are no
// dependencies of the edge.
package chart
