// Package database is the embedded database of pins: one bbolt file that speaks
// go-datastore, so that the parts that keep something in it depend on no engine.
//
// Every write is on the disk when it returns, and a batch is there whole or not at
// all, also after a crash or a power cut. [Database.Sync] therefore has nothing to do.
//
// # Why bbolt
//
// It was compared with Pebble (go-ds-pebble), which has an adapter ready. With
// 100 000 pins of 200 bytes, on a shared virtual machine with two cores (repeat it
// with `go -C bench run ./pins database full`):
//
//	                                  bbolt      Pebble
//	one durable write, median         0.25 ms    0.16 ms
//	open, and read everything         18 ms      38 ms
//	on disk                           51 MB      17 MB
//	the binary grows by               0.3 MB     6.9 MB
//	modules that come with it         none       some 20
//	the disk is full                  an error   the process ends
//
// The last line decided. An edge lives on a disk that its cache fills on purpose; when
// there is no room, pins must be refused and visitors served on. Pebble ends the process
// when its log cannot be written. bbolt returns the error, and goes on when there is
// room. Its file does not shrink, but what was freed is used again.
//
// # When something fails
//
// A file that is locked by another process is refused with [ErrLocked], one that is
// damaged with [ErrDamaged]. A read or a write that meets a damaged page returns
// [ErrDamaged] too, instead of ending the process as bbolt would.
package database
