//go:build race

package ingest_test

// raceDetector makes bulk content some twenty times slower.
const raceDetector = true
