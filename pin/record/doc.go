// Package record is the vocabulary of pins: what is asked for, what a pin is, the
// states that it goes through, and how pins are filtered. The names are those of the
// IPFS Pinning Service API v1.0.0. There is no state here and nothing is stored.
package record
